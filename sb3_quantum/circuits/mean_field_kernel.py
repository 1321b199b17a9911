"""Triton kernels for the qtDNN's features of the paper's circuit and their derivative, see :mod:`.mean_field`."""

from typing import Any

import torch as th
import triton
import triton.language as tl

from sb3_quantum.circuits import fused
from sb3_quantum.circuits.paper import PaperCircuit
from sb3_quantum.circuits.tracing import vjp


class FusedFeatures(th.autograd.Function):
    """
    Compute what the compiled function of :mod:`.mean_field` does: cosines and sines of angles and indices, and the logits of
    the bits, or the bits with a margin of 0.
    """

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, ansatz: PaperCircuit, margin: float) -> th.Tensor:
        rows, n_qubits = inputs.contiguous(), ansatz.n_qubits
        batch, kept = len(rows), bool(ctx.needs_input_grad[0])
        features = rows.new_empty(batch, 2 * ansatz.n_inputs + n_qubits)
        # Bloch vectors after every layer, for the derivative
        states = rows.new_empty(batch if kept else 0, ansatz.n_layers, 3, n_qubits)
        sizes = (n_qubits, ansatz.n_layers, margin)
        fused.launch(
            _features, batch, rows, features, states, *sizes, QUBITS=fused.power_of_2(n_qubits), KEPT=kept, num_warps=1
        )
        ctx.margin, ctx.ansatz = margin, ansatz
        ctx.save_for_backward(inputs, features, states)
        return features

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        inputs, features, states = ctx.saved_tensors
        ansatz = ctx.ansatz
        if th.is_grad_enabled():  # create_graph
            from sb3_quantum.circuits.mean_field import in_torch  # which imports this module

            return vjp(lambda again: in_torch(ansatz, again, ctx.margin), inputs, grad_outputs[0]), None, None
        rows, gradient = inputs.contiguous(), th.empty_like(inputs, memory_format=th.contiguous_format)
        arrays = (rows, features, states, grad_outputs[0].contiguous(), gradient)
        sizes = (ansatz.n_qubits, ansatz.n_layers, ctx.margin)
        fused.launch(_gradient, len(rows), *arrays, *sizes, QUBITS=fused.power_of_2(ansatz.n_qubits), num_warps=1)
        return gradient, None, None


@triton.jit
def round_index(value, n_qubits):
    """
    Round to the nearest integer (ties to even) modulo ``n_qubits``. Divisions are not exact on a GPU, so an error of one turn
    is corrected; NaN becomes some qubit.
    """
    low = tl.floor(value)
    rest = value - low
    odd = low - 2.0 * tl.floor(low * 0.5)
    rounded = tl.where((rest > 0.5) | ((rest == 0.5) & (odd == 1.0)), low + 1.0, low)
    index = rounded - n_qubits * tl.floor(rounded / n_qubits)
    index = tl.where(index < 0.0, index + n_qubits, tl.where(index >= n_qubits, index - n_qubits, index))
    last = n_qubits - 1.0
    return tl.where((index >= 0.0) & (index <= last), index, 0.0).to(tl.int32)


@triton.jit
def _ends(row, layer, n_qubits, width):
    """Return the qubits of a layer's CZ."""
    place = row + layer * width + 2 * n_qubits
    return round_index(tl.load(place), n_qubits), round_index(tl.load(place + 1), n_qubits)


@triton.jit
def _partner(qubits, i, j, values):
    """Return the partner's value for the qubits of a CZ, and 1 for all others."""
    of_i = tl.sum(tl.where(qubits == i, values, 0.0), 0)
    of_j = tl.sum(tl.where(qubits == j, values, 0.0), 0)
    return tl.where(i == j, 1.0, tl.where(qubits == i, of_j, tl.where(qubits == j, of_i, 1.0)))


