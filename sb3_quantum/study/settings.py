"""
Settings of an arm: the arguments of its algorithm, and a few further keys of the zoo.

``algo`` names the algorithm, ``n_envs`` and ``normalize`` (``VecNormalize``) make its environments, ``noise_type`` and
``noise_std`` are the zoo's. Learning rates are numbers, the zoo's ``"lin_x"`` and ``"lin_x_y"``, or fall over a number of
steps: ``{start: 0.001, end: 0.0001, steps: 800000}``.
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

#: modules of the classes that ``algo`` names
ALGORITHMS = {
    "qtd3": ("sb3_quantum", "QuantumTD3"),
    "td3": ("stable_baselines3", "TD3"),
    "ddpg": ("stable_baselines3", "DDPG"),
    "sac": ("stable_baselines3", "SAC"),
    "tqc": ("sb3_contrib", "TQC"),
    "crossq": ("sb3_contrib", "CrossQ"),
}
#: keys that are not arguments of the algorithm
BESIDE = ("algo", "policy", "n_envs", "normalize", "noise_type", "noise_std")
#: steps of ``learn`` if something else ends the training
UNKNOWN_STEPS = 10**9
#: kinds of noise, by the zoo's names
NOISES = ("normal", "ornstein-uhlenbeck")
#: integers of every algorithm with their minimum, and shares: SB3 accepts anything for them, and fails in training
_WHOLE = {"buffer_size": 1, "batch_size": 1, "learning_starts": 0, "n_steps": 1, "policy_delay": 1}
_SHARES = ("gamma", "tau")
#: arguments that the study itself passes to the algorithm
_OURS = {
    "seed": "seeds are the study's",
    "env": "the environment is the study's or a variant's",
    "device": "every cell runs on one thread of a CPU",
    "verbose": "it changes no result",
    "tensorboard_log": "cells write curve.csv",
    "stats_window_size": "training returns are means of 100 episodes",
}


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    Merge changes into settings.

    :param settings: settings of a base
    :param changes: changes to it; ``policy_kwargs`` are merged key by key
    :return: the merged settings
    """
    both = {**settings, **changes}
    inside = [part.get("policy_kwargs") for part in (settings, changes)]
    if all(isinstance(part, Mapping) for part in inside):
        both["policy_kwargs"] = {**inside[0], **inside[1]}  # type: ignore[dict-item]
    return both


def algorithm_of(settings: Mapping[str, Any]) -> type[OffPolicyAlgorithm]:
    """
    Return the class of an arm's algorithm.

    :param settings: settings of an arm
    :return: the class
    :raises ValueError: if ``algo`` is unknown
    :raises ImportError: if it needs sb3-contrib, which is not installed
    """
    module, name = ALGORITHMS[_named("algo", settings.get("algo", "qtd3"), ALGORITHMS)]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ImportError(f"algo={settings['algo']!r} needs {module.replace('_', '-')}: {error}") from error


def check_settings(settings: Mapping[str, Any]) -> None:
    """
    Check settings: refuse unknown names, and numbers that SB3 itself does not check.

    :param settings: settings of an arm
    :raises ValueError: if there is one; the message names it, and the nearest known name or what is accepted
    """
    algorithm = algorithm_of(settings)
    arguments = [name for name in parameters(algorithm) or () if name not in _OURS]
    policy = algorithm.policy_aliases[_named("policy", settings.get("policy", "MlpPolicy"), algorithm.policy_aliases)]
    # Passed by the algorithm
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
    """Check a name, with the nearest known one in the error."""
    message = unknown_names([value], known, {})
    if message:
        raise ValueError(f"{key} {message}")
    return check_choice(key, value, known)


def n_envs_of(settings: Mapping[str, Any]) -> int:
    """
    Return the number of environments of an arm.

    :param settings: settings of an arm
    :return: the number
    """
    return check_int("n_envs", settings.get("n_envs", 1))


def steps_for(settings: Mapping[str, Any], updates: int) -> int | None:
    """
    Compute the environment steps for a number of updates.

    :param settings: settings of an arm
    :param updates: number of updates
    :return: steps after which there are at least as many updates; ``None`` if episodes determine them
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
        raise ValueError("gradient_steps=0 makes no updates, but the budget counts updates")
    before = check_int("learning_starts", values["learning_starts"], least=0) // rollout
    return rollout * (before + -(-updates // each))


def _default(algorithm: type, name: str) -> Any:
    """Return an argument's default from the class that defines it."""
    for base in algorithm.__mro__:
        parameter = inspect.signature(base).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            return parameter.default
    raise ValueError(f"{algorithm.__name__} has no argument {name}")


def rate(name: str, value: Any, total_steps: int | None) -> Any:
    """
    Convert a learning rate for the algorithms.

    :param name: the argument's name, for messages
    :param value: a number, the zoo's ``"lin_x"`` or ``"lin_x_y"``, or a mapping with ``start``, ``end`` and ``steps``
    :param total_steps: steps of the training, which define its progress; ``None`` if they are not known beforehand
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
