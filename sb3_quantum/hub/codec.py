"""Hyperparameters as JSON, and back. Only objects listed here are made from a file; nothing is imported by name."""

import base64
import math
import re
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common import torch_layers
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer
from torch import nn

from sb3_quantum import common
from sb3_quantum.hub.space_codec import decode_space, encode_space
from sb3_quantum.hub.strict import ModelFileError, is_integer, is_number

__all__ = ["CLASSES", "decode", "decode_space", "encode", "encode_space"]

#: classes that a file may name
CLASSES: dict[str, type] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in nn.modules.activation.__all__},
    **{
        f"torch.optim.{name}": value
        for name, value in vars(th.optim).items()
        if isinstance(value, type) and issubclass(value, th.optim.Optimizer)
    },
    **{
        f"stable_baselines3.{cls.__name__}": cls
        for cls in (torch_layers.FlattenExtractor, torch_layers.NatureCNN, torch_layers.CombinedExtractor)
    },
    **{
        f"sb3_quantum.{name}": value
        for name, value in vars(common).items()
        if isinstance(value, type) and issubclass(value, ReplayBuffer)
    },
    "stable_baselines3.HerReplayBuffer": HerReplayBuffer,
}
#: two surrogate halves of a character, which JSON would join
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NAMES = {cls: name for name, cls in CLASSES.items()}
#: number types that a file may contain
DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64")
#: number types of an action noise
_NOISE_DTYPES = ("float16", "float32", "float64")