@triton.jit
def _features(inputs, features, states, n_qubits, n_layers, margin, QUBITS: tl.constexpr, KEPT: tl.constexpr):
    """Compute the features, one circuit per program, all of its qubits at once."""
    batch_row = tl.program_id(0).to(tl.int64)
    qubits = tl.arange(0, QUBITS)
    there = qubits < n_qubits
    width, n_inputs = 2 * n_qubits + 2, n_layers * (2 * n_qubits + 2)
    row = inputs + batch_row * n_inputs
    cosines = features + batch_row * (2 * n_inputs + n_qubits)
    sines = cosines + n_inputs
    state = states + batch_row * (n_layers * 3 * n_qubits)
    x = tl.zeros((QUBITS,), tl.float32)
    y = tl.zeros((QUBITS,), tl.float32)
    z = tl.full((QUBITS,), 1.0, tl.float32)
    cos_before = tl.full((QUBITS,), 1.0, tl.float32)
    sin_before = tl.zeros((QUBITS,), tl.float32)
    for layer in range(n_layers):
        theta = tl.load(row + layer * width + 2 * qubits, mask=there, other=0.0)
        phi = tl.load(row + layer * width + 2 * qubits + 1, mask=there, other=0.0)
        cos, sin, phi_cos, phi_sin = tl.cos(theta), tl.sin(theta), tl.cos(phi), tl.sin(phi)
        column = layer * 2 * n_qubits + 2 * qubits
        tl.store(cosines + column, cos, mask=there)
        tl.store(cosines + column + 1, phi_cos, mask=there)
        tl.store(sines + column, sin, mask=there)
        tl.store(sines + column + 1, phi_sin, mask=there)
        # RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi), and CZ commutes with RZ: one rotation about z remains between two
        # layers
        c, s = cos_before * phi_cos + sin_before * phi_sin, sin_before * phi_cos - cos_before * phi_sin
        x, y = c * x - s * y, s * x + c * y
        y, z = cos * y - sin * z, sin * y + cos * z
        cos_before, sin_before = phi_cos, phi_sin
        if KEPT:
            tl.store(state + (3 * layer) * n_qubits + qubits, x, mask=there)
            tl.store(state + (3 * layer + 1) * n_qubits + qubits, y, mask=there)
            tl.store(state + (3 * layer + 2) * n_qubits + qubits, z, mask=there)
        i, j = _ends(row, layer, n_qubits, width)
        factor = _partner(qubits, i, j, z)
        x, y = x * factor, y * factor
        # The indices as angles
        ends = tl.arange(0, 2)
        turns = tl.load(row + layer * width + 2 * n_qubits + ends) * (6.283185307179586 / n_qubits)
        column = n_layers * 2 * n_qubits + 2 * layer + ends
        tl.store(cosines + column, tl.cos(turns))
        tl.store(sines + column, tl.sin(turns))
    bits = tl.minimum(tl.maximum((1.0 - z) * 0.5, margin), 1.0 - margin)
    if margin > 0:
        bits = tl.log(bits / (1.0 - bits))
    tl.store(cosines + 2 * n_inputs + qubits, bits, mask=there)


