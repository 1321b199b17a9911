"""The paper's circuit in the mean-field approximation: every qubit on its own, at linear cost."""

from typing import Any

import numpy as np
import torch as th

from sb3_quantum.circuits.ansatz import Ansatz
from sb3_quantum.circuits.jit import jit


def mean_field_bits(ansatz: Ansatz, inputs: th.Tensor) -> th.Tensor:
    """
    Expected bits of the circuit if its state were a product of single-qubit states after every gate.

    A qubit is then its Bloch vector ``(x, y, z)``, at the start ``(0, 0, 1)``. ``RGate(theta, phi)`` turns it, exactly. A CZ
    between i and j multiplies x and y of either qubit with the other's z: that is what remains of the exact CZ, which maps
    ``X_i`` to ``X_i Z_j``, when correlations between the qubits are dropped. The result is exact as long as no qubit meets one
    that it was already entangled with, directly or by way of others, and good while entanglement is weak. It costs
    ``O(n_layers * n_qubits)`` for any number of qubits and is differentiable in the angles (once, where it is compiled: on
    the CPU); the CZ indices are discrete and get a gradient of zero.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :return: ``(batch, n_qubits)``, in [0, 1]
    """
    theta, phi, index = ansatz.gates(inputs)
    # RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi), and CZ commutes with RZ: one turn about z is left between two layers
    turn = phi[:, :-1] - phi[:, 1:]
    # Whom every qubit meets in the CZ of its layer; for all others a padding qubit, whose z is 1
    partner = th.full_like(theta, ansatz.n_qubits, dtype=th.long).scatter_(2, index, index.flip(2))
    partner.masked_fill_(partner == th.arange(ansatz.n_qubits, device=inputs.device), ansatz.n_qubits)
    compiled = inputs.device.type == "cpu" and inputs.dtype in (th.float32, th.float64)
    z = (_Compiled.apply if compiled else bloch_z)(theta, turn, partner)
    return ((1 - z) / 2).clamp(0, 1)


def bloch_z(theta: th.Tensor, turn: th.Tensor, partner: th.Tensor) -> th.Tensor:
    """
    The recursion of :func:`mean_field_bits` in torch, on any device.

    :param theta: turns about x in radians, ``(batch, n_layers, n_qubits)``
    :param turn: turns about z between the layers in radians, ``(batch, n_layers - 1, n_qubits)``
    :param partner: who gives the factor of x and y between the layers, ``(batch, n_layers, n_qubits)``; ``n_qubits`` for none
    :return: z at the end, ``(batch, n_qubits)``
    """
    cos, sin, turn_cos, turn_sin = theta.cos(), theta.sin(), turn.cos(), turn.sin()
    nobody = theta.new_ones(len(theta), 1)
    x, y, z = th.zeros_like(theta[:, 0]), -sin[:, 0], cos[:, 0]
    for layer in range(1, theta.shape[1]):
        factor = th.cat([z, nobody], dim=1).gather(1, partner[:, layer - 1])
        c, s = turn_cos[:, layer - 1] * factor, turn_sin[:, layer - 1] * factor
        x, y = c * x - s * y, s * x + c * y
        c, s = cos[:, layer], sin[:, layer]
        y, z = c * y - s * z, s * y + c * z
    return z


class _Compiled(th.autograd.Function):
    """:func:`bloch_z` and its derivative on the CPU, compiled."""

    @staticmethod
    def forward(ctx: Any, theta: th.Tensor, turn: th.Tensor, partner: th.Tensor) -> th.Tensor:
        trigonometry = [part.contiguous() for part in (theta.cos(), theta.sin(), turn.cos(), turn.sin())]
        ctx.save_for_backward(*trigonometry, partner)
        z = theta.new_empty(len(theta), theta.shape[2])
        _forward(*(part.numpy() for part in trigonometry), partner.numpy(), z.numpy())
        return z

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor, None]:
        cos, _, turn_cos, _, _ = ctx.saved_tensors
        grad_theta, grad_turn = th.empty_like(cos), th.empty_like(turn_cos)
        arrays = (*ctx.saved_tensors, grad_outputs[0].contiguous(), grad_theta, grad_turn)
        _backward(*(array.numpy() for array in arrays))
        return grad_theta, grad_turn, None


