"""Models of arms: new, or from a checkpoint."""

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
from sb3_quantum.study.spec import Arm, Budget, Environment, Study, StudyError


def maker(environment: Environment) -> Callable[[], gym.Env]:
    """
    Return a function that makes an environment.

    :param environment: an environment of a study
    :return: the function
    :raises StudyError: if there is no such environment; the message suggests similar ones
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
    Compute the environment steps of a training.

    :param settings: settings of an arm
    :param budget: budget of its trainings
    :return: the steps; ``None`` if they are not known beforehand
    """
    if budget.unit == "steps":
        return int(budget.amount)
    return steps_for(settings, int(budget.amount)) if budget.unit == "updates" else None


def make_env(settings: dict[str, Any], environment: Environment, seed: int, statistics: Path | None = None) -> VecEnv:
    """
    Make the environments of a training.

    :param settings: settings of an arm
    :param environment: environment of the arm
    :param seed: seed of the environments
    :param statistics: statistics of ``VecNormalize`` to continue with
    :return: the environments
    """
    env: VecEnv = make_vec_env(maker(environment), n_envs_of(settings), seed=seed)
    normalize = settings.get("normalize")
    if not normalize:
        return env
    if statistics is not None:
        return VecNormalize.load(str(statistics), env)
    kwargs = {} if normalize is True else dict(normalize)
    # As the zoo does
    kwargs.setdefault("gamma", settings.get("gamma", 0.99))
    return VecNormalize(env, **kwargs)


def make_model(arm: Arm, environment: Environment, seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    Make an untrained model.

    :param arm: an arm of a study
    :param environment: environment of the arm
    :param seed: seed of everything random
    :param changes: arguments of the algorithm that override the arm's
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
            # Checkpoints append to the rows' files; what is learned is the same
            arguments["replay_buffer_kwargs"] = {"storage": "memmap", **(arguments.get("replay_buffer_kwargs") or {})}
        return algorithm(arm.settings.get("policy", "MlpPolicy"), env, seed=seed, device="cpu", **arguments)
    except StudyError:
        raise
    # A constructor may raise anything for bad arguments
    except Exception as error:
        raise StudyError(f"arm {arm.name!r}: {' '.join(str(error).split()) or type(error).__name__}") from error


def steps_to_learn(arm: Arm) -> int:
    """
    Return the argument of ``learn``.

    :param arm: an arm of a study
    :return: the steps; if the number is huge, the callback ends the training
    """
    steps = total_steps(arm.settings, arm.budget)
    return UNKNOWN_STEPS if steps is None else steps


def load_model(arm: Arm, environment: Environment, seed: int, path: Path, statistics: Path | None) -> OffPolicyAlgorithm:
    """
    Load a model from its file.

    :param arm: an arm of a study
    :param environment: environment of the arm
    :param seed: seed of the cell
    :param path: the zip file, which one of the user's cells wrote on this machine
    :param statistics: statistics of ``VecNormalize``
    :return: the model
    """
    env = make_env(arm.settings, environment, seed, statistics)
    return algorithm_of(arm.settings).load(path, env=env, device="cpu")


def check_arms(study: Study, arms: list[Arm]) -> None:
    """
    Make every arm's model once with a small replay buffer, to find wrong settings before anything runs.

    :param study: the study
    :param arms: some of its arms
    :raises StudyError: if there are any; the message names all of them
    """
    problems = []
    for arm in arms:
        try:
            # Names before numbers, including those that the study itself reads
            check_settings(arm.settings)
            model = make_model(arm, study.environment_of(arm), arm.seeds[0], buffer_size=2 * n_envs_of(arm.settings))
            assert model.env is not None
            model.env.close()
        except StudyError as error:
            problems.append(str(error))
        except Exception as error:
            problems.append(f"arm {arm.name!r}: {' '.join(str(error).split()) or type(error).__name__}")
    if problems:
        raise StudyError("; ".join(dict.fromkeys(problems)))


def _noise(settings: dict[str, Any], algorithm: type, env: VecEnv) -> dict[str, Any]:
    """Make ``action_noise`` for the algorithm from a number, as in QuantumTD3, or from the zoo's two keys."""
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
