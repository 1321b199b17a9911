"""Mean-field approximation of the paper's circuit: independent qubits, at linear cost."""

from typing import Any

import numpy as np
import torch as th

from sb3_quantum.circuits.base import Circuit
from sb3_quantum.circuits.fused import is_fused
from sb3_quantum.circuits.jit import jit
from sb3_quantum.circuits.paper import PaperCircuit
from sb3_quantum.circuits.tracing import in_graph, vjp


def mean_field_bits(ansatz: Circuit, inputs: th.Tensor) -> th.Tensor:
    """
    Compute the expected bits as if the state were a product of single-qubit states after every gate.

    Each qubit is a Bloch vector ``(x, y, z)``, initially ``(0, 0, 1)``. ``RGate(theta, phi)`` rotates it exactly. A CZ between
    i and j multiplies x and y of each qubit by the other's z: the exact CZ maps ``X_i`` to ``X_i Z_j``, and correlations
    between the qubits are dropped. The result is exact as long as no qubit meets one that it was already entangled with,
    directly or through others, and good while entanglement is weak. It costs ``O(n_layers * n_qubits)`` for any number of
    qubits. It is differentiable in the angles any number of times; the gradient at the discrete CZ indices is zero.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :return: ``(batch, n_qubits)``, in [0, 1]
    """
    assert isinstance(ansatz, PaperCircuit)
    if _is_compiled(inputs):
        return _Compiled.apply(inputs, ansatz, 0.0)[:, 2 * ansatz.n_inputs :]
    if is_fused(inputs):
        return mean_field_features(ansatz, inputs, 0.0)[:, 2 * ansatz.n_inputs :]
    cos, sin = periodic_features(ansatz, inputs)
    return _bits(ansatz, inputs, cos, sin)


def periodic_features(ansatz: Circuit, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    Compute cosines and sines of the angles, then of the CZ indices with ``n_qubits`` as a whole turn, which are the circuit's
    periods.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :return: cosines and sines, each ``(batch, n_inputs)``
    """
    turns = ansatz.turns(inputs)
    return turns.cos(), turns.sin()


def mean_field_features(ansatz: Circuit, inputs: th.Tensor, margin: float) -> th.Tensor:
    """
    Compute the qtDNN's features: :func:`periodic_features`, and the logits of :func:`mean_field_bits` from the same cosines
    and sines.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param margin: the bits are kept this far from 0 and 1, where their logits are infinite
    :return: cosines and sines of angles and indices, ``n_inputs`` columns each, and ``n_qubits`` columns of logits
    """
    assert isinstance(ansatz, PaperCircuit)
    if _is_compiled(inputs):
        return _Compiled.apply(inputs, ansatz, margin)
    if is_fused(inputs):
        from sb3_quantum.circuits.mean_field_kernel import FusedFeatures  # which needs Triton

        return FusedFeatures.apply(inputs, ansatz, margin)
    return in_torch(ansatz, inputs, margin)


def _is_compiled(inputs: th.Tensor) -> bool:
    return inputs.device.type == "cpu" and inputs.dtype in (th.float32, th.float64) and not in_graph(inputs)


def in_torch(ansatz: PaperCircuit, inputs: th.Tensor, margin: float) -> th.Tensor:
    """
    Compute :func:`mean_field_features` with torch's operations, on any device and in any precision, differentiable any number
    of times.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param margin: the bits are kept this far from 0 and 1; with 0 the last columns are the bits
    :return: ``(batch, 2 * n_inputs + n_qubits)``
    """
    cos, sin = periodic_features(ansatz, inputs)
    bits = _bits(ansatz, inputs, cos, sin)
    return th.cat([cos, sin, th.logit(bits, eps=margin) if margin > 0 else bits], dim=1)


def _bits(ansatz: PaperCircuit, inputs: th.Tensor, cos: th.Tensor, sin: th.Tensor) -> th.Tensor:
    """Apply the recursion of :func:`mean_field_bits` in torch, on any device."""
    shape = (-1, ansatz.n_layers, ansatz.n_qubits, 2)
    cos, phi_cos = cos[:, : ansatz.n_angles].reshape(shape).unbind(3)  # each (batch, n_layers, n_qubits)
    sin, phi_sin = sin[:, : ansatz.n_angles].reshape(shape).unbind(3)
    # RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi), and CZ commutes with RZ: one rotation about z remains between two layers
    turn_cos = phi_cos[:, :-1] * phi_cos[:, 1:] + phi_sin[:, :-1] * phi_sin[:, 1:]
    turn_sin = phi_sin[:, :-1] * phi_cos[:, 1:] - phi_cos[:, :-1] * phi_sin[:, 1:]
    # Partner of every qubit in the layer's CZ; for all others a padding qubit, whose z is 1
    index = _cz_qubits(ansatz, inputs)
    partner = th.full_like(cos, ansatz.n_qubits, dtype=th.long).scatter_(2, index, index.flip(2))
    partner.masked_fill_(partner == th.arange(ansatz.n_qubits, device=inputs.device), ansatz.n_qubits)
    nobody = th.ones_like(cos[:, 0, :1])
    # First layer on the vectors (0, 0, 1); x, y, z are (batch, n_qubits)
    x, y, z = th.zeros_like(cos[:, 0]), -sin[:, 0], cos[:, 0]
    for layer in range(1, ansatz.n_layers):
        # CZ of the layer before and rotation about z: x and y are multiplied by the partner's z
        factor = th.cat([z, nobody], dim=1).gather(1, partner[:, layer - 1])
        c, s = turn_cos[:, layer - 1] * factor, turn_sin[:, layer - 1] * factor
        x, y = c * x - s * y, s * x + c * y
        # Rotation about x
        c, s = cos[:, layer], sin[:, layer]
        y, z = c * y - s * z, s * y + c * z
    return ((1 - z) / 2).clamp(0, 1)


def _cz_qubits(ansatz: PaperCircuit, inputs: th.Tensor) -> th.Tensor:
    """Return the qubits of every layer's CZ, ``(batch, n_layers, 2)``."""
    layers = inputs.detach().reshape(-1, ansatz.n_layers, ansatz.layer_width)
    return ansatz.round_indices(layers[..., 2 * ansatz.n_qubits :])


class _Compiled(th.autograd.Function):
    """
    :func:`mean_field_features` and its derivative on the CPU, compiled; with a margin of 0 the last columns are the bits.
    """

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, ansatz: PaperCircuit, margin: float) -> th.Tensor:
        n_qubits, n_layers, n_inputs = ansatz.n_qubits, ansatz.n_layers, ansatz.n_inputs
        index = _cz_qubits(ansatz, inputs)
        turns = inputs.new_empty(inputs.shape)
        features = inputs.new_empty(len(inputs), 2 * n_inputs + n_qubits)
        _turns(inputs.detach().contiguous().numpy(), turns.numpy(), n_qubits, n_layers)
        th.cos(turns, out=features[:, :n_inputs])
        th.sin(turns, out=features[:, n_inputs : 2 * n_inputs])
        _forward(features.numpy(), index.numpy(), n_qubits, margin)
        ctx.margin, ctx.ansatz = margin, ansatz
        ctx.save_for_backward(inputs, features, index)
        return features

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        inputs, features, index = ctx.saved_tensors
        if th.is_grad_enabled():  # create_graph
            return vjp(lambda again: in_torch(ctx.ansatz, again, ctx.margin), inputs, grad_outputs[0]), None, None
        gradient = features.new_empty(inputs.shape)
        arrays = (features.numpy(), index.numpy(), grad_outputs[0].contiguous().numpy(), gradient.numpy())
        _backward(*arrays, ctx.ansatz.n_qubits, ctx.margin)
        return gradient, None, None


