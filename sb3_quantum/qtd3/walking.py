"""Traverse the networks when they are used: users may freeze, replace and add parts between two updates, as with SB3's TD3."""

import torch as th
from torch import nn


def modules_of(*networks: nn.Module) -> list[nn.Module]:
    """
    List all modules of some networks, themselves included.

    It takes a fraction of the time of ``nn.Module.modules``, so no list must be kept that could become stale. A module in two
    places is listed twice.

    :param networks: the networks to walk through
    :return: the modules, those nearer to the root first
    """
    found: list[nn.Module | None] = list(networks)
    gaps = False
    for module in found:  # the list grows meanwhile
        if module is None:  # a child may be None; bare loops, because this runs several times per step
            gaps = True
        elif module._modules:
            found.extend(module._modules.values())
    return [module for module in found if module is not None] if gaps else found  # type: ignore[return-value]


def tensors_of(*networks: nn.Module) -> tuple[list[th.Tensor], list[th.Tensor]]:
    """
    List the parameters of some networks, frozen ones included, and their running statistics (of batch normalization).

    :param networks: the networks to walk through
    :return: parameters, each of them once per network, and statistics; networks of the same structure have the same order
    """
    parameters: list[th.Tensor] = []
    statistics: list[th.Tensor] = []
    for network in networks:
        once: dict[int, th.Tensor] = {}  # two modules may share one
        for module in modules_of(network):
            if module._parameters:
                for parameter in module._parameters.values():
                    if parameter is not None:
                        once[id(parameter)] = parameter
            if module._buffers:
                statistics.extend(b for name, b in module._buffers.items() if b is not None and "running_" in name)
        parameters.extend(once.values())
    return parameters, statistics


def trainable_parameters(network: nn.Module, optimizer: th.optim.Optimizer) -> list[th.Tensor]:
    """
    List what a backward pass must reach: trainable parameters of the network and of its optimizer.

    :param network: the network
    :param optimizer: its optimizer
    :return: the parameters, each of them once
    """
    parameters, _ = tensors_of(network)
    known = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        parameters.extend(parameter for parameter in group["params"] if id(parameter) not in known)
    return [parameter for parameter in parameters if parameter.requires_grad]
