"""
A trained model without pickle: tensors in a safetensors file, everything else in a JSON file.

SB3's zip is a pickle: loading one from a stranger executes the stranger's code. These two files contain the same model as
plain data: parameters of all networks and optimizers, hyperparameters and schedules, spaces, counters, the backend's spec,
generator and counters, and the statistics of ``VecNormalize``.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import GymEnv, TrainFreq
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, is_vecenv_wrapped

from sb3_quantum import __version__
from sb3_quantum.backends import Backend, BackendError
from sb3_quantum.backends.saved import asked_backend
from sb3_quantum.circuits.checks import keywords_checked, shown
from sb3_quantum.common.durable import replacing, sync
from sb3_quantum.hub.codec import encode, encode_space
from sb3_quantum.hub.shapes import DTYPES
from sb3_quantum.hub.strict import Entry, ModelFileError, parse_json, read_header, read_json
from sb3_quantum.hub.validation import (
    BUFFER_KWARGS,
    FORMAT,
    FORMAT_VERSION,
    NORMALIZE_FLAGS,
    PROGRESS,
    SPACES,
    Checked,
    arguments,
    check_config,
    check_values,
    normalized_parts,
)
from sb3_quantum.qtd3 import QuantumTD3
from sb3_quantum.qtd3.arguments import unknown_to_load

WEIGHTS, CONFIG = "model.safetensors", "model.json"

#: constructor arguments that are machine-specific or serialized separately
_OWN_FORM = {"train_freq", "backend", "backend_kwargs", "replay_buffer_kwargs"}


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('models without pickle need safetensors: pip install "sb3-quantum[hub]"') from error
    return safetensors.torch


def check_class(model: Any) -> None:
    """
    Refuse a model of another algorithm.

    :param model: what is to be saved or published
    :raises TypeError: if it is no ``QuantumTD3``
    """
    if not isinstance(model, QuantumTD3):
        raise TypeError(f"model must be a QuantumTD3, got {shown(model)}")


@keywords_checked({})
def save_safe(model: QuantumTD3, folder: str | Path) -> None:
    """
    Write a model as ``model.safetensors`` and ``model.json``. Neither contains paths of this machine. An older model is
    replaced when the new one is on the disk.

    :param model: the model; the statistics of a ``VecNormalize`` around its environment are written too
    :param folder: the folder, which is made if it does not exist
    :raises ValueError: if a part of the model cannot be saved without pickle, such as a user's class, or is not finite
        (nothing is written then)
    :raises TypeError: if the model is of another algorithm
    :raises ImportError: if safetensors is missing
    """
    check_class(model)
    safetensors = _safetensors()
    policy_names = {cls: name for name, cls in model.policy_aliases.items()}
    if type(model.policy) not in policy_names:
        raise ValueError(
            f"the policy cannot be saved without pickle: {type(model.policy).__name__} is not one of sb3-quantum's"
        )
    written = {name: encode(getattr(model, name), name) for name in sorted(arguments() - _OWN_FORM)}
    assert isinstance(model.train_freq, TrainFreq)
    backend, acting = model.backend, model.policy.block.backend
    # The folder of a buffer's rows is specific to this machine
    buffer_kwargs = {name: value for name, value in model.replay_buffer_kwargs.items() if name in BUFFER_KWARGS}
    config: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sb3_quantum_version": __version__,
        "algorithm": "QuantumTD3",
        "policy": policy_names[type(model.policy)],
        "arguments": {
            **written,
            "replay_buffer_kwargs": encode(buffer_kwargs, "replay_buffer_kwargs"),
            "train_freq": [model.train_freq.frequency, model.train_freq.unit.value],
            "backend": backend.name if isinstance(backend, Backend) else backend,
            "backend_kwargs": encode(model.backend_kwargs if acting is None else acting.kwargs, "backend_kwargs"),
        },
        "progress": {name: encode(getattr(model, name), name) for name in PROGRESS},
        "n_envs": model.n_envs,
        **{name: encode_space(getattr(model, name)) for name in SPACES},
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
                    raise ValueError(f"{name} cannot be saved without pickle: its {key!r} is not a tensor, but {value!r}")
                tensors[f"{name}:{index}:{key}"] = value
    vec_normalize = model.get_vec_normalize_env()
    if vec_normalize is not None:
        config["vec_normalize"] = {flag: encode(getattr(vec_normalize, flag), flag) for flag in NORMALIZE_FLAGS}
        for key, statistics in _running_statistics(vec_normalize).items():
            for moment in ("mean", "var", "count"):
                tensors[f"vec_normalize:{key}:{moment}"] = th.as_tensor(np.array(getattr(statistics, moment)))
    # Copies, because safetensors refuses tensors that share memory, such as those of a shared features extractor
    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}
    config["sha256"] = _digest(tensors)
    text = json.dumps(config, indent=1, allow_nan=False) + "\n"
    _check_readable(text, tensors)
    _write(safetensors, Path(folder), text, tensors)


def _check_readable(text: str, tensors: dict[str, th.Tensor]) -> None:
    """Refuse to write what could not be loaded again."""
    entries = {name: Entry(DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    try:
        # A buffer that is too large for another machine exists here already
        check_config(parse_json(text.encode(), CONFIG), entries, CONFIG, buffer_size=1)
        check_values(tensors)
    except ModelFileError as error:
        raise ValueError(f"this model cannot be saved without pickle: {error}") from error


def _write(safetensors: Any, folder: Path, text: str, tensors: dict[str, th.Tensor]) -> None:
    """
    Write both files, as nearly at once as possible: both are on the disk before they are renamed. If the machine stops between
    the two renames, the settings are read from the copy in the tensors' file, which is renamed first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG) as config:
        config.write_text(text, encoding="utf-8")
        sync(config)
        with replacing(folder / WEIGHTS) as weights:
            safetensors.save_file(tensors, weights, metadata={"format": "pt", CONFIG: text})


