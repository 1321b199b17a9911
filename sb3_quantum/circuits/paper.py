"""The paper's circuit, with any number of CZ gates in a layer."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch as th

from sb3_quantum.circuits.base import Circuit, Column
from sb3_quantum.circuits.checks import check_int, fields_checked
from sb3_quantum.circuits.program import Gate, Program, rotation_layer
from sb3_quantum.circuits.wording import counted


@fields_checked
@dataclass(frozen=True)
class PaperCircuit(Circuit):
    """
    The parametrized quantum circuit of the paper (Section 3, "PQC"): ``n_layers`` times a rotation of every qubit,
    ``RGate(theta, phi)``, followed by one CZ between the qubits ``i`` and ``j`` of that layer (no gate if ``i == j``). The
    circuit starts in the state 0 and is measured in Z.

    Circuit inputs are a float tensor ``(batch, n_inputs)``, ``n_inputs = n_layers * (2 * n_qubits + 2 * n_cz)``. Per layer it
    holds ``2 * n_qubits`` angles in radians (theta_0, phi_0, theta_1, ...) and then two indices for every CZ: real numbers
    that are rounded (ties to even) and wrapped modulo ``n_qubits``.

    The last layer's CZ gates are diagonal and therefore never change a measurement in Z, but they are part of the circuit.

    :param n_qubits: M in the paper, at least 1
    :param n_layers: L in the paper, at least 1
    :param n_cz: CZ gates of a layer: 1 is the paper's circuit, 0 has no entanglement, ``n_qubits // 2`` is dense
    :raises ValueError: if one of them is not an integer of that size
    """

    n_qubits: int = 10
    n_layers: int = 10
    n_cz: int = 1

    family: ClassVar[str] = "paper"

    def __post_init__(self) -> None:
        for name, least in (("n_qubits", 1), ("n_layers", 1), ("n_cz", 0)):
            # The way to set a field of a frozen dataclass
            object.__setattr__(self, name, check_int(name, getattr(self, name), least=least))

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"n_qubits": self.n_qubits, "n_layers": self.n_layers, "n_cz": self.n_cz}

    # Sizes are computed, not counted: a file may claim any size, and columns take memory
    @property
    def n_angles(self) -> int:
        """Number of angles among the inputs: 200 for the paper's circuit."""
        return self.n_layers * 2 * self.n_qubits

    @property
    def n_indices(self) -> int:
        """Number of indices among the inputs: 20 for the paper's circuit."""
        return self.n_layers * 2 * self.n_cz

    @property
    def n_inputs(self) -> int:
        """Number of inputs of one circuit: 220 for the paper's 10 qubits and 10 layers."""
        return self.n_layers * self.layer_width

    @property
    def n_weights(self) -> int:
        """Number of trained weights: 0."""
        return 0

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        columns = []
        for layer in range(self.n_layers):
            for qubit in range(self.n_qubits):
                for angle in ("theta", "phi"):
                    columns.append(Column("angle", 2 * math.pi, f"{angle} of qubit {qubit} in circuit layer {layer}"))
            for gate in range(self.n_cz):
                which = f" of CZ {gate}" if self.n_cz > 1 else ""
                for end in "ij":
                    columns.append(Column("index", self.n_qubits, f"CZ index {end}{which} in circuit layer {layer}"))
        return tuple(columns)

    @cached_property
    def program(self) -> Program:
        gates: list[Gate] = []
        ends = []
        for layer in range(self.n_layers):
            gates += rotation_layer(self.n_qubits, layer)
            gates += [Gate("cz", choice=layer * self.n_cz + gate) for gate in range(self.n_cz)]
            ends.append(len(gates))
        n_angles = 2 * self.n_qubits * self.n_layers
        return Program(self.n_qubits, tuple(gates), n_angles, self.n_layers * self.n_cz, tuple(ends))

    @property
    def layer_width(self) -> int:
        """Inputs of one layer: two angles per qubit and two indices per CZ."""
        return 2 * self.n_qubits + 2 * self.n_cz

    def split(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        layers = inputs.reshape(-1, self.n_layers, self.layer_width)
        angles, indices = layers.split([2 * self.n_qubits, 2 * self.n_cz], dim=2)
        return angles.flatten(1), indices.flatten(1)

    def join(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        if self.n_cz == 0:
            return angles.flatten(1)
        angles = angles.reshape(-1, self.n_layers, 2 * self.n_qubits)
        indices = indices.reshape(-1, self.n_layers, 2 * self.n_cz).to(angles.dtype)
        return th.cat([angles, indices], dim=2).flatten(1)

    def unpack(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        # Every row of a training passes through here; this saves a copy
        inputs = th.empty(len(angles), self.n_layers, self.layer_width, device=angles.device)
        inputs[:, :, : 2 * self.n_qubits] = angles.view(len(angles), self.n_layers, -1)
        inputs[:, :, 2 * self.n_qubits :] = indices.view(len(angles), self.n_layers, 2 * self.n_cz)
        return inputs.flatten(1)

    def gates(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        Split the inputs into the gates' parameters.

        :param inputs: ``(batch, n_inputs)``
        :return: theta and phi in (-pi, pi], each ``(batch, n_layers, n_qubits)``,
            and the qubits of each CZ, ``(batch, n_layers, n_cz, 2)`` as int64
        """
        angles, indices = self.split(inputs)
        angles = self.wrap_angles(angles).reshape(-1, self.n_layers, self.n_qubits, 2)
        return angles[..., 0], angles[..., 1], self.round_indices(indices).unflatten(1, (self.n_layers, self.n_cz, 2))

    def describe(self) -> dict[str, str]:
        gates = f"{counted(self.n_qubits * self.n_layers, 'rotation')} R(theta, phi), {self.n_layers * self.n_cz} CZ"
        return {**super().describe(), "gates": gates}
