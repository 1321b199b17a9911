"""Check ``model.json`` against the tensors in the file, before memory is allocated for any of it."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.policies import BasePolicy

from sb3_quantum.backends.threads import memory_bytes
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.schedules import make_schedule
from sb3_quantum.hub.codec import decode, decode_space
from sb3_quantum.hub.shapes import check_optimizer, check_state, circuit_of, networks
from sb3_quantum.hub.space_codec import Room
from sb3_quantum.hub.strict import Entry, ModelFileError, is_integer, is_number
from sb3_quantum.layers import block_class
from sb3_quantum.qtd3 import QuantumTD3

FORMAT, FORMAT_VERSION = "sb3-quantum", 2
#: attributes for the progress of a training
PROGRESS = (
    "num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_episode_num", "_n_updates", "_stats_window_size"
)  # fmt: skip
SPACES = ("observation_space", "action_space")
NORMALIZE_FLAGS = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys")
_KEYS = ("format_version", "algorithm", "policy", "arguments", "progress", "n_envs", *SPACES, "optimizers")
_FURTHER_KEYS = {"format", "sb3_quantum_version", "vec_normalize", "sha256"}
#: size of an observation that is accepted without further evidence: an image of 1024 x 1024 pixels in four colours
IMAGE = 2**22
#: maximum number of spaces in a Dict
MAX_PARTS = 4096
#: maximum number of environments, and of shots per circuit
MAX_ENVS, MAX_SHOTS = 2**16, 10**6
#: names of second moments and variances, whose square roots are taken
_NOT_NEGATIVE = (
    "var", "count", "step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta", "exp_inf", "row_var", "col_var",
    "variance", "step_size",
)  # fmt: skip
#: keyword arguments of a replay buffer that do not depend on the machine and its disks
BUFFER_KWARGS = (
    "n_steps", "gamma", "handle_timeout_termination", "n_sampled_goal", "goal_selection_strategy", "copy_info_dict"
)  # fmt: skip


def _at_least(low: float, high: float = math.inf) -> tuple[Callable[[Any], bool], str]:
    upper = "" if high == math.inf else f" and <= {high:g}"
    return lambda value: is_number(value) and low <= value <= high, f"a number >= {low:g}{upper}"


def _count(low: int, *others: Any) -> tuple[Callable[[Any], bool], str]:
    accepted = f"an integer >= {low}" + "".join(f" or {other}" for other in others)
    return lambda value: is_integer(value, low) or any(value is other for other in others), accepted


def _is_rate(value: Any) -> bool:
    if isinstance(value, str):
        try:
            return callable(make_schedule("a rate", value))
        except ValueError:
            return False
    return (is_number(value) and value >= 0) or callable(value)


def _is_train_freq(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and is_integer(value[0], 1) and value[1] in ("step", "episode")


def _is_buffer_class(value: Any) -> bool:
    return value is None or (isinstance(value, type) and issubclass(value, ReplayBuffer))


_RATE = (_is_rate, "a number >= 0, 'lin_x', 'lin_x_y' or a schedule")
_TEXT = (lambda value: isinstance(value, str), "a text")
_DICT = (lambda value: isinstance(value, dict), "a dictionary")
#: the arguments of every version, their checks, and the text for the message
ARGUMENTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "learning_rate": _RATE,
    "buffer_size": _count(1),
    "learning_starts": _at_least(0),
    "batch_size": _count(1),
    "tau": _at_least(0, 1),
    "gamma": _at_least(0, 1),
    "train_freq": (_is_train_freq, "a frequency and its unit"),
    "gradient_steps": _count(-1),
    "action_noise": (
        lambda value: value is None or is_number(value) or isinstance(value, ActionNoise), "None, a number or an action noise"
    ),
    "replay_buffer_class": (_is_buffer_class, "None or a replay buffer's class"),
    "replay_buffer_kwargs": _DICT,
    "optimize_memory_usage": (lambda value: isinstance(value, bool), "true or false"),
    "n_steps": _count(1),
    "policy_delay": _count(1),
    "target_policy_noise": _at_least(0),
    "target_noise_clip": _at_least(0),
    "qf_learning_rate": (lambda value: value is None or _is_rate(value), f"None, {_RATE[1]}"),
    "qtdnn_learning_rate": _RATE,
    "qtdnn_gradient_steps": _count(1),
    "qtdnn_batch_size": _count(1),
    "qtdnn_recent_pairs": _count(1, None),
    "fit_targets": _TEXT,
    "probe_std": _at_least(0),
    "backend": _TEXT,
    "backend_kwargs": (lambda value: value is None or isinstance(value, dict), "None or a dictionary"),
    "gradient": _TEXT,
    "policy_kwargs": _DICT,
    "seed": (lambda value: value is None or is_integer(value, 0, 2**32 - 1), "None or an integer in [0, 2^32)"),
}  # fmt: skip


class Checked(NamedTuple):
    """
    Checked contents of a file.

    :param policy: the policy's class
    :param data: the model's attributes
    :param optimizers: their ``param_groups``
    :param flags: those of its ``VecNormalize``, if it had one
    """

    policy: type[BasePolicy]
    data: dict[str, Any]
    optimizers: dict[str, Any]
    flags: dict[str, Any] | None


def arguments() -> set[str]:
    """
    List the constructor's arguments that are written.

    :return: their names
    """
    # The others are machine-specific or serialized separately
    not_saved = {"policy", "env", "tensorboard_log", "verbose", "device", "stats_window_size", "_init_setup_model"}
    return set(inspect.signature(QuantumTD3).parameters) - not_saved


def check_config(config: dict[str, Any], entries: dict[str, Entry], where: Path | str, buffer_size: Any = None) -> Checked:
    """
    Check settings by themselves and against their tensors.

    :param config: the JSON file
    :param entries: the tensors in the file beside it
    :param where: the JSON file's path, for messages
    :param buffer_size: the caller's, if it overrides the file's
    :return: the checked contents
    :raises ModelFileError: if it is not a model of this algorithm, or malformed
    """
    _check_kind(config, where)
    data = _decode_arguments(config, where)
    _add_progress(data, config, where)
    _add_spaces(data, config, entries, where)
    _check_noise(data, where)
    policy: Any = QuantumTD3.policy_aliases.get(config["policy"]) if isinstance(config["policy"], str) else None
    if policy is None:
        raise ModelFileError(f"{where} names an unknown policy: {str(config['policy'])[:100]!r}")
    _check_policy_kwargs(data["policy_kwargs"], entries, where)
    try:
        widest = max((side for entry in entries.values() for side in entry.shape), default=0)
        made = networks(policy, data["observation_space"], data["action_space"], data["policy_kwargs"], widest)
    except Exception as error:
        raise ModelFileError(f"{where}: no policy can be made of these settings ({type(error).__name__}: {error})") from error
    found = check_state(made, entries, old=config["format_version"] < FORMAT_VERSION)
    optimizers = config["optimizers"]
    if not isinstance(optimizers, dict) or optimizers.keys() != made.optimizers.keys():
        raise ModelFileError(f"{where}: the optimizers are {_listed(made.optimizers)}, got {_listed(optimizers)}")
    groups = {name: decode(value) for name, value in optimizers.items()}
    for name, optimizer in made.optimizers.items():
        try:
            found |= check_optimizer(name, optimizer, groups[name], entries)
        except ModelFileError:
            raise
        except Exception as error:
            raise ModelFileError(f"{where}: {name} cannot be made ({type(error).__name__}: {error})") from error
    flags = config.get("vec_normalize")
    if flags is not None:
        flags = _check_flags(flags, data["observation_space"], where)
        found |= _check_statistics(flags, data["observation_space"], entries)
    if extra := entries.keys() - found:
        raise ModelFileError(f"the tensor {_listed(extra)} is used by no part of {where}")
    _check_buffer_size(data, buffer_size, where)
    return Checked(policy, data, groups, flags)


def check_values(tensors: dict[str, th.Tensor]) -> None:
    """
    Check that the tensors contain plausible numbers.

    :param tensors: all tensors of the file by name
    :raises ModelFileError: if one is not finite, or a variance is negative
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        # A finite sum has finite terms, and is much faster to check
        if not math.isfinite(tensor.sum(dtype=th.float64).item()) and not bool(th.isfinite(tensor).all()):
            raise ModelFileError(f"the tensor {name!r} holds numbers that are not finite")
        if name.replace(":", ".").rpartition(".")[2] in _NOT_NEGATIVE and bool((tensor < 0).any()):
            raise ModelFileError(f"the tensor {name!r} must not hold negative numbers")