@jit
def _turns(inputs, turns, n_qubits, n_layers):
    """Return the angles, followed by the CZ indices as angles."""
    per_index = 2 * np.pi / n_qubits
    width = 2 * n_qubits
    for row in range(inputs.shape[0]):
        for layer in range(n_layers):
            for place in range(width):
                turns[row, layer * width + place] = inputs[row, layer * (width + 2) + place]
            for place in range(2):
                index = inputs[row, layer * (width + 2) + width + place]
                turns[row, n_layers * width + 2 * layer + place] = index * per_index


@jit
def _layers(features, index, cos, sin, turn_cos, turn_sin, x, y, z):
    """
    Run one circuit from its row of features. The other arrays, ``(n_layers, n_qubits)``, are filled: cosines and sines of a
    layer's rotations about x (theta) and about z before it, and the Bloch vectors after it.
    """
    n_layers, n_qubits = cos.shape
    n_inputs = n_layers * (2 * n_qubits + 2)
    for layer in range(n_layers):
        for qubit in range(n_qubits):
            column = 2 * (layer * n_qubits + qubit)
            cos[layer, qubit], sin[layer, qubit] = features[column], features[n_inputs + column]
    for layer in range(1, n_layers):
        for qubit in range(n_qubits):
            column = 2 * (layer * n_qubits + qubit) + 1
            a, b = features[column - 2 * n_qubits], features[n_inputs + column - 2 * n_qubits]
            c, d = features[column], features[n_inputs + column]
            turn_cos[layer, qubit], turn_sin[layer, qubit] = a * c + b * d, b * c - a * d
    for qubit in range(n_qubits):
        x[0, qubit], y[0, qubit], z[0, qubit] = 0.0, -sin[0, qubit], cos[0, qubit]
    # Rotation about z, CZ of the layer before, rotation about x
    for layer in range(1, n_layers):
        for qubit in range(n_qubits):
            c, s = turn_cos[layer, qubit], turn_sin[layer, qubit]
            a, b = x[layer - 1, qubit], y[layer - 1, qubit]
            x[layer, qubit], y[layer, qubit] = c * a - s * b, s * a + c * b
        i, j = index[layer - 1, 0], index[layer - 1, 1]
        if i != j:
            x[layer, i] *= z[layer - 1, j]
            y[layer, i] *= z[layer - 1, j]
            x[layer, j] *= z[layer - 1, i]
            y[layer, j] *= z[layer - 1, i]
        for qubit in range(n_qubits):
            c, s = cos[layer, qubit], sin[layer, qubit]
            a, b = y[layer, qubit], z[layer - 1, qubit]
            y[layer, qubit], z[layer, qubit] = c * a - s * b, s * a + c * b


