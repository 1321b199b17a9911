"""A number with which networks cannot compute is refused by name, and everything it reached stays finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch.utils._pytree import tree_leaves

from sb3_quantum import QuantumTD3
from sb3_quantum.common.finite import check_array
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_train import pendulum


class DamagedEnv(CountingEnv):
    """
    Gives one wrong number.

    :param what: ``"observation"`` or ``"reward"``
    :param at: the step, over all episodes, from 0, the first reset; the seventh is the end of an episode
    :param value: the number
    :param dictionary: whether the observation is a dictionary
    """

    def __init__(self, what: str = "", at: int = 0, value: float = np.nan, dictionary: bool = False):
        super().__init__(dictionary)
        self.what, self.at, self.value, self.total = what, at, value, 0

    def _observe(self) -> Any:
        observation = super()._observe()
        if self.what == "observation" and self.total == self.at:
            (observation["b"] if self.dictionary else observation)[1] = self.value
            self.what = ""
        return observation

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.total += 1
        observation, reward, *rest = super().step(action)
        wrong = self.what == "reward" and self.total == self.at
        return observation, self.value if wrong else reward, *rest  # type: ignore[return-value]


def make(*envs: DamagedEnv, wrap: Callable[..., Any] = lambda env: env, **kwargs: Any) -> QuantumTD3:
    policy = "MultiInputPolicy" if envs[0].dictionary else "MlpPolicy"
    env = wrap(DummyVecEnv([lambda env=env: env for env in envs]))  # type: ignore[misc]
    return QuantumTD3(policy, env, learning_starts=5, buffer_size=100, batch_size=8, seed=0, policy_kwargs=SMALL, **kwargs)


def is_finite(model: QuantumTD3) -> bool:
    """Parameters, normalizer, optimizers, replay buffer and the means of the log."""
    tensors = tree_leaves(model.get_parameters())
    buffer = model.replay_buffer
    observations = buffer.observations.values() if isinstance(buffer.observations, dict) else [buffer.observations]
    arrays = [*observations, buffer.rewards, buffer.actions]
    episodes = [episode["r"] for episode in model.ep_info_buffer or ()]
    return (
        all(bool(th.isfinite(x).all()) for x in tensors if isinstance(x, th.Tensor))
        and all(np.isfinite(array).all() for array in arrays)
        and bool(np.isfinite(episodes).all())
    )


@pytest.mark.parametrize(
    "env, message",
    [
        (dict(what="observation", at=0), r"^observation of environment 0 is nan at index 1; .*\(reset\(\)\)"),
        (dict(what="observation", at=12, value=np.inf), r"^observation of environment 0 is inf at index 1; .*\(step 12\)"),
        (
            dict(what="observation", at=12, value=1e39),
            r"^observation of environment 0 is 1e\+39 at index 1; accepted are finite",
        ),
        (dict(what="observation", at=14), r"^terminal observation of environment 0 is nan at index 1; .*\(step 14\)"),
        (dict(what="observation", at=12, dictionary=True), r"^observation\['b'\] of environment 0 is nan at index 1"),
        (dict(what="observation", at=0, dictionary=True, value=-np.inf), r"^observation\['b'\] of environment 0 is -inf"),
        (dict(what="reward", at=12), r"^reward of environment 0 is nan; .*\(step 12\)"),
        (dict(what="reward", at=3, value=-np.inf), r"^reward of environment 0 is -inf"),
        (
            dict(what="reward", at=12, value=1e30),
            r"^reward of environment 0 is 1e\+30; accepted are finite numbers up to 1e\+15",
        ),
    ],
)
def test_it_is_refused_before_anything_takes_it(env: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = make(DamagedEnv(**env))
    with pytest.raises(ValueError, match=message):
        model.learn(30)
    assert is_finite(model)
    model.save(tmp_path / "model")
    again = QuantumTD3.load(tmp_path / "model", env=DummyVecEnv([lambda: CountingEnv(env.get("dictionary", False))]))
    again.learn(10, reset_num_timesteps=False)
    model.learn(10, reset_num_timesteps=False)  # the environment gives but one
    assert is_finite(again) and is_finite(model)


def test_the_environment_is_named() -> None:
    model = make(DamagedEnv(), DamagedEnv("reward", 9), DamagedEnv())
    with pytest.raises(ValueError, match=r"^reward of environment 1 is nan"):
        model.learn(60)
    assert is_finite(model)


@pytest.mark.parametrize("what, value", [("observation", np.nan), ("observation", 1e39), ("reward", np.inf), ("reward", 1e30)])
def test_vec_normalize_is_said_to_be_damaged(what: str, value: float) -> None:
    """It clips what it was handed: the original number counts, which is what the replay buffer stores."""
    model = make(DamagedEnv(what, 9, value), wrap=VecNormalize)
    with pytest.raises(ValueError, match=rf"^{what} of environment 0 is ") as error:
        model.learn(30)
    taken = not np.isfinite(value)
    assert ("VecNormalize's running statistics contain such a number" in str(error.value)) == taken
    assert is_finite(model)
    if taken:
        with pytest.raises(
            ValueError, match=r"^(observation|reward) of environment 0 is .*VecNormalize's running statistics contain"
        ):
            model.learn(30)


class NoNoise(ActionNoise):
    def __call__(self) -> np.ndarray:
        return np.full(2, np.nan, dtype=np.float32)


def test_noise_of_ones_own() -> None:
    model = make(DamagedEnv(), action_noise=NoNoise())
    with pytest.raises(ValueError, match=r"^action of environment 0 is nan at index 0"):
        model.learn(30)
    assert is_finite(model)


@pytest.mark.parametrize("block", ["pqc", "zeros"])
def test_predict(block: str) -> None:
    model = pendulum(policy_kwargs={"block": block})
    for value in (np.nan, np.inf, 1e39):
        for observation in (np.array([0.0, value, 0.0]), np.full((2, 3), value), [0.0, value, 0.0]):
            with pytest.raises(ValueError, match=r"^observation is .* at index "):
                model.predict(observation)


@pytest.mark.parametrize("field", ["rewards", "observations", "next_observations", "actions"])
def test_a_damaged_buffer(field: str, tmp_path: Path) -> None:
    """On a CPU: losses are not fetched from other devices in an update."""
    model = pendulum(batch_size=16, device="cpu").learn(60)
    getattr(model.replay_buffer, field)[2:] = np.nan
    with pytest.raises(ValueError, match=rf"^the critics' loss of update 11 is nan: {field} of the mini-batch are not finite"):
        model.train(1, 16)
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())
    model.save_replay_buffer(tmp_path / "buffer")
    fresh = pendulum()
    before = fresh.replay_buffer
    with pytest.raises(ValueError, match=rf"buffer is damaged: its {field} hold NaN or infinity"):
        fresh.load_replay_buffer(tmp_path / "buffer")
    assert fresh.replay_buffer is before


@pytest.mark.parametrize("field", ["angles", "outputs"])
def test_damaged_circuit_pairs(field: str, tmp_path: Path) -> None:
    model = pendulum().learn(10)
    getattr(model.replay_buffer.circuit, field)[3] = np.inf
    model.save_replay_buffer(tmp_path / "buffer")
    with pytest.raises(ValueError, match=rf"its circuit.{field} hold NaN"):
        pendulum().load_replay_buffer(tmp_path / "buffer")


def test_a_training_that_diverges_keeps_its_last_finite_parameters() -> None:
    model = pendulum(learning_rate=1e30, batch_size=16, device="cpu")
    with pytest.raises(ValueError, match=r"loss of update \d+ is (inf|nan): training has diverged|theta of qubit 0"):
        model.learn(200)
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


def test_a_schedule_that_gives_nan() -> None:
    for argument in ("learning_rate", "qf_learning_rate", "qtdnn_learning_rate"):
        model = pendulum(**{argument: lambda progress: np.nan if progress < 0.5 else 1e-3})
        with pytest.raises(ValueError, match=f"^{argument} must be a finite number >= 0, its schedule gave nan"):
            model.learn(120)
        assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


def test_check_array() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        check_array("x", np.array([[1.0, -6e4]], dtype=dtype), 1e38)
        check_array("x", np.empty((2, 0), dtype=dtype), 1e38)
    check_array("x", np.array([[1e38, -1e38]], dtype=np.float32), 1e38)
    check_array("x", np.array([[2**62]]), 1.0)
    for wrong in (1.5e38, np.nan, -np.inf):
        with pytest.raises(ValueError, match=r"^x of environment 0 is .* at index \(1, 0\)"):
            check_array("x", np.array([[[0.0], [wrong]]], dtype=np.float32), 1e38)


@pytest.mark.parametrize(
    "what, wrong, message",
    [
        ("reward", None, "^a reward must be a number: float"),
        ("reward", "many", "^a reward must be a number: could not convert"),
        (
            "observation",
            np.zeros(5),
            r"^an observation does not fit into Box\(-inf, inf, \(3,\), float64\): could not broadcast",
        ),
    ],
)
def test_what_sb3_cannot_store_is_named(what: str, wrong: Any, message: str) -> None:
    class Wrong(CountingEnv):
        def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            observation, reward, *rest = super().step(action)
            return (wrong if what == "observation" else observation), (wrong if what == "reward" else reward), *rest

    model = QuantumTD3("MlpPolicy", Wrong(), buffer_size=10, policy_kwargs=SMALL)
    with pytest.raises(ValueError, match=message):
        model.learn(5)
    assert is_finite(model)


def test_an_error_of_the_environment_is_its_own() -> None:
    class Broken(CountingEnv):
        def step(self, action: np.ndarray) -> Any:
            raise ValueError("no such joint")

    with pytest.raises(ValueError, match=r"^no such joint$"):
        QuantumTD3("MlpPolicy", Broken(), buffer_size=10, policy_kwargs=SMALL).learn(5)
