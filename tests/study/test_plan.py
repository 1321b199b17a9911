"""The cost of a study is estimated before it starts."""

import json
from pathlib import Path

import pytest

from sb3_quantum.study import parse_study
from sb3_quantum.study import plan as plan_module
from sb3_quantum.study.plan import costs, measure, print_plan
from tests.study.helpers import fake_cells, small


def test_costs_are_those_of_cells_that_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small(seeds="4")
    fake_cells(small(), tmp_path, {"pqc": [-1.0, -2.0]})
    for path in tmp_path.glob("pqc/*/cell.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "taken_over": None, "wall_minutes": 30.0}))
    fake_cells(small(), tmp_path, {"zeros": [-1.0, -2.0]})
    monkeypatch.setattr(plan_module, "measure", lambda study, arm: 90.0)
    pqc, zeros = costs(study, tmp_path)
    assert (pqc.left, pqc.minutes, pqc.source) == (2, 30, "2 complete cells")
    # Runs of elsewhere say nothing of this machine
    assert (zeros.left, zeros.minutes, zeros.source) == (2, 90, "a few updates")
    print_plan(study, tmp_path, workers=2)
    printed = capsys.readouterr().out
    assert "4 cells, 4.0 core hours; about 2.0 hours with 2 workers" in printed
    print_plan(study, tmp_path, workers=100)
    assert "about 1.5 hours with 100 workers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("budget", "settings"),
    [
        ("{updates: 100000}", "{}"),
        ("{steps: 100000}", "{train_freq: [1, episode], n_envs: 1}"),
        ("{updates: 100000}", "{gradient_steps: 5, n_envs: 2}"),
    ],
)
def test_a_few_updates_are_timed(budget: str, settings: str) -> None:
    """A hundred thousand of them take more than a hundredth of a minute anywhere, and less than a day."""
    study = parse_study(
        f"name: a\nenvironment: Pendulum-v1\nbudget: {budget}\n"
        f"base: {{algo: td3, batch_size: 8, policy_kwargs: {{net_arch: [8, 8]}}}}\narms: {{a: {settings}}}\n"
        "evaluation: {episodes: 1, points: 1, point_episodes: 1}"
    )
    assert 0.01 < measure(study, study.arms[0]) < 24 * 60


def test_a_budget_of_minutes_is_known_and_an_evaluation_added() -> None:
    study = parse_study(
        "name: a\nenvironment: Pendulum-v1\nbudget: {cpu_minutes: 7}\nbase: {algo: td3}\narms: {a: {}}\n"
        "evaluation: {episodes: 1, points: 1, point_episodes: 1}"
    )
    assert 7 <= measure(study, study.arms[0]) < 8