def encode(value: Any, what: str) -> Any:
    """
    Encode a hyperparameter as JSON.

    :param value: a number, a string, an array, one of :data:`CLASSES`, a schedule or an action noise of SB3 or the zoo; or
        lists, tuples and dictionaries of such
    :param what: its name, for the message
    :return: the form from which :func:`decode` makes the same value, type and order included
    :raises ValueError: if it has no safe form
    """
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items = [[encode(str(key), what), encode(item, f"{what}[{key!r}]")] for key, item in value.items()]
        # A user's dictionary must not look like one of the forms below
        plain = all(isinstance(key, str) and not key.startswith("$") for key, _ in items)
        return dict(items) if plain else {"$dict": items}
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, what) for item in value]}
    if isinstance(value, list):
        return [encode(item, what) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.name in DTYPES and value.dtype.isnative:
        data = base64.b64encode(value.tobytes()).decode()
        form = "$array" if isinstance(value, np.ndarray) else "$scalar"
        return {form: {"dtype": value.dtype.name, "shape": list(value.shape), "data": data}}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return {"$int": hex(value)}
    if isinstance(value, str) and _PAIR.search(value):
        return {"$text": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, type) and value in _NAMES:
        return {"$class": _NAMES[value]}
    if isinstance(value, ActionNoise):
        return {"$action_noise": _encode_noise(value, what)}
    if callable(value) and not isinstance(value, type):
        return _encode_schedule(value, what)
    raise ValueError(f"{what} cannot be saved without pickle: {value!r}")


def decode(value: Any) -> Any:
    """
    Decode what :func:`encode` returned. Files of sb3-quantum 0.1.0 are read too; they have lists in place of tuples.

    :param value: a value from a JSON file
    :return: the hyperparameter
    :raises ModelFileError: if the file names something that is not listed, or a form is malformed
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not next(iter(value)).startswith("$"):
        return {key: decode(item) for key, item in value.items()}
    ((form, content),) = value.items()
    if form not in _FORMS:
        raise ModelFileError(f"the file has an unknown form: {form!r}")
    try:
        return _FORMS[form](content)
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(f"{form} is malformed, got {str(content)[:100]} ({error})") from error


def _decode_class(name: Any) -> type:
    if name not in CLASSES:
        raise ModelFileError(f"the file names a class that is not known to be safe: {name!r}")
    return CLASSES[name]


def _decode_dict(items: Any) -> dict[str, Any]:
    made = {decode(key): decode(item) for key, item in items}
    if len(made) < len(items) or not all(isinstance(key, str) for key in made):
        raise ModelFileError(f"the keys of a dictionary must be distinct strings, got {str(list(made))[:100]}")
    return made


def _decode_array(content: Any) -> np.ndarray:
    if content["dtype"] not in DTYPES or not all(is_integer(length, 0) for length in content["shape"]):
        raise ModelFileError(f"an array cannot have the type {content['dtype']!r} and the shape {content['shape']!r}")
    data = base64.b64decode(content["data"], validate=True)
    dtype = np.dtype(content["dtype"])
    if len(data) != math.prod(content["shape"]) * dtype.itemsize:
        raise ModelFileError(f"an array of shape {content['shape']!r} does not have {len(data)} bytes of {dtype}")
    return np.frombuffer(data, dtype).reshape(content["shape"]).copy()


def _decode_float(text: Any) -> float:
    if text not in ("inf", "-inf", "nan"):
        raise ModelFileError(f"a float must be 'inf', '-inf' or 'nan', got {str(text)[:100]!r}")
    return float(text)


def _encode_schedule(schedule: Any, what: str) -> Any:
    if type(schedule) is FloatSchedule:
        return encode(schedule.value_schedule, what)
    if type(schedule) is ConstantSchedule:
        return encode(schedule.val, what)
    if type(schedule) is LinearSchedule:
        return {"$linear_schedule": [encode(x, what) for x in (schedule.start, schedule.end, schedule.end_fraction)]}
    # The zoo's class for linear learning rates of its YAML files; the zoo need not be installed
    if type(schedule).__name__ == "SimpleLinearSchedule":
        return f"lin_{float(schedule.initial_value)!r}"
    raise ValueError(
        f"{what} cannot be saved without pickle: {schedule!r}; accepted are numbers, 'lin_x' and SB3's LinearSchedule"
    )


def _decode_schedule(content: Any) -> LinearSchedule:
    start, end, end_fraction = decode(content)
    # It divides by it
    if not (is_number(start) and is_number(end) and is_number(end_fraction) and end_fraction > 0):
        raise ModelFileError(f"a linear schedule needs start, end and end_fraction > 0, got {str(content)[:100]}")
    return LinearSchedule(start, end, end_fraction)


def _encode_noise(noise: ActionNoise, what: str) -> dict[str, Any]:
    if type(noise) is VectorizedActionNoise:
        noises = [_encode_noise(one, what) for one in noise.noises]
        return {"kind": "vectorized", "base_noise": _encode_noise(noise.base_noise, what), "noises": noises}
    kinds = {NormalActionNoise: "normal", OrnsteinUhlenbeckActionNoise: "ornstein-uhlenbeck"}
    if type(noise) not in kinds or np.dtype(noise._dtype).name not in _NOISE_DTYPES:  # type: ignore[attr-defined]
        raise ValueError(f"{what} cannot be saved without pickle: {noise!r}")
    assert isinstance(noise, NormalActionNoise | OrnsteinUhlenbeckActionNoise)
    values: dict[str, Any] = {"mean": noise._mu, "sigma": noise._sigma}
    if isinstance(noise, OrnsteinUhlenbeckActionNoise):
        values.update(theta=noise._theta, dt=noise._dt, initial_noise=noise.initial_noise, noise_prev=noise.noise_prev)
    encoded = {name: encode(value, what) for name, value in values.items()}
    return {"kind": kinds[type(noise)], **encoded, "dtype": np.dtype(noise._dtype).name}


def _decode_noise(content: Any) -> ActionNoise:
    kind, parameters = content["kind"], {key: value for key, value in content.items() if key != "kind"}
    if kind == "vectorized":
        noises = [_decode_noise(one) for one in parameters["noises"]]
        made = VectorizedActionNoise(_decode_noise(parameters["base_noise"]), len(noises))
        # Bypasses the setter, which would reset them
        made._noises = noises
        return made
    if kind not in ("normal", "ornstein-uhlenbeck"):
        raise ModelFileError(f"the file names an unknown action noise: {kind!r}")
    dtype = parameters.pop("dtype", "float32")
    if dtype not in _NOISE_DTYPES:
        raise ModelFileError(f"an action noise has the unknown type {dtype!r}")
    kwargs = {key: decode(value) for key, value in parameters.items()}
    # 0.1.0 wrote arrays as lists
    kwargs = {key: np.array(value, dtype=float) if isinstance(value, list) else value for key, value in kwargs.items()}
    for key, value in kwargs.items():
        array = np.asarray(0.0 if value is None and key == "initial_noise" else value)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or (key in ("sigma", "dt") and (array < 0).any()):
            raise ModelFileError(f"{key} of an action noise must be a finite number >= 0, got {str(value)[:100]}")
    previous = kwargs.pop("noise_prev", None)
    made_class = NormalActionNoise if kind == "normal" else OrnsteinUhlenbeckActionNoise
    noise = made_class(**kwargs, dtype=np.dtype(dtype).type)
    if previous is not None:
        noise.noise_prev = previous  # type: ignore[union-attr]
    return noise


#: forms that are not plain JSON, and their readers
_FORMS: dict[str, Any] = {
    "$tuple": lambda content: tuple(decode(list(content))),
    "$dict": _decode_dict,
    "$array": _decode_array,
    "$scalar": lambda content: _decode_array(content)[()],
    "$float": _decode_float,
    "$text": lambda content: base64.b64decode(content, validate=True).decode("utf-8", "surrogatepass"),
    "$int": lambda content: int(content, 16),
    "$class": _decode_class,
    "$linear_schedule": _decode_schedule,
    "$action_noise": _decode_noise,
}
