"""The gates of a circuit as plain data: engines run it, priors approximate it, shift rules and costs follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

#: gates, by what :attr:`Arrays.kind` calls them
KINDS = ("r", "rx", "ry", "rz", "fixed", "cz", "rzz")
#: angles that a gate takes
N_ANGLES = {"r": 2, "rx": 1, "ry": 1, "rz": 1, "fixed": 0, "cz": 0, "rzz": 1}
#: how many times its highest frequency is that of the plain rotation, angle by angle
FREQUENCIES = {"r": (1, 2), "rx": (1,), "ry": (1,), "rz": (1,), "rzz": (1,)}

#: the Hadamard gate, up to a phase, as :attr:`Gate.fixed` has it
HADAMARD = (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5))


@dataclass(frozen=True)
class Gate:
    """
    One gate, as Qiskit defines it: ``r(theta, phi)``, ``rx``, ``ry``, ``rz``, ``cz``, ``rzz``, or ``fixed``, a gate of one
    qubit without a parameter.

    :param name: one of :data:`KINDS`
    :param qubits: that it acts on; empty if every row chooses them
    :param angles: which of the program's gate angles it takes
    :param choice: which of the program's pairs of qubits a CZ stands on, if every row chooses them; it is no gate where both
        are one qubit
    :param fixed: ``(a, b, c, d)`` of the unitary ``a - i (b X + c Y + d Z)``, normalized
    """

    name: str
    qubits: tuple[int, ...] = ()
    angles: tuple[int, ...] = ()
    choice: int | None = None
    fixed: tuple[float, float, float, float] | None = None


class Arrays(NamedTuple):
    """
    A program as arrays, for compiled loops; -1 stands for nothing.

    :param kind: index into :data:`KINDS`, ``(n_gates,)``, int64
    :param first: the first qubit, -1 if rows choose, ``(n_gates,)``, int64
    :param second: the second one, ``(n_gates,)``, int64
    :param angle: the first of the gate's angles (those of ``r`` follow each other), ``(n_gates,)``, int64
    :param choice: which pair of qubits, ``(n_gates,)``, int64
    :param fixed: ``(a, b, c, d)`` of fixed gates, zeros for others, ``(n_gates, 4)``, float64
    """

    kind: np.ndarray
    first: np.ndarray
    second: np.ndarray
    angle: np.ndarray
    choice: np.ndarray
    fixed: np.ndarray


@dataclass(frozen=True)
class Program:
    """
    All gates of a circuit in the order in which they act, on the state 0. What they take differs from row to row of a batch:
    ``n_angles`` gate angles in radians, and ``n_choices`` pairs of qubits.

    :param n_qubits: qubits
    :param gates: all of them
    :param n_angles: gate angles of a row
    :param n_choices: pairs of qubits of a row
    """

    n_qubits: int
    gates: tuple[Gate, ...]
    n_angles: int
    n_choices: int = 0

    @cached_property
    def arrays(self) -> Arrays:
        """The same for compiled loops."""

        def column(values: Sequence[int]) -> np.ndarray:
            return np.array(values, dtype=np.int64)

        return Arrays(
            column([KINDS.index(gate.name) for gate in self.gates]),
            column([gate.qubits[0] if gate.qubits else -1 for gate in self.gates]),
            column([gate.qubits[1] if len(gate.qubits) > 1 else -1 for gate in self.gates]),
            column([gate.angles[0] if gate.angles else -1 for gate in self.gates]),
            column([-1 if gate.choice is None else gate.choice for gate in self.gates]),
            np.array([gate.fixed or (0.0, 0.0, 0.0, 0.0) for gate in self.gates], dtype=np.float64).reshape(-1, 4),
        )
