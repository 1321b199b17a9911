"""With the hook switched off, with other algorithms, and runs that can be interrupted."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.monitor import load_results

from tests.zoo.helpers import SMALL, quick_zoo, zoo


@pytest.mark.slow
def test_without_the_hook(tmp_path: Path) -> None:
    """The hook switched off: the zoo does not know qtd3, and our own commands do. ``-conf`` wins over our YAML."""
    off = {"SB3_QUANTUM_ZOO_HOOK": "0"}
    printed = zoo(tmp_path, "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", expect=2, **off)
    assert "invalid choice: 'qtd3'" in printed
    (tmp_path / "mine.yml").write_text(
        f"Pendulum-v1:\n  policy: MlpPolicy\n  n_timesteps: 210\n  learning_starts: 150\n  qf_learning_rate: lin_1e-3\n"
        f"  policy_kwargs: \"{SMALL.removeprefix('policy_kwargs:')}\"\n"
    )
    printed = zoo(
        tmp_path, "sb3_quantum.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-conf", "mine.yml",
        "--eval-freq", "-1", **off
    )  # fmt: skip
    assert "mine.yml" in printed
    printed = zoo(
        tmp_path, "sb3_quantum.enjoy", "--algo", "qtd3", "--env", "Pendulum-v1", "-f", "logs",
        "--no-render", "-n", "200", **off
    )  # fmt: skip
    assert "Mean reward" in printed


def test_other_algorithms_are_untouched(tmp_path: Path) -> None:
    printed = quick_zoo(
        tmp_path, "rl_zoo3.train", "--algo", "td3", "--env", "Pendulum-v1", "-n", "150", "--eval-freq", "-1",
    )  # fmt: skip
    assert "hyperparams/td3.yml" in printed and "rl_zoo3" in printed.split("Loading hyperparameters from: ")[1].splitlines()[0]


def resumable(folder: Path, steps: int, normalize: bool) -> list[str]:
    """The command of ``make train``, on a tiny model. VecNormalize keeps its environments out of pickles."""
    return [
        sys.executable, "-u", "-m", "sb3_quantum.train", "--algo", "qtd3", "--env", "Pendulum-v1",
        "-n", str(steps), "--resume",
        "--checkpoint-freq", "200", "--eval-freq", "200", "--eval-episodes", "1",
        "-params", "learning_starts:100", f"normalize:{normalize}", SMALL,
    ]  # fmt: skip


def steps_in(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


@pytest.mark.parametrize(
    "number, normalize", [(signal.SIGINT, True), pytest.param(signal.SIGKILL, False, marks=pytest.mark.slow)]
)
def test_interrupted_runs_continue(tmp_path: Path, number: int, normalize: bool) -> None:
    """Ctrl-C loses nothing, kill -9 what came after the last checkpoint; n is the total either way."""
    run = tmp_path / "logs" / "qtd3" / "Pendulum-v1_1"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        resumable(tmp_path, 100_000, normalize), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not list(run.glob("checkpoint-[0-9]*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(number)
    process.wait(120)
    (before,) = (path for path in run.glob("checkpoint-*") if not path.name.endswith(".partial"))
    files = {"model.zip", "replay_buffer.pkl", "generators.pkl", "continuation.json"} | (
        {"Pendulum-v1"} if normalize else set()
    )
    assert {path.name for path in before.iterdir()} == files
    assert zipfile.ZipFile(before / "model.zip").testzip() is None
    # What a crash in the middle of writing leaves behind is not taken for a checkpoint
    (run / "checkpoint-999999.partial").mkdir()

    episodes = len(load_results(str(run)))
    assert episodes >= 1
    total = steps_in(before) + 450
    done = subprocess.run(
        resumable(tmp_path, total, normalize), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f"Continuing logs/qtd3/Pendulum-v1_1/{before.name}" in done.stdout and "Loading replay buffer" in done.stdout
    assert ("Loading saved VecNormalize stats" in done.stdout) == normalize
    (after,) = run.glob("checkpoint-*")
    assert steps_in(after) == total
    assert [path.name for path in run.parent.iterdir()] == ["Pendulum-v1_1"]
    # The monitor file and the evaluations go on where they were: no step is missing, none stands twice
    results = load_results(str(run))
    assert results["l"].sum() == steps_in(before) + 2 * 200 and results["t"].is_monotonic_increasing
    with np.load(run / "evaluations.npz") as evaluations:
        assert (np.diff(evaluations["timesteps"]) > 0).all() and evaluations["timesteps"][-1] > steps_in(before)
        assert evaluations["timesteps"][0] == 200

    from sb3_quantum import QuantumTD3

    model = QuantumTD3.load(after / "model.zip")
    model.load_replay_buffer(after / "replay_buffer.pkl")
    assert isinstance(model.replay_buffer.observations, np.memmap) and (run / "rows").is_dir()  # type: ignore[union-attr]
    assert model.num_timesteps == total
    # Every step since the beginning is in the buffer; a step that a signal ended is counted but not stored
    assert model.replay_buffer is not None and total - 1 <= model.replay_buffer.size() <= total

    again = subprocess.run(
        resumable(tmp_path, total, normalize), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0 and f"Nothing left to do: {total:,} of {total:,} steps are done" in again.stdout
