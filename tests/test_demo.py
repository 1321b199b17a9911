"""The demonstration: ``python -m sb3_quantum.demo`` and ``DEMO``."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

from sb3_quantum import QuantumTD3, demo
from sb3_quantum.demo import DEMO
from sb3_quantum.plots import load_run


def test_command_leaves_something_to_look_at(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "sb3_quantum.demo", "--steps", "800", "--folder", "shown"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        *("0.monitor.csv", "fidelity.csv", "model.zip", "runs.png", "circuit.png")
    }
    assert "mean return of 10 episodes: -" in done.stdout
    run = load_run(tmp_path / "shown")
    assert run.episodes is not None and len(run.episodes.values) == 4
    assert run.cosine is not None and run.cosine.values.min() > 0.9


def test_command_refuses_no_steps(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sb3_quantum.demo", "--steps", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "--steps must be >= 1, got 0" in done.stderr


def test_command_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads on a core that is shared took minutes for what takes seconds."""
    found = []

    def train(*args: object) -> None:
        found.append(th.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(sys, "argv", ["demo"])
    before = th.get_num_threads()
    th.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            demo.main()
    finally:
        th.set_num_threads(before)
    assert found == [1]


def test_everything_passes_through_the_circuit() -> None:
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", **DEMO)
    assert model.actor.n_links == 0 and model.policy.quantum_layer.ansatz.n_qubits == 4


@pytest.mark.parametrize("name", ["learning_starts", "batch_size"])
def test_preset_can_be_changed(name: str) -> None:
    assert getattr(QuantumTD3("MlpPolicy", "Pendulum-v1", **{**DEMO, name: 10}), name) == 10
