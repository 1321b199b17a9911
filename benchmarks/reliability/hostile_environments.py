"""
Environments that break the rules. Each one either trains to finite parameters, or is refused in one sentence that names
the fault. Either way the model stays finite and can be saved and loaded.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from benchmarks.reliability.outcome import Outcome
from sb3_quantum import QuantumTD3

#: the step at which most of them go wrong; learning has begun by then
WHEN = 14
STEPS = 30
REAL = spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)
ACTION = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
DICT = spaces.Dict({"camera": spaces.Box(-1, 1, (2,), dtype=np.float32), "joints": REAL})


class Environment(gym.Env):
    """
    An environment of random numbers with one fault.

    :param fault: changes what ``reset`` or ``step`` returns: a function of the step since the environment was made (0 is the
        first reset) and the five things that ``step`` returns
    :param observation_space: space of its observations
    :param action_space: space of its actions
    :param length: steps of an episode
    """

    def __init__(
        self,
        fault: Callable[..., Any] = lambda step, *result: result,
        observation_space: spaces.Space = REAL,
        action_space: spaces.Space = ACTION,
        length: float = 9,
    ):
        self.fault, self.observation_space, self.action_space, self.length = fault, observation_space, action_space, length
        self.total = self.steps = 0

    def observe(self) -> Any:
        if isinstance(self.observation_space, spaces.Dict):
            return {"camera": self.np_random.random(2, dtype=np.float32), "joints": self.np_random.normal(size=3)}
        return self.np_random.normal(size=self.observation_space.shape).astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        observation, *_, infos = self.fault(self.total, self.observe(), 0.0, False, False, {})
        return observation, infos

    def step(self, action: np.ndarray) -> Any:
        self.total, self.steps = self.total + 1, self.steps + 1
        return self.fault(self.total, self.observe(), float(np.sum(action)), False, self.steps >= self.length, {})


def number(value: float, key: str | None = None, at: int = WHEN) -> Callable[..., Any]:
    """A number in the observation, from a step on."""

    def fault(step: int, observation: Any, *rest: Any) -> tuple[Any, ...]:
        if step == at:
            (observation if key is None else observation[key])[-1] = value
        return observation, *rest

    return fault


def reward(value: Any) -> Callable[..., Any]:
    """Something for a reward."""
    return lambda step, observation, usual, *rest: (observation, value if step == WHEN else usual, *rest)


def replaced(value: Any) -> Callable[..., Any]:
    """Something in the observation's place."""
    return lambda step, observation, *rest: (value if step == WHEN else observation, *rest)


def raising(at: int) -> Callable[..., Any]:
    """An error of the environment's own."""

    def fault(step: int, *result: Any) -> Any:
        if step == at:
            raise RuntimeError("the simulator has crashed")
        return result

    return fault


def dying(step: int, *result: Any) -> Any:
    """The process ends."""
    if step == WHEN:
        os._exit(1)
    return result


class NoTerminalObservation(DummyVecEnv):
    """Its infos lack the last observation of an episode."""

    def step_wait(self) -> Any:
        *result, infos = super().step_wait()
        for info in infos:
            info.pop("terminal_observation", None)
        return *result, infos


def normalized(*envs: Callable[[], gym.Env]) -> VecEnv:
    return VecNormalize(DummyVecEnv(list(envs)))


@dataclass
class Case:
    """
    :param make: makes the environment or environments
    :param refused: what the sentence must name; ``None`` if it trains
    :param quick: whether it is in the short form too
    :param settings: further arguments of the algorithm
    """

    make: Callable[[], Any]
    refused: str | None = None
    quick: bool = False
    settings: dict[str, Any] | None = None


def _case(refused: str | None = None, *fault: Any, quick: bool = False, **kwargs: Any) -> Case:
    return Case(lambda: Environment(*fault, **kwargs), refused, quick)


def _box(low: Any, high: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype=dtype)


