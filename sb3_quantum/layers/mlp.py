"""Multilayer perceptrons."""

from collections.abc import Sequence
from typing import Any

from stable_baselines3.common.torch_layers import create_mlp
from torch import nn


def mlp(
    input_dim: int, output_dim: int, net_arch: Sequence[int], activation_fn: type[nn.Module], **kwargs: Any
) -> nn.Sequential:
    """
    SB3's ``create_mlp`` with rectifiers in place: the linear layer before them no longer needs its output.

    :param input_dim: number of inputs
    :param output_dim: number of outputs; no last layer if negative
    :param net_arch: widths of the hidden layers
    :param activation_fn: activation function after each of them
    :param kwargs: further arguments of ``create_mlp``
    :return: the layers
    """
    layers = create_mlp(input_dim, output_dim, list(net_arch), activation_fn, **kwargs)
    for layer in layers:
        if isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layer.inplace = True
    return nn.Sequential(*layers)
