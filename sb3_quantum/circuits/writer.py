"""Programs as Qiskit circuits."""

import cmath
import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from sb3_quantum.circuits.program import Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def write_program(
    program: Program, angles: Sequence[Any], structure: Hashable, measure: bool, layers: bool
) -> "QuantumCircuit":
    """
    Write a program down with Qiskit's gates.

    :param program: the gates
    :param angles: angles of the gates, ``program.n_angles`` numbers or Qiskit parameters
    :param structure: the qubits of each chosen CZ, ``n_choices`` pairs; none where both are equal
    :param measure: whether to append ``measure_all()``
    :param layers: whether a barrier, labelled with its number, ends each of the program's layers
    :return: a Qiskit circuit
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import library

    pairs: Any = structure
    circuit = QuantumCircuit(program.n_qubits)
    ends = set(program.layer_ends) if layers else set()
    for place, gate in enumerate(program.gates):
        qubits = gate.qubits if gate.choice is None else tuple(pairs[gate.choice])
        if gate.name == "fixed":
            assert gate.fixed is not None
            circuit.u(*euler_angles(gate.fixed), *qubits)
        elif gate.name != "cz":
            getattr(circuit, gate.name)(*(angles[angle] for angle in gate.angles), *qubits)
        elif qubits[0] != qubits[1]:
            circuit.cz(*qubits)
        if place + 1 in ends:
            label = str(program.layer_ends.index(place + 1) + 1)
            circuit.append(library.Barrier(program.n_qubits, label=label), circuit.qubits)
    if measure:
        circuit.measure_all()
    return circuit


def euler_angles(fixed: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """
    Angles of Qiskit's ``UGate`` that is ``a - i (b X + c Y + d Z)``, up to a phase.

    :param fixed: ``(a, b, c, d)``
    :return: theta, phi and lambda in radians
    """
    a, b, c, d = fixed
    # [[alpha, beta], [gamma, delta]], and U = [[cos, -e^(i lambda) sin], [e^(i phi) sin, e^(i (phi + lambda)) cos]](theta / 2)
    alpha, gamma, delta = complex(a, -d), complex(c, -b), complex(a, d)
    beta = complex(-c, -b)
    theta = 2 * math.atan2(abs(gamma), abs(alpha))
    if abs(alpha) < 1e-12:
        return theta, cmath.phase(gamma) - cmath.phase(-beta), 0.0
    if abs(gamma) < 1e-12:
        return theta, 0.0, cmath.phase(delta) - cmath.phase(alpha)
    return theta, cmath.phase(gamma) - cmath.phase(alpha), cmath.phase(-beta) - cmath.phase(alpha)
