"""A study on a Dask cluster of two processes, one of which is killed, and on one that is not there."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from distributed import LocalCluster

from sb3_quantum.study import StudyError, parse_study, processes
from sb3_quantum.study import cluster as cluster_module
from sb3_quantum.study.cell import folder_of, read_cell
from sb3_quantum.study.cluster import run_on_cluster
from sb3_quantum.study.folder import keep_form
from sb3_quantum.study.processes import STOPPED, cell_on_worker
from sb3_quantum.study.progress import part_done
from sb3_quantum.study.runner import selected
from tests.study.helpers import small

#: long enough to be killed in
LONG = """
name: long
environment: Pendulum-v1
budget: {steps: 4000}
base: {algo: td3, learning_starts: 20, batch_size: 8, buffer_size: 500, train_freq: 8, policy_kwargs: {net_arch: [8, 8]}}
arms: {one: {}}
evaluation: {episodes: 2, points: 2, point_episodes: 1}
"""


@pytest.mark.slow
def test_a_worker_is_killed_and_its_cell_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = parse_study(LONG)
    killed: list[int] = []

    def kill(pids: list[int]) -> None:
        """Kill the worker whose cell is being trained."""
        folder, end = folder_of(tmp_path, "one", 0), time.monotonic() + 120
        while time.monotonic() < end and not killed:
            time.sleep(0.02)
            if part_done(folder) > 0:
                child = int((folder / ".lock").read_text())
                parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
                assert parent in pids
                # Held until it must notice: on a fast machine it would be complete before it looks
                os.kill(child, signal.SIGSTOP)
                os.kill(parent, signal.SIGKILL)
                killed.append(parent)
                time.sleep(1.2)
                os.kill(child, signal.SIGCONT)

    with LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]
        thread = threading.Thread(target=kill, args=(pids,))
        thread.start()
        status = run_on_cluster(study, tmp_path, selected(study, None, None), cluster.scheduler_address)
        thread.join()
    printed = capsys.readouterr().out
    assert status == 0 and killed and "1 of 1 cell" in printed, printed
    cell = read_cell(folder_of(tmp_path, "one", 0))
    assert cell.status == "complete" and cell.manifest["steps"] == 4000 and cell.manifest["pieces"] == 2
    assert not list(tmp_path.glob(".alive-*"))


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(StudyError, match=f"no Dask scheduler answers at '{address}'"):
            run_on_cluster(small(), tmp_path, selected(small(), None, None), address)


class Gone:
    """A client whose scheduler goes away, or forgets."""

    def __init__(self, status: str, task: str):
        self.status, self.task = status, task

    def submit(self, *args: object, **kwargs: object) -> object:
        return type("Future", (), {"status": self.task, "key": kwargs["key"], "cancelled": lambda self: True})()

    def scheduler_info(self) -> dict[str, dict[str, int]]:
        return {"workers": {"a": 1}}

    def close(self, timeout: float) -> None:
        raise OSError("gone")


@pytest.mark.parametrize(
    ("status", "task", "words"),
    [("closed", "pending", "connection is lost"), ("running", "lost", "no longer knows the cells")],
)
def test_a_scheduler_that_goes_away(
    status: str, task: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "connect", lambda address: Gone(status, task))
    monkeypatch.setattr(cluster_module, "LOOK", 0.01)
    with pytest.raises(StudyError, match=f"the Dask scheduler is gone .*{words}.*0 cells are complete"):
        run_on_cluster(small(), tmp_path, selected(small(), None, None), "tcp://a:1")
    # Whoever still works on a cell sees that nobody waits for it
    assert not list(tmp_path.glob(".alive-*"))


def test_a_cell_that_nobody_waits_for_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = keep_form(small(), tmp_path)
    monkeypatch.setattr(processes, "LOOK", 0.01)
    monkeypatch.setattr(processes, "command", lambda *_: ["sleep", "100"])
    folder, alive = str(tmp_path / "pqc" / "0"), str(tmp_path / ".alive")
    assert cell_on_worker(str(form), str(tmp_path), folder, 0, 10, alive) == STOPPED
    with pytest.raises(FileNotFoundError, match="must see the study's folder"):
        cell_on_worker(str(form) + "x", str(tmp_path), folder, 0, 10, alive)


def test_workers_import_nothing_that_is_heavy() -> None:
    code = "import sys, sb3_quantum.study.processes; print([name for name in ('torch', 'yaml') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_ctrl_c_takes_waiting_cells_out_of_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Waiting(Gone):
        cancelled: ClassVar[list[str]] = []

        def processing(self) -> dict[str, list[str]]:
            assert not list(tmp_path.glob(".alive-*"))
            return {"a worker": []}

        def cancel(self, futures: list[object]) -> None:
            self.cancelled.extend(map(str, futures))

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster_module, "connect", lambda address: Waiting("running", "pending"))
    monkeypatch.setattr(cluster_module, "_look", interrupt)
    monkeypatch.setattr(cluster_module, "LOOK", 0.01)
    assert run_on_cluster(small(), tmp_path, selected(small(), None, [0]), "tcp://a:1") == STOPPED
    assert len(Waiting.cancelled) == 2 and "the same command continues with the rest" in capsys.readouterr().out