def _digest(tensors: dict[str, th.Tensor]) -> str:
    """Compute the SHA-256 of all tensors, independent of their order in the file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {DTYPES[tensor.dtype]} {list(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(tensor.reshape(-1).view(th.uint8).numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


def load_safe(
    folder: str | Path,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    use_saved_backend: bool = False,
    **kwargs: Any,
) -> QuantumTD3:
    """
    Load a model that :func:`save_safe` wrote.

    Nothing in the files is executed, and nothing outside this process is contacted: an address, chip or account in a file is
    not used unless you say so. Everything is checked before memory is allocated for it.

    :param folder: folder of ``model.safetensors`` and ``model.json``
    :param env: the environment to run the model on (can be None if you only need prediction from a trained model); if the
        model was trained with ``VecNormalize``, it is wrapped in one with the saved statistics, which are not updated
        (``model.get_vec_normalize_env().training = True`` changes that)
    :param device: device of the networks
    :param use_saved_backend: whether circuits run on the file's backend, whatever it is; only for your own files
    :param kwargs: arguments of the constructor to change; as in ``QuantumTD3.load``, ``backend`` alone has that backend's own
        defaults
    :return: the model
    :raises FileNotFoundError: if a file is missing
    :raises NotADirectoryError: if it is a file, such as a zip
    :raises ModelFileError: if the files are damaged, not a model of this algorithm, or name something that is not known to be
        safe; it is a ``ValueError``
    :raises ValueError: if ``env`` has other spaces than the model, or there is no such argument
    :raises ImportError: if safetensors or a package of the backend is missing
    """
    safetensors = _safetensors()
    folder = Path(folder)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file, not a folder with {CONFIG} and {WEIGHTS}; QuantumTD3.load loads a zip")
    if message := unknown_to_load(QuantumTD3, load_safe, kwargs):
        raise ValueError(f"load_safe: {message}")
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise ModelFileError(f"{folder / CONFIG} is not a model file of sb3-quantum")
    entries, metadata = read_header(folder / WEIGHTS)
    config = _newer(config, metadata, folder)
    checked = check_config(config, entries, folder / CONFIG, kwargs.get("buffer_size"))
    tensors = _read(safetensors, folder / WEIGHTS)
    check_values(tensors)
    if "sha256" in config and config["sha256"] != _digest(tensors):
        raise ModelFileError(
            f"the tensors in {folder / WEIGHTS} are not those that were saved: their checksum differs from the one in {CONFIG}"
        )
    data = checked.data
    if not use_saved_backend or "backend" in kwargs:
        kwargs = asked_backend(folder / CONFIG, data, kwargs, own=False)
    wrapped = None
    if env is not None:
        wrapped = QuantumTD3._wrap_env(env, kwargs.get("verbose", 0))
        if checked.flags is not None:
            wrapped = _with_statistics(wrapped, checked, tensors)
        check_for_correct_spaces(wrapped, data["observation_space"], data["action_space"])
        data["n_envs"] = wrapped.num_envs
        noise = data["action_noise"]
        if isinstance(noise, VectorizedActionNoise) and len(noise.noises) != wrapped.num_envs:
            # learn() makes one for the number of environments
            data["action_noise"] = noise.base_noise
    elif checked.flags is not None:
        data["observations_normalized"] = checked.flags["norm_obs"]
        warnings.warn("trained with VecNormalize: without env, observations have to be normalized by hand", stacklevel=2)
    try:
        model = QuantumTD3(checked.policy, wrapped, device=device, _init_setup_model=False)  # type: ignore[arg-type]
        model.__dict__.update({**data, **kwargs})
        model._setup_model()
        states = _parameters(tensors, checked.optimizers)
        # Attributes that older versions did not write keep their initial values
        states["policy"] = {**_texts(model, states["policy"]), **states["policy"]}
        model.set_parameters(states, exact_match=True, device=device)
        _check_alive(model, folder)
    except (ModelFileError, ImportError, OSError, BackendError):
        raise
    except Exception as error:
        raise ModelFileError(f"{folder} was not loaded: {error or type(error).__name__}") from error
    return model


def _newer(config: dict[str, Any], metadata: dict[str, str], folder: Path) -> dict[str, Any]:
    """
    Return the settings that belong to the tensors: from the tensors' own file if the machine stopped before the other file was
    renamed.
    """
    if CONFIG not in metadata:
        return config
    beside = parse_json(metadata[CONFIG].encode("utf-8", "surrogatepass"), f"the copy of {CONFIG} in {folder / WEIGHTS}")
    if beside.get("sha256") == config.get("sha256") or "sha256" not in config:
        return config
    warnings.warn(
        f"{folder / CONFIG} is older than {WEIGHTS}, because saving was interrupted; the copy in the newer file is used",
        stacklevel=3,
    )
    return beside


def _read(safetensors: Any, path: Path) -> dict[str, th.Tensor]:
    """Read all tensors; the header has already been checked."""
    from safetensors import SafetensorError

    try:
        return safetensors.load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _texts(model: QuantumTD3, found: dict[str, th.Tensor]) -> dict[str, th.Tensor]:
    """Return the model's own packed states, such as generators, which the file lacks."""
    state = model.policy.state_dict()
    return {name: value for name, value in state.items() if name.endswith("_extra_state") and name not in found}


