"""Checks of the arguments of QuantumTD3 and its policy, one row each, before anything is built."""

import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from sb3_quantum.backends import BACKEND_ARGUMENTS, BACKENDS, Backend, of_other_backends, unknown_backend
from sb3_quantum.circuits import CIRCUITS, Circuit, make_circuit
from sb3_quantum.circuits.checks import (
    check_choice,
    check_flag,
    check_int,
    check_number,
    check_widths,
    names_checked,
    parameters,
    plain_data,
    shown,
    unknown_names,
)
from sb3_quantum.circuits.families import unknown_circuit
from sb3_quantum.common.schedules import make_schedule
from sb3_quantum.layers import BLOCKS, ENCODINGS, GRADIENTS, QTDNN_FEATURES, READOUTS, Block, block_class
from sb3_quantum.priors import PRIORS
from sb3_quantum.qtd3.actions import check_action_space, make_action_noise
from sb3_quantum.qtd3.critics import CRITICS

#: takes the argument's name and value, returns the value as it is used, or raises a ValueError
Check = Callable[[str, Any], Any]
Init = TypeVar("Init", bound=Callable[..., None])

#: targets of the qtDNN's fit
FIT_TARGETS = ("auto", "exact", "sample")
#: arguments of both the algorithm and the policy; the algorithm passes them on
SHARED = ("backend", "backend_kwargs", "gradient")


def _int(least: int, most: int | None = None) -> Check:
    return lambda name, value: check_int(name, value, least, most)


def _number(least: float | None = None, most: float | None = None, above: float | None = None, unit: str = "") -> Check:
    return lambda name, value: check_number(name, value, least, above, most, unit)


def _choice(accepted: Any) -> Check:
    return lambda name, value: check_choice(name, value, accepted)


