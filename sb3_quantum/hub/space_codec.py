"""Observation and action spaces as JSON, and back, equal and in the same order."""

import math
from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_quantum.hub.strict import ModelFileError, is_integer

#: number types of spaces
DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64")


class Room:
    """
    Budget for the sizes that a file's spaces claim, counted before memory is allocated.

    :param numbers: numbers in all of their arrays
    :param parts: number of spaces, nested ones included
    """

    def __init__(self, numbers: float = math.inf, parts: float = math.inf):
        self.numbers, self.parts = numbers, parts

    def take(self, numbers: int) -> None:
        """
        Subtract from the budget.

        :param numbers: numbers of one space
        :raises ModelFileError: if it exceeds what is left
        """
        self.numbers -= numbers
        self.parts -= 1
        if self.numbers < 0 or self.parts < 0:
            raise ModelFileError(f"a space of {numbers:,} numbers is larger than any network in the file accepts")


def encode_space(space: spaces.Space) -> dict[str, Any]:
    """
    Encode an observation or action space as JSON.

    :param space: ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, or a ``Dict`` or ``Tuple`` of such
    :return: the form from which :func:`decode_space` makes an equal space, with its keys in the same order
    :raises ValueError: if it has no safe form
    """
    encoded = _encode(space)
    if decode_space(encoded) != space:
        raise ValueError(f"the space {space} cannot be saved without pickle: it would not load as the same space")
    return encoded


