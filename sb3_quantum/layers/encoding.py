"""Encodings: from the PreDNN's outputs to the circuit's inputs."""

import math
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import (
    check_choice,
    check_instance,
    check_keywords,
    check_number,
    keywords_checked,
    names_checked,
    parameters,
    unknown_names,
)
from sb3_quantum.circuits.fused import is_fused
from sb3_quantum.circuits.jit import jit
from sb3_quantum.circuits.tracing import computable, in_graph, vjp

#: added to the mean square, as ``torch.nn.functional.rms_norm`` does
EPSILON = float(np.finfo(np.float32).eps)


class Encoding(nn.Module):
    """
    Base class of encodings.

    Circuit inputs are the encoded data, followed by the circuit's own weights if it has any. The weights are parameters of the
    encoding, so they are trained with the actor, and inputs of the circuit, so recorded pairs stay valid when they change.

    :param ansatz: the circuit
    """

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)
        self.weights = circuit_weights(ansatz)

    def forward(self, outputs: th.Tensor) -> th.Tensor:
        """
        Encode the data and append the circuit's weights.

        :param outputs: the PreDNN's outputs, ``(batch, n_data)``
        :return: circuit inputs, ``(batch, n_inputs)``
        """
        data = self.encode(outputs)
        return data if self.weights is None else with_weights(data, self.weights)

    def encode(self, outputs: th.Tensor) -> th.Tensor:
        """
        Encode the data; subclasses implement this.

        :param outputs: the PreDNN's outputs, ``(batch, n_data)``
        :return: the circuit's inputs without its weights, ``(batch, n_data)``
        """
        raise NotImplementedError


def circuit_weights(ansatz: Circuit) -> nn.Parameter | None:
    """
    Draw initial weights of a circuit.

    :param ansatz: the circuit
    :return: its weights, ``(n_weights,)``, uniform over a whole turn; ``None`` if it has none
    """
    return nn.Parameter(th.empty(ansatz.n_weights).uniform_(-math.pi, math.pi)) if ansatz.n_weights else None


