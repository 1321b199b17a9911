"""The script that screens recipes: its arms are settings that there are, and its curves add up."""

import csv
import inspect
from pathlib import Path

import pytest
import yaml

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.qtd3.critics import check_critic

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_arms_are_settings_that_there_are() -> None:
    from recipe import ARMS, settings_of

    for arm in yaml.safe_load(ARMS.read_text()):
        settings = settings_of(arm)
        of_the_script = {"n_envs", "normalize_reward", "policy_kwargs"}
        assert of_the_script < settings.keys()
        assert settings.keys() - of_the_script <= inspect.signature(QuantumTD3).parameters.keys()
        policy_kwargs = settings["policy_kwargs"]
        assert policy_kwargs.keys() <= inspect.signature(MlpPolicy).parameters.keys()
        check_critic(
            policy_kwargs.get("critic", "twin"), policy_kwargs.get("critic_kwargs"), policy_kwargs["critic_layer_norm"]
        )
    # Changes come one by one, the nearest last
    base, changed = settings_of("shipped"), settings_of("bf16")
    assert changed["n_envs"] == base["n_envs"] and changed["tau"] == 1.0 != base["tau"]
    assert changed["policy_kwargs"]["readout"] == "mean" and not changed["policy_kwargs"]["critic_layer_norm"]


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recipe

    monkeypatch.setattr(recipe, "ENV", "Pendulum-v1")
    settings = recipe.settings_of("categorical")
    settings.update(n_envs=2, learning_starts=20, buffer_size=1000, batch_size=16)
    settings["policy_kwargs"].update(n_qubits=3, n_layers=2, net_arch=[16, 16], critic_arch=[16, 16])
    monkeypatch.setattr(recipe, "settings_of", lambda arm: settings)
    path = tmp_path / "small-0.csv"
    rows = []
    counts = []
    monkeypatch.setattr(recipe.Clock, "_on_training_end", lambda clock: counts.append(clock.model.env.ret_rms.count))
    for minutes in (0.02, 0.04):
        recipe.run(path, "small", 0, minutes, every=0.01, checkpoint=0.01)
        with path.open() as file:
            rows.append([{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)])
    before, after = rows
    # What came behind the last checkpoint is done anew
    assert after[0]["steps"] == before[0]["steps"] and len(after) > len(before)
    for name in ("cpu_minutes", "steps", "updates"):
        values = [row[name] for row in after]
        assert values == sorted(values) and values[-1] > values[0] > 0
    assert 0.03 < after[-1]["cpu_minutes"] < 0.06
    # The rewards' deviation is of the whole run
    assert counts[1] > after[-1]["steps"] / 2 - 10
    recipe.report(tmp_path)
