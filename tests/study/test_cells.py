"""A cell from its beginning to its end, and through everything that may happen to it in between."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.study import Study, StudyError, make_model, read_cell
from sb3_quantum.study import training as training_module
from sb3_quantum.study.cell import Cell, DamagedCellError, folder_of
from sb3_quantum.study.clock import Clock, Stop
from sb3_quantum.study.folder import check_void, find, keep_form
from sb3_quantum.study.training import Stopped, run_cell
from sb3_quantum.zoo.runs import Lock
from tests.study.helpers import small


def run(study: Study, out: Path, arm: str = "pqc", seed: int = 0, stop: Stop | None = None) -> Cell:
    return run_cell(study, study.arm(arm), seed, out, stop or Stop())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with one complete cell."""
    out = tmp_path_factory.mktemp("whole")
    keep_form(small(), out)
    assert run(small(), out).status == "complete"
    return out


@pytest.fixture()
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    import shutil

    return shutil.copytree(whole, tmp_path / "out")


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(QuantumTD3, "learn", learn)


def test_a_complete_cell_holds_all_that_is_to_be_known(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small()
    cell = read_cell(folder_of(whole, "pqc", 0))
    manifest = cell.manifest
    assert manifest["steps"] == 60 and manifest["updates"] == 40 and 0 < manifest["cpu_minutes"] < 2
    assert manifest["usage"]["circuits"] == 60 and manifest["study_hash"] == study.hash and manifest["pieces"] == 1
    assert manifest["versions"]["torch"] == version("torch") and manifest["settings"] == study.arm("pqc").settings
    assert cell.curve["steps"].tolist() == [20, 40, 60] and cell.curve["updates"].tolist() == [0, 20, 40]
    assert len(cell.returns) == 2 and cell.evaluation["deterministic"] is True and cell.changes(study) == []
    files = {path.name for path in folder_of(whole, "pqc", 0).iterdir()}
    assert files == {"cell.json", "curve.csv", "evaluation.json", "model.zip", ".lock"}
    no_training(monkeypatch)
    assert run(study, whole).returns.tolist() == cell.returns.tolist()


def test_the_training_is_that_of_learn(whole: Path) -> None:
    """Evaluations and the callback change nothing of what is learnt."""
    study = small()
    alone = make_model(study.arm("pqc"), study.environment, 0).learn(60)
    theirs = QuantumTD3.load(folder_of(whole, "pqc", 0) / "model.zip", buffer_size=1)
    for (name, mine), other in zip(alone.policy.named_parameters(), theirs.policy.parameters(), strict=True):
        assert th.equal(mine, other), name


class StopsAt(Stop):
    """Stops a training when it has done so many steps."""

    def __init__(self, steps: int, monkeypatch: pytest.MonkeyPatch):
        super().__init__()
        on_step = Clock._on_step

        def asked(clock: Clock) -> bool:
            self.asked = self.asked or clock.num_timesteps >= steps
            return on_step(clock)

        monkeypatch.setattr(Clock, "_on_step", asked)


@pytest.mark.parametrize("settings", ["{}", "{n_envs: 2, normalize: true}", "{from: nothing, algo: td3, learning_starts: 20}"])
def test_a_stopped_cell_goes_on(settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small(arms="{pqc: " + settings + "}", comparisons="[]", budget="{updates: 40}")
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="pqc seed 0"):
        run(study, tmp_path, stop=StopsAt(44, patch))
    folder = folder_of(tmp_path, "pqc", 0)
    assert read_cell(folder).status == "running" and len(list(folder.glob("checkpoint-44"))) == 1
    before = read_cell(folder).curve
    cell = run(study, tmp_path)
    assert cell.status == "complete" and cell.manifest["updates"] == 40 and cell.manifest["pieces"] == 2
    assert not list(folder.glob("checkpoint-*")) and not (folder / "rows").exists()
    # What was there before is as it was, and the clock went on
    for name, values in before.items():
        assert np.array_equal(cell.curve[name][: len(values)], values, equal_nan=True), name
    assert before or "n_envs" in settings
    assert all((cell.curve[name][1:] > cell.curve[name][:-1]).all() for name in ("steps", "updates", "cpu_minutes"))


def test_cpu_minutes_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import itertools
    import time

    ticks = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: next(ticks) * 0.01)
    cell = run(small(budget="{cpu_minutes: 0.02}"), tmp_path, "zeros")
    # The clock is read some times per step, 0.01 s apart, and stands still during evaluations
    assert cell.manifest["cpu_minutes"] == pytest.approx(0.02, abs=0.001) and 20 < cell.manifest["steps"] < 120
    assert cell.curve["cpu_minutes"] == pytest.approx([0.02 / 3, 0.04 / 3, 0.02], abs=0.001)


