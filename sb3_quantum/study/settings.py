"""
An arm's settings: the constructor's arguments of its algorithm, and a few keys beside them that the zoo has too.

``algo`` names the algorithm, ``n_envs`` and ``normalize`` (``VecNormalize``) make its environments, ``noise_type`` and
``noise_std`` are the zoo's. Learning rates are numbers, the zoo's ``"lin_x"`` and ``"lin_x_y"``, or fall over steps of the
training: ``{start: 0.001, end: 0.0001, steps: 800000}``.
"""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from sb3_quantum.circuits.checks import check_choice, check_int, check_number, parameters, unknown_names
from sb3_quantum.common.schedules import make_schedule

#: where the classes are that ``algo`` names
ALGORITHMS = {
    "qtd3": ("sb3_quantum", "QuantumTD3"),
    "td3": ("stable_baselines3", "TD3"),
    "ddpg": ("stable_baselines3", "DDPG"),
    "sac": ("stable_baselines3", "SAC"),
    "tqc": ("sb3_contrib", "TQC"),
    "crossq": ("sb3_contrib", "CrossQ"),
}
#: keys that are no arguments of the algorithm
BESIDE = ("algo", "policy", "n_envs", "normalize", "noise_type", "noise_std")
#: more steps than any training has, where something else ends it
UNKNOWN_STEPS = 10**9
#: kinds of noise, as the zoo names them
NOISES = ("normal", "ornstein-uhlenbeck")
#: whole numbers of every algorithm with their least values, and shares: SB3 takes anything for them, and fails in its training
_WHOLE = {"buffer_size": 1, "batch_size": 1, "learning_starts": 0, "n_steps": 1, "policy_delay": 1}
_SHARES = ("gamma", "tau")
#: what the study gives to the algorithm itself
_OURS = {
    "seed": "seeds are the study's",
    "env": "the environment is the study's",
    "device": "every cell runs on one thread of a CPU",
    "verbose": "it changes no result",
    "tensorboard_log": "cells write curve.csv",
    "stats_window_size": "training returns are means of 100 episodes",
}


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    :param settings: of a base
    :param changes: to it; those of ``policy_kwargs`` one by one
    :return: the settings with the changes
    """
    both = {**settings, **changes}
    inside = [part.get("policy_kwargs") for part in (settings, changes)]
    if all(isinstance(part, Mapping) for part in inside):
        both["policy_kwargs"] = {**inside[0], **inside[1]}  # type: ignore[dict-item]
    return both


def algorithm_of(settings: Mapping[str, Any]) -> type[OffPolicyAlgorithm]:
    """
    :param settings: of an arm
    :return: the class that it trains
    :raises ValueError: if ``algo`` is unknown
    :raises ImportError: if it is sb3-contrib's, and that is not installed
    """
    module, name = ALGORITHMS[_named("algo", settings.get("algo", "qtd3"), ALGORITHMS)]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ImportError(f"algo={settings['algo']!r} needs {module.replace('_', '-')}: {error}") from error


def check_settings(settings: Mapping[str, Any]) -> None:
    """
    Refuse settings that nobody reads, and numbers that SB3 itself does not look at.

    :param settings: of an arm
    :raises ValueError: if there is one; the message names it, and what it is close to or what is accepted
    """
    algorithm = algorithm_of(settings)
    arguments = [name for name in parameters(algorithm) or () if name not in _OURS]
    policy = algorithm.policy_aliases[_named("policy", settings.get("policy", "MlpPolicy"), algorithm.policy_aliases)]
    # Given by the algorithm
    inside = set(parameters(policy) or ()) - {"observation_space", "action_space", "lr_schedule", "backend", "backend_kwargs"}
    elsewhere = {**{name: "it belongs into policy_kwargs" for name in inside}, **_OURS}
    message = unknown_names(settings, {*arguments, *BESIDE}, elsewhere)
    if not message:
        policy_kwargs = settings.get("policy_kwargs") or {}
        if not isinstance(policy_kwargs, Mapping):
            raise ValueError(f"policy_kwargs must be a mapping, got {policy_kwargs!r}")
        message = unknown_names(policy_kwargs, inside, {name: "it belongs beside policy_kwargs" for name in arguments})
    if not message and isinstance(settings.get("normalize"), Mapping):
        known = [name for name in parameters(VecNormalize) or () if name not in ("venv", "training")]
        message = unknown_names(settings["normalize"], known, {})
    if message:
        raise ValueError(message)
    for name in settings:
        if name in _WHOLE:
            check_int(name, settings[name], least=_WHOLE[name])
        elif name in _SHARES:
            check_number(name, settings[name], least=0, most=1)
    if not isinstance(settings.get("normalize"), bool | Mapping | type(None)):
        raise ValueError(f"normalize must be true, false or keyword arguments of VecNormalize, got {settings['normalize']!r}")


def _named(key: str, value: Any, known: Mapping[str, Any]) -> str:
    """A name, or an error with the nearest known one."""
    message = unknown_names([value], known, {})
    if message:
        raise ValueError(f"{key} {message}")
    return check_choice(key, value, known)


def n_envs_of(settings: Mapping[str, Any]) -> int:
    """
    :param settings: of an arm
    :return: its environments
    """
    return check_int("n_envs", settings.get("n_envs", 1))


def steps_for(settings: Mapping[str, Any], updates: int) -> int | None:
    """
    :param settings: of an arm
    :param updates: how many are wanted
    :return: environment steps after which there are as many or, if they do not come one by one, just more; ``None`` if
        episodes decide it
    """
    algorithm = algorithm_of(settings)
    values = {
        name: settings.get(name, _default(algorithm, name)) for name in ("train_freq", "gradient_steps", "learning_starts")
    }
    frequency = values["train_freq"]
    if isinstance(frequency, list | tuple):
        if frequency[1] != "step":
            return None
        frequency = frequency[0]
    rollout = check_int("train_freq", frequency) * n_envs_of(settings)
    each = check_int("gradient_steps", values["gradient_steps"], least=-1)
    each = rollout if each == -1 else each
    if each == 0:
        raise ValueError("gradient_steps=0 makes no updates, and the budget is one of updates")
    before = check_int("learning_starts", values["learning_starts"], least=0) // rollout
    return rollout * (before + -(-updates // each))


def _default(algorithm: type, name: str) -> Any:
    """An argument's default, of the class that has it."""
    for base in algorithm.__mro__:
        parameter = inspect.signature(base).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    raise ValueError(f"{algorithm.__name__} has no argument {name}")


def rate(name: str, value: Any, total_steps: int | None) -> Any:
    """
    A learning rate as the algorithms take it.

    :param name: the argument's name, for messages
    :param value: a number, the zoo's ``"lin_x"`` or ``"lin_x_y"``, or a mapping with ``start``, ``end`` and ``steps``
    :param total_steps: of the training, as its progress is counted; ``None`` if that is not known beforehand
    :return: a number or a schedule
    :raises ValueError: if it is none of these, or the length of the training must be known and is not
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        message = unknown_names(value, ("start", "end", "steps"), {})
        if message or len(value) < 3:
            raise ValueError(f"{name} needs start, end and steps, got {dict(value)}{'; ' if message else ''}{message}")
        start, end = (check_number(f"{name}: {key}", value[key], least=0) for key in ("start", "end"))
        steps = check_int(f"{name}: steps", value["steps"])
        return LinearSchedule(start, end, steps / (total_steps or UNKNOWN_STEPS))
    schedule = make_schedule(name, value)
    if isinstance(value, str):
        if total_steps is None:
            raise ValueError(
                f"{name}={value!r} depends on the steps of the whole training, which this budget does not fix; "
                "write {start: ..., end: ..., steps: ...}"
            )
        return schedule
    return schedule(1)
