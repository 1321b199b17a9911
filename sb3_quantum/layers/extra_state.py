"""Plain data as a tensor: how modules keep generators and counters in a ``state_dict``."""

import json
from typing import Any

import torch as th


def pack_state(state: dict[str, Any]) -> th.Tensor:
    """
    :param state: what JSON can hold
    :return: JSON as a uint8 tensor, so that files stay loadable with ``weights_only=True``
    """
    return th.tensor(list(json.dumps(state).encode()), dtype=th.uint8)


def unpack_state(state: th.Tensor) -> dict[str, Any]:
    """
    :param state: what :func:`pack_state` returned
    :return: what it was given
    """
    return json.loads(bytes(state.tolist()).decode())