def _check_alive(model: QuantumTD3, folder: Path) -> None:
    """Check that the networks give finite actions for zeros, and that the counters are numbers. No circuit is run."""
    usage = model.policy.block.usage()
    if not all(isinstance(value, int | float) and 0 <= value < np.inf for value in usage.values()):
        raise ModelFileError(f"the counters of the backend in {folder / WEIGHTS} are not numbers: {usage}")
    space = model.observation_space
    zeros: Any = np.zeros(space.shape or (), space.dtype)
    if isinstance(space, spaces.Dict):
        zeros = {key: np.zeros(part.shape or (), part.dtype) for key, part in space.spaces.items()}
    model.policy.set_training_mode(False)
    with th.no_grad():
        observation, _ = model.policy.obs_to_tensor(zeros)
        for actor in {model.actor, model.policy.deployed_actor}:
            inputs, links = actor.encode(observation)
            actions = actor.decode(inputs.new_full((1, actor.block.n_outputs), 0.5), links)
            if not bool(th.isfinite(inputs).all() and th.isfinite(actions).all()):
                raise ModelFileError(f"the networks in {folder / WEIGHTS} overflow: they have no finite action for zeros")


def _parameters(tensors: dict[str, th.Tensor], optimizers: dict[str, Any]) -> dict[str, Any]:
    """Build the state dicts for ``set_parameters``."""
    parameters: dict[str, Any] = {"policy": {}}
    for name, param_groups in optimizers.items():
        parameters[name] = {"state": {}, "param_groups": param_groups}
    for place, tensor in tensors.items():
        name, _, rest = place.partition(":")
        if name in optimizers:
            index, _, key = rest.partition(":")
            parameters[name]["state"].setdefault(int(index), {})[key] = tensor
        elif name != "vec_normalize":
            # An observation's key may contain colons
            parameters["policy"][place.removeprefix("policy.")] = tensor
    return parameters


def _running_statistics(vec_normalize: VecNormalize) -> dict[str, RunningMeanStd]:
    """Collect the statistics by name; those of dictionary observations by key."""
    statistics = {"ret_rms": vec_normalize.ret_rms}
    if vec_normalize.norm_obs:
        obs_rms = vec_normalize.obs_rms
        statistics.update(
            {f"obs_rms.{key}": part for key, part in obs_rms.items()} if isinstance(obs_rms, dict) else {"obs_rms": obs_rms}
        )
    return statistics


def _with_statistics(env: VecEnv, checked: Checked, tensors: dict[str, th.Tensor]) -> VecEnv:
    """Wrap the environment in a VecNormalize with the saved statistics; an existing one gets them."""
    flags = dict(checked.flags or {})
    inner = env
    while is_vecenv_wrapped(inner, VecNormalize) and not isinstance(inner, VecNormalize):
        inner = inner.venv  # type: ignore[attr-defined]
    vec_normalize = inner if isinstance(inner, VecNormalize) else VecNormalize(env, training=False, **flags)
    for flag, value in flags.items():
        setattr(vec_normalize, flag, value)
    loaded = {}
    for key in ("ret_rms", *normalized_parts(flags, checked.data["observation_space"])):
        loaded[key] = RunningMeanStd()
        for moment in ("mean", "var"):
            setattr(loaded[key], moment, tensors[f"vec_normalize:{key}:{moment}"].numpy())
        loaded[key].count = float(tensors[f"vec_normalize:{key}:count"])
    vec_normalize.ret_rms = loaded.pop("ret_rms")
    if "obs_rms" in loaded:
        vec_normalize.obs_rms = loaded["obs_rms"]  # type: ignore[assignment]
    elif loaded:
        vec_normalize.obs_rms = {key.removeprefix("obs_rms."): part for key, part in loaded.items()}
    vec_normalize.training = False
    return env if vec_normalize is inner else vec_normalize