CASES: dict[str, Case] = {
    "NaN at reset": _case("observation", number(np.nan, at=0), quick=True),
    "NaN at a step": _case("observation", number(np.nan), quick=True),
    "infinity at a step": _case("observation", number(-np.inf)),
    "NaN at the end of an episode": _case("terminal observation", number(np.nan, at=18), quick=True),
    "NaN in one key": _case("observation['joints']", number(np.nan, "joints"), observation_space=DICT, quick=True),
    "float64 beyond float32": _case("observation", number(1e39)),
    "large, within float32": _case(None, number(1e37)),
    "NaN in one of three": Case(
        lambda: DummyVecEnv([Environment, lambda: Environment(number(np.nan, at=6)), Environment]), "environment 1"
    ),
    "NaN before VecNormalize": Case(lambda: normalized(lambda: Environment(number(np.nan))), "VecNormalize", quick=True),
    "1e39 before VecNormalize": Case(lambda: normalized(lambda: Environment(number(1e39))), "observation"),
    "reward NaN": _case("reward", reward(np.nan), quick=True),
    "reward infinite": _case("reward", reward(np.inf)),
    "reward 1e30": _case("reward", reward(1e30)),
    "reward 1e12": _case(None, reward(1e12)),
    "reward infinite before VecNormalize": Case(lambda: normalized(lambda: Environment(reward(np.inf))), "reward"),
    "reward an array of one": _case(None, reward(np.array(1.0))),
    "reward None": _case("a reward must be a number", reward(None)),
    "observation of another shape": _case("an observation does not fit", replaced(np.zeros(4))),
    "observation None": _case("observation", replaced(None)),
    "observation of whole numbers": _case(None, replaced(np.array([1, 2, 3]))),
    "raises in reset": _case("the simulator has crashed", raising(0)),
    "raises in a step": _case("the simulator has crashed", raising(WHEN)),
    "process dies": Case(lambda: SubprocVecEnv([lambda: Environment(dying)]), "process of an environment"),
    "action range empty": _case("low below its high", action_space=_box(1.0, 1.0, (2,)), quick=True),
    "action range infinite": _case("finite lower and upper bound", action_space=_box(-np.inf, np.inf, (2,))),
    "action range beyond float32": _case("within float32", action_space=_box(-3e38, 3e38, (2,))),
    "actions of whole numbers": _case("Box of real numbers", action_space=_box(-3, 3, (2,), np.int32)),
    "actions discrete": _case("action spaces", action_space=spaces.Discrete(3)),
    "action a scalar": _case(None, action_space=_box(-1.0, 1.0, ()), quick=True),
    "action range 1e30": _case("reward", action_space=_box(-1e30, 1e30, (2,))),
    "no observation at all": _case("at least one number", observation_space=_box(-1.0, 1.0, (0,))),
    "a million observations": Case(
        lambda: Environment(observation_space=_box(-1.0, 1.0, (10**6,))), None, settings={"buffer_size": 20, "batch_size": 2}
    ),
    "observation space of infinite bounds": _case(None, observation_space=_box(-np.inf, np.inf, (3,))),
    "episodes of one step": _case(None, length=1),
    "episodes that never end": _case(None, length=np.inf),
    "no terminal observation": Case(lambda: NoTerminalObservation([Environment]), None),
}


def is_finite(model: QuantumTD3) -> bool:
    """Tell whether everything that a model saves, optimizers included, and its replay buffer are finite."""
    leaves = th.utils._pytree.tree_leaves(model.get_parameters())
    buffer: Any = model.replay_buffer
    observations = buffer.observations.values() if isinstance(buffer.observations, dict) else [buffer.observations]
    arrays = [array[: buffer.size()] for array in (*observations, buffer.rewards, buffer.actions)]
    tensors = all(bool(th.isfinite(leaf).all()) for leaf in leaves if isinstance(leaf, th.Tensor))
    return tensors and all(bool(np.isfinite(array).all()) for array in arrays)


def survives(case: Case, folder: Path) -> str:
    """
    Train in one of the environments.

    :param case: the environment
    :param folder: folder for the model
    :return: what is wrong about what came of it, nothing if it is right
    """
    policy_kwargs: dict[str, Any] = dict(n_qubits=3, n_layers=2, n_links=2, net_arch=[8, 8], qtdnn_arch=[8])
    settings = dict(learning_starts=8, buffer_size=100, batch_size=8, device="cpu", seed=0, policy_kwargs=policy_kwargs)
    env, model, said = case.make(), None, None
    try:
        policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
        model = QuantumTD3(policy, env, **{**settings, **(case.settings or {})})
        model.learn(STEPS)
    except Exception as error:
        said = str(error)
    finally:
        if not isinstance(env, SubprocVecEnv):
            env.close()
    if said is None and case.refused is not None:
        return f"was accepted, {case.refused!r} should have been named"
    if said is not None and (case.refused is None or case.refused not in said or "\n" in said):
        return f"was refused with {said!r}" + ("" if case.refused is None else f", which does not name {case.refused!r}")
    if model is None:
        return ""
    if not is_finite(model):
        return "left a model that is not finite"
    model.save(folder / "model")
    return "" if is_finite(QuantumTD3.load(folder / "model", device="cpu", buffer_size=1)) else "was saved with NaN"


def run(quick: bool, folder: Path) -> Outcome:
    """
    :param quick: a quarter of the environments
    :param folder: folder for models
    :return: what came of it
    """
    cases = {name: case for name, case in CASES.items() if case.quick or not quick}
    outcome = Outcome(cases=len(cases))
    refused = sum(case.refused is not None for case in cases.values())
    outcome.figures = {"refused": refused, "trained": len(cases) - refused}
    with warnings.catch_warnings():
        # numpy and torch warn of what the environments were made for
        warnings.simplefilter("ignore")
        for name, case in cases.items():
            problem = survives(case, folder)
            if problem:
                outcome.failures.append(f"{name}: {problem}")
    return outcome
