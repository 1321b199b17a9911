"""Wrap angles with a period of a whole turn."""

import math
from typing import Any

import torch as th

from sb3_quantum.circuits.tracing import in_graph


def wrap_angles(angles: th.Tensor) -> th.Tensor:
    """
    Wrap angles into (-pi, pi], as ``Circuit.wrap_angles`` does for a circuit that is 2-pi periodic in each of them.

    :param angles: angles in radians, any shape, any finite value
    :return: equivalent angles in radians, the same shape
    """
    if in_graph(angles):
        # A graph cannot contain a custom function
        turns = th.ceil(angles.detach() / (2 * math.pi) - 0.5)
        wrapped = angles - turns * (2 * math.pi)
        return wrapped + (wrapped.clamp(-math.pi, math.pi) - wrapped).detach()
    return _Wrap.apply(angles)


class _Wrap(th.autograd.Function):
    """Wrap angles, and pass the gradient without any arithmetic."""

    @staticmethod
    def forward(ctx: Any, angles: th.Tensor) -> th.Tensor:
        # Eight times as fast as torch.remainder, which divides one number at a time
        turns = (angles / (2 * math.pi)).sub_(0.5).ceil_()
        return th.sub(angles, turns, alpha=2 * math.pi).clamp_(-math.pi, math.pi)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> th.Tensor:
        return grad_outputs[0]
