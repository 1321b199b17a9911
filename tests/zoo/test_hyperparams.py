from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rl_zoo3
import yaml
from rl_zoo3.exp_manager import ExperimentManager

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.zoo import hyperparams_path, register
from tests.zoo.helpers import SMALL, quick_zoo


def load(name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(hyperparams_path(name).read_text())


OURS = load("qtd3")


class TwoActions(gym.Env[np.ndarray, np.ndarray]):
    observation_space = gym.spaces.Box(-1, 1, (3,))
    action_space = gym.spaces.Box(-1, 1, (2,))


def test_every_environment_of_the_zoos_td3_is_there() -> None:
    theirs = yaml.safe_load((Path(rl_zoo3.__file__).parent / "hyperparams" / "td3.yml").read_text())
    mujoco = {"HalfCheetah", "Ant", "Hopper", "Walker2d", "Humanoid", "Swimmer"}
    assert set(theirs) | {f"{name}-v5" for name in mujoco} == set(OURS)
    for name in mujoco:
        assert OURS[f"{name}-v4"] == OURS[f"{name}-v5"]


@pytest.mark.parametrize("name", ["qtd3", "qtd3-paper"])
def test_every_entry_makes_a_model(name: str) -> None:
    register()
    for env, hyperparams in load(name).items():
        # What the zoo cannot take apart, the algorithm gets as it is
        whole = {key: rate for key, rate in hyperparams.items() if key == "learning_rate" and str(rate).count("_") > 1}
        kwargs = ExperimentManager._preprocess_schedules({**hyperparams, **dict.fromkeys(whole, 0.0)}) | whole
        for key in ("n_timesteps", "n_envs", "noise_type", "noise_std"):
            kwargs.pop(key, None)
        if "policy_kwargs" in kwargs:
            kwargs["policy_kwargs"] = eval(kwargs["policy_kwargs"])
        # Output normalization needs two actions
        one = "output_normalization" not in hyperparams.get("policy_kwargs", "")
        model = QuantumTD3(env="Pendulum-v1" if one else TwoActions(), **{**kwargs, "buffer_size": 10})
        assert model.policy.quantum_layer is not None, env


def test_paper_yaml_equals_paper() -> None:
    for hyperparams in load("qtd3-paper").values():
        policy_kwargs = eval(hyperparams["policy_kwargs"])
        assert policy_kwargs == PAPER["policy_kwargs"]
        # The zoo makes the noise object itself
        assert hyperparams["noise_type"] == "normal" and hyperparams["noise_std"] == PAPER["action_noise"]
        for key in PAPER.keys() - {"policy_kwargs", "action_noise"}:
            assert hyperparams[key] == PAPER[key], key


def test_missing_file_says_where_it_was_looked_for() -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.yml is neither in"):
        hyperparams_path("other")


def test_learning_rates_that_fall(tmp_path: Path) -> None:
    """To zero, to a tenth, and each rate by itself; in the model, its files, and the settings that the run leaves behind."""
    rates = {"learning_rate": "lin_1e-3_1e-4", "qf_learning_rate": "lin_2e-3", "qtdnn_learning_rate": "lin_4e-3_0.001"}
    written = {"policy": "MlpPolicy", "n_timesteps": 120, "learning_starts": 100, "buffer_size": 200, **rates}
    written["policy_kwargs"] = SMALL.removeprefix("policy_kwargs:")
    (tmp_path / "mine.yml").write_text(yaml.safe_dump({"Pendulum-v1": written}))
    command = ("rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-conf", "mine.yml", "--eval-freq", "-1")
    quick_zoo(tmp_path, *command)
    run = tmp_path / "logs" / "qtd3" / "Pendulum-v1_1"
    assert all(f"- {text}" in (run / "Pendulum-v1" / "config.yml").read_text() for text in rates.values())
    zipped = QuantumTD3.load(run / "Pendulum-v1.zip")
    save_safe(zipped, tmp_path)
    for model in (zipped, load_safe(tmp_path)):
        schedules = (model.lr_schedule, model.qf_lr_schedule, model.qtdnn_lr_schedule)
        assert [schedule(1.0) for schedule in schedules] == pytest.approx([1e-3, 2e-3, 4e-3])
        assert [schedule(0.5) for schedule in schedules] == pytest.approx([5.5e-4, 1e-3, 2.5e-3])
        assert [schedule(0.0) for schedule in schedules] == pytest.approx([1e-4, 0.0, 1e-3])
    # What the zoo takes apart itself stays the zoo's, and what nobody can is named
    quick_zoo(tmp_path, *command, "-params", "learning_rate:'lin_3e-3'")
    schedule = QuantumTD3.load(run.with_name("Pendulum-v1_2") / "Pendulum-v1.zip").learning_rate
    assert type(schedule).__name__ == "SimpleLinearSchedule" and schedule(0.5) == pytest.approx(1.5e-3)
    for wrong in ("lin_1_2_3", "1e-3", "exp_1_2"):
        printed = quick_zoo(tmp_path, *command, "-params", f"learning_rate:{wrong!r}", expect=1)
        assert "learning_rate must be a number >= 0, a schedule, or 'lin_x'" in printed and f"got {wrong!r}" in printed