def _listed(names: Any) -> str:
    texts = sorted(map(repr, names)) if isinstance(names, dict | set | list) or hasattr(names, "keys") else [repr(names)]
    return ", ".join(texts[:5])[:300] + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _check_kind(config: dict[str, Any], where: Path | str) -> None:
    """Check that it is a complete model of this algorithm in a supported version."""
    if config.get("format") != FORMAT:
        raise ModelFileError(f"{where} is not a model file of sb3-quantum")
    missing, unknown = [key for key in _KEYS if key not in config], config.keys() - _KEYS - _FURTHER_KEYS
    if missing or unknown:
        what = f"lacks {', '.join(map(repr, missing))}" if missing else f"has the unknown {_listed(unknown)}"
        raise ModelFileError(f"{where} {what}")
    version = config["format_version"]
    if not is_integer(version, 1, FORMAT_VERSION):
        raise ModelFileError(
            f"{where} is in version {str(version)[:40]} of the format; this version reads 1 to {FORMAT_VERSION}"
        )
    if config["algorithm"] != "QuantumTD3":
        raise ModelFileError(f"{where} is of a model of another algorithm: {str(config['algorithm'])[:100]}, not QuantumTD3")
    if not isinstance(config["arguments"], dict):
        raise ModelFileError(f"{where}: its arguments must be a dictionary")


