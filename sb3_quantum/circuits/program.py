"""The gates of a circuit as plain data, for engines, priors, shift rules and costs."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

#: names of gates, in the order of :attr:`Arrays.kind`
KINDS = ("r", "rx", "ry", "rz", "fixed", "cz", "rzz")
#: number of angles of a gate
N_ANGLES = {"r": 2, "rx": 1, "ry": 1, "rz": 1, "fixed": 0, "cz": 0, "rzz": 1}
#: number of rotations in which each of these angles occurs: ``r(theta, phi) = rz(phi) rx(theta) rz(-phi)``
USES = {"r": (1, 2), "rx": (1,), "ry": (1,), "rz": (1,), "rzz": (1,)}

#: the Hadamard gate, up to a phase, in the form of :attr:`Gate.fixed`
HADAMARD = (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5))


@dataclass(frozen=True)
class Gate:
    """
    One gate, as Qiskit defines it: ``r(theta, phi)``, ``rx``, ``ry``, ``rz``, ``cz``, ``rzz``, or ``fixed``, a one-qubit gate
    without a parameter.

    :param name: one of :data:`KINDS`
    :param qubits: the qubits; empty if every row chooses them
    :param angles: its numbers among the program's gate angles
    :param choice: for a CZ whose qubits every row chooses, its number among the program's pairs; no gate if both are one qubit
    :param fixed: ``(a, b, c, d)`` of the unitary ``a - i (b X + c Y + d Z)``, normalized
    """

    name: str
    qubits: tuple[int, ...] = ()
    angles: tuple[int, ...] = ()
    choice: int | None = None
    fixed: tuple[float, float, float, float] | None = None


def rotation_layer(n_qubits: int, layer: int) -> list[Gate]:
    """
    Make ``r(theta, phi)`` on every qubit, with angles numbered layer by layer: theta_0, phi_0, theta_1, ...

    :param n_qubits: qubits
    :param layer: number of the layer
    :return: the gates
    """
    first = 2 * layer * n_qubits
    return [Gate("r", (qubit,), (first + 2 * qubit, first + 2 * qubit + 1)) for qubit in range(n_qubits)]


class Arrays(NamedTuple):
    """
    A program as arrays, for compiled loops; -1 means none.

    :param kind: index into :data:`KINDS`, ``(n_gates,)``, int64
    :param first: the first qubit, -1 if rows choose, ``(n_gates,)``, int64
    :param second: the second one, ``(n_gates,)``, int64
    :param angle: the first of the gate's angles (those of ``r`` follow each other), ``(n_gates,)``, int64
    :param choice: index of the pair of qubits, ``(n_gates,)``, int64
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
    All gates of a circuit in the order in which they act on the state 0. Each row of a batch provides ``n_angles`` gate angles
    in radians and ``n_choices`` pairs of qubits.

    :param n_qubits: qubits
    :param gates: all of them
    :param n_angles: gate angles of a row
    :param n_choices: pairs of qubits of a row
    :param layer_ends: number of gates up to the end of every layer; empty for a circuit without layers
    """

    n_qubits: int
    gates: tuple[Gate, ...]
    n_angles: int
    n_choices: int = 0
    layer_ends: tuple[int, ...] = ()

    @cached_property
    def arrays(self) -> Arrays:
        """The gates as arrays, for compiled loops."""

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

    @cached_property
    def live_choices(self) -> tuple[int, ...]:
        """
        The pairs of qubits that matter: a CZ after the last gate that is not diagonal does not change a measurement in Z.
        """
        turning = [place for place, gate in enumerate(self.gates) if gate.name in ("r", "rx", "ry", "fixed")]
        last = max(turning, default=-1)
        return tuple(gate.choice for gate in self.gates[: last + 1] if gate.choice is not None)

    def counts(self) -> dict[str, int]:
        """
        Count the gates of each name, fixed ones included, in the order of their first occurrence.
        """
        return dict(Counter(gate.name for gate in self.gates))

    def seconds(self, rotation: float, cz: float) -> float:
        """
        Compute the time of the longest chain of gates that wait for each other. One-qubit gates in a row count as one
        rotation, or as nothing if all are about z; an RZZ counts as two CZ and a rotation between them; all qubits wait for a
        CZ whose qubits every row chooses.

        :param rotation: time of a rotation
        :param cz: time of a CZ
        :return: the time, in the unit of both
        """
        key = rotation, cz
        if key not in self._known_seconds:
            self._known_seconds[key] = self._longest_chain(rotation, cz)
        return self._known_seconds[key]

    @cached_property
    def _known_seconds(self) -> dict[tuple[float, float], float]:
        # Every call of a backend asks this
        return {}

    def _longest_chain(self, rotation: float, cz: float) -> float:
        """Count the rotations and CZ gates of :meth:`seconds`."""
        # Counts are multiplied at the end: a sum of many floats would differ in the last place
        rotations, pairs = [0] * self.n_qubits, [0] * self.n_qubits
        turning = [False] * self.n_qubits
        for gate in self.gates:
            qubits = range(self.n_qubits) if gate.choice is not None else gate.qubits
            if gate.name in ("cz", "rzz"):
                latest = max(qubits, key=lambda q: rotations[q] * rotation + pairs[q] * cz)
                most = rotations[latest] + (gate.name == "rzz"), pairs[latest] + (2 if gate.name == "rzz" else 1)
                for qubit in qubits:
                    (rotations[qubit], pairs[qubit]), turning[qubit] = most, False
            elif gate.name != "rz" and not turning[gate.qubits[0]]:
                rotations[gate.qubits[0]] += 1
                turning[gate.qubits[0]] = True
        return max((r * rotation + p * cz for r, p in zip(rotations, pairs, strict=True)), default=0.0)
