"""The script that screens recipes: its arms are valid settings, and its curves add up."""

import csv
import inspect
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from sb3_quantum import QuantumTD3
from sb3_quantum.qtd3.critics import check_critic
from tests.qtd3.test_train import pendulum

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def arms() -> list[str]:
    return list(yaml.safe_load((BENCHMARKS / "recipe.yml").read_text()))


@pytest.mark.parametrize("arm", arms())
def test_arms_are_settings_that_there_are(arm: str) -> None:
    from recipe import algorithm_of, settings_of

    settings = settings_of(arm)
    assert {"n_envs", "policy_kwargs"} < settings.keys()
    of_the_script = {"algo", "n_envs", "normalize_reward", "decay_steps", "decay_to", "policy_kwargs"}
    algorithm = algorithm_of(settings)
    assert settings.keys() - of_the_script <= inspect.signature(algorithm).parameters.keys()
    policy_kwargs = settings["policy_kwargs"]
    assert policy_kwargs.keys() <= inspect.signature(algorithm.policy_aliases["MlpPolicy"]).parameters.keys()
    if algorithm is QuantumTD3:
        check_critic(
            policy_kwargs.get("critic", "twin"), policy_kwargs.get("critic_kwargs"), policy_kwargs["critic_layer_norm"]
        )
        # As far back in updates, however seldom the actor is updated
        delay = settings.get("policy_delay", inspect.signature(QuantumTD3).parameters["policy_delay"].default)
        assert policy_kwargs["actor_average_tau"] == pytest.approx(1e-3 * delay)


def test_changes_come_one_by_one_the_nearest_last() -> None:
    from recipe import settings_of

    base, changed = settings_of("shipped"), settings_of("bf16")
    assert changed["n_envs"] == base["n_envs"] and changed["tau"] == 1.0 != base["tau"]
    assert changed["policy_kwargs"]["readout"] == "mean" and not changed["policy_kwargs"]["critic_layer_norm"]


@pytest.mark.parametrize("arm", ["sb3_td3", "sb3_tqc", "sb3_crossq"])
def test_arms_of_others_have_the_settings_of_the_zoo(arm: str) -> None:
    from recipe import ENV, settings_of

    rl_zoo3 = pytest.importorskip("rl_zoo3")
    ours = settings_of(arm)
    path = Path(rl_zoo3.__file__).parent / "hyperparams" / f"{ours.pop('algo')}.yml"
    theirs = {"policy_kwargs": "{}", **yaml.safe_load(path.read_text())[ENV]}
    assert theirs.pop("policy") == "MlpPolicy" and theirs.pop("n_timesteps") > 0
    assert theirs.pop("noise_type", "normal") == "normal" and theirs.pop("noise_std", None) == ours.pop("action_noise", None)
    theirs["policy_kwargs"] = eval(theirs["policy_kwargs"])
    assert ours == {"n_envs": 1, **theirs}