def _decode_arguments(config: dict[str, Any], where: Path | str) -> dict[str, Any]:
    """Decode the constructor's arguments, and check their kinds and ranges."""
    data = {name: decode(value) for name, value in config["arguments"].items()}
    unknown, missing = data.keys() - arguments(), ARGUMENTS.keys() - data.keys()
    if unknown or missing:
        what = f"QuantumTD3 has no argument {_listed(unknown)}" if unknown else f"the argument {_listed(missing)} is missing"
        raise ModelFileError(f"{where}: {what}")
    for name, (fits, accepted) in ARGUMENTS.items():
        if not fits(data[name]):
            raise ModelFileError(f"{where}: {name}={repr(data[name])[:100]}, accepted is {accepted}")
    data["train_freq"] = tuple(data["train_freq"])
    data["replay_buffer_kwargs"] = _buffer_kwargs(data["replay_buffer_kwargs"], where)
    shots = (data["backend_kwargs"] or {}).get("shots", 1)
    if not is_integer(shots, 1, MAX_SHOTS):
        raise ModelFileError(f"{where}: shots={str(shots)[:100]}, accepted is an integer in [1, {MAX_SHOTS:,}]")
    return data


def _add_progress(data: dict[str, Any], config: dict[str, Any], where: Path | str) -> None:
    """Add the progress of the training and its number of environments."""
    progress = config["progress"]
    for name in PROGRESS:
        value: Any = decode(progress.get(name)) if isinstance(progress, dict) else None
        if not is_number(value) or not 0 <= value < 2**63:
            raise ModelFileError(f"{where}: {name} of its progress is {str(value)[:100]}, accepted is a number >= 0")
        data[name] = value
    if not is_integer(config["n_envs"], 1, MAX_ENVS):
        raise ModelFileError(f"{where}: n_envs={str(config['n_envs'])[:100]}, accepted is an integer in [1, {MAX_ENVS:,}]")
    data["n_envs"] = config["n_envs"]


