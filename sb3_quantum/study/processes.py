"""Cells as separate processes. Imports only the standard library, because a cluster's workers import only this module."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: exit status of a cell that was asked to stop
STOPPED = 130
#: seconds between two checks of a process
LOOK = 0.5
#: seconds for a process to write its checkpoint when it is asked to stop
GRACE = 120.0
#: environment variables that limit libraries to one thread
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


def command(form: Path, out: Path, index: int, checkpoint_minutes: float, parent: int) -> list[str]:
    """
    Return the command line of one cell.

    :param form: the copy of the study's file
    :param out: the study's folder
    :param index: index of the cell
    :param checkpoint_minutes: between two checkpoints
    :param parent: process that the cell must not outlive
    :return: its words
    """
    words = [sys.executable, "-m", "sb3_quantum.study", "run", str(form), "--out", str(out), "--cell", str(index)]
    return [*words, "--checkpoint-minutes", str(checkpoint_minutes), "--parent", str(parent)]


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """
    Start a cell. Its output goes into its folder. Ctrl-C does not reach it, but it ends with this process.

    :param words: return value of :func:`command`
    :param folder: folder of the cell
    :return: the process
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            words, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD}, start_new_session=True
        )


def end_processes(processes: list[subprocess.Popen[bytes]]) -> None:
    """
    Ask processes to stop, and wait for them; a second Ctrl-C or a timeout ends them at once.

    :param processes: the cells' processes
    """
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    end = time.monotonic() + GRACE
    try:
        for process in processes:
            process.wait(max(0.1, end - time.monotonic()))
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        for process in processes:
            process.kill()
            process.wait()


def cell_on_worker(form: str, out: str, folder: str, index: int, checkpoint_minutes: float, alive: str) -> int:
    """
    Run a cell on a worker, in a separate process that ends with the worker or when the caller stops waiting.

    :param form: the copy of the study's file
    :param out: the study's folder
    :param folder: folder of the cell
    :param index: index of the cell
    :param checkpoint_minutes: between two checkpoints
    :param alive: file that exists while the caller waits
    :return: the process's exit status
    :raises FileNotFoundError: if the worker does not see the study's folder
    """
    if not Path(form).exists():
        raise FileNotFoundError(f"{form} does not exist: a worker must see the study's folder under the same path")
    process = start(command(Path(form), Path(out), index, checkpoint_minutes, os.getpid()), Path(folder))
    while process.poll() is None:
        time.sleep(LOOK)
        if not Path(alive).exists():
            end_processes([process])
            return STOPPED
    return process.returncode