@triton.jit
def _gradient(inputs, features, states, slopes, gradient, n_qubits, n_layers, margin, QUBITS: tl.constexpr):
    """
    Compute the gradient with respect to the inputs, one circuit per program. ``gx``, ``gy`` and ``gz`` are the gradients with
    respect to the Bloch vectors after a layer.
    """
    batch_row = tl.program_id(0).to(tl.int64)
    qubits = tl.arange(0, QUBITS)
    there = qubits < n_qubits
    width, n_inputs = 2 * n_qubits + 2, n_layers * (2 * n_qubits + 2)
    row = inputs + batch_row * n_inputs
    out = gradient + batch_row * n_inputs
    cosines = features + batch_row * (2 * n_inputs + n_qubits)
    sines = cosines + n_inputs
    slope = slopes + batch_row * (2 * n_inputs + n_qubits)
    state = states + batch_row * (n_layers * 3 * n_qubits)
    gz = tl.load(slope + 2 * n_inputs + qubits, mask=there, other=0.0) * -0.5
    z = tl.load(state + (3 * n_layers - 1) * n_qubits + qubits, mask=there, other=0.0)
    if margin > 0:
        bits = (1.0 - z) * 0.5
        inside = (bits >= margin) & (bits <= 1.0 - margin)
        gz = tl.where(inside, gz / tl.where(inside, bits * (1.0 - bits), 1.0), 0.0)
    gx = tl.zeros((QUBITS,), tl.float32)
    gy = tl.zeros((QUBITS,), tl.float32)
    turn_behind = tl.zeros((QUBITS,), tl.float32)
    for step in range(n_layers):
        layer = n_layers - 1 - step
        column = layer * 2 * n_qubits + 2 * qubits
        cos = tl.load(cosines + column, mask=there, other=1.0)
        sin = tl.load(sines + column, mask=there, other=0.0)
        phi_cos = tl.load(cosines + column + 1, mask=there, other=1.0)
        phi_sin = tl.load(sines + column + 1, mask=there, other=0.0)
        y = tl.load(state + (3 * layer + 1) * n_qubits + qubits, mask=there, other=0.0)
        z = tl.load(state + (3 * layer + 2) * n_qubits + qubits, mask=there, other=0.0)
        # Rotating by dt changes (y, z) by dt (-z, y)
        g_theta = gz * y - gy * z
        gy, gz = cos * gy + sin * gz, cos * gz - sin * gy
        turn = tl.zeros((QUBITS,), tl.float32)
        if layer > 0:
            before = state + 3 * (layer - 1) * n_qubits
            x_before = tl.load(before + qubits, mask=there, other=0.0)
            y_before = tl.load(before + n_qubits + qubits, mask=there, other=0.0)
            z_before = tl.load(before + 2 * n_qubits + qubits, mask=there, other=0.0)
            cos_before = tl.load(cosines + column - 2 * n_qubits + 1, mask=there, other=1.0)
            sin_before = tl.load(sines + column - 2 * n_qubits + 1, mask=there, other=0.0)
            c, s = cos_before * phi_cos + sin_before * phi_sin, sin_before * phi_cos - cos_before * phi_sin
            i, j = _ends(row, layer - 1, n_qubits, width)
            # A qubit's x and y were multiplied by its partner's z
            reach = gx * (c * x_before - s * y_before) + gy * (s * x_before + c * y_before)
            from_i = tl.sum(tl.where(qubits == i, reach, 0.0), 0)
            from_j = tl.sum(tl.where(qubits == j, reach, 0.0), 0)
            gz += tl.where(i == j, 0.0, tl.where(qubits == j, from_i, tl.where(qubits == i, from_j, 0.0)))
            factor = _partner(qubits, i, j, z_before)
            gx, gy = gx * factor, gy * factor
            gx, gy = c * gx + s * gy, c * gy - s * gx
            turn = x_before * gy - y_before * gx
        # Add the gradient through the cosines and sines, in the layout of the inputs. The rotation before a layer is the
        # previous layer's phi minus its own
        c_slope = tl.load(slope + column, mask=there, other=0.0)
        s_slope = tl.load(slope + n_inputs + column, mask=there, other=0.0)
        tl.store(out + layer * width + 2 * qubits, s_slope * cos - c_slope * sin + g_theta, mask=there)
        c_slope = tl.load(slope + column + 1, mask=there, other=0.0)
        s_slope = tl.load(slope + n_inputs + column + 1, mask=there, other=0.0)
        g_phi = s_slope * phi_cos - c_slope * phi_sin + turn_behind - turn
        tl.store(out + layer * width + 2 * qubits + 1, g_phi, mask=there)
        turn_behind = turn
        ends = tl.arange(0, 2)
        column = n_layers * 2 * n_qubits + 2 * layer + ends
        c_slope, s_slope = tl.load(slope + column), tl.load(slope + n_inputs + column)
        slope_of_ends = s_slope * tl.load(cosines + column) - c_slope * tl.load(sines + column)
        tl.store(out + layer * width + 2 * n_qubits + ends, slope_of_ends * (6.283185307179586 / n_qubits))
