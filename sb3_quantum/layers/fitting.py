"""Gradients of the qtDNN's fit, which is run many times per update."""

import torch as th
from torch import nn
from torch.nn import functional as F


def bce_backward(net: nn.Sequential, features: th.Tensor, targets: th.Tensor, offset: th.Tensor | None = None) -> th.Tensor:
    """
    Compute the mean binary cross-entropy between ``offset + net(features)`` (logits) and the targets, and its gradients.

    The gradients go into the parameters' ``grad``, in place where there is one.

    Linear layers with rectifiers between them are differentiated by hand, which takes two thirds of autograd's time for the
    paper's qtDNN and its tiny-batches of 32. Other networks use autograd.

    :param net: the network
    :param features: the network's inputs, ``(batch, n_features)``
    :param targets: bits or expected bits, ``(batch, n_qubits)``
    :param offset: the prior's logits, ``(batch, n_qubits)``
    :return: the loss in nats per qubit, without gradient
    """
    if not all(type(layer) in (nn.Linear, nn.LeakyReLU, nn.ReLU) for layer in net):
        return _by_autograd(net, features, targets, offset)
    with th.no_grad():
        return _by_hand(net, features, targets, offset)


def _by_autograd(net: nn.Sequential, features: th.Tensor, targets: th.Tensor, offset: th.Tensor | None) -> th.Tensor:
    net.requires_grad_(True)
    try:
        with th.enable_grad():
            logits = net(features)
            loss = F.binary_cross_entropy_with_logits(logits if offset is None else offset + logits, targets)
        parameters = list(net.parameters())
        for parameter, gradient in zip(parameters, th.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
    finally:
        net.requires_grad_(False)
    return loss.detach()


def _by_hand(net: nn.Sequential, features: th.Tensor, targets: th.Tensor, offset: th.Tensor | None) -> th.Tensor:
    # Every row of the batch is a column here: this lets the product of a wide layer with few rows use more than one thread
    values, layer_inputs = features.t(), []
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer_inputs.append(values)
            values = th.addmm(layer.bias[:, None], layer.weight, values)
        else:
            F.leaky_relu_(values, _slope(layer))
    # Loss, and its gradient at the network's outputs, (n_qubits, batch)
    logits = values.t() if offset is None else offset + values.t()
    loss = F.binary_cross_entropy_with_logits(logits, targets)
    gradient = (th.sigmoid(logits) - targets).mul_(1 / targets.numel()).t()
    # Backward, layer by layer
    for layer in reversed(net):
        if isinstance(layer, nn.Linear):
            values = layer_inputs.pop()
            for parameter in (layer.weight, layer.bias):
                if parameter.grad is None:
                    parameter.grad = th.empty_like(parameter)
            th.mm(gradient, values.t(), out=layer.weight.grad)
            th.sum(gradient, dim=1, out=layer.bias.grad)
            if layer_inputs:
                gradient = layer.weight.t() @ gradient
        else:
            # From the rectifier's output, which is the next layer's input
            gradient = th.ops.aten.leaky_relu_backward(gradient, values, _slope(layer), True)
    return loss


def _slope(layer: nn.Module) -> float:
    return layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
