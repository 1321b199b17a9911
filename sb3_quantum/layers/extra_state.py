"""Plain data as a tensor: how modules keep generators and counters in a ``state_dict``."""

import hashlib
import json
from typing import Any

import torch as th

#: lengths are multiples of this, so that the states of two models can be stacked and averaged
BLOCK = 512


def pack_state(state: dict[str, Any]) -> th.Tensor:
    """
    Pack plain data into a tensor of floating numbers.

    Everything in a ``state_dict`` must be floating, so that a loop that adds noise to every tensor, as in SB3's manual, works.

    :param state: plain data that JSON can hold
    :return: the bytes of the JSON, padded, as float32, so that files stay loadable with ``weights_only=True``
    """
    text = json.dumps(state).encode()
    return th.tensor(list(text.ljust(-(-len(text) // BLOCK) * BLOCK)), dtype=th.float32)


def is_perturbed(state: th.Tensor) -> bool:
    """
    Tell whether noise was added to a packed state, or several were averaged.

    :param state: a tensor in the place of one that :func:`pack_state` returned
    :return: whether its numbers are no longer bytes
    """
    return state.is_floating_point() and bool(((state != state.round()) | (state < 0) | (state > 255)).any())


def unpack_state(state: th.Tensor) -> dict[str, Any]:
    """
    Unpack the data of :func:`pack_state`.

    :param state: return value of :func:`pack_state`; version 0.1.0 wrote uint8
    :return: the data
    :raises RuntimeError: if it is something else
    """
    try:
        unpacked = json.loads(bytes(state.to(th.uint8).tolist()).decode())
    except ValueError as error:
        raise RuntimeError(f"the saved state of a generator is damaged: {error}") from error
    if not isinstance(unpacked, dict):
        raise RuntimeError(f"the saved state of a generator is damaged: it is {unpacked!r}")
    return unpacked


def seed_of(state: th.Tensor) -> int:
    """
    Derive a seed from a perturbed state.

    :param state: a perturbed state
    :return: the seed, the same for equal states, so that equal parameters act alike
    """
    digest = hashlib.sha256(state.detach().cpu().double().numpy().tobytes()).digest()
    return int.from_bytes(digest[:7], "little")
