"""An arm's model: new, or from a checkpoint."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits.checks import check_choice, check_number
from sb3_quantum.study.settings import BESIDE, NOISES, UNKNOWN_STEPS, algorithm_of, check_settings, n_envs_of, rate, steps_for
from sb3_quantum.study.spec import Arm, Budget, Environment, StudyError


def maker(environment: Environment) -> Callable[[], gym.Env]:
    """
    :param environment: of a study
    :return: makes one
    :raises StudyError: if there is no such environment; the message says what is close to it
    """
    for package in environment.packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise StudyError(f"package {package!r} of the environment cannot be imported: {error}") from error
    try:
        gym.spec(environment.id)
    except gym.error.Error as error:
        raise StudyError(f"environment {environment.id!r} is unknown: {error}") from error
    return lambda: gym.make(environment.id, **environment.kwargs)


def total_steps(settings: dict[str, Any], budget: Budget) -> int | None:
    """
    :param settings: of an arm
    :param budget: of its trainings
    :return: environment steps of a training; ``None`` if that is not known beforehand
    """
    if budget.unit == "steps":
        return int(budget.amount)
    return steps_for(settings, int(budget.amount)) if budget.unit == "updates" else None


def make_env(settings: dict[str, Any], environment: Environment, seed: int, statistics: Path | None = None) -> VecEnv:
    """
    :param settings: of an arm
    :param environment: of the study
    :param seed: of the environments
    :param statistics: of ``VecNormalize``, to go on with
    :return: the environments of a training
    """
    env: VecEnv = make_vec_env(maker(environment), n_envs_of(settings), seed=seed)
    normalize = settings.get("normalize")
    if not normalize:
        return env
    if statistics is not None:
        return VecNormalize.load(str(statistics), env)
    kwargs = {} if normalize is True else dict(normalize)
    # As the zoo does it
    kwargs.setdefault("gamma", settings.get("gamma", 0.99))
    return VecNormalize(env, **kwargs)


def make_model(arm: Arm, environment: Environment, seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    A model that is not trained yet.

    :param arm: of a study
    :param environment: of the study
    :param seed: of everything
    :param changes: arguments of the algorithm that take the place of the arm's
    :return: the model
    :raises StudyError: if a setting is unknown or wrong; the message names the arm
    """
    try:
        check_settings(arm.settings)
        algorithm = algorithm_of(arm.settings)
        steps = total_steps(arm.settings, arm.budget)
        arguments = {key: value for key, value in arm.settings.items() if key not in BESIDE}
        for name in [name for name in arguments if name.endswith("learning_rate")]:
            arguments[name] = rate(name, arguments[name], steps)
        if isinstance(arguments.get("train_freq"), list):
            arguments["train_freq"] = tuple(arguments["train_freq"])
        if arguments.get("policy_kwargs") is None:
            arguments.pop("policy_kwargs", None)
        env = make_env(arm.settings, environment, seed)
        arguments.update(_noise(arm.settings, algorithm, env))
        arguments.update(changes)
        if algorithm is QuantumTD3 and arguments.get("replay_buffer_class") is None:
            # Checkpoints append to the rows' files; what is learnt is the same
            arguments["replay_buffer_kwargs"] = {"storage": "memmap", **(arguments.get("replay_buffer_kwargs") or {})}
        return algorithm(arm.settings.get("policy", "MlpPolicy"), env, seed=seed, device="cpu", **arguments)
    except StudyError:
        raise
    # Whatever a constructor makes of arguments that it cannot use
    except Exception as error:
        raise StudyError(f"arm {arm.name!r}: {' '.join(str(error).split()) or type(error).__name__}") from error


def steps_to_learn(arm: Arm) -> int:
    """
    :param arm: of a study
    :return: what ``learn`` is asked for; if that is more than any training has, the callback ends it
    """
    steps = total_steps(arm.settings, arm.budget)
    return UNKNOWN_STEPS if steps is None else steps


def load_model(arm: Arm, environment: Environment, seed: int, path: Path, statistics: Path | None) -> OffPolicyAlgorithm:
    """
    A model from its file.

    :param arm: of a study
    :param environment: of the study
    :param seed: of the cell
    :param path: of the zip file, written on this machine by a cell of one's own
    :param statistics: of ``VecNormalize``
    :return: the model
    """
    env = make_env(arm.settings, environment, seed, statistics)
    return algorithm_of(arm.settings).load(path, env=env, device="cpu")


def check_arms(arms: list[Arm], environment: Environment) -> None:
    """
    Make every arm's model once, with a small replay buffer, so that a wrong setting is found before anything runs.

    :param arms: of a study
    :param environment: of the study
    :raises StudyError: if there is one; the message names all of them
    """
    problems = []
    for arm in arms:
        try:
            # Names before numbers: what the study itself reads is one of them
            check_settings(arm.settings)
            model = make_model(arm, environment, arm.seeds[0], buffer_size=2 * n_envs_of(arm.settings))
            assert model.env is not None
            model.env.close()
        except StudyError as error:
            problems.append(str(error))
        except Exception as error:
            problems.append(f"arm {arm.name!r}: {' '.join(str(error).split()) or type(error).__name__}")
    if problems:
        raise StudyError("; ".join(dict.fromkeys(problems)))


def _noise(settings: dict[str, Any], algorithm: type, env: VecEnv) -> dict[str, Any]:
    """``action_noise`` as the algorithm takes it, from a number as in QuantumTD3 or from the zoo's two keys."""
    kind, deviation = settings.get("noise_type"), settings.get("noise_std")
    if (kind is None) != (deviation is None):
        raise ValueError("noise_type and noise_std must be given together")
    if kind is not None and settings.get("action_noise") is not None:
        raise ValueError("give either action_noise, or noise_type and noise_std, not both")
    given = settings.get("action_noise") if kind is None else deviation
    if given is None or (algorithm is QuantumTD3 and kind in (None, "normal")):
        return {"action_noise": given} if "action_noise" in settings or kind is not None else {}
    shape = env.action_space.shape or ()
    deviations = np.full(shape, check_number("action noise", given, least=0))
    if check_choice("noise_type", kind or "normal", NOISES) == "normal":
        return {"action_noise": NormalActionNoise(np.zeros(shape), deviations)}
    return {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(shape), deviations)}