def test_a_cell_that_was_killed_behind_its_training_is_only_evaluated(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(copy, "pqc", 0)
    returns = read_cell(folder).returns.tolist()
    manifest = json.loads((folder / "cell.json").read_text())
    del manifest["checksums"]
    (folder / "cell.json").write_text(json.dumps({**manifest, "status": "running"}))
    (folder / "evaluation.json").unlink()
    no_training(monkeypatch)
    cell = run(small(), copy)
    assert cell.status == "complete" and cell.returns.tolist() == returns


def test_a_failure_is_written_down_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*args: Any) -> None:
        raise RuntimeError("the disk\nis gone")

    with monkeypatch.context() as patch:
        patch.setattr(training_module, "evaluate", evaluate)
        cell = run(small(), tmp_path, "zeros")
    assert cell.status == "failed" and cell.manifest["error"] == "RuntimeError: the disk is gone"
    assert "evaluate" in (folder_of(tmp_path, "zeros", 0) / "error.txt").read_text()
    again = run(small(), tmp_path, "zeros")
    assert again.status == "complete" and again.manifest["error"] is None


@pytest.mark.filterwarnings("ignore:training ends at")
def test_a_limit_of_the_backend_ends_a_cell(tmp_path: Path) -> None:
    study = small(
        arms="{pqc: {backend_kwargs: {max_circuits: 45}}}", comparisons="[]", evaluation="{points: 1, point_episodes: 1}"
    )
    cell = run(study, tmp_path)
    assert cell.status == "budget" and 20 < cell.manifest["steps"] < 46 and "max_circuits" in cell.manifest["interruption"]
    assert run(study, tmp_path).manifest["pieces"] == 1


def damage(folder: Path, name: str, how: str) -> None:
    path = folder / name
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(b"\0" * 40)


@pytest.mark.parametrize("name", ["cell.json", "curve.csv", "evaluation.json"])
@pytest.mark.parametrize("how", ["missing", "cut", "zeros"])
def test_a_damaged_cell_is_put_aside(name: str, how: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(copy, "pqc", 0)
    damage(folder, name, how)
    if (name, how) == ("cell.json", "missing"):
        assert find(small(), copy).cells == {}
        return
    with pytest.raises(DamagedCellError, match=name):
        read_cell(folder)
    found = find(small(), copy)
    assert found.cells == {} and len(found.damaged) == 1 and name in found.damaged[0]
    assert training_module.open_cell(small(), small().arm("pqc"), 0, folder).status == "running"
    assert "0.damaged-1 and starts again" in capsys.readouterr().out
    # Nothing is lost, and nobody takes it for a cell
    assert (copy / "pqc" / "0.damaged-1" / "model.zip").exists() and len(find(small(), copy).cells) == 1


def test_a_damaged_checkpoint_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        run(small(), tmp_path, stop=StopsAt(30, patch))
    damage(folder_of(tmp_path, "pqc", 0) / "checkpoint-30", "model.zip", "cut")
    cell = run(small(), tmp_path)
    assert cell.status == "complete" and cell.manifest["steps"] == 60 and cell.curve["steps"].tolist() == [20, 40, 60]


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"budget": "{steps: 70}"}, "budget.amount was 60 and is 70"),
        ({"environment": "{id: Pendulum-v1, kwargs: {g: 9.0}}"}, "environment.kwargs.g was not given and is 9.0"),
        ({"arms": "{pqc: {gamma: 0.9}, zeros: {}}"}, "settings.gamma was not given and is 0.9"),
        ({"evaluation": "{episodes: 3, points: 3, point_episodes: 1}"}, "evaluation.episodes was 2 and is 3"),
    ],
)
def test_a_changed_study_says_which_cells_are_void(change: dict[str, str], clause: str, copy: Path) -> None:
    study = small(**change)
    ((cell, changes),) = find(study, copy).void
    assert changes == [clause] and cell.label == "pqc seed 0"
    with pytest.raises(StudyError, match="1 cell of it is void: pqc seed 0") as caught:
        check_void(study, copy, study.cells(), renew=False)
    assert clause in str(caught.value) and "--renew" in str(caught.value)
    with pytest.raises(StudyError, match="cell pqc seed 0 is void"):
        run(study, copy)
    check_void(study, copy, study.cells(), renew=True)
    assert find(study, copy).void == [] and (copy / "pqc" / "0.void-1" / "model.zip").exists()