def _buffer_kwargs(kwargs: dict[str, Any], where: Path | str) -> dict[str, Any]:
    for name, value in kwargs.items():
        if name not in BUFFER_KWARGS:
            raise ModelFileError(f"{where}: replay_buffer_kwargs has {name!r}, accepted are {', '.join(BUFFER_KWARGS)}")
        if not (isinstance(value, bool | str) or is_number(value)):
            raise ModelFileError(f"{where}: {name} of replay_buffer_kwargs must be a number or text, got {str(value)[:100]}")
    return kwargs


def _add_spaces(data: dict[str, Any], config: dict[str, Any], entries: dict[str, Entry], where: Path | str) -> None:
    """Add the spaces. Every number of an action, and of an observation that is not an image, has its own weights."""
    n_weights = sum(entry.size for entry in entries.values())
    for name, most in zip(SPACES, (max(n_weights, IMAGE), n_weights), strict=True):
        try:
            data[name] = decode_space(config[name], Room(most, MAX_PARTS))
        except ModelFileError as error:
            raise ModelFileError(f"{where}: {name}: {error}") from error
    if not isinstance(data["action_space"], spaces.Box):
        raise ModelFileError(f"{where}: action_space is {data['action_space']}, and QuantumTD3 has a Box")


def _check_noise(data: dict[str, Any], where: Path | str) -> None:
    """Check that the noise has the action's shape and the number of environments."""
    noise, shape = data["action_noise"], data["action_space"].shape
    if not isinstance(noise, ActionNoise):
        return
    vectorized = isinstance(noise, VectorizedActionNoise)
    parts = [noise.base_noise, *noise.noises] if isinstance(noise, VectorizedActionNoise) else [noise]
    if vectorized and len(parts) != data["n_envs"] + 1:
        raise ModelFileError(f"{where}: action_noise is for {counted(len(parts) - 1, 'environment')}, not {data['n_envs']}")
    for part in parts:
        values = [getattr(part, key, None) for key in ("_mu", "_sigma", "initial_noise", "noise_prev")]
        try:
            fits = np.broadcast_shapes(shape, *(np.shape(value) for value in values if value is not None)) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ModelFileError(f"{where}: action_noise does not have the action's shape {list(shape)}")


def _check_policy_kwargs(kwargs: dict[str, Any], entries: dict[str, Entry], where: Path | str) -> None:
    """Refuse more layers, networks and qubits than the tensors allow."""
    most, level = 4 * len(entries) + 64, [kwargs]
    for count in ("n_qubits", "n_layers", "n_critics"):
        if kwargs.get(count) is not None and not is_integer(kwargs[count], 1, 2**31):
            raise ModelFileError(f"{where}: {count}={str(kwargs[count])[:100]}, accepted is an integer >= 1")
    if kwargs.get("n_critics", 1) > most:
        raise ModelFileError(
            f"{where}: n_critics={kwargs['n_critics']}, and the file has {counted(len(entries), 'tensor')} in all"
        )
    while level:
        parts: list[Any] = []
        for item in level:
            if isinstance(item, dict | list | tuple):
                if len(item) > most:
                    raise ModelFileError(
                        f"{where}: policy_kwargs lists {counted(len(item), 'value')} for {counted(len(entries), 'tensor')}"
                    )
                parts += item.values() if isinstance(item, dict) else item
            elif isinstance(item, int) and abs(item) > 2**31:
                raise ModelFileError(f"{where}: policy_kwargs holds the number {item}, and no network is that wide")
        level = parts


