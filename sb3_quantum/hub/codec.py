"""What a model is made of, as JSON, and back. Only what is listed here is made from a file: nothing is imported by name."""

import math
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from torch import nn

from sb3_quantum.common import QuantumDictReplayBuffer, QuantumNStepReplayBuffer, QuantumReplayBuffer

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
    **{f"sb3_quantum.{cls.__name__}": cls for cls in (QuantumReplayBuffer, QuantumNStepReplayBuffer, QuantumDictReplayBuffer)},
}
_NAMES = {cls: name for name, cls in CLASSES.items()}


def encode(value: Any, what: str) -> Any:
    """
    A hyperparameter as JSON.

    :param value: a number, a string, one of :data:`CLASSES`, a schedule or an action noise of SB3 or the zoo; or lists and
        dictionaries of such
    :param what: where it comes from, for the message
    :return: what :func:`decode` makes the same value of
    :raises ValueError: if there is no safe form for it
    """
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: encode(item, f"{what}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item, what) for item in value]
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, type) and value in _NAMES:
        return {"$class": _NAMES[value]}
    if isinstance(value, ActionNoise):
        return _encode_noise(value, what)
    if callable(value) and not isinstance(value, type):
        return _encode_schedule(value, what)
    raise ValueError(f"{what} has no form without pickle: {value!r}")


def decode(value: Any) -> Any:
    """
    The inverse of :func:`encode`; tuples become lists.

    :param value: from a JSON file
    :return: the hyperparameter
    :raises ValueError: if the file names something that is not listed
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$float"}:
        return float(value["$float"])
    if value.keys() == {"$class"}:
        if value["$class"] not in CLASSES:
            raise ValueError(f"the file names a class that is not known to be safe: {value['$class']!r}")
        return CLASSES[value["$class"]]
    if value.keys() == {"$linear_schedule"}:
        return LinearSchedule(*map(float, value["$linear_schedule"]))
    if value.keys() == {"$action_noise"}:
        return _decode_noise(**value["$action_noise"])
    return {key: decode(item) for key, item in value.items()}


def _encode_schedule(schedule: Any, what: str) -> Any:
    if isinstance(schedule, FloatSchedule):
        return encode(schedule.value_schedule, what)
    if isinstance(schedule, ConstantSchedule):
        return encode(schedule.val, what)
    if isinstance(schedule, LinearSchedule):
        return {"$linear_schedule": [schedule.start, schedule.end, schedule.end_fraction]}
    # The zoo's own, from which linear learning rates of its YAML files are made; the zoo need not be installed
    if type(schedule).__name__ == "SimpleLinearSchedule":
        return f"lin_{schedule.initial_value!r}"
    raise ValueError(f"{what} has no form without pickle: {schedule!r}; numbers, 'lin_x' and SB3's LinearSchedule have one")


def _encode_noise(noise: ActionNoise, what: str) -> dict[str, Any]:
    if isinstance(noise, VectorizedActionNoise):
        # learn() makes one for as many environments as there are
        return _encode_noise(noise.base_noise, what)
    if type(noise) is NormalActionNoise:
        return {"$action_noise": {"kind": "normal", "mean": noise._mu.tolist(), "sigma": noise._sigma.tolist()}}
    if type(noise) is OrnsteinUhlenbeckActionNoise:
        initial = None if noise.initial_noise is None else noise.initial_noise.tolist()
        parameters = {"mean": noise._mu.tolist(), "sigma": noise._sigma.tolist(), "theta": noise._theta, "dt": noise._dt}
        return {"$action_noise": {"kind": "ornstein-uhlenbeck", **parameters, "initial_noise": initial}}
    raise ValueError(f"{what} has no form without pickle: {noise!r}")


def _decode_noise(kind: str, **parameters: Any) -> ActionNoise:
    kwargs: dict[str, Any] = {key: np.array(value) if isinstance(value, list) else value for key, value in parameters.items()}
    if kind == "normal":
        return NormalActionNoise(**kwargs)
    if kind == "ornstein-uhlenbeck":
        return OrnsteinUhlenbeckActionNoise(**kwargs)
    raise ValueError(f"the file names an action noise that is not known: {kind!r}")


def encode_space(space: spaces.Space) -> dict[str, Any]:
    """
    An observation or action space as JSON.

    :param space: ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, or a ``Dict`` of such
    :return: what :func:`decode_space` makes an equal space of
    :raises ValueError: if there is no safe form for it
    """
    if isinstance(space, spaces.Box):
        return {
            "space": "Box",
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
            **{side: _encode_bounds(getattr(space, side)) for side in ("low", "high")},
        }
    if isinstance(space, spaces.Discrete):
        return {"space": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"space": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"space": "MultiBinary", "n": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"space": "Dict", "spaces": {str(key): encode_space(part) for key, part in space.spaces.items()}}
    raise ValueError(f"the space {space} has no form without pickle")


def decode_space(value: dict[str, Any]) -> spaces.Space:
    """
    The inverse of :func:`encode_space`.

    :param value: from a JSON file
    :return: the space
    :raises ValueError: if it is of an unknown kind
    """
    kind = value["space"]
    if kind == "Box":
        shape, dtype = tuple(value["shape"]), np.dtype(value["dtype"])
        low, high = (np.broadcast_to(np.array(value[side], dtype=float), shape).astype(dtype) for side in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(value["n"], start=value["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(value["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(value["n"])
    if kind == "Dict":
        return spaces.Dict({key: decode_space(part) for key, part in value["spaces"].items()})
    raise ValueError(f"the file names a space that is not known: {kind!r}")


def _encode_bounds(bounds: np.ndarray) -> Any:
    """One number where all are equal, as those of images are; infinities are strings, which JSON has no numbers for."""
    if bounds.size > 0 and (bounds == bounds.flat[0]).all():
        bounds = bounds.flat[0]
    return _finite(bounds.tolist())


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else str(value)
