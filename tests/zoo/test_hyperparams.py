from pathlib import Path
from typing import Any

import pytest
import rl_zoo3
import yaml
from rl_zoo3.exp_manager import ExperimentManager

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.zoo import hyperparams_path, register


def load(name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(hyperparams_path(name).read_text())


OURS = load("qtd3")


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
        kwargs = ExperimentManager._preprocess_schedules(dict(hyperparams))
        for key in ("n_timesteps", "n_envs", "noise_type", "noise_std"):
            kwargs.pop(key, None)
        if "policy_kwargs" in kwargs:
            kwargs["policy_kwargs"] = eval(kwargs["policy_kwargs"])
        model = QuantumTD3(env="Pendulum-v1", **{**kwargs, "buffer_size": 10})
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
