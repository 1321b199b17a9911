"""The rms encoding and its derivative as kernels in Triton, see :mod:`.encoding`."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
import triton
import triton.language as tl

from sb3_quantum.circuits import fused
from sb3_quantum.circuits.tracing import vjp

if TYPE_CHECKING:
    from sb3_quantum.layers.encoding import RMSEncoding

#: as in :mod:`.encoding`
EPSILON = tl.constexpr(float(np.finfo(np.float32).eps))
#: columns and rows that a program sums the biases' gradient over
COLUMNS, ROWS = 16, 64


class FusedRMS(th.autograd.Function):
    """
    Compute ``bias + scale * outputs / rms(outputs)`` separately for angles and indices, whose biases are two parameters. One
    kernel forward, two backward.
    """

    @staticmethod
    def forward(
        ctx: Any, outputs: th.Tensor, angle_bias: th.Tensor, index_bias: th.Tensor, encoding: "RMSEncoding"
    ) -> th.Tensor:
        # The rows stand among the links, and are read from there
        rows = outputs if outputs.stride(1) == 1 else outputs.contiguous()
        width = rows.shape[1]
        inputs, factors = rows.new_empty(rows.shape), rows.new_empty(len(rows), 2)
        places = (encoding.is_angle, encoding.place)
        numbers = (width, rows.stride(0), len(angle_bias), encoding.angle_scale, encoding.index_scale)
        arrays = (rows, angle_bias.contiguous(), index_bias.contiguous(), *places, inputs, factors)
        fused.launch(_encode, len(rows), *arrays, *numbers, WIDTH=fused.power_of_2(width), num_warps=warps_of(width))
        ctx.encoding, ctx.sizes = encoding, (len(angle_bias), len(index_bias))
        ctx.save_for_backward(rows, factors)
        return inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor | None, ...]:
        rows, factors = ctx.saved_tensors
        encoding, (n_angles, n_indices), gradient = ctx.encoding, ctx.sizes, grad_outputs[0]
        if th.is_grad_enabled():  # create_graph
            again = vjp(encoding.scaled, rows, gradient) if ctx.needs_input_grad[0] else None
            return again, *(part[0] for part in encoding.split(gradient.sum(0, keepdim=True))), None
        gradient, width = gradient.contiguous(), rows.shape[1]
        of_outputs = of_angles = of_indices = None
        places = (encoding.is_angle, encoding.place)
        if ctx.needs_input_grad[0]:
            of_outputs = gradient.new_empty(gradient.shape)
            numbers = (width, rows.stride(0), n_angles, encoding.angle_scale, encoding.index_scale)
            arrays = (rows, factors, encoding.is_angle, gradient, of_outputs)
            fused.launch(
                _encode_backward, len(rows), *arrays, *numbers, WIDTH=fused.power_of_2(width), num_warps=warps_of(width)
            )
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_angles, of_indices = gradient.new_empty(n_angles), gradient.new_empty(n_indices)
            blocks = -(-width // COLUMNS)
            fused.launch(
                _sum_rows, blocks, gradient, *places, of_angles, of_indices, len(rows), width, COLUMNS=COLUMNS, ROWS=ROWS
            )
        return of_outputs, of_angles, of_indices, None


def warps_of(width: int) -> int:
    """
    Choose the number of warps for a row.

    :param width: columns of a row
    :return: warps of the block that works on it
    """
    return min(max(fused.power_of_2(width) // 128, 1), 8)


@triton.jit
def _means(products, angle, n_angles, width):
    """
    Compute the mean over the angles and over the CZ indices. If one kind is missing, its mean is the other's. In double
    precision, in which 1e30 has a square.
    """
    products = products.to(tl.float64)
    of_angles = tl.sum(tl.where(angle, products, 0.0), 0)
    of_indices = tl.sum(tl.where(angle, 0.0, products), 0)
    n_indices = width - n_angles
    first = of_angles / tl.maximum(n_angles, 1)
    second = of_indices / tl.maximum(n_indices, 1)
    return tl.where(n_angles == 0, second, first), tl.where(n_indices == 0, first, second)


@triton.jit
def _encode(
    outputs, angle_bias, index_bias, is_angle, place, inputs, factors,
    width, stride, n_angles, angle_scale, index_scale, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute the circuit inputs of one row, and the factors by which its angles and indices were multiplied."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    there = columns < width
    values = tl.load(outputs + row * stride + columns, mask=there, other=0.0)
    angle = tl.load(is_angle + columns, mask=there, other=0.0) > 0.5
    places = tl.load(place + columns, mask=there, other=0)
    double = values.to(tl.float64)
    angles, indices = _means(double * double, angle, n_angles, width)
    of_angles = (angle_scale / tl.sqrt(angles + EPSILON)).to(tl.float32)
    of_indices = (index_scale / tl.sqrt(indices + EPSILON)).to(tl.float32)
    bias = tl.load(angle_bias + places, mask=there & angle, other=0.0)
    bias += tl.load(index_bias + places, mask=there & (angle == 0), other=0.0)
    tl.store(inputs + row * width + columns, bias + tl.where(angle, of_angles, of_indices) * values, mask=there)
    tl.store(factors + 2 * row, of_angles)
    tl.store(factors + 2 * row + 1, of_indices)


@triton.jit
def _encode_backward(
    outputs, factors, is_angle, slopes, gradient, width, stride, n_angles, angle_scale, index_scale, WIDTH: tl.constexpr
):
    """Map the gradient at the circuit inputs to the gradient at the PreDNN's outputs."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    there = columns < width
    values = tl.load(outputs + row * stride + columns, mask=there, other=0.0)
    slope = tl.load(slopes + row * width + columns, mask=there, other=0.0)
    angle = tl.load(is_angle + columns, mask=there, other=0.0) > 0.5
    of_angles, of_indices = tl.load(factors + 2 * row), tl.load(factors + 2 * row + 1)
    # d factor / d output = -factor^3 / (scale^2 n) * output
    angles, indices = _means(values.to(tl.float64) * slope.to(tl.float64), angle, n_angles, width)
    a, b = of_angles.to(tl.float64), of_indices.to(tl.float64)
    c = (angles * a * a * a / (angle_scale * angle_scale)).to(tl.float32)
    d = (indices * b * b * b / (index_scale * index_scale)).to(tl.float32)
    result = tl.where(angle, of_angles, of_indices) * slope - tl.where(angle, c, d) * values
    tl.store(gradient + row * width + columns, result, mask=there)


@triton.jit(do_not_specialize=["rows"])
def _sum_rows(slopes, is_angle, place, of_angles, of_indices, rows, width, COLUMNS: tl.constexpr, ROWS: tl.constexpr):
    """Sum the columns into the gradients of the biases."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = columns < width
    sums = tl.zeros((COLUMNS,), tl.float32)
    for start in range(0, rows, ROWS):
        numbers = start + tl.arange(0, ROWS)
        places = slopes + numbers.to(tl.int64)[:, None] * width + columns[None, :]
        sums += tl.sum(tl.load(places, mask=(numbers < rows)[:, None] & there[None, :], other=0.0), 0)
    angle = tl.load(is_angle + columns, mask=there, other=0.0) > 0.5
    target = tl.load(place + columns, mask=there, other=0)
    tl.store(of_angles + target, sums, mask=there & angle)
    tl.store(of_indices + target, sums, mask=there & (angle == 0))
