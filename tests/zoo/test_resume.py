"""``python -m sb3_quantum.train --resume`` continues the same run from what can be read of it, or says why it does not."""

import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rl_zoo3.train
import yaml
from stable_baselines3.common.monitor import load_results

from sb3_quantum import QuantumTD3
from sb3_quantum.train import main
from sb3_quantum.zoo.runs import Lock
from tests.zoo.helpers import SMALL

Train = Callable[..., str]
RUNS = Path("logs") / "qtd3"
RUN = RUNS / "Pendulum-v1_1"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run the command in this process, in the current folder, and return what it printed, warnings included."""

    def run(steps: int, *words: str, params: tuple[str, ...] = (), resume: bool = True) -> str:
        command = ["train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", str(steps), "--eval-freq", "100", *words]
        command += ["--eval-episodes", "1", *(["--resume", "--checkpoint-freq", "120"] if resume else [])]
        command += ["-params", "learning_starts:40", "batch_size:16", "buffer_size:1000", SMALL, *params]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "orig_argv", command)
        monkeypatch.setattr(rl_zoo3.train, "ExperimentManager", rl_zoo3.train.ExperimentManager)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            main()
        return capsys.readouterr().out + "".join(f"\n{warning.message}" for warning in caught)

    return run


@pytest.fixture(scope="module")
def _finished() -> dict[str, Path]:
    return {}


@pytest.fixture
def run(
    _finished: dict[str, Path], train: Train, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> Path:
    """A run of 240 steps, seed 0, in the current folder; the checkpoint at 120 steps is there too."""
    if not _finished:
        folder = tmp_path_factory.mktemp("finished")
        monkeypatch.chdir(folder)
        train(120, "--seed", "0")
        shutil.copytree(RUN / "checkpoint-120", folder / "older")
        train(240, "--seed", "0")
        if not (RUN / "checkpoint-120").exists():
            (folder / "older").rename(RUN / "checkpoint-120")
        _finished["folder"] = folder
    shutil.copytree(_finished["folder"] / "logs", tmp_path / "logs")
    monkeypatch.chdir(tmp_path)
    return RUN


def settings_of(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config, args = (yaml.unsafe_load((run / "Pendulum-v1" / name).read_text()) for name in ("config.yml", "args.yml"))
    return config, args


def test_only_the_same_run_is_continued(train: Train, run: Path) -> None:
    printed = train(150, "--seed", "1")
    assert f"{RUN} is another run: seed is 0 there and 1 here" in printed
    assert f"New run: {RUNS / 'Pendulum-v1_2'}" in printed
    assert f"Continuing {RUNS / 'Pendulum-v1_2' / 'checkpoint-150'}" in train(160), "the newest, if no seed is asked for"
    printed = train(60, "--seed", "0", params=("gamma:0.9", "normalize:dict(norm_reward=False)"))
    assert "gamma is 0.98 there and 0.9 here; normalize.norm_reward is not given there and False here" in printed
    assert (RUNS / "Pendulum-v1_3").is_dir()
    # A dictionary that the zoo changes after it has read it
    printed = train(70, "--seed", "0", params=("gamma:0.9", "normalize:dict(norm_reward=False)"))
    assert f"Continuing {RUNS / 'Pendulum-v1_3' / 'checkpoint-60'}" in printed

    printed = train(250, "--seed", "0")
    assert f"Continuing {RUN / 'checkpoint-240'}" in printed and "Pendulum-v1_3 is another run: gamma" in printed
    config, args = settings_of(run)
    model = QuantumTD3.load(run / "Pendulum-v1.zip")
    assert (model.num_timesteps, model.seed, model.gamma) == (250, 0, 0.98)
    assert (args["n_timesteps"], args["seed"], config["gamma"]) == (250, 0, 0.98)
    # Unless it is asked for another one
    assert model.replay_buffer_kwargs == {"storage": "memmap"} and "replay_buffer_kwargs" not in config
    assert sorted(path.name for path in RUNS.iterdir() if path.is_dir()) == [f"Pendulum-v1_{n}" for n in (1, 2, 3)]


def test_nothing_left_to_do_changes_nothing(train: Train, run: Path) -> None:
    before = settings_of(run)
    assert "Nothing left to do: 240 of 100 steps are done" in train(100)
    assert settings_of(run) == before and before[1]["n_timesteps"] == 240


def test_curves_go_on(train: Train, run: Path) -> None:
    """Three pieces: of 120, 120 and 260 steps; evaluations are where they would have been in one."""
    train(500)
    results = load_results(str(run))
    assert results["l"].tolist() == [120, 120, 200] and results["cut"].notna().tolist() == [True, True, False]
    assert results["t"].is_monotonic_increasing
    with np.load(run / "evaluations.npz") as evaluations:
        assert evaluations["timesteps"].tolist() == [100, 200, 300, 400, 500]


SIDE_FILES = ("replay_buffer.pkl", "generators.pkl", "continuation.json", "evaluations.npz", "0.monitor.csv")


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("names", [SIDE_FILES[:1], ("rewards.rows",), SIDE_FILES[1:]])
def test_it_goes_on_without_a_file(train: Train, run: Path, names: tuple[str, ...], missing: bool) -> None:
    for name in names:
        for path in run.rglob(name):
            path.unlink() if missing else path.write_bytes(path.read_bytes()[:20])
    printed = train(300)
    assert f"Continuing {RUN / 'checkpoint-240'}" in printed
    # Checkpoints of version 0.1.0 have no continuation.json
    assert all(name in printed or (missing and name == "continuation.json") for name in names)
    model = QuantumTD3.load(run / "checkpoint-300" / "model.zip")
    model.load_replay_buffer(run / "checkpoint-300" / "replay_buffer.pkl")
    assert model.replay_buffer is not None and model.num_timesteps == 300
    if len(names) == 1:
        assert "collects 40 transitions before it learns" in printed
        assert model.replay_buffer.size() == 60 and model._n_updates == 300 - 40 - 40
    else:
        assert model.replay_buffer.size() == 300 and model._n_updates == 300 - 40
    load_results(str(run))


@pytest.mark.parametrize("missing", [False, True])
def test_the_older_checkpoint_is_taken(train: Train, run: Path, missing: bool) -> None:
    path = run / "checkpoint-240" / "model.zip"
    path.unlink() if missing else path.write_bytes(path.read_bytes()[:-1000])
    printed = train(300)
    assert f"{RUN / 'checkpoint-240' / 'model.zip'} is" in printed and f"Continuing {RUN / 'checkpoint-120'}" in printed
    assert QuantumTD3.load(run / "Pendulum-v1.zip").num_timesteps == 300
    assert load_results(str(run))["l"].sum() == 120


def test_newer_folders_with_nothing_in_them(train: Train, run: Path) -> None:
    """An empty one, and a run that was killed before its first checkpoint."""
    shutil.copytree(run / "Pendulum-v1", RUNS / "Pendulum-v1_2" / "Pendulum-v1")
    (RUNS / "Pendulum-v1_3").mkdir()
    printed = train(250, "--seed", "0")
    assert f"Continuing {RUN / 'checkpoint-240'}" in printed
    assert "Pendulum-v1_2 has no checkpoint" in printed and "Pendulum-v1_3 has no config.yml" in printed


def test_a_run_that_another_process_trains(train: Train, run: Path) -> None:
    lock = Lock(run)
    with pytest.raises(SystemExit, match="Pendulum-v1_1 is being trained by process"):
        train(300)
    assert [path.name for path in RUNS.iterdir() if path.is_dir()] == [RUN.name]
    lock.release()
    assert "Continuing" in train(250) and "Continuing" in train(260), "released at the end"


@pytest.mark.parametrize("resume", [True, False])
def test_a_cut_training_has_another_exit_status(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """What can be kept is saved before."""

    def learn(self: QuantumTD3, *args: Any, **kwargs: Any) -> QuantumTD3:
        original(self, 30, **kwargs)
        self.interruption = "the budget of 10 circuits is spent"  # type: ignore[attr-defined]
        return self

    original = QuantumTD3.learn
    monkeypatch.setattr(QuantumTD3, "learn", learn)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="Not finished: the budget of 10 circuits is spent"):
        train(60, resume=resume)
    assert (RUN / "Pendulum-v1.zip").is_file() and (RUN / "checkpoint-30").is_dir() == resume
    if resume:
        assert "Nothing left to do" in train(30), "that many are done"


def test_the_checkpoint_frequency_is_checked(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(60, "--checkpoint-freq", "0", resume=False)
    assert "--checkpoint-freq: must be >= 1, got 0" in capsys.readouterr().err
