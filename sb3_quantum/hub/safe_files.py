"""
A trained model without pickle: tensors in a safetensors file, everything else in a JSON file.

SB3's zip is a pickle, and loading one from a stranger runs what the stranger wants. These two files hold the same model
(parameters of all networks and all optimizers, hyperparameters and schedules, spaces, counters, the backend's spec, generator
and counters, the statistics of ``VecNormalize``) as plain data.
"""

import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, is_vecenv_wrapped

from sb3_quantum import __version__
from sb3_quantum.backends import Backend
from sb3_quantum.hub.codec import decode, decode_space, encode, encode_space
from sb3_quantum.qtd3 import QuantumTD3

WEIGHTS, CONFIG = "model.safetensors", "model.json"
FORMAT, FORMAT_VERSION = "sb3-quantum", 1

#: of the constructor's arguments, what is nobody's business elsewhere, or has a form of its own
_NOT_SAVED = {"policy", "env", "tensorboard_log", "verbose", "device", "stats_window_size", "_init_setup_model"}
_OWN_FORM = {"train_freq", "backend", "backend_kwargs"}
#: how far the training has come
_PROGRESS = (
    "num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_episode_num", "_n_updates", "_stats_window_size"
)  # fmt: skip
_SPACES = ("observation_space", "action_space")
_KEYS = ("format_version", "algorithm", "policy", "arguments", "progress", "n_envs", *_SPACES, "optimizers")
_NORMALIZE_FLAGS = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys")


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('models without pickle need safetensors: pip install "sb3-quantum[hub]"') from error
    return safetensors.torch


def _arguments() -> set[str]:
    """Names of the constructor's arguments that are written."""
    return set(inspect.signature(QuantumTD3).parameters) - _NOT_SAVED


def save_safe(model: QuantumTD3, folder: str | Path) -> None:
    """
    Write a model as ``model.safetensors`` and ``model.json``. Neither has paths of this machine in it.

    :param model: the model; a ``VecNormalize`` around its environment is written too
    :param folder: where to; it is made if it is not there
    :raises ValueError: if part of the model has no form without pickle, such as a class of the user's own; nothing is written
    :raises ImportError: if safetensors is missing
    """
    safetensors = _safetensors()
    policy_names = {cls: name for name, cls in model.policy_aliases.items()}
    if type(model.policy) not in policy_names:
        raise ValueError(f"the policy has no form without pickle: {type(model.policy).__name__} is not one of sb3-quantum's")
    arguments = {name: encode(getattr(model, name), name) for name in _arguments() - _OWN_FORM}
    assert isinstance(model.train_freq, TrainFreq)
    backend, layer = model.backend, model.policy.quantum_layer
    config: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sb3_quantum_version": __version__,
        "algorithm": "QuantumTD3",
        "policy": policy_names[type(model.policy)],
        "arguments": {
            **arguments,
            "train_freq": [model.train_freq.frequency, model.train_freq.unit.value],
            "backend": backend.name if isinstance(backend, Backend) else backend,
            "backend_kwargs": encode(model.backend_kwargs if layer is None else layer.backend.kwargs, "backend_kwargs"),
        },
        "progress": {name: getattr(model, name) for name in _PROGRESS},
        "n_envs": model.n_envs,
        **{name: encode_space(getattr(model, name)) for name in _SPACES},
        "optimizers": {},
    }
    tensors: dict[str, th.Tensor] = {}
    for name, state in model.get_parameters().items():
        if name == "policy":
            tensors.update({f"policy.{key}": tensor for key, tensor in state.items()})
            continue
        config["optimizers"][name] = encode(state["param_groups"], name)
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if not isinstance(value, th.Tensor):
                    raise ValueError(f"{name} has no form without pickle: its {key!r} is not a tensor, but {value!r}")
                tensors[f"{name}:{index}:{key}"] = value
    vec_normalize = model.get_vec_normalize_env()
    if vec_normalize is not None:
        config["vec_normalize"] = {flag: encode(getattr(vec_normalize, flag), flag) for flag in _NORMALIZE_FLAGS}
        for key, statistics in _running_statistics(vec_normalize).items():
            for moment in ("mean", "var", "count"):
                tensors[f"vec_normalize:{key}:{moment}"] = th.as_tensor(np.array(getattr(statistics, moment)))
    text = json.dumps(config, indent=1, allow_nan=False) + "\n"
    # Copies: tensors that share memory, as those of a shared features extractor, are refused
    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(text)


