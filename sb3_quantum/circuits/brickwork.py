"""A circuit with CZ gates in fixed places: one circuit to transpile, and no routing."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from sb3_quantum.circuits.base import Circuit, Column
from sb3_quantum.circuits.checks import check_int, fields_checked
from sb3_quantum.circuits.program import Gate, Program, rotation_layer


@fields_checked
@dataclass(frozen=True)
class BrickworkCircuit(Circuit):
    """
    Circuit with CZ gates between fixed neighbours, like bricks of a wall.

    ``n_layers`` times a rotation of every qubit, ``RGate(theta, phi)``, followed by CZ gates between the pairs (0, 1), (2, 3),
    ... in even layers and (1, 2), (3, 4), ... in odd layers.

    Circuit inputs are ``(batch, 2 * n_qubits * n_layers)`` angles in radians, layer by layer theta_0, phi_0, theta_1, ...: the
    PreDNN feeds the observation into every layer again (data re-uploading: Perez-Salinas et al., Quantum 4, 226 (2020)).

    :param n_qubits: at least 1
    :param n_layers: at least 1
    :raises ValueError: if one of them is not a positive integer
    """

    n_qubits: int = 10
    n_layers: int = 10

    family: ClassVar[str] = "brickwork"

    def __post_init__(self) -> None:
        for name in ("n_qubits", "n_layers"):
            object.__setattr__(self, name, check_int(name, getattr(self, name)))

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"n_qubits": self.n_qubits, "n_layers": self.n_layers}

    # Sizes are computed, not counted: a file may claim any size, and columns take memory
    @property
    def n_angles(self) -> int:
        """Number of angles among the inputs: all of them."""
        return 2 * self.n_qubits * self.n_layers

    @property
    def n_inputs(self) -> int:
        """Number of inputs of one circuit."""
        return self.n_angles

    @property
    def n_indices(self) -> int:
        """Number of indices: 0, because the gates join fixed qubits."""
        return 0

    @property
    def n_weights(self) -> int:
        """Number of trained weights: 0."""
        return 0

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(
            Column("angle", 2 * math.pi, f"{angle} of qubit {qubit} in circuit layer {layer}")
            for layer in range(self.n_layers)
            for qubit in range(self.n_qubits)
            for angle in ("theta", "phi")
        )

    @cached_property
    def program(self) -> Program:
        gates: list[Gate] = []
        ends = []
        for layer in range(self.n_layers):
            gates += rotation_layer(self.n_qubits, layer)
            gates += [Gate("cz", (q, q + 1)) for q in range(layer % 2, self.n_qubits - 1, 2)]
            ends.append(len(gates))
        return Program(self.n_qubits, tuple(gates), 2 * self.n_qubits * self.n_layers, layer_ends=tuple(ends))
