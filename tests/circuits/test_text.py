"""Users' own circuits as text: the order of their inputs, and angles that are no real numbers."""

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit, qasm2
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector

from sb3_quantum.circuits import QiskitCircuit
from tests.circuits.test_qiskit_circuit import HEAD, W, X, program_bits, rotated, user_bits


@pytest.mark.parametrize("angles", [ParameterVector("x", 12), [Parameter(f"p{place}") for place in range(12)]], ids=str)
def test_text_has_the_inputs_in_the_order_of_its_declarations(angles: list[Parameter]) -> None:
    """Names alone would sort x_10 before x_2."""
    mine = QuantumCircuit(1)
    for angle in angles:
        mine.rx(angle, 0)
        mine.h(0)
    circuit = QiskitCircuit(mine)
    assert QiskitCircuit(circuit.qasm) == circuit
    assert QiskitCircuit(QiskitCircuit(mine, angles).qasm).inputs == QiskitCircuit(mine, angles).inputs
    text = HEAD.replace("float[64] a", "float[64] beta; input float[64] alpha") + "qubit[1] q; rx(alpha) q[0]; ry(beta) q[0];"
    assert QiskitCircuit(text).inputs == ("beta", "alpha")


def test_one_parameter_is_a_list_of_one() -> None:
    assert QiskitCircuit(rotated(X[0], W[0]), X[0], W[0]) == QiskitCircuit(rotated(X[0], W[0]), [X[0]], [W[0]])


@pytest.mark.parametrize("angle", [1j * X[0], X[0] + 1j, 1j * X[0] * X[0], (1j * X[0]).sin(), (1j * X[0]) ** 2], ids=str)
def test_complex_angles_are_refused(angle: ParameterExpression) -> None:
    """Without their imaginary part they would be other angles."""
    with pytest.raises(ValueError, match=r"which is not real|cannot be written as OpenQASM 3: .*'complex'"):
        QiskitCircuit(rotated(angle))


def test_openqasm_2_by_way_of_qiskit() -> None:
    """PennyLane writes numbers, which become parameters."""
    text = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; rx(0.25) q[0]; cx q[0],q[1]; ry(0.5) q[1];'
    mine = qasm2.loads(text)
    angles = ParameterVector("x", 2)
    open_angles = QuantumCircuit(2)
    place = 0
    for instruction in mine.data:
        operation = instruction.operation
        if operation.params:
            operation = operation.base_class(angles[place])
            place += 1
        open_angles.append(operation, instruction.qubits)
    circuit = QiskitCircuit(open_angles, angles)
    bits = program_bits(circuit, th.tensor([[0.25, 0.5]], dtype=th.float64))
    assert np.allclose(bits, user_bits(mine, [], th.zeros(1, 0)), atol=1e-9)