def test_void_cells_that_are_not_asked_for_stay(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = small(budget="{steps: 70}")
    others = [(arm, seed) for arm, seed in study.cells() if (arm.name, seed) != ("pqc", 0)]
    for renew in (False, True):
        check_void(study, copy, others, renew)
        assert "1 cell of it is void: pqc seed 0 (budget.amount was 60 and is 70); not asked for" in capsys.readouterr().out
    assert (copy / "pqc" / "0" / "model.zip").exists() and [path.name for path in (copy / "pqc").iterdir()] == ["0"]


def test_a_cell_in_training_is_not_put_aside(copy: Path) -> None:
    study = small(budget="{steps: 70}")
    lock = Lock(folder_of(copy, "pqc", 0))
    try:
        with pytest.raises(StudyError, match=r"cell pqc seed 0 is void, but .* is being trained by process \d+: end it first"):
            check_void(study, copy, study.cells(), renew=True)
    finally:
        lock.release()
    assert (copy / "pqc" / "0" / "model.zip").exists()
    check_void(study, copy, study.cells(), renew=True)
    assert not (copy / "pqc" / "0").exists()


def test_more_arms_seeds_and_comparisons_void_nothing(copy: Path) -> None:
    study = small(seeds="4", arms="{pqc: {}, zeros: {}, fc: {policy_kwargs: {block: fc}}}", comparisons="[]", thresholds="[3]")
    found = find(study, copy)
    assert found.void == [] and list(found.cells) == [("pqc", 0)]
    # Of an arm or a seed that is not asked for any more, the cell stays where it is
    study = small(arms="{zeros: {}}", comparisons="[]")
    assert find(study, copy).sentences() == ["cell pqc seed 0 is void: the arm no longer exists"]
    check_void(study, copy, study.cells(), renew=False)
    assert find(small(seeds="[7]"), copy).sentences() == ["cell pqc seed 0 is void: seed 0 is no longer one of the arm's"]


def test_a_folder_is_of_one_study(whole: Path) -> None:
    with pytest.raises(StudyError, match="holds the study 'small', not 'other'"):
        keep_form(small(name="other"), whole)
    # A copy that is damaged is written anew
    form = keep_form(small(), whole)
    for damaged in (b"", b"\xff", b"name: small", small(seeds="9").text.encode()):
        form.write_bytes(damaged)
        assert keep_form(small(), whole) == form and form.read_text() == small().text


def test_a_cell_is_trained_by_one_process(copy: Path) -> None:
    lock = Lock(folder_of(copy, "pqc", 0))
    try:
        with pytest.raises(StudyError, match="is being trained by process"):
            run(small(), copy)
    finally:
        lock.release()
    assert run(small(), copy).status == "complete"


def test_a_cell_does_not_outlive_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    import sb3_quantum.study.clock as clock

    monkeypatch.setattr(clock, "LOOK", -1.0)
    assert not Stop(os.getppid()).look() and not Stop().look()
    assert Stop(os.getppid() + 1).look()