def _or_none(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _anything(name: str, value: Any) -> Any:
    """Accept arguments that only SB3 passes."""
    return value


def _learning_rate(name: str, value: Any) -> Any:
    schedule = make_schedule(name, value)
    return value if callable(value) or isinstance(value, str) else schedule(1)


def _dictionary(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} must be a dictionary with names as keys, got {shown(value)}")
    return plain_data(dict(value))


def _policy_kwargs(name: str, value: Any) -> dict[str, Any]:
    """Keep the name of a circuit or block that files can name."""
    kwargs = _dictionary(name, value)
    block = kwargs.get("block")
    if inspect.isclass(block) and issubclass(block, Block) and BLOCKS.get(getattr(block, "name", "")) is block:
        kwargs["block"] = block.name
    circuit = kwargs.get("circuit")
    if isinstance(circuit, Circuit) and CIRCUITS.get(circuit.family) is type(circuit) and not kwargs.get("circuit_kwargs"):
        short = {name: kwargs[name] for name in ("n_qubits", "n_layers") if name in kwargs}
        make_circuit(circuit, **short)  # which refuses what contradicts the instance
        known = parameters(type(circuit)) or []
        kwargs = {key: part for key, part in kwargs.items() if key not in short or key in known} | circuit.spec
    return kwargs


def _circuit(name: str, value: Any) -> Any:
    if isinstance(value, Circuit):
        return value
    if not isinstance(value, str) or value not in CIRCUITS:
        raise unknown_circuit(value)
    return str(value)


def _prior(name: str, value: Any) -> str:
    # Looked up when needed: users may have added their own
    return check_choice(name, value, ("auto", *PRIORS))


def _block(name: str, value: Any) -> Any:
    block_class(value)
    return str(value) if isinstance(value, str) else value


def _class_of(base: type) -> Check:
    """Accept a class, or a function that makes instances, but no instance."""

    def check(name: str, value: Any) -> Any:
        good = issubclass(value, base) if inspect.isclass(value) else callable(value) and not isinstance(value, base)
        if not good:
            raise ValueError(f"{name} must be a subclass of {base.__module__}.{base.__qualname__}, got {shown(value)}")
        return value

    return check


def _net_arch(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return check_widths(name, value)
    if set(value) != {"pi", "qf"}:
        raise ValueError(f"{name} must be a list of widths or a dictionary with 'pi' and 'qf', got {shown(value)}")
    return {key: check_widths(f"{name}[{key!r}]", widths) for key, widths in value.items()}


def _policy(name: str, value: Any) -> Any:
    # SB3 looks up the algorithm's aliases; policies other than QuantumTD3Policy lack a quantum layer
    if isinstance(value, str) or (inspect.isclass(value) and hasattr(value, "seed_predictions")):
        return value
    raise ValueError(f"{name} must be the name of a policy or a subclass of QuantumTD3Policy, got {shown(value)}")


def _env(name: str, value: Any) -> Any:
    # Old gym environments, which SB3 converts, are recognized by their methods
    good = isinstance(value, str | gym.Env | VecEnv) or (hasattr(value, "reset") and hasattr(value, "step"))
    if value is not None and (not good or inspect.isclass(value)):
        raise ValueError(f"{name} must be a Gymnasium environment, a VecEnv or a registered id, got {shown(value)}")
    return value


def _train_freq(name: str, value: Any) -> Any:
    accepted = f'{name} must be an integer >= 1, or a pair like (5, "step") or (2, "episode")'
    if isinstance(value, TrainFreq):
        return value
    if isinstance(value, list | tuple):
        if len(value) != 2 or value[1] not in ("step", "episode"):
            raise ValueError(f"{accepted}, got {shown(value)}")
        return check_int(f"{name}[0]", value[0]), str(value[1])
    try:
        return check_int(name, value)
    except ValueError:
        raise ValueError(f"{accepted}, got {shown(value)}") from None


def _action_noise(name: str, value: Any) -> Any:
    if isinstance(value, ActionNoise):
        for attribute, meaning in (("_mu", "mean"), ("_sigma", "sigma")):
            numbers = np.asarray(getattr(value, attribute, 0.0))
            if (
                numbers.dtype.kind not in "fiu"
                or not np.isfinite(numbers).all()
                or (meaning == "sigma" and (numbers < 0).any())
            ):
                bound = " >= 0" if meaning == "sigma" else ""
                raise ValueError(f"{name} must have a {meaning} of finite numbers{bound}, got {shown(value)}")
        return value
    if isinstance(value, list | tuple | np.ndarray | th.Tensor) and np.ndim(value) == 1:
        return [check_number(f"{name}[{i}]", std, least=0) for i, std in enumerate(value)]
    try:
        return check_number(name, value, least=0)
    except ValueError:
        raise ValueError(
            f"{name} must be a standard deviation >= 0, a list with one for every action, an ActionNoise or None, "
            f"got {shown(value)}"
        ) from None


def _backend(name: str, value: Any) -> Any:
    if isinstance(value, Backend) or (isinstance(value, str) and value in BACKENDS):
        return value
    raise unknown_backend(value)


def _device(name: str, value: Any) -> Any:
    try:
        assert isinstance(value, str | th.device)
        return value if value == "auto" else th.device(value)
    except (AssertionError, RuntimeError):
        raise ValueError(f'{name} must be "auto", or a device of torch like "cpu" or "cuda:0", got {shown(value)}') from None


def _path(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise ValueError(f"{name} must be the path of a folder or None, got {shown(value)}") from None


def _verbose(name: str, value: Any) -> int:
    return int(value) if isinstance(value, bool | np.bool_) else check_int(name, value, least=0)


#: arguments of ``QuantumTD3``
ALGORITHM: dict[str, Check] = {
    "policy": _policy,
    "env": _env,
    "learning_rate": _learning_rate,
    "buffer_size": _int(1),
    "learning_starts": _int(0),
    "batch_size": _int(1),
    "tau": _number(0, 1),
    "gamma": _number(0, 1),
    "train_freq": _train_freq,
    "gradient_steps": _int(-1),
    "action_noise": _or_none(_action_noise),
    "replay_buffer_class": _or_none(_class_of(ReplayBuffer)),
    "replay_buffer_kwargs": _or_none(_dictionary),
    "optimize_memory_usage": check_flag,
    "n_steps": _int(1),
    "policy_delay": _int(1),
    "target_policy_noise": _number(0),
    "target_noise_clip": _number(0),
    "qf_learning_rate": _or_none(_learning_rate),
    "qtdnn_learning_rate": _learning_rate,
    "qtdnn_gradient_steps": _int(1),
    "qtdnn_batch_size": _int(1),
    "qtdnn_recent_pairs": _or_none(_int(1)),
    "fit_targets": _choice(FIT_TARGETS),
    "probe_std": _number(0, unit="radians"),
    "backend": _backend,
    "backend_kwargs": _or_none(_dictionary),
    "gradient": _choice(GRADIENTS),
    "stats_window_size": _int(1),
    "tensorboard_log": _or_none(_path),
    "policy_kwargs": _or_none(_policy_kwargs),
    "verbose": _verbose,
    "seed": _or_none(_int(0, 2**32 - 1)),
    "device": _device,
    "_init_setup_model": check_flag,
}
#: arguments of ``QuantumTD3Policy``
POLICY: dict[str, Check] = {
    "observation_space": _anything,
    "action_space": _anything,
    "lr_schedule": _anything,
    "net_arch": _or_none(_net_arch),
    "activation_fn": _class_of(nn.Module),
    "features_extractor_class": _class_of(BaseFeaturesExtractor),
    "features_extractor_kwargs": _or_none(_dictionary),
    "normalize_images": check_flag,
    "optimizer_class": _class_of(th.optim.Optimizer),
    "optimizer_kwargs": _or_none(_dictionary),
    "n_critics": _int(1),
    "share_features_extractor": check_flag,
    "n_qubits": _or_none(_int(1)),
    "n_layers": _or_none(_int(1)),
    "n_links": _int(0),
    "block": _block,
    "block_kwargs": _or_none(_dictionary),
    "encoding": _choice(ENCODINGS),
    "encoding_kwargs": _or_none(_dictionary),
    "pre_arch": _or_none(check_widths),
    "post_arch": _or_none(check_widths),
    "critic_arch": _or_none(check_widths),
    "critic": _choice(CRITICS),
    "critic_kwargs": _or_none(_dictionary),
    "critic_layer_norm": check_flag,
    "qtdnn_arch": _or_none(check_widths),
    "qtdnn_features": _choice(QTDNN_FEATURES),
    "qtdnn_prior": _prior,
    "qtdnn_optimizer_class": _or_none(_class_of(th.optim.Optimizer)),
    "qtdnn_optimizer_kwargs": _or_none(_dictionary),
    "readout": _choice(READOUTS),
    "eval_readout": _choice(READOUTS),
    "surrogate_readout": _choice(("mean", "sample")),
    "normalize_observations": check_flag,
    "actor_average_tau": _or_none(_number(most=1, above=0)),
    "output_normalization": check_flag,
    "circuit": _circuit,
    "circuit_kwargs": _or_none(_dictionary),
    "backend": _backend,
    "backend_kwargs": _or_none(_dictionary),
    "gradient": _choice(GRADIENTS),
}
#: keyword arguments of a class that another argument names, and those that the owner passes itself
INNER: dict[str, tuple[str, tuple[str, ...]]] = {
    "encoding_kwargs": ("encoding", ("ansatz",)),
    "backend_kwargs": ("backend", ("ansatz",)),
    "optimizer_kwargs": ("optimizer_class", ("params", "lr")),
    "qtdnn_optimizer_kwargs": ("qtdnn_optimizer_class", ("params", "lr")),
    "features_extractor_kwargs": ("features_extractor_class", ("observation_space",)),
}


def checked(rows: Mapping[str, Check], elsewhere: Mapping[str, str]) -> Callable[[Init], Init]:
    """
    Decorate a constructor: check its arguments, and call it with what the checks return.

    :param rows: a check for every argument
    :param elsewhere: for arguments that it does not have, by name, where they belong
    :return: a decorator of ``__init__``; an unknown name raises a TypeError that suggests the nearest known one
    """

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)
        defaults = {name: parameter.default for name, parameter in signature.parameters.items()}

        @functools.wraps(init)
        def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
            given = signature.bind(self, *args, **kwargs).arguments
            given.update({name: rows[name](name, value) for name, value in given.items() if name != "self"})
            for name in INNER.keys() & given.keys():
                check_inner(name, given[name], given.get(INNER[name][0], defaults[INNER[name][0]]))
            init(**given)

        return names_checked(elsewhere)(checked_init)  # type: ignore[return-value]

    return decorate


def check_inner(name: str, given: dict[str, Any] | None, owner: Any) -> None:
    """
    Refuse keyword arguments that the receiving class does not have.

    :param name: name of the dictionary, a key of :data:`INNER`
    :param given: the dictionary
    :param owner: the receiving class, or its name
    :raises ValueError: if it contains an unknown name
    """
    if isinstance(owner, str):
        owner = ({**ENCODINGS, **BACKENDS} if owner in {**ENCODINGS, **BACKENDS} else {}).get(owner)
    known, taken = parameters(owner) if inspect.isclass(owner) else None, INNER[name][1]
    if not given:
        return
    if "lr" in taken and "lr" in given:
        raise ValueError(f"{name}: 'lr' cannot be given here, the learning rates are arguments of QuantumTD3")
    elsewhere = of_other_backends(owner) if name == "backend_kwargs" and known is not None else {}
    message = "" if known is None else unknown_names(given, [key for key in known if key not in taken], elsewhere)
    if message:
        raise ValueError(f"{name}: {message}")


def check_policy_kwargs(policy_class: type, given: dict[str, Any]) -> None:
    """
    Refuse keyword arguments that a policy does not have.

    :param policy_class: the policy's class
    :param given: ``policy_kwargs``
    :raises ValueError: if one is unknown, or belongs to the algorithm; the message suggests the nearest known name
    """
    if set(SHARED) & given.keys():
        raise ValueError(f"{', '.join(SHARED)} are arguments of QuantumTD3, not of its policy_kwargs")
    known = parameters(policy_class)
    if known is None:
        return
    made = ("observation_space", "action_space", "lr_schedule", *SHARED)
    message = unknown_names(given, [name for name in known if name not in made], ELSEWHERE_IN_POLICY)
    if message:
        raise ValueError(f"policy_kwargs: {message}")


def check_model(model: BaseAlgorithm) -> None:
    """
    Check a model's arguments and spaces before it is set up; a file or keyword arguments of ``load`` may have changed them.

    :param model: the model, before ``_setup_model``
    :raises ValueError: if something is not accepted
    """
    if not hasattr(model, "action_space"):
        raise ValueError("env must be a Gymnasium environment, a VecEnv or a registered id, got None")
    for name, check in ALGORITHM.items():
        if name in vars(model) and name not in ("policy", "env"):
            setattr(model, name, check(name, getattr(model, name)))
    check_policy_kwargs(model.policy_class, model.policy_kwargs)
    check_inner("backend_kwargs", model.backend_kwargs, model.backend)  # type: ignore[attr-defined]
    if model.observation_space.shape is not None and 0 in model.observation_space.shape:
        raise ValueError(f"the observation space must have at least one number, got the shape {model.observation_space.shape}")
    check_action_space(model.action_space)  # type: ignore[arg-type]
    model.action_noise = make_action_noise(model.action_noise, model.action_space.shape)  # type: ignore[arg-type]


def unknown_to_load(cls: type, function: Callable[..., Any], given: Mapping[str, Any], saved: Collection[str] = ()) -> str:
    """
    Write a message about keyword arguments that nothing reads when a model is loaded. SB3 would turn even a misspelt one into
    an attribute.

    :param cls: the algorithm
    :param function: the function that loads, which has arguments of its own
    :param given: the keyword arguments
    :param saved: the file's settings, which can be changed too
    :return: a sentence with the nearest known names; empty if all names are known
    """
    own = [name for name in inspect.signature(function).parameters if name not in ("path", "kwargs")]
    arguments = set(parameters(cls) or ALGORITHM) | set(own)
    elsewhere = {
        **{name: "it is among the file's policy_kwargs, which cannot be changed" for name in POLICY},
        **{name: "it belongs into backend_kwargs" for name in BACKEND_ARGUMENTS},
    }
    elsewhere = {name: hint for name, hint in elsewhere.items() if name not in arguments}
    return unknown_names(given.keys() - set(saved), arguments, elsewhere)


ELSEWHERE = {
    name: hint
    for names, hint in (
        (BACKEND_ARGUMENTS, "it belongs into backend_kwargs"),
        (POLICY, "it belongs into policy_kwargs"),
    )
    for name in names
    if name not in ALGORITHM
}
ELSEWHERE_IN_POLICY = {
    name: hint
    for names, hint in (
        (BACKEND_ARGUMENTS, "it belongs into backend_kwargs, beside policy_kwargs"),
        (ALGORITHM, "it belongs beside policy_kwargs"),
    )
    for name in names
    if name not in (*POLICY, "_init_setup_model")
}
