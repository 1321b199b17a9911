"""Run the cells of a study on a Dask cluster: on one machine, in a batch system, or in Kubernetes."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import write_text
from sb3_quantum.study.cell import folder_of
from sb3_quantum.study.processes import STOPPED, cell_on_worker
from sb3_quantum.study.progress import Key, Progress
from sb3_quantum.study.runner import complain, outcome, prepare
from sb3_quantum.study.spec import Arm, Study, StudyError

if TYPE_CHECKING:
    from distributed import Client

#: seconds to wait for a scheduler that does not answer
CONNECT_SECONDS = 10.0
#: seconds between two checks of the cluster
LOOK = 0.5
#: number of lost workers after which a cell counts as failed
LOST = 20


def run_on_cluster(
    study: Study, out: Path, cells: list[tuple[Arm, int]], address: str, checkpoint_minutes: float = 10.0, renew: bool = False
) -> int:
    """
    Run the incomplete cells on a cluster whose workers see the study's folder under the same path.

    If a worker is lost, its cell continues from its checkpoint on another worker. Ctrl-C asks the cells to write a checkpoint
    and stop.

    :param study: the study
    :param out: the study's folder
    :param cells: arm and seed of the cells to run
    :param address: the scheduler's address
    :param checkpoint_minutes: minutes between two checkpoints
    :param renew: put void cells aside
    :return: exit status: 0, 1 if a cell failed, 130 if it was stopped
    :raises StudyError: if no scheduler answers, a setting is wrong, or the study has changed
    :raises ImportError: if Dask is missing
    """
    client = connect(address)
    out = out.resolve()
    # While this file exists, the caller waits for the cells
    alive = out / f".alive-{os.getpid()}-{time.time_ns()}"
    try:
        form, done, left = prepare(study, out, cells, renew)
        write_text(alive, address + "\n")
        return _run(client, study, out, form, alive, (done, left), checkpoint_minutes)
    finally:
        alive.unlink(missing_ok=True)
        with suppress(Exception):
            client.close(timeout=5)


def connect(address: str) -> "Client":
    """
    Connect to a scheduler.

    :param address: the scheduler's address
    :return: a client
    :raises StudyError: if none answers
    :raises ImportError: if Dask is missing
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('--scheduler needs Dask: pip install "sb3-quantum[dask]"') from error
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StudyError(f"no Dask scheduler answers at {address!r}: {error}") from error


def _run(
    client: "Client",
    study: Study,
    out: Path,
    form: Path,
    alive: Path,
    cells: tuple[list[Any], list[tuple[Arm, int]]],
    checkpoint_minutes: float,
) -> int:
    done, left = cells
    numbers = {(arm.name, seed): number for number, (arm, seed) in enumerate(study.cells())}
    keys = [(arm.name, seed) for arm, seed in left]
    progress = Progress(out, done, keys, max(1, len(client.scheduler_info()["workers"])))
    futures = {
        key: client.submit(
            cell_on_worker, str(form), str(out), str(folder_of(out, *key)), numbers[key], checkpoint_minutes, str(alive),
            key=f"{alive.name}-{key[0]}-{key[1]}", pure=False, priority=-numbers[key], retries=LOST,
        )
        for key in keys
    }  # fmt: skip
    try:
        progress.show()
        while futures:
            time.sleep(LOOK)
            if client.status != "running":
                raise StudyError("the connection is lost")
            _look(out, futures, progress)
            progress.tick()
    except KeyboardInterrupt:
        alive.unlink(missing_ok=True)
        print(f"\nStopping: {counted(len(progress.running), 'cell writes', 'cells write')} a checkpoint", flush=True)
        _cancel(client, futures)
        print(
            f"{counted(progress.n_done, 'cell is', 'cells are')} complete; the same command continues with the rest",
            flush=True,
        )
        return STOPPED
    except StudyError as error:
        raise StudyError(
            f"the Dask scheduler is gone ({error}); {counted(progress.n_done, 'cell is', 'cells are')} complete, the others "
            "continue from their checkpoints with the same command"
        ) from error
    return 1 if progress.n_failed else 0


def _look(out: Path, futures: dict[Key, Any], progress: Progress) -> None:
    """Record cells that started and cells that ended."""
    for key, future in list(futures.items()):
        folder = folder_of(out, *key)
        if key in progress.waiting and (folder / "log.txt").exists() and future.status == "pending":
            progress.begin(key)
        if future.status in ("finished", "error"):
            del futures[key]
            if key in progress.waiting:
                progress.waiting.remove(key)
            cell = outcome(folder)
            failed = cell is None or cell.status not in ("complete", "budget")
            if failed and future.status == "error":
                print(f"cell {key[0]} seed {key[1]} failed: {future.exception()}", flush=True)
            elif failed:
                complain(key, cell, folder)
            progress.end(key, None if failed else cell)
        elif future.status in ("lost", "cancelled"):
            raise StudyError("it no longer knows the cells")


def _cancel(client: "Client", futures: dict[Key, Any]) -> None:
    """Remove waiting cells from the queue, and wait for running ones, which notice that the caller has stopped."""
    from distributed import wait

    with suppress(Exception):
        running = [future for future in futures.values() if future.status == "pending"]
        client.cancel([future for future in running if future.key not in _processing(client)])
        wait([future for future in running if not future.cancelled()], timeout=120)


def _processing(client: "Client") -> set[str]:
    """Return the keys of the running tasks."""
    return {key for keys in client.processing().values() for key in keys}
