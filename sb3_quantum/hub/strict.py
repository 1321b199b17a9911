"""Strict readers for files from strangers: a malformed file is refused in one sentence before anything is made from it."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: maximum size of ``model.json`` and of the header of ``model.safetensors`` in bytes; parsed, they take about thirty times as
#: much
MAX_TEXT = 16 * 2**20
#: maximum nesting of lists and dictionaries
MAX_DEPTH = 64
#: bytes of one number, by safetensors' name of its type
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8,
    "U64": 8,
}  # fmt: skip


class ModelFileError(ValueError):
    """Error of a model's files: damaged, incomplete, not a model, or too large. The message says what is wrong."""


class Entry(NamedTuple):
    """
    A tensor in the header of a safetensors file.

    :param dtype: safetensors' name of its type, a key of :data:`ITEM_BYTES`
    :param shape: shape of the tensor
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


def read_json(path: Path) -> dict[str, Any]:
    """
    Read a JSON file with one object. Duplicate keys, numbers that are not finite or beyond 64 bits, and huge nesting are
    refused.

    :param path: the file
    :return: what is in it
    :raises FileNotFoundError: if it is not there
    :raises ModelFileError: if it is anything else
    """
    size = path.stat().st_size
    if size > MAX_TEXT:
        raise ModelFileError(f"{path} has {size:,} bytes, but a model's settings have at most {MAX_TEXT:,}")
    return parse_json(path.read_bytes(), str(path))


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """
    Parse a JSON text with one object, as :func:`read_json` does.

    :param content: the text, UTF-8
    :param where: where it comes from, for the message
    :return: what is in it
    :raises ModelFileError: if it is not such a text
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_constant=_no_constant,
            parse_float=_finite_float,
            parse_int=_small_int,
        )
    except RecursionError as error:
        raise ModelFileError(f"{where} is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:  # also raised for text that is not UTF-8 or not JSON
        raise ModelFileError(f"{where} is not JSON: {error}") from error
    check_depth(value, where)
    if not isinstance(value, dict):
        raise ModelFileError(f"{where} is not a JSON object")
    return value


def check_depth(value: Any, where: str) -> None:
    """
    Refuse values that are nested too deep.

    :param value: lists and dictionaries
    :param where: where it comes from, for the message
    :raises ModelFileError: if it is nested deeper than :data:`MAX_DEPTH` levels
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for item in level for part in _parts(item)]
        if not level:
            return
    raise ModelFileError(f"{where} is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} occurs twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is beyond float64")
    return value


def _small_int(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the number {text[:40]} is beyond 64 bits")
    return int(text)


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """
    Read the header of a safetensors file and check it against the file's size. No tensor is read.

    :param path: the file
    :return: its tensors by name, and its metadata
    :raises FileNotFoundError: if it is not there
    :raises ModelFileError: if header and file do not match
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_TEXT):
            raise ModelFileError(f"{path} is not a safetensors file: it has {size:,} bytes, and a header of {length:,}")
        header = parse_json(file.read(length), f"the header of {path}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ModelFileError(f"the metadata of {path} must be strings")
    entries, spans = {}, []
    for name, value in header.items():
        entries[name], span = _entry(value, f"the tensor {name!r} in {path}")
        spans.append(span)
    end = 0
    for begin, finish in sorted(spans):
        if begin != end:
            raise ModelFileError(f"the tensors in {path} overlap or leave a gap at byte {end:,}")
        end = finish
    if 8 + length + end != size:
        raise ModelFileError(
            f"{path} has {size:,} bytes, but its header announces {8 + length + end:,}: it was truncated or extended"
        )
    return entries, metadata


def _entry(value: Any, what: str) -> tuple[Entry, tuple[int, int]]:
    """Parse a tensor of the header, and the range of its bytes."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"{what} must have dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ModelFileError(f"{what} is of the unknown type {dtype!r}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ModelFileError(f"{what} has no usable shape and offsets: {str(shape)[:80]}, {str(offsets)[:80]}")
    entry = Entry(dtype, tuple(shape))
    if len(offsets) != 2 or offsets[1] - offsets[0] != entry.size * ITEM_BYTES[dtype]:
        raise ModelFileError(f"{what} of shape {str(shape)[:80]} does not fill the bytes {str(offsets)[:80]}")
    return entry, (offsets[0], offsets[1])


def is_number(value: Any) -> bool:
    """
    Tell whether a value is a finite real number.

    :param value: anything
    :return: whether it is one finite real number of Python or numpy, and not a bool
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(np.isfinite(float(value))) if not isinstance(value, int) else True


def is_integer(value: Any, low: int, high: int = 2**63 - 1) -> bool:
    """
    Tell whether a value is an integer in a range.

    :param value: anything
    :param low: lower bound, inclusive
    :param high: upper bound, inclusive
    :return: whether it is an integer of Python or numpy in that range, and not a bool
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(low <= value <= high)