def with_weights(data: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """
    Append a circuit's weights to every row.

    :param data: ``(batch, n_data)``
    :param weights: ``(n_weights,)``
    :return: circuit inputs, ``(batch, n_inputs)``
    """
    return th.cat([data, weights.to(data.dtype).expand(data.shape[0], -1)], dim=1)


class RawEncoding(Encoding):
    """
    The paper's encoding: the PreDNN's outputs are the circuit's inputs.

    :param ansatz: the circuit
    """

    def encode(self, outputs: th.Tensor) -> th.Tensor:
        return outputs


class RMSEncoding(Encoding):
    """
    Encode into angles of bounded spread: ``angles = bias + angle_scale * z / rms(z)``, with z a row of the PreDNN's angle
    outputs.

    Free angles grow in training until they wrap around. The circuit is then a hash function of the state, whose slope no
    surrogate can learn. Here the root mean square of the angles' deviation from a learnable bias is ``angle_scale`` in every
    state. The CZ indices are treated in the same way, separately from the angles and on their own scale.

    :param ansatz: the circuit
    :param angle_scale: root mean square of the angles' deviation from their bias, in radians
    :param index_scale: the same for the CZ indices, in index units
    :param bias_range: the angles' bias is initialized uniformly in +- this, in radians; that of the indices uniformly in [0,
        n_qubits)
    :raises ValueError: if a scale is not a positive number, or ``bias_range`` is negative
    """

    @names_checked({})
    def __init__(self, ansatz: Circuit, angle_scale: float = 0.5, index_scale: float = 0.25, bias_range: float = 0.0):
        super().__init__(ansatz)
        self.angle_scale = check_number("angle_scale", angle_scale, above=0, unit="radians")
        self.index_scale = check_number("index_scale", index_scale, above=0, unit="index units")
        bias_range = check_number("bias_range", bias_range, least=0, unit="radians")
        n_angles = ansatz.n_angles - ansatz.n_weights
        self.angle_bias = nn.Parameter(th.empty(n_angles).uniform_(-bias_range, bias_range))
        self.index_bias = nn.Parameter(th.empty(ansatz.n_indices).uniform_(0, ansatz.n_qubits))
        # 1 where a circuit input is an angle, 0 where it is a CZ index; and which of the angles or indices it is
        self.is_angle: th.Tensor
        self.place: th.Tensor
        is_angle = ansatz.join(th.ones(1, ansatz.n_angles), th.zeros(1, ansatz.n_indices))[0, : ansatz.n_data]
        self.register_buffer("is_angle", is_angle, persistent=False)
        place = th.where(is_angle > 0, is_angle.cumsum(0), (1 - is_angle).cumsum(0)) - 1
        self.register_buffer("place", place.int(), persistent=False)

    def encode(self, outputs: th.Tensor) -> th.Tensor:
        kept = outputs.dtype
        if outputs.device.type == "cpu" and outputs.dtype == th.float32 and not in_graph(outputs):
            return _CompiledRMS.apply(outputs, self._bias(), self.is_angle, self)
        if is_fused(outputs) and self.angle_bias.dtype == th.float32:
            from sb3_quantum.layers.encoding_kernel import FusedRMS  # which needs Triton

            return FusedRMS.apply(outputs, self.angle_bias, self.index_bias, self)
        bias = self._bias()
        outputs = computable("outputs", outputs)
        return (bias + self.scaled(outputs)).to(th.promote_types(bias.dtype, kept))

    def _bias(self) -> th.Tensor:
        """``(n_data,)``."""
        return self._join(self.angle_bias[None], self.index_bias[None])[0]

    def _join(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        """Put angles and indices back into the order of the data columns."""
        n_weights = self.ansatz.n_weights
        if n_weights == 0:
            return self.ansatz.join(angles, indices)
        padded = th.cat([angles, angles.new_zeros(len(angles), n_weights)], dim=1)  # weights are the last angles
        return self.ansatz.join(padded, indices)[:, : self.ansatz.n_data]

    def split(self, data: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Split the data columns into angles and indices.

        :param data: ``(batch, n_data)``
        :return: angles and indices, without the circuit's weights
        """
        n_weights = self.ansatz.n_weights
        if n_weights == 0:
            return self.ansatz.split(data)
        angles, indices = self.ansatz.split(th.cat([data, data.new_zeros(len(data), n_weights)], dim=1))
        return angles[:, :-n_weights], indices

    def scaled(self, outputs: th.Tensor) -> th.Tensor:
        """
        Compute the scaled deviation from the bias, in torch, on any device.

        :param outputs: the PreDNN's outputs, ``(batch, n_data)``
        :return: ``(batch, n_data)``
        """
        angles, indices = self.split(outputs)
        return self._join(_normalize(angles) * self.angle_scale, _normalize(indices) * self.index_scale)


def _normalize(rows: th.Tensor) -> th.Tensor:
    """Divide rows by their root mean square, as ``rms_norm`` does; that supports neither ONNX nor second derivatives."""
    return rows * th.rsqrt(rows.square().mean(1, keepdim=True) + EPSILON)


class _CompiledRMS(th.autograd.Function):
    """:class:`RMSEncoding` and its derivative on the CPU, compiled: ``bias + scale * outputs / rms(outputs)``."""

    @staticmethod
    def forward(ctx: Any, outputs: th.Tensor, bias: th.Tensor, is_angle: th.Tensor, encoding: RMSEncoding) -> th.Tensor:
        rows, inputs, factors = outputs.contiguous(), outputs.new_empty(outputs.shape), outputs.new_empty(len(outputs), 2)
        scales = (encoding.angle_scale, encoding.index_scale)
        _encode(rows.numpy(), bias.numpy(), is_angle.numpy(), scales, inputs.numpy(), factors.numpy())
        ctx.encoding, ctx.scales = encoding, scales
        ctx.save_for_backward(outputs, factors, is_angle)
        return inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor | None, ...]:
        outputs, factors, is_angle = ctx.saved_tensors
        gradient = grad_outputs[0]
        if th.is_grad_enabled():  # create_graph
            again = vjp(ctx.encoding.scaled, outputs, gradient) if ctx.needs_input_grad[0] else None
            return again, gradient.sum(0), None, None
        rows, gradient, result = outputs.contiguous(), gradient.contiguous(), outputs.new_empty(outputs.shape)
        arrays = (rows.numpy(), factors.numpy(), is_angle.numpy(), ctx.scales, gradient.numpy(), result.numpy())
        _encode_backward(*arrays)
        return result, gradient.sum(0), None, None


@jit
def _inner(one, other, is_angle):
    """
    Compute the mean product of two rows, over the angles and over the CZ indices. If one kind is missing, its mean is the
    other's. In double precision, in which 1e30 has a square.
    """
    angles = indices = n_angles = 0.0
    for column in range(one.size):
        product = np.float64(one[column]) * np.float64(other[column])
        angles += is_angle[column] * product
        indices += (1 - is_angle[column]) * product
        n_angles += is_angle[column]
    if n_angles == 0 or n_angles == one.size:
        return (angles + indices) / one.size, (angles + indices) / one.size
    return angles / n_angles, indices / (one.size - n_angles)


@jit
def _encode(outputs, bias, is_angle, scales, inputs, factors):
    """Compute the circuit inputs, and the factors by which each row's angles and indices were multiplied."""
    for row in range(outputs.shape[0]):
        angles, indices = _inner(outputs[row], outputs[row], is_angle)
        index_factor = np.float32(scales[1] / np.sqrt(indices + EPSILON))
        difference = np.float32(scales[0] / np.sqrt(angles + EPSILON)) - index_factor
        factors[row, 0], factors[row, 1] = index_factor + difference, index_factor
        for column in range(outputs.shape[1]):
            inputs[row, column] = bias[column] + (index_factor + difference * is_angle[column]) * outputs[row, column]


@jit
def _encode_backward(outputs, factors, is_angle, scales, gradient, result):
    """Map the gradient at the circuit inputs to the gradient at the PreDNN's outputs."""
    for row in range(outputs.shape[0]):
        # d factor / d output = -factor^3 / (scale^2 n) * output
        angles, indices = _inner(gradient[row], outputs[row], is_angle)
        a, b = factors[row]
        c = np.float32(angles * np.float64(a) ** 3 / scales[0] ** 2)
        d = np.float32(indices * np.float64(b) ** 3 / scales[1] ** 2)
        for column in range(outputs.shape[1]):
            angle, index = is_angle[column], 1 - is_angle[column]
            result[row, column] = (a * angle + b * index) * gradient[row, column] - (c * angle + d * index) * outputs[
                row, column
            ]


#: encodings by name
ENCODINGS: dict[str, type[Encoding]] = {"raw": RawEncoding, "rms": RMSEncoding}


@keywords_checked({})
def make_encoding(name: str, ansatz: Circuit, kwargs: dict[str, Any] | None = None) -> nn.Module:
    """
    Make an encoding from its name.

    :param name: a key of :data:`ENCODINGS`
    :param ansatz: the circuit
    :param kwargs: keyword arguments of the encoding's class
    :return: a module that maps ``(batch, n_data)`` to ``(batch, n_inputs)``
    :raises ValueError: if the name or a keyword argument is unknown
    """
    encoding = ENCODINGS[check_choice("encoding", name, ENCODINGS)]
    kwargs = check_keywords("encoding_kwargs", kwargs)
    accepted = (parameters(encoding) or [])[1:]
    if wrong := unknown_names(kwargs, accepted, {}):
        raise ValueError(f"encoding_kwargs do not fit encoding={name!r}: {wrong}")
    return encoding(ansatz, **kwargs)