def _check_flags(flags: Any, space: spaces.Space, where: Path | str) -> dict[str, Any]:
    """Check the flags of a ``VecNormalize``."""
    if not isinstance(flags, dict) or flags.keys() != set(NORMALIZE_FLAGS):
        raise ModelFileError(f"{where}: vec_normalize has the flags {', '.join(NORMALIZE_FLAGS)}, got {_listed(flags)}")
    flags = {name: decode(value) for name, value in flags.items()}
    positive = all(isinstance(flags[name], int | float) and flags[name] > 0 for name in ("clip_obs", "clip_reward", "epsilon"))
    switches = all(isinstance(flags[name], bool) for name in ("norm_obs", "norm_reward"))
    if not (positive and switches and is_number(flags["gamma"]) and 0 <= flags["gamma"] <= 1):
        raise ModelFileError(f"{where}: flags of vec_normalize are malformed: {str(flags)[:200]}")
    keys, known = flags["norm_obs_keys"], list(space.spaces) if isinstance(space, spaces.Dict) else []
    if keys is not None and not (isinstance(keys, list | tuple) and all(key in known for key in keys)):
        raise ModelFileError(f"{where}: norm_obs_keys of vec_normalize are {str(keys)[:100]}, and the observation has {known}")
    return flags


def normalized_parts(flags: dict[str, Any], space: spaces.Space) -> dict[str, tuple[int, ...]]:
    """
    Find the normalized parts of an observation.

    :param flags: flags of a ``VecNormalize``
    :param space: the observation space
    :return: shapes of the normalized parts by the names of their statistics
    """
    if not flags["norm_obs"]:
        return {}
    if isinstance(space, spaces.Dict):
        keys = flags["norm_obs_keys"] or list(space.spaces)
        return {f"obs_rms.{key}": space.spaces[key].shape for key in keys}  # type: ignore[misc]
    return {"obs_rms": space.shape}  # type: ignore[dict-item]


def _check_statistics(flags: dict[str, Any], space: spaces.Space, entries: dict[str, Entry]) -> set[str]:
    """Check running means and variances, one of each per number of an observation; an image's channel axis may differ."""
    found = set()
    for key, shape in {"ret_rms": (), **normalized_parts(flags, space)}.items():
        for moment in ("mean", "var", "count"):
            name = f"vec_normalize:{key}:{moment}"
            entry, expected = entries.get(name), () if moment == "count" else shape
            if entry is None:
                raise ModelFileError(f"the tensor {name!r} is missing")
            if entry.dtype not in ("F32", "F64") or sorted(entry.shape) != sorted(expected):
                has = f"{entry.dtype} of shape {list(entry.shape)}"
                raise ModelFileError(f"the tensor {name!r} is {has}, and should be F64 of {list(expected)}")
            found.add(name)
    return found


def _check_buffer_size(data: dict[str, Any], buffer_size: Any, where: Path | str) -> None:
    """Refuse a replay buffer that exceeds this machine's memory."""
    observation, kwargs = data["observation_space"], data["policy_kwargs"]
    parts = observation.spaces.values() if isinstance(observation, spaces.Dict) else [observation]
    row = 16 + 4 * math.prod(data["action_space"].shape)
    for part in parts:
        # Float64 is stored in single precision, and one-hot encoding comes later
        width = min(np.dtype(part.dtype).itemsize, 4) if np.dtype(part.dtype).kind == "f" else np.dtype(part.dtype).itemsize
        row += math.prod(part.shape or ()) * width * (1 if data["optimize_memory_usage"] else 2)
    if block_class(kwargs.get("block", "pqc")).records:
        ansatz = circuit_of(kwargs)
        row += (2 * ansatz.n_angles + ansatz.n_indices + 2 * ansatz.n_qubits) * (2 if data["probe_std"] > 0 else 1)
    rows = max(data["buffer_size"] if buffer_size is None else buffer_size, data["n_envs"])
    if rows * row > memory_bytes():
        raise ModelFileError(
            f"{where}: a replay buffer of {rows:,} rows takes {rows * row / 2**30:,.0f} GiB, and this machine has "
            f"{memory_bytes() / 2**30:,.0f}; load it with buffer_size= (1 is enough to predict)"
        )