def test_rates_fall_over_steps_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import recipe

    monkeypatch.setattr(recipe, "ENV", "Pendulum-v1")
    settings = recipe.settings_of("bf16_decay")
    settings["policy_kwargs"].update(n_qubits=3, n_layers=2, net_arch=[16, 16], critic_arch=[16, 16])
    model = recipe.make_model({**settings, "buffer_size": 100}, 0)
    start, steps = settings["learning_rate"], settings["decay_steps"]
    for done, part in ((0, 1.0), (steps // 2, 0.55), (steps, 0.1), (10 * steps, 0.1)):
        progress = 1 - done / recipe.STEPS
        assert model.lr_schedule(progress) == pytest.approx(part * start)
        assert model.qf_lr_schedule(progress) == pytest.approx(part * settings["qf_learning_rate"])  # type: ignore[attr-defined]


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recipe

    monkeypatch.setattr(recipe, "ENV", "Pendulum-v1")
    settings = recipe.settings_of("categorical")
    settings.update(n_envs=2, learning_starts=20, buffer_size=1000, batch_size=16)
    settings["policy_kwargs"].update(n_qubits=3, n_layers=2, net_arch=[16, 16], critic_arch=[16, 16])
    monkeypatch.setattr(recipe, "settings_of", lambda arm: settings)
    # A clock that does not depend on the machine: two looks at it in every step
    ticks = itertools.count()
    monkeypatch.setattr(recipe, "time", SimpleNamespace(process_time=lambda: next(ticks) * 0.01))
    path = tmp_path / "small-0.csv"
    rows = []
    counts, averaged = [], []

    def look(clock: recipe.Clock) -> None:
        counts.append(clock.model.env.ret_rms.count)
        averaged.append((clock.model.policy.averaging.n_averaged, clock.model._n_updates // clock.model.policy_delay))

    monkeypatch.setattr(recipe.Clock, "_on_training_end", look)
    for minutes in (0.02, 0.04):
        recipe.run(path, "small", 0, minutes, every=0.01, checkpoint=0.01)
        with path.open() as file:
            rows.append([{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)])
        # What is kept is the end, not the last checkpoint
        assert recipe.QuantumTD3.load(path.with_suffix(".zip")).num_timesteps >= rows[-1][-1]["steps"]
    before, after = rows
    assert [row["steps"] for row in after[: len(before)]] == [row["steps"] for row in before] and len(after) > len(before)
    for name in ("cpu_minutes", "steps", "updates"):
        values = [row[name] for row in after]
        assert values == sorted(values) and values[-1] > values[0] > 0
    assert 0.03 < after[-1]["cpu_minutes"] < 0.06
    # The rewards' deviation is of the whole run
    assert counts[1] > after[-1]["steps"] / 2 - 10
    # And so is the average, whose returns are others than those of the weights that learn
    assert averaged[0][0] == averaged[0][1] > 0 and averaged[1][0] == averaged[1][1] > averaged[0][0]
    assert after[-1]["average_return"] != after[-1]["return"]
    recipe.report(tmp_path)


def test_other_distances_of_evaluations_hold_for_a_continued_run(tmp_path: Path) -> None:
    import recipe

    clock = recipe.Clock(tmp_path / "run.csv", minutes=45, every=2.5, checkpoint=None)
    assert clock.next_evaluation == 2.5
    clock.rows = [{"cpu_minutes": 1.5 * place} for place in range(1, 22)]
    assert clock.next_evaluation == 32.5


def test_published_runs_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    import recipe

    recipe.report(Path(recipe.__file__).parent / "results" / "humanoid_recipe")
    assert "| bf16 | 0 | 710 | 5273 |" in capsys.readouterr().out


@pytest.mark.parametrize("arm", ["sb3_td3", "sb3_crossq_small", "bf16_bit", "td3_classical"])
def test_other_arms_run(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recipe

    monkeypatch.setattr(recipe, "ENV", "Pendulum-v1")
    settings = recipe.settings_of(arm)
    settings.update(learning_starts=20, buffer_size=1000, batch_size=16)
    settings["policy_kwargs"]["net_arch"] = {"pi": [16, 16], "qf": [16, 16]}
    if "algo" not in settings:
        settings["policy_kwargs"].update(n_qubits=3, n_layers=2, critic_arch=[16, 16])
    monkeypatch.setattr(recipe, "settings_of", lambda arm: settings)
    path = tmp_path / f"{arm}-0.csv"
    recipe.run(path, arm, 0, 0.006, every=0.003, checkpoint=None)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["updates"]) > 0 and (rows[-1]["average_return"] == "nan") == ("algo" in settings)


def test_longer_averages_follow_the_actor_and_leave_the_deployed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import longer_averages
    import torch as th

    monkeypatch.setattr(longer_averages, "FIRST", 0.0)
    model = pendulum(policy_kwargs={"actor_average_tau": 0.5})
    clock = longer_averages.Clock(tmp_path / "run-0.csv", 1e9, 1e9, None)
    clock.init_callback(model)
    clock._on_training_start()
    deployed, weight = model.policy.actor_average, next(model.policy.actor.parameters())
    for value in (1.0, 4.0):
        with th.no_grad():
            weight.fill_(value)
        model.policy.update_average()
    acting = []
    monkeypatch.setattr(clock, "_returns", lambda: acting.append(model.policy.actor_average) or np.array([1.0, 3.0]))
    clock.evaluate()
    # Corrected at the start, a small step is nearly a plain mean; one of 0.5 is two thirds of the last
    means = [float(next(networks.parameters()).mean()) for networks in acting[:3]]
    assert means == pytest.approx([2.5, 2.5, 3.0], abs=2e-3) and acting[2] is deployed is model.policy.actor_average
    (row,) = csv.DictReader((tmp_path / "run-0.averages.csv").open())
    assert row["return_0.001"] == "2.0" and row["worst_0.0003"] == "1.0"
