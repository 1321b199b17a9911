"""The script that keeps longer averages of an actor's weights beside the deployed one."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch as th

from sb3_quantum.common import returns_of
from sb3_quantum.study import read_study
from tests.qtd3.test_train import pendulum

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_longer_averages_follow_the_actor_and_leave_the_deployed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import longer_averages

    model = pendulum(policy_kwargs={"actor_average_tau": 0.5})
    path = tmp_path / "run-0.csv"
    callback = longer_averages.LongerAverages(path, lambda: None, read_study("quick").evaluation, 1e9, 1e9, 0)
    callback.init_callback(model)
    callback._on_training_start()
    deployed, weight = model.policy.actor_average, next(model.policy.actor.parameters())
    for value in (1.0, 4.0):
        with th.no_grad():
            weight.fill_(value)
        model.policy.update_average()
    acting = []
    monkeypatch.setattr(
        longer_averages,
        "returns_of",
        lambda model, *_: acting.append(model.policy.actor_average) or SimpleNamespace(mean=lambda: 2.0, min=lambda: 1.0),
    )
    callback.evaluate()
    # Corrected at the start, a small step is nearly a plain mean; one of 0.5 is two thirds of the last
    means = [float(next(networks.parameters()).detach().mean()) for networks in acting]
    assert means == pytest.approx([3.0, 2.5, 2.5], abs=2e-3) and acting[0] is deployed is model.policy.actor_average
    (row,) = csv.DictReader(path.open())
    assert row["return_0.5"] == row["return_0.001"] == "2.0" and row["worst_0.0003"] == "1.0"


def test_a_run_learns_the_same_and_ends_by_its_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gymnasium as gym
    import longer_averages

    def trained(callback: object) -> th.Tensor:
        model = pendulum(policy_kwargs={"actor_average_tau": 0.5})
        model.learn(60, callback)  # type: ignore[arg-type]
        return next(model.policy.actor_average.parameters()).detach()

    # A clock that does not depend on the machine
    ticks = iter(range(10**9))
    monkeypatch.setattr(longer_averages, "time", SimpleNamespace(process_time=lambda: 0.6 * next(ticks)))
    seen = []
    monkeypatch.setattr(longer_averages, "returns_of", lambda *args: seen.append(args[2:]) or returns_of(*args[:2], 1, 0))
    path = tmp_path / "run-0.csv"
    evaluation = read_study("humanoid_recipe").evaluation
    callback = longer_averages.LongerAverages(path, lambda: gym.make("Pendulum-v1"), evaluation, 1e9, 0.2, 0.4)
    assert th.equal(trained(callback), trained(None)) and set(seen) == {(5, 20_000)}
    rows = list(csv.DictReader(path.open()))
    minutes = [float(row["cpu_minutes"]) for row in rows]
    assert len(rows) > 2 and minutes == sorted(minutes) and 0.4 <= minutes[0] < 0.6
    assert [float(row["updates"]) for row in rows] == sorted(float(row["updates"]) for row in rows)
    callback = longer_averages.LongerAverages(path, lambda: gym.make("Pendulum-v1"), evaluation, 0.1, 1.0, 1.0)
    trained(callback)  # an evaluation at its end, though none was due
    assert len(callback.rows) == 1 and callback.model.num_timesteps < 60