def _encode(space: spaces.Space) -> dict[str, Any]:
    if isinstance(space, spaces.Dict):
        pairs = [[_encode_key(key, space), _encode(part)] for key, part in space.spaces.items()]
        unsorted = {} if getattr(space, "sort_keys", True) else {"sort_keys": False}
        return {"space": "Dict", "spaces": pairs, **unsorted}
    if isinstance(space, spaces.Tuple):
        return {"space": "Tuple", "spaces": [_encode(part) for part in space.spaces]}
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise ValueError(f"the space {space} cannot be saved without pickle")
    dtype = np.dtype(space.dtype)
    if dtype.name not in DTYPES or not dtype.isnative:
        raise ValueError(f"the space {space} cannot be saved without pickle: its type is {dtype!r}")
    if isinstance(space, spaces.Box):
        sides = {side: _encode_bounds(getattr(space, side)) for side in ("low", "high")}
        encoded = {"space": "Box", "shape": list(space.shape), "dtype": dtype.name, **sides}
        # An integer has no infinity, so infinite bounds cannot be recognized
        made = decode_space(encoded)
        for flag in ("bounded_below", "bounded_above"):
            if not np.array_equal(getattr(space, flag), getattr(made, flag)):
                encoded[flag] = _encode_bounds(getattr(space, flag))
        return encoded
    if isinstance(space, spaces.Discrete):
        return {"space": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": dtype.name}
    if isinstance(space, spaces.MultiDiscrete):
        return {"space": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist(), "dtype": dtype.name}
    # MultiBinary(3) and MultiBinary([3]) are not equal
    return {"space": "MultiBinary", "n": int(space.n)} if isinstance(space.n, int | np.integer) else {
        "space": "MultiBinary", "shape": [int(length) for length in space.n]
    }  # fmt: skip


def _encode_key(key: Any, space: spaces.Space) -> Any:
    if type(key) not in (str, int):
        raise ValueError(f"the space {space} cannot be saved without pickle: its key {key!r} is neither a text nor an integer")
    return key


def decode_space(value: dict[str, Any], room: Room | None = None) -> spaces.Space:
    """
    Decode what :func:`encode_space` returned. Files of sb3-quantum 0.1.0 are read too: their keys are in the order of the
    model's training.

    :param value: a value from a JSON file
    :param room: budget for its size, checked before it is made
    :return: the space
    :raises ModelFileError: if it is of an unknown kind, too large or malformed
    """
    kind = value.get("space") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise ModelFileError(f"the file names an unknown space: {str(kind)[:100]!r}")
    try:
        return _DECODERS[kind](value, Room() if room is None else room)
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(f"a {kind} space is malformed: {str(value)[:200]} ({error})") from error


def _dtype(value: dict[str, Any], default: str | None = None) -> np.dtype:
    name = value["dtype"] if default is None else value.get("dtype", default)
    if name not in DTYPES:
        raise ModelFileError(f"a space is of the unknown type {str(name)[:100]!r}")
    return np.dtype(name)


def _checked_shape(shape: Any, room: Room) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > 16 or not all(is_integer(length, 0) for length in shape):
        raise ModelFileError(f"the shape of a space must be a list of integers >= 0, got {str(shape)[:100]}")
    room.take(math.prod(shape))
    return tuple(shape)


def _decode_box(value: dict[str, Any], room: Room) -> spaces.Box:
    shape, dtype = _checked_shape(value["shape"], room), _dtype(value)
    low, high = (np.broadcast_to(_decode_bounds(value[side], dtype), shape) for side in ("low", "high"))
    box = spaces.Box(low.copy(), high.copy(), shape, dtype.type)
    for flag in ("bounded_below", "bounded_above"):
        if flag in value:
            bounded = np.array(value[flag])
            if bounded.dtype != bool:
                raise ModelFileError(f"{flag} of a Box must contain only true and false")
            setattr(box, flag, np.broadcast_to(bounded, shape).copy())
    return box


def _decode_discrete(value: dict[str, Any], room: Room) -> spaces.Discrete:
    if not is_integer(value["n"], 1) or not is_integer(value["start"], -(2**63)):
        raise ModelFileError(
            f"a Discrete space must have integers n >= 1 and start, got n={value['n']!r}, start={value['start']!r}"
        )
    room.take(value["n"])
    return spaces.Discrete(value["n"], start=value["start"], dtype=_dtype(value, "int64").type)


def _decode_multi_discrete(value: dict[str, Any], room: Room) -> spaces.MultiDiscrete:
    # Texts and halves would be cast to integers
    dtype, nvec, start = _dtype(value, "int64"), np.array(value["nvec"]), np.array(value.get("start", 0))
    if any(array.size and array.dtype.kind not in "iu" for array in (nvec, start)):
        raise ModelFileError(f"a MultiDiscrete space must consist of integers, got {str(value)[:200]}")
    # Python's integers do not wrap around
    room.take(sum(nvec.flatten().tolist()))
    return spaces.MultiDiscrete(nvec.astype(dtype), dtype.type, start=np.broadcast_to(start, nvec.shape).astype(dtype))


def _decode_multi_binary(value: dict[str, Any], room: Room) -> spaces.MultiBinary:
    if "shape" in value:
        return spaces.MultiBinary(_checked_shape(value["shape"], room))
    n = value["n"]
    # 0.1.0 wrote [3] for both MultiBinary(3) and MultiBinary([3]); the first is more common
    if isinstance(n, list) and len(n) > 1:
        return spaces.MultiBinary(_checked_shape(n, room))
    (length,) = _checked_shape(n if isinstance(n, list) else [n], room)
    return spaces.MultiBinary(length)


def _decode_dict(value: dict[str, Any], room: Room) -> spaces.Dict:
    room.take(0)
    parts = value["spaces"]
    pairs = list(parts.items()) if isinstance(parts, dict) else [(key, part) for key, part in parts]
    made = OrderedDict((key, decode_space(part, room)) for key, part in pairs)
    if len(made) < len(pairs) or not all(type(key) in (str, int) for key in made):
        raise ModelFileError(f"the keys of a Dict space must be distinct strings, got {str([key for key, _ in pairs])[:100]}")
    # An OrderedDict: of any other dictionary the keys would be sorted
    unsorted: dict[str, Any] = {"sort_keys": False} if value.get("sort_keys") is False else {}
    return spaces.Dict(made, **unsorted)


def _decode_tuple(value: dict[str, Any], room: Room) -> spaces.Tuple:
    room.take(0)
    return spaces.Tuple([decode_space(part, room) for part in value["spaces"]])


_DECODERS: dict[str, Any] = {
    "Box": _decode_box,
    "Discrete": _decode_discrete,
    "MultiDiscrete": _decode_multi_discrete,
    "MultiBinary": _decode_multi_binary,
    "Dict": _decode_dict,
    "Tuple": _decode_tuple,
}


def _encode_bounds(bounds: np.ndarray) -> Any:
    """One number where all are equal, as those of images are; infinities are strings, which JSON has no numbers for."""
    if bounds.size > 0 and bounds.tobytes() == bounds.flat[:1].tobytes() * bounds.size:
        bounds = bounds.flat[0]
    return _finite(bounds.tolist())


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else str(value)


def _decode_bounds(bounds: Any, dtype: np.dtype) -> np.ndarray:
    """Decode bounds in the space's own type, because 64-bit integers do not fit into floats."""
    return np.array(_numbers(bounds, dtype.kind), dtype=dtype)


def _numbers(value: Any, kind: str) -> Any:
    if isinstance(value, list):
        return [_numbers(item, kind) for item in value]
    if kind == "f" and value in ("inf", "-inf"):
        return float(value)
    accepted = {"f": int | float, "b": bool, "i": int, "u": int}[kind]
    # 0.1.0 wrote whole floats only for floats, so an integer's bounds are integers in its files too
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind != "b"):
        raise ModelFileError(f"a bound of a space is {str(value)[:100]!r}, which its type cannot hold")
    return value