@jit
def _layers(cos, sin, turn_cos, turn_sin, partner, x, y, z):
    """One circuit; x, y and z are filled, ``(n_layers, n_qubits)``: the Bloch vectors after each layer's rotations."""
    n_layers, n_qubits = cos.shape
    for qubit in range(n_qubits):
        x[0, qubit], y[0, qubit], z[0, qubit] = 0.0, -sin[0, qubit], cos[0, qubit]
    for layer in range(1, n_layers):
        for qubit in range(n_qubits):
            other = partner[layer - 1, qubit]
            c, s = turn_cos[layer - 1, qubit], turn_sin[layer - 1, qubit]
            a, b = x[layer - 1, qubit], y[layer - 1, qubit]
            a, b = c * a - s * b, s * a + c * b
            if other < n_qubits:
                factor = z[layer - 1, other]
                a, b = factor * a, factor * b
            c, s = cos[layer, qubit], sin[layer, qubit]
            x[layer, qubit] = a
            y[layer, qubit] = c * b - s * z[layer - 1, qubit]
            z[layer, qubit] = s * b + c * z[layer - 1, qubit]


@jit
def _forward(cos, sin, turn_cos, turn_sin, partner, out):
    """z at the end of every circuit of a batch."""
    x, y, z = np.empty((3, cos.shape[1], cos.shape[2]), cos.dtype)
    for row in range(cos.shape[0]):
        _layers(cos[row], sin[row], turn_cos[row], turn_sin[row], partner[row], x, y, z)
        out[row] = z[-1]


@jit
def _backward(cos, sin, turn_cos, turn_sin, partner, grad_z, grad_theta, grad_turn):
    """
    Gradients with respect to theta and the turns, given that with respect to z at the end. ``gx``, ``gy`` and ``gz`` are those
    with respect to the Bloch vectors after a layer, ``before`` collects what reaches z of the layer before.
    """
    n_layers, n_qubits = cos.shape[1:]
    x, y, z = np.empty((3, n_layers, n_qubits), cos.dtype)
    gx, gy, gz, before = np.empty((4, n_qubits), cos.dtype)
    for row in range(cos.shape[0]):
        _layers(cos[row], sin[row], turn_cos[row], turn_sin[row], partner[row], x, y, z)
        gx[:], gy[:], gz[:] = 0.0, 0.0, grad_z[row]
        for layer in range(n_layers - 1, 0, -1):
            before[:] = 0.0
            for qubit in range(n_qubits):
                # Turning by dt changes (y, z) by dt (-z, y)
                grad_theta[row, layer, qubit] = gz[qubit] * y[layer, qubit] - gy[qubit] * z[layer, qubit]
                c, s = cos[row, layer, qubit], sin[row, layer, qubit]
                b = c * gy[qubit] + s * gz[qubit]
                before[qubit] += c * gz[qubit] - s * gy[qubit]
                c, s = turn_cos[row, layer - 1, qubit], turn_sin[row, layer - 1, qubit]
                u = c * x[layer - 1, qubit] - s * y[layer - 1, qubit]
                v = s * x[layer - 1, qubit] + c * y[layer - 1, qubit]
                a, other = gx[qubit], partner[row, layer - 1, qubit]
                if other < n_qubits:
                    before[other] += a * u + b * v
                    factor = z[layer - 1, other]
                    a, b = factor * a, factor * b
                grad_turn[row, layer - 1, qubit] = b * u - a * v
                gx[qubit], gy[qubit] = c * a + s * b, c * b - s * a
            gz[:] = before
        for qubit in range(n_qubits):
            grad_theta[row, 0, qubit] = gz[qubit] * y[0, qubit] - gy[qubit] * z[0, qubit]
