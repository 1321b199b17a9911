"""The paper's circuit: how its inputs are laid out, brought into range, and written as a Qiskit circuit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th

from sb3_quantum.circuits.checks import check_int
from sb3_quantum.circuits.tracing import in_graph, width

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def wrap_angles(angles: th.Tensor) -> th.Tensor:
    """
    Bring angles into (-pi, pi]; the circuit's outputs are 2-pi periodic in each of them.

    Huge but finite angles cannot overflow; what is left of them when they exceed their type's precision is arbitrary, but in
    range. The gradient passes unchanged.

    :param angles: in radians, any shape, any finite value
    :return: equivalent angles in radians, the same shape
    """
    if in_graph(angles):
        # A function of our own is none of the operations that a graph may hold
        turns = th.ceil(angles.detach() / (2 * math.pi) - 0.5)
        wrapped = angles - turns * (2 * math.pi)
        return wrapped + (wrapped.clamp(-math.pi, math.pi) - wrapped).detach()
    return _Wrap.apply(angles)


class _Wrap(th.autograd.Function):
    """As a function of its own, the gradient passes without any arithmetic."""

    @staticmethod
    def forward(ctx: Any, angles: th.Tensor) -> th.Tensor:
        # Eight times as fast as torch.remainder, which divides number by number
        turns = (angles / (2 * math.pi)).sub_(0.5).ceil_()
        return th.sub(angles, turns, alpha=2 * math.pi).clamp_(-math.pi, math.pi)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> th.Tensor:
        return grad_outputs[0]


@dataclass(frozen=True)
class Ansatz:
    """
    The parametrized quantum circuit of the paper (Section 3, "PQC"): ``n_layers`` times a rotation of every
    qubit, ``RGate(theta, phi)``, followed by one CZ between the qubits ``i`` and ``j`` of that layer
    (nothing when ``i == j``), starting from the state 0 and measured in Z.

    Circuit inputs are a float tensor ``(batch, n_inputs)``, ``n_inputs = n_layers * (2 * n_qubits + 2)``. Per layer it holds
    ``2 * n_qubits`` angles in radians (theta_0, phi_0, theta_1, ...) and then two CZ indices: real numbers that are rounded
    (ties to even) and wrapped modulo ``n_qubits``.

    The last layer's CZ is diagonal and therefore never changes a measurement in Z. It is part of the circuit all the same.

    :param n_qubits: M in the paper, at least 1
    :param n_layers: L in the paper, at least 1
    :raises ValueError: if one of them is not a positive integer
    """

    n_qubits: int = 10
    n_layers: int = 10

    def __post_init__(self) -> None:
        for name in ("n_qubits", "n_layers"):
            # A frozen dataclass lets nobody else set its fields
            object.__setattr__(self, name, check_int(name, getattr(self, name)))

    @property
    def layer_width(self) -> int:
        """Inputs of one layer: two angles a qubit and two CZ indices."""
        return 2 * self.n_qubits + 2

    @property
    def n_inputs(self) -> int:
        """Numbers that one circuit takes: 220 for the paper's 10 qubits and 10 layers."""
        return self.n_layers * self.layer_width

    @property
    def n_angles(self) -> int:
        """How many of the inputs are angles: 200 for the paper's circuit."""
        return self.n_layers * 2 * self.n_qubits

    @property
    def n_indices(self) -> int:
        """How many of the inputs are CZ indices: 20 for the paper's circuit."""
        return self.n_layers * 2

    def split(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Separate angles from (unrounded) CZ indices.

        :param inputs: ``(batch, n_inputs)``
        :return: angles ``(batch, n_angles)`` in radians and indices ``(batch, n_indices)``
        """
        layers = inputs.reshape(-1, self.n_layers, self.layer_width)
        angles, indices = layers.split([2 * self.n_qubits, 2], dim=2)
        return angles.flatten(1), indices.flatten(1)

    def join(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        """
        The inverse of :meth:`split`.

        :param angles: ``(batch, n_angles)`` in radians
        :param indices: ``(batch, n_indices)``
        :return: circuit inputs ``(batch, n_inputs)``, in the dtype of the angles
        """
        angles = angles.reshape(-1, self.n_layers, 2 * self.n_qubits)
        indices = indices.reshape(-1, self.n_layers, 2).to(angles.dtype)
        return th.cat([angles, indices], dim=2).flatten(1)

    def round_indices(self, indices: th.Tensor) -> th.Tensor:
        """
        Turn real numbers into qubit indices: nearest integer (ties to even), then modulo ``n_qubits``.

        :param indices: any shape, any finite value
        :return: int64 tensor with values in [0, n_qubits), the same shape
        """
        # The remainder comes before the conversion to integers: 1e30 does not fit into one
        rounded = th.round(indices)
        turns = th.floor(rounded / self.n_qubits)
        # And the bounds after it: NaN becomes any integer, which on a GPU would end the process where it is an index
        return th.sub(rounded, turns, alpha=self.n_qubits).long().clamp_(0, self.n_qubits - 1)

    def gates(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        The circuit's gate parameters.

        :param inputs: ``(batch, n_inputs)``
        :return: theta and phi in (-pi, pi], each ``(batch, n_layers, n_qubits)``,
            and the CZ's qubits ``(batch, n_layers, 2)`` as int64
        """
        angles, indices = self.split(inputs)
        angles = wrap_angles(angles).reshape(-1, self.n_layers, self.n_qubits, 2)
        return angles[..., 0], angles[..., 1], self.round_indices(indices).reshape(-1, self.n_layers, 2)

    def check(self, inputs: th.Tensor) -> None:
        """
        Refuse what no circuit can be made of.

        :param inputs: what was given as circuit inputs
        :raises ValueError: if the shape is not ``(batch, n_inputs)`` or a value is NaN or infinite;
            the message names the circuit's layer
        """
        self.check_shape(inputs)
        # A finite sum has finite terms, and is the cheapest thing to look at; a sum of finite terms may overflow all the same
        if not math.isfinite(inputs.sum().item()):
            self.check_finite(inputs)

    def check_shape(self, inputs: th.Tensor) -> None:
        """
        The first half of :meth:`check`.

        :param inputs: what was given as circuit inputs
        :raises ValueError: if the shape is not ``(batch, n_inputs)``
        """
        if inputs.dim() != 2 or width(inputs) != self.n_inputs:
            raise ValueError(
                f"circuit inputs must have the shape (batch, {self.n_inputs}) for {self.n_qubits} qubits and "
                f"{self.n_layers} layers, got {tuple(inputs.shape)}"
            )

    def check_finite(self, inputs: th.Tensor) -> None:
        """
        The second half of :meth:`check`.

        :param inputs: of the right shape
        :raises ValueError: if a value is NaN or infinite
        """
        finite = th.isfinite(inputs)
        if not bool(finite.all()):
            row, column = (int(i) for i in th.nonzero(~finite)[0])
            layer, place = divmod(column, self.layer_width)
            if place < 2 * self.n_qubits:
                what = f"{('theta', 'phi')[place % 2]} of qubit {place // 2}"
            else:
                what = f"CZ index {'ij'[place - 2 * self.n_qubits]}"
            raise ValueError(
                f"circuit inputs must be finite, got {float(inputs[row, column])} for {what} in circuit layer {layer} "
                f"(row {row} of the batch): the network in front of the circuit has diverged or was fed such a value"
            )

    def to_qiskit(self, inputs: "th.Tensor | np.ndarray", measure: bool = True) -> "QuantumCircuit":
        """
        The very circuit that is run, with its numbers bound.

        :param inputs: ``(n_inputs,)`` or ``(1, n_inputs)``
        :param measure: whether to append ``measure_all()``
        :return: a Qiskit circuit; qubit m is column m of the outputs
        :raises ValueError: if more than one circuit, or a circuit of another shape, is given
        """
        row = th.as_tensor(inputs).detach().cpu().reshape(-1, np.shape(inputs)[-1])
        self.check(row)
        if len(row) != 1:
            raise ValueError(f"to_qiskit writes one circuit at a time, got inputs of shape {tuple(row.shape)}")
        theta, phi, index = (part[0].tolist() for part in self.gates(row))
        return self._write(theta, phi, index, measure)

    def template(self, pattern: Sequence[tuple[int, int]]) -> "QuantumCircuit":
        """
        The measured circuit with open angles.

        :param pattern: the qubits of each layer's CZ, ``n_layers`` pairs; none where both are equal
        :return: a Qiskit circuit with a parameter vector of length ``n_angles``, ordered as in :meth:`split`
        """
        from qiskit.circuit import ParameterVector

        angles = np.array(ParameterVector("x", self.n_angles)).reshape(self.n_layers, self.n_qubits, 2)
        return self._write(angles[..., 0], angles[..., 1], pattern, measure=True)

    def _write(self, theta: Any, phi: Any, pattern: Sequence[Sequence[int]], measure: bool) -> "QuantumCircuit":
        """The circuit as Qiskit has it, from numbers or parameters."""
        from qiskit import QuantumCircuit

        circuit = QuantumCircuit(self.n_qubits)
        for layer, (i, j) in enumerate(pattern):
            for qubit in range(self.n_qubits):
                circuit.r(theta[layer][qubit], phi[layer][qubit], qubit)
            if i != j:
                circuit.cz(i, j)
        if measure:
            circuit.measure_all()
        return circuit
