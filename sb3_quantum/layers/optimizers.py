"""Optimizers that follow a module's parameters through casts, moves and replacements."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch as th

from sb3_quantum.circuits.checks import check_factory, check_keywords, meant, parameters


def make_optimizer(
    optimizer_class: Any, tensors: Iterable[th.nn.Parameter], learning_rate: float, optimizer_kwargs: dict[str, Any] | None
) -> th.optim.Optimizer:
    """
    Make an optimizer from a user's arguments.

    :param optimizer_class: a class, or a function that makes an optimizer
    :param tensors: the parameters that it updates
    :param learning_rate: its learning rate
    :param optimizer_kwargs: its other keyword arguments
    :return: the optimizer
    :raises ValueError: if the keyword arguments do not fit the optimizer
    """
    make, kwargs = check_factory("optimizer_class", optimizer_class, th.optim.Optimizer), check_keywords(
        "optimizer_kwargs", optimizer_kwargs
    )
    try:
        return make(tensors, lr=learning_rate, **kwargs)
    except TypeError as error:
        near = meant(kwargs, parameters(make) or ()) if isinstance(make, type) else ""
        raise ValueError(f"optimizer_kwargs={kwargs!r} do not fit {make!r}: {error}{near}") from error


def follow(optimizer: th.optim.Optimizer, parameters: Sequence[th.Tensor]) -> None:
    """
    Make an optimizer hold a module's current parameters, with its state in their type and on their device.

    After ``load_state_dict(assign=True)``, ``double()`` or a move, an older optimizer holds tensors that no longer belong to
    the module, or moments of another type. A replaced parameter of the same shape inherits the moments; any other starts
    without.

    :param optimizer: an optimizer with one group, the module's former parameters
    :param parameters: the module's current parameters
    """
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(held) != len(parameters) or any(old is not new for old, new in zip(held, parameters, strict=True)):
        known = [optimizer.state.pop(parameter, None) for parameter in held]
        first, *others = optimizer.param_groups
        first["params"] = list(parameters)
        for group in others:
            group["params"] = []
        if len(held) == len(parameters):
            for old, new, state in zip(held, parameters, known, strict=True):
                if state is not None and old.shape == new.shape:
                    optimizer.state[new] = state
    for parameter in parameters:
        for name, value in optimizer.state.get(parameter, {}).items():
            # Moments have the parameter's shape; counters have none, and keep their type
            if isinstance(value, th.Tensor) and value.shape == parameter.shape and value.dim() > 0:
                if value.dtype != parameter.dtype or value.device != parameter.device:
                    optimizer.state[parameter][name] = value.to(parameter)