def load_safe(folder: str | Path, env: GymEnv | None = None, device: th.device | str = "auto", **kwargs: Any) -> QuantumTD3:
    """
    Load what :func:`save_safe` wrote. Nothing in the files is executed.

    :param folder: where ``model.safetensors`` and ``model.json`` are
    :param env: the environment to run the model on (can be None if you only need prediction from a trained model); if the
        model was trained with ``VecNormalize``, it is wrapped in one with the saved statistics, which does not update them
        (``model.get_vec_normalize_env().training = True`` makes it)
    :param device: where the networks go
    :param kwargs: anything to change, an argument of the constructor; as in ``QuantumTD3.load``, ``backend`` alone starts from
        that backend's own defaults
    :return: the model
    :raises FileNotFoundError: if a file is missing
    :raises ValueError: if the files are not a model of this algorithm, or name something that is not known to be safe
    :raises ImportError: if safetensors is missing
    """
    safetensors = _safetensors()
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    policy = QuantumTD3.policy_aliases.get(config["policy"])
    if policy is None:
        raise ValueError(f"{folder / CONFIG} names a policy that is not known: {config['policy']!r}")
    data = {name: decode(value) for name, value in config["arguments"].items()}
    unknown = (data.keys() - _arguments()) | (kwargs.keys() - inspect.signature(QuantumTD3).parameters.keys())
    if unknown:
        raise ValueError(f"QuantumTD3 has no argument {', '.join(map(repr, sorted(unknown)))}")
    data["train_freq"] = tuple(data["train_freq"])
    data.update({name: config["progress"][name] for name in _PROGRESS})
    data["n_envs"] = config["n_envs"]
    for name in _SPACES:
        data[name] = decode_space(config[name])
    if "backend" in kwargs:
        kwargs.setdefault("backend_kwargs", None)

    tensors = safetensors.load_file(folder / WEIGHTS)
    wrapped = None
    if env is not None:
        wrapped = QuantumTD3._wrap_env(env, kwargs.get("verbose", 0))
        if "vec_normalize" in config:
            wrapped = _with_statistics(wrapped, config["vec_normalize"], tensors)
        check_for_correct_spaces(wrapped, data["observation_space"], data["action_space"])
        data["n_envs"] = wrapped.num_envs
    elif "vec_normalize" in config:
        warnings.warn("trained with VecNormalize: without env, observations have to be normalized by hand", stacklevel=2)
    model = QuantumTD3(policy, wrapped, device=device, _init_setup_model=False)  # type: ignore[arg-type]
    model.__dict__.update({**data, **kwargs})
    model._setup_model()
    model.set_parameters(_parameters(tensors, config["optimizers"]), exact_match=True, device=device)
    return model


def _read_config(path: Path) -> dict[str, Any]:
    """The JSON file, if it is one of a model of this algorithm."""
    try:
        config = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is not of a model of sb3-quantum")
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(map(repr, missing))}")
    if config["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path} is in version {config['format_version']} of the format; sb3-quantum {__version__} reads {FORMAT_VERSION}"
        )
    if config["algorithm"] != "QuantumTD3":
        raise ValueError(f"{path} is of a model of another algorithm: {config['algorithm']}, not QuantumTD3")
    return config


def _parameters(tensors: dict[str, th.Tensor], optimizers: dict[str, Any]) -> dict[str, Any]:
    """State dicts as ``set_parameters`` takes them."""
    networks = {key: value for key, value in tensors.items() if key.startswith("policy.") and ":" not in key}
    parameters: dict[str, Any] = {"policy": {key.removeprefix("policy."): value for key, value in networks.items()}}
    for name, param_groups in optimizers.items():
        state: dict[int, dict[str, th.Tensor]] = {}
        for place in (place for place in tensors if place.startswith(f"{name}:")):
            _, index, key = place.split(":")
            state.setdefault(int(index), {})[key] = tensors[place]
        parameters[name] = {"state": state, "param_groups": decode(param_groups)}
    return parameters


def _running_statistics(vec_normalize: VecNormalize) -> dict[str, RunningMeanStd]:
    """The statistics by name; those of dictionary observations by key."""
    statistics = {"ret_rms": vec_normalize.ret_rms}
    if vec_normalize.norm_obs:
        obs_rms = vec_normalize.obs_rms
        statistics.update(
            {f"obs_rms.{key}": part for key, part in obs_rms.items()} if isinstance(obs_rms, dict) else {"obs_rms": obs_rms}
        )
    return statistics


def _with_statistics(env: VecEnv, flags: dict[str, Any], tensors: dict[str, th.Tensor]) -> VecEnv:
    """The environment in a VecNormalize with the saved statistics; one that it has already gets them."""
    flags = {flag: decode(flags[flag]) for flag in _NORMALIZE_FLAGS}
    inner = env
    while is_vecenv_wrapped(inner, VecNormalize) and not isinstance(inner, VecNormalize):
        inner = inner.venv  # type: ignore[attr-defined]
    vec_normalize = inner if isinstance(inner, VecNormalize) else VecNormalize(env, training=False, **flags)
    for flag, value in flags.items():
        setattr(vec_normalize, flag, value)
    for key, statistics in _running_statistics(vec_normalize).items():
        for moment in ("mean", "var"):
            setattr(statistics, moment, tensors[f"vec_normalize:{key}:{moment}"].numpy())
        statistics.count = float(tensors[f"vec_normalize:{key}:count"])
    vec_normalize.training = False
    return env if vec_normalize is inner else vec_normalize
