from copy import deepcopy

import pytest
import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_quantum.layers import mlp
from sb3_quantum.layers.fitting import bce_backward


def problem(net_arch: list[int], activation_fn: type[nn.Module]) -> tuple[nn.Sequential, th.Tensor, th.Tensor, th.Tensor]:
    th.manual_seed(0)
    net = mlp(7, 3, net_arch, activation_fn).double().requires_grad_(False)
    return net, th.randn(11, 7).double(), th.rand(11, 3).double(), th.randn(11, 3).double()


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("activation_fn", [nn.LeakyReLU, nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("net_arch", [[], [8], [16, 5]])
def test_gradients_are_those_of_autograd(net_arch: list[int], activation_fn: type[nn.Module], with_offset: bool) -> None:
    net, features, targets, offset = problem(net_arch, activation_fn)
    reference = deepcopy(net).requires_grad_(True)
    logits = reference(features) + (offset if with_offset else 0)
    loss = F.binary_cross_entropy_with_logits(logits, targets)
    loss.backward()
    for _ in range(2):  # the second time into the gradients that are there
        actual = bce_backward(net, features, targets, offset if with_offset else None)
        th.testing.assert_close(actual, loss.detach())
        for parameter, expected in zip(net.parameters(), reference.parameters(), strict=True):
            assert not parameter.requires_grad
            th.testing.assert_close(parameter.grad, expected.grad)


def test_slopes_are_the_layers_own() -> None:
    net, features, targets, _ = problem([8], nn.LeakyReLU)
    bce_backward(net, features, targets)
    gentle = net[0].weight.grad.clone()
    net[1].negative_slope = 0.5
    bce_backward(net, features, targets)
    assert not th.allclose(net[0].weight.grad, gentle, rtol=0.05)


def test_features_and_targets_are_left_as_they_are() -> None:
    net, features, targets, offset = problem([], nn.ReLU)
    before = [tensor.clone() for tensor in (features, targets, offset)]
    bce_backward(net, features, targets, offset)
    assert all(th.equal(old, new) for old, new in zip(before, (features, targets, offset), strict=True))
