"""Run the cells of a study in parallel processes."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from sb3_quantum.circuits.wording import counted
from sb3_quantum.study.cell import Cell, DamagedCellError, folder_of, read_cell
from sb3_quantum.study.folder import check_void, find, keep_form
from sb3_quantum.study.models import check_arms
from sb3_quantum.study.processes import STOPPED, command, end_processes, start
from sb3_quantum.study.progress import Key, Progress
from sb3_quantum.study.spec import Arm, Study, StudyError

#: seconds between two checks of the processes
LOOK = 0.2


def selected(study: Study, arms: list[str] | None, seeds: list[int] | None) -> list[tuple[Arm, int]]:
    """
    Select cells by arms and seeds.

    :param study: the study
    :param arms: names of arms; all of them if ``None``
    :param seeds: seeds; all of them if ``None``
    :return: arm and seed of every selected cell
    :raises StudyError: if there is no such arm or seed
    """
    wanted = study.arms if arms is None else [study.arm(name) for name in arms]
    names = {arm.name for arm in wanted}
    cells = [(arm, seed) for arm, seed in study.cells() if arm.name in names and (seeds is None or seed in seeds)]
    there = {seed for arm in wanted for seed in arm.seeds}
    for seed in seeds or ():
        if seed not in there:
            raise StudyError(f"seed {seed} is not one of the study's seeds, which are {', '.join(map(str, sorted(there)))}")
    return cells


def prepare(
    study: Study, out: Path, cells: list[tuple[Arm, int]], renew: bool
) -> tuple[Path, list[Cell], list[tuple[Arm, int]]]:
    """
    Prepare any way of running: refuse void cells, check settings, and keep a copy of the file.

    :param study: the study
    :param out: the study's folder
    :param cells: that are asked for
    :param renew: put void cells aside
    :return: the copy of the file, the complete cells, and arm and seed of the cells that have to run
    :raises StudyError: if a setting is wrong, or the study was changed since
    """
    form = keep_form(study, out)
    check_void(study, out, cells, renew)
    found = find(study, out)
    for sentence in found.damaged:
        print(sentence, flush=True)
    done = [cell for cell in found.cells.values() if cell.status in ("complete", "budget")]
    keys = {(cell.arm, cell.seed) for cell in done}
    left = [(arm, seed) for arm, seed in cells if (arm.name, seed) not in keys]
    wanted = {(arm.name, seed) for arm, seed in cells}
    check_arms(study, list({arm.name: arm for arm, _ in left}.values()))
    return form, [cell for cell in done if (cell.arm, cell.seed) in wanted], left


def outcome(folder: Path) -> Cell | None:
    """
    Read a cell whose process has ended.

    :param folder: the cell's folder
    :return: the cell; ``None`` if it is missing or damaged
    """
    try:
        return read_cell(folder)
    except (OSError, DamagedCellError):
        return None


def complain(key: Key, cell: Cell | None, folder: Path) -> None:
    """
    Print why a cell failed.

    :param key: key of the cell
    :param cell: the cell in its current state
    :param folder: folder of the cell
    """
    reason = cell.manifest.get("error") if cell is not None else None
    if not reason:
        with suppress(OSError):
            lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else None
    print(f"cell {key[0]} seed {key[1]} failed: {reason or 'its process ended without a message'}", flush=True)


def run_locally(
    study: Study, out: Path, cells: list[tuple[Arm, int]], workers: int, checkpoint_minutes: float = 10.0, renew: bool = False
) -> int:
    """
    Run the incomplete cells in processes of one thread each. Ctrl-C or a termination signal asks them to write a checkpoint
    and stop; a second one ends them at once.

    :param study: the study
    :param out: the study's folder
    :param cells: that are asked for
    :param workers: number of parallel processes
    :param checkpoint_minutes: between two checkpoints
    :param renew: put void cells aside
    :return: exit status: 0, 1 if a cell failed, 130 if it was stopped
    :raises StudyError: if a setting is wrong, or the study was changed since
    """
    form, done, left = prepare(study, out, cells, renew)
    numbers = {(arm.name, seed): number for number, (arm, seed) in enumerate(study.cells())}
    progress = Progress(out, done, [(arm.name, seed) for arm, seed in left], workers)
    processes: dict[Key, subprocess.Popen[bytes]] = {}
    # A termination signal counts as Ctrl-C; outside the main thread there are no handlers
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        progress.show()
        while progress.waiting or processes:
            while progress.waiting and len(processes) < workers:
                key = progress.waiting[0]
                words = command(form, out, numbers[key], checkpoint_minutes, os.getpid())
                processes[key] = start(words, folder_of(out, *key))
                progress.begin(key)
            time.sleep(LOOK)
            for key, process in list(processes.items()):
                if process.poll() is not None:
                    del processes[key]
                    cell = outcome(folder_of(out, *key))
                    failed = cell is None or cell.status not in ("complete", "budget")
                    if failed:
                        complain(key, cell, folder_of(out, *key))
                    progress.end(key, None if failed else cell)
            progress.tick()
    except KeyboardInterrupt:
        print(
            f"\nStopping: {counted(len(processes), 'cell writes', 'cells write')} a checkpoint; again to stop at once",
            flush=True,
        )
        end_processes(list(processes.values()))
        print(
            f"{counted(progress.n_done, 'cell is', 'cells are')} complete; the same command continues with the rest",
            flush=True,
        )
        return STOPPED
    return 1 if progress.n_failed else 0