@jit
def _forward(features, index, n_qubits, margin):
    """Fill the last columns of the features from the others."""
    n_layers = index.shape[1]
    cos, sin, turn_cos, turn_sin, x, y, z = np.empty((7, n_layers, n_qubits), features.dtype)
    for row in range(features.shape[0]):
        _layers(features[row], index[row], cos, sin, turn_cos, turn_sin, x, y, z)
        for qubit in range(n_qubits):
            bit = min(max((1 - z[n_layers - 1, qubit]) / 2, margin), 1 - margin)
            features[row, features.shape[1] - n_qubits + qubit] = np.log(bit / (1 - bit)) if margin > 0 else bit


@jit
def _backward(features, index, grad_features, grad_inputs, n_qubits, margin):
    """
    Compute the gradient with respect to the inputs. ``gx``, ``gy`` and ``gz`` are the gradients with respect to the Bloch
    vectors after a layer, ``g_theta`` and ``g_turn`` those with respect to its rotations.
    """
    n_layers = index.shape[1]
    width = 2 * n_qubits
    n_inputs, n_angles = n_layers * (width + 2), n_layers * width
    cos, sin, turn_cos, turn_sin, x, y, z, g_theta, g_turn = np.empty((9, n_layers, n_qubits), features.dtype)
    gx, gy, gz, before = np.empty((4, n_qubits), features.dtype)
    for row in range(features.shape[0]):
        _layers(features[row], index[row], cos, sin, turn_cos, turn_sin, x, y, z)
        for qubit in range(n_qubits):
            grad = grad_features[row, 2 * n_inputs + qubit]
            bit = (1 - z[n_layers - 1, qubit]) / 2
            if margin > 0:
                grad = grad / (bit * (1 - bit)) if margin <= bit <= 1 - margin else 0.0
            gx[qubit], gy[qubit], gz[qubit] = 0.0, 0.0, -grad / 2
        for layer in range(n_layers - 1, 0, -1):
            for qubit in range(n_qubits):
                # Rotating by dt changes (y, z) by dt (-z, y)
                g_theta[layer, qubit] = gz[qubit] * y[layer, qubit] - gy[qubit] * z[layer, qubit]
                c, s = cos[layer, qubit], sin[layer, qubit]
                before[qubit] = c * gz[qubit] - s * gy[qubit]
                gy[qubit] = c * gy[qubit] + s * gz[qubit]
            i, j = index[row, layer - 1, 0], index[row, layer - 1, 1]
            if i != j:
                for one, other in ((i, j), (j, i)):
                    c, s, a, b = turn_cos[layer, one], turn_sin[layer, one], x[layer - 1, one], y[layer - 1, one]
                    before[other] += gx[one] * (c * a - s * b) + gy[one] * (s * a + c * b)
                    gx[one] *= z[layer - 1, other]
                    gy[one] *= z[layer - 1, other]
            for qubit in range(n_qubits):
                c, s, a, b = turn_cos[layer, qubit], turn_sin[layer, qubit], gx[qubit], gy[qubit]
                gx[qubit], gy[qubit] = c * a + s * b, c * b - s * a
                g_turn[layer, qubit] = x[layer - 1, qubit] * gy[qubit] - y[layer - 1, qubit] * gx[qubit]
            for qubit in range(n_qubits):
                gz[qubit] = before[qubit]
        for qubit in range(n_qubits):
            g_theta[0, qubit] = gz[qubit] * y[0, qubit] - gy[qubit] * z[0, qubit]
            g_turn[0, qubit] = 0.0
        # Add the gradient through the cosines and sines, in the layout of the inputs
        g = grad_features[row]
        f = features[row]
        for layer in range(n_layers):
            start = layer * (width + 2)
            for qubit in range(n_qubits):
                # The rotation before a layer is the previous layer's phi minus its own
                g_phi = -g_turn[layer, qubit] + (g_turn[layer + 1, qubit] if layer + 1 < n_layers else 0.0)
                k = layer * width + 2 * qubit
                grad_inputs[row, start + 2 * qubit] = g[n_inputs + k] * f[k] - g[k] * f[n_inputs + k] + g_theta[layer, qubit]
                k += 1
                grad_inputs[row, start + 2 * qubit + 1] = g[n_inputs + k] * f[k] - g[k] * f[n_inputs + k] + g_phi
            for place in range(2):
                k = n_angles + 2 * layer + place
                slope = g[n_inputs + k] * f[k] - g[k] * f[n_inputs + k]
                grad_inputs[row, start + width + place] = slope * (2 * np.pi / n_qubits)
