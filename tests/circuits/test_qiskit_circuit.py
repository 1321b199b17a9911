"""Users' own circuits: what is accepted, how it is stored, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Gate as QiskitGate
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector
from qiskit.circuit.library import UnitaryGate, zz_feature_map
from qiskit.quantum_info import Operator, Statevector, random_unitary

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import QiskitCircuit, make_circuit, shift_rule
from tests.circuits.test_families import qiskit_bits

X, W = ParameterVector("x", 3), ParameterVector("w", 2)
HEAD = 'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; '


def many_gates() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.rx(2 * X[0] + np.pi / 3, 0)
    circuit.ry(X[1] / 2, 1)
    circuit.cx(0, 1)
    circuit.rzz(W[0], 1, 2)
    circuit.crx(W[1], 0, 2)
    circuit.r(X[0], X[1], 2)
    circuit.p(X[2], 1)
    circuit.swap(0, 2)
    circuit.u(X[2], 0.3, W[1], 1)
    circuit.ccx(0, 1, 2)
    circuit.barrier()
    circuit.rxx(X[2], 0, 1)
    circuit.sx(2)
    circuit.append(UnitaryGate(random_unitary(4, seed=0)), [0, 2])
    return circuit


def program_bits(circuit: QiskitCircuit, inputs: th.Tensor) -> np.ndarray:
    """Compute the bits of the program gate by gate with Qiskit's operators, independently of the engines."""
    from sb3_quantum.circuits.writer import write_program

    angles = circuit.gate_angles(inputs)
    states = [Statevector(write_program(circuit.program, row.tolist(), (), measure=False, layers=False)) for row in angles]
    return np.array([[state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)] for state in states])


def user_bits(circuit: QuantumCircuit, names: list[str], inputs: th.Tensor) -> np.ndarray:
    """Compute the bits of the user's own circuit."""
    found = []
    for row in inputs.tolist():
        values = dict(zip(names, row, strict=True))
        state = Statevector(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))
        found.append([state.probabilities([qubit])[1] for qubit in range(circuit.num_qubits)])
    return np.array(found)


def test_any_gate_that_has_a_matrix() -> None:
    mine = many_gates()
    circuit = QiskitCircuit(mine, X, W)
    assert circuit.n_qubits == 3 and circuit.n_inputs == 5 and circuit.n_data == 3 and circuit.n_weights == 2
    inputs = 3 * th.randn(4, 5, dtype=th.float64, generator=th.Generator().manual_seed(0))
    expected = user_bits(mine, ["x[0]", "x[1]", "x[2]", "w[0]", "w[1]"], inputs)
    assert np.allclose(program_bits(circuit, inputs), expected, atol=1e-9)
    assert np.allclose([qiskit_bits(circuit, row) for row in inputs], expected, atol=1e-9)
    assert np.allclose(program_bits(circuit, circuit.wrap(inputs)), expected, atol=1e-9)


def test_angles_that_are_inputs_are_read_off_them() -> None:
    """Without torch in between; a gradient of an input in two gates is the sum of both."""
    mine = QuantumCircuit(2)
    mine.ry(X[1], 0)
    mine.cx(0, 1)
    mine.r(X[0], X[1], 1)
    circuit = QiskitCircuit(mine, X[:2])
    assert circuit.gate_columns is not None and circuit.gate_columns.tolist() == [1, 0, 1]
    assert QiskitCircuit(many_gates(), X, W).gate_columns is None
    inputs = th.randn(3, 2, generator=th.Generator().manual_seed(0)).requires_grad_(True)
    bits = [StatevectorBackend(circuit, engine=engine).expected_bits(inputs)[:, 1] for engine in ("split", "torch")]
    assert th.allclose(bits[0], bits[1], atol=1e-5)
    slopes = [th.autograd.grad(values.sum(), inputs)[0] for values in bits]
    assert th.allclose(slopes[0], slopes[1], atol=1e-5)


def test_it_is_described_by_plain_data() -> None:
    circuit = QiskitCircuit(many_gates(), X, W)
    spec = json.loads(json.dumps(circuit.spec))
    again = make_circuit(**spec)
    assert again == circuit and hash(again) == hash(circuit) and again.program == circuit.program
    assert spec["circuit_kwargs"]["inputs"] == ["x_0", "x_1", "x_2"] and spec["circuit_kwargs"]["weights"] == ["w_0", "w_1"]
    text = 'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; qubit[1] q; rx(a) q[0];'
    assert QiskitCircuit(text).program == QiskitCircuit(qasm3.loads(text), "a").program
    assert "3 qubits" in repr(circuit) and "3 inputs, 2 weights" in repr(circuit)


def test_expressions_that_are_no_sums() -> None:
    """Qiskit's ZZ feature map multiplies its inputs: (pi - x_i) (pi - x_j)."""
    mine = zz_feature_map(3, reps=2)
    circuit = QiskitCircuit(mine)
    inputs = th.randn(4, 3, dtype=th.float64, generator=th.Generator().manual_seed(0))
    assert np.allclose(program_bits(circuit, inputs), user_bits(mine, ["x[0]", "x[1]", "x[2]"], inputs), atol=1e-9)
    assert th.autograd.gradcheck(circuit.gate_angles, inputs.requires_grad_(True))
    assert [column.period for column in circuit.columns] == [math.inf] * 3
    assert th.equal(circuit.wrap(inputs), inputs)  # no period, nothing to wrap
    with pytest.raises(ValueError, match="sums of a circuit's inputs"):
        circuit.shift_rule()


A, B = Parameter("a0"), Parameter("b0")


@pytest.mark.parametrize(
    "expression",
    [
        *(getattr(A, name)() for name in ("sin", "cos", "tan", "arcsin", "arccos", "arctan", "exp", "log", "abs", "sign")),
        *(A**2, A**0.5, A**B, 2**A, -(A**2), 1 / A, A / B, (2 * (A * B).sin() - 1) ** 3, A.sin() * B + A, A.conjugate() / 3),
    ],
    ids=str,
)
def test_functions_of_parameters_are_written_and_read(expression: ParameterExpression) -> None:
    """Qiskit writes sin(a0) and a0**2 as OpenQASM, and its importer knows neither."""
    mine = QuantumCircuit(2)
    mine.rx(expression, 0)
    mine.ry(B, 1)
    mine.cx(1, 0)
    circuit = QiskitCircuit(**QiskitCircuit(mine, [A] if B not in mine.parameters else [A, B]).kwargs)
    inputs = th.tensor([[0.4, 0.7], [0.9, 0.3]], dtype=th.float64)
    assert np.allclose(program_bits(circuit, inputs), user_bits(mine, ["a0", "b0"], inputs), atol=1e-9)
    assert th.autograd.gradcheck(circuit.gate_angles, inputs.requires_grad_(True))


def test_functions_in_definitions_are_read() -> None:
    text = HEAD + "gate g(t) q { rx(t * t) q; ry(sqrt_of(t)) q; } qubit[1] q; g(a) q[0];"
    with pytest.raises(ValueError, match=r"angles cannot contain the function 'sqrt_of' of 1 argument$"):
        QiskitCircuit(text)
    circuit = QiskitCircuit(text.replace("sqrt_of(t)", "2 ** t + 1 / 2"))
    angles = circuit.gate_angles(th.tensor([[0.3]], dtype=th.float64))
    assert angles.tolist()[0] == pytest.approx([0.09, 2**0.3])  # whole numbers are divided as OpenQASM does


@pytest.mark.parametrize("angle", ["(-1) ** 0.5", "9 ** 9 ** 9 ** 9", "log(0)", "log(-1)", "a ** q", "2 ** true", "mod(a, 2)"])
def test_angles_that_are_no_numbers_are_refused(angle: str) -> None:
    with pytest.raises(ValueError, match="not OpenQASM 3 text that Qiskit can read"):
        QiskitCircuit(HEAD + f"qubit[1] q; rx(a) q[0]; rx({angle}) q[0];")


@pytest.mark.parametrize(
    "name", ["x", "y", "t", "U", "pi", "π", "rx", "qubit", "ctrl", "float", "0", "lambda", "q", "a b", "größe", "ħ", "☺"]
)
def test_parameters_may_be_called_what_openqasm_has_a_meaning_for(name: str) -> None:
    mine = QuantumCircuit(2)
    weight = Parameter("w")
    mine.rx(Parameter(name), 0)
    mine.cx(0, 1)
    mine.rz(weight, 0)
    circuit = QiskitCircuit(mine, weights=[weight])
    again = make_circuit(**json.loads(json.dumps(circuit.spec)))
    assert again == circuit and again.weights == ("w",) and len(again.inputs) == 1
    assert [column.period for column in again.columns] == pytest.approx([2 * np.pi] * 2)
    assert StatevectorBackend(again).expected_bits(th.tensor([[0.3, 0.1]]))[0] == pytest.approx([np.sin(0.15) ** 2] * 2)


def test_renamed_parameters_do_not_meet() -> None:
    mine = QuantumCircuit(1)
    mine.rx(Parameter("x"), 0)
    mine.rx(Parameter("x_angle"), 0)
    with pytest.raises(ValueError, match="two parameters would both be called 'x_angle' in OpenQASM: rename one of 'x', 'x_a"):
        QiskitCircuit(mine)


def test_shift_rule_of_shared_parameters() -> None:
    mine = many_gates()
    circuit = QiskitCircuit(mine, X, W)
    row = th.randn(5, dtype=th.float64, generator=th.Generator().manual_seed(1))
    found = np.zeros((5, 3))
    for column, shift, coefficient in zip(*circuit.shift_rule(), strict=True):
        moved = row.clone()
        moved[column] += shift
        found[column] += coefficient * program_bits(circuit, moved[None])[0]
    for column in range(5):
        step = th.zeros(5, dtype=th.float64)
        step[column] = 1e-5
        slope = (program_bits(circuit, (row + step)[None]) - program_bits(circuit, (row - step)[None]))[0] / 2e-5
        assert np.allclose(found[column], slope, atol=1e-7)


def test_names_and_order_of_parameters() -> None:
    many = ParameterVector("x", 12)
    mine = QuantumCircuit(1)
    for angle in reversed(many):
        mine.rx(angle, 0)
    circuit = QiskitCircuit(mine, "x")
    assert circuit.inputs == tuple(f"x_{place}" for place in range(12))
    assert make_circuit("qiskit", circuit_kwargs={"circuit": circuit.qasm, "inputs": "x"}) == circuit
    assert QiskitCircuit(mine, [many[3], *many[:3], *many[4:]]).inputs[:2] == ("x_3", "x_0")


def test_a_gate_with_a_standard_name_is_what_it_is_defined_as() -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; gate rzz(p) q, r { rx(p) q; cx q, r; } qubit[2] q; '
        "rzz(a) q[0], q[1];"
    )
    circuit = QiskitCircuit(text)
    bits = program_bits(circuit, th.tensor([[math.pi]], dtype=th.float64))
    assert np.allclose(bits, [[1.0, 1.0]], atol=1e-9)
    honest = QuantumCircuit(2)
    honest.rzz(Parameter("a"), 0, 1)
    names = [gate.name for gate in QiskitCircuit(honest, "a").program.gates]
    assert names == ["rzz"]  # although OpenQASM writes it as a definition


def measured_inside() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.rx(X[0], 0)
    circuit.measure(0, 0)
    circuit.rx(X[1], 0)
    return circuit


def reset_inside() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(X[0], 0)
    circuit.reset(0)
    circuit.rx(X[0], 0)
    return circuit


def opaque() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(X[0], 0)
    circuit.append(QiskitGate("secret", 1, []), [0])
    return circuit


def branching() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(X[0], 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def still() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    return circuit


def rotated(*angles: Parameter) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    for angle in angles:
        circuit.rx(angle, 0)
    return circuit


@pytest.mark.parametrize(
    "circuit, inputs, weights, message",
    [
        (still(), None, None, "must name at least one parameter"),
        (rotated(X[0]), (), X, "x\\[1\\]' is not a parameter of a gate"),
        (rotated(X[0]), (), "x", "must name at least one parameter"),
        (measured_inside(), X[:2], None, "has a 'measure' inside"),
        (reset_inside(), "x", None, "has a 'reset' inside"),
        (branching(), "x", None, "has a 'if_else' inside"),
        (opaque(), "x", None, "'secret'|no matrix|known matrix"),
        (rotated(X[0]), "y", None, "inputs='y' is not a parameter of the circuit, which has 'x\\[0\\]'"),
        (rotated(X[0], X[1]), [X[0]], None, "'x\\[1\\]' are neither inputs nor weights"),
        (rotated(X[0], X[1]), X[:2], [X[1]], "'x\\[1\\]' are listed twice"),
        (rotated(Parameter("a b"), Parameter("a_b")), None, None, "would both be called 'a_b'"),
        ("OPENQASM 3.0; rx(", None, None, "not OpenQASM 3 text that Qiskit can read"),
        (" ", None, None, "must be OpenQASM 3 text, got empty text"),
        (
            '// mine\nOPENQASM 2.0; include "qelib1.inc"; qreg q[2]; rx(0.1) q[0];',
            None,
            None,
            r"it is OpenQASM 2, pass qiskit.qasm2.loads\(text\)",
        ),
        (rotated(Parameter("é"), Parameter("è")), None, None, "would both be called '\\w+' in OpenQASM: rename one of"),
        (rotated(X[0]), 3, None, "inputs must be a ParameterVector, parameters, or names, got 3"),
        (5, None, None, "must be a Qiskit QuantumCircuit or OpenQASM 3 text, got int"),
    ],
)
def test_what_is_refused(circuit: object, inputs: object, weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QiskitCircuit(circuit, inputs, weights)  # type: ignore[arg-type]


ONE = HEAD + "qubit[20] q; rx(a) q[0]; "


def some(n_qubits: int, register: str = "q") -> str:
    return ", ".join(f"{register}[{place}]" for place in range(n_qubits))


def nested(levels: int, times: int) -> str:
    """Definitions inside of each other, each with the one before so many times."""
    bodies = (f"gate g{n} q {{ {f'g{n - 1} q; ' * times}}} " for n in range(1, levels + 1))
    return HEAD + "gate g0 q { x q; } " + "".join(bodies) + f"qubit[1] q; rx(a) q[0]; g{levels} q[0];"


@pytest.mark.parametrize(
    "text, message",
    [
        (HEAD + "qubit[1000000000] q; rx(a) q[0];", "the register 'q' has the size '1000000000'"),
        (HEAD + "qubit[100_000_000] q; rx(a) q[0];", "has the size '100000000'"),
        (HEAD + "qubit /* [2] */ [100000000] q; rx(a) q[0];", "has the size '100000000'"),
        (HEAD + "const uint n = 1000000000; qubit[n] q; rx(a) q[0];", "has the size 'n'"),
        (HEAD + "qubit[2] q; bit[1000 * 1000 * 1000] c; rx(a) q[0];", "the register 'c' has the size '1000 \\* 1000"),
        (HEAD + "qubit[5000] q; qubit[5000] r; rx(a) q[0];", "the register 'r' has the size '5000'"),
        (HEAD + "rx(a) $0; h $100000000;", "names the qubit \\$100000000"),
        (nested(40, 2), "gates or more when definitions, modifiers and registers are written out"),
        (nested(150, 1), "'g100' nests 101 definitions"),
        (HEAD + "qubit[9999] q; rx(a) q[0]; " + "h q; " * 11, "has 109,990 gates or more"),
        (HEAD + "qubit[9999] q; let r = q[0:9998]; rx(a) q[0]; " + "h r; " * 11, "gates or more"),
        (HEAD + "qubit[9999] q; rx(a) q[0]; " + "barrier q; " * 11, "gates or more"),
        (HEAD + "qubit[9999] q; rx(a) q[0]; for uint i in [0:3] { " + "h q; " * 11 + "}", "gates or more"),
        (ONE + f"ctrl(17) @ x {some(18)};", "the gate 'x' has 17 controls, accepted are numbers up to 16"),
        (ONE + f"{'ctrl @ ' * 17}x {some(18)};", "the gate 'x' has 16 \\+ 1 controls"),
        (ONE + f"ctrl(9) @ negctrl(9) @ x {some(19)};", "the gate 'x' has 9 \\+ 9 controls"),
        (ONE + f"ctrl(1 + 1) @ x {some(3)};", "the gate 'x' has 1 \\+ 1 controls, accepted are numbers"),
        (ONE + f"negctrl(8) @ ctrl(8) @ rx(a) {some(17)};", "gates or more"),
        (
            HEAD + f"gate g a, b {{ {'ctrl @ x a, b; ' * 9}}} qubit[19] q; rx(a) q[0]; ctrl(16) @ g {some(18)};",
            "gates or more",
        ),
        (ONE + f"ctrl(13) @ pow(0.5) @ h {some(14)};", "the gate 'h' with a power acts on 14 qubits, at most 6 are accepted"),
        (HEAD + f"gate g a {{ pow(2) @ h a; }} qubit[20] q; rx(a) q[0]; ctrl(13) @ g {some(14)};", "'g' with a power acts"),
        (HEAD + "x" * 2_000_000, "at most 2,000,000 characters of text, got 2,000,0"),
        (ONE + "rx(1e400) q[0];", "the angle inf, which is not finite"),
        (HEAD + "qubit q; rx(a * 1e308 * 10) q;", "the angle inf\\*a, which is not finite"),
        (HEAD + f"qubit q; rx({' + '.join(['a'] * 2000)}) q;", "not OpenQASM 3 text that Qiskit can read"),
    ],
    ids=lambda value: value[-30:] if isinstance(value, str) else None,
)
def test_text_that_asks_for_too_much_is_refused_at_once(text: str, message: str) -> None:
    """A stranger's model file may contain short text whose circuit takes all memory, or hours."""
    with pytest.raises(ValueError, match=message):
        QiskitCircuit(text)


@pytest.mark.parametrize(
    "call, matrix",
    [
        (f"ctrl(3) @ x {some(4)};", np.eye(16)[[*range(7), 15, *range(8, 15), 7]]),
        ("ctrl @ inv @ s q[0], q[1];", np.diag([1, 1, 1, -1j])),
        ("pow(0.5) @ z q[0];", np.diag([1, 1j])),
        ("let r = q[0:1]; x r;", np.eye(4)[::-1]),
        ("negctrl @ x q[0], q[1];", np.eye(4)[[2, 1, 0, 3]]),
    ],
)
def test_modifiers_within_the_limits_are_read(call: str, matrix: np.ndarray) -> None:
    n_qubits = len(matrix).bit_length() - 1
    mine = QiskitCircuit(HEAD + f"qubit[{n_qubits}] q; rx(a) q[0]; " + call)
    assert Operator(mine.to_qiskit(th.zeros(1), measure=False)).equiv(matrix)


def test_a_circuit_of_qiskits_is_told_how_it_comes_in() -> None:
    for make in (make_circuit, lambda given: QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(circuit=given))):
        with pytest.raises(
            ValueError, match=r"; for a circuit of Qiskit's pass QiskitCircuit\(circuit, inputs=..., weights=...\)"
        ):
            make(rotated(X[0]))


def test_measurements_at_the_end_are_left_out() -> None:
    measured = rotated(X[0])
    measured.measure_all()
    assert QiskitCircuit(measured, "x") == QiskitCircuit(rotated(X[0]), "x")
    assert Operator(QiskitCircuit(measured, "x").to_qiskit(th.zeros(1), measure=False)).equiv(np.eye(2))


def test_frequencies_are_counted_once_for_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A circuit may have hundreds of columns and thousands of gates."""
    counted, count = [], shift_rule._frequencies
    monkeypatch.setattr(shift_rule, "_frequencies", lambda *args: counted.append(1) or count(*args))
    x = ParameterVector("x", 6)
    circuit = QuantumCircuit(3)
    for place in range(6):
        circuit.rx((1 + place) * x[place], place % 3)
    assert [column.period for column in QiskitCircuit(circuit).columns] == pytest.approx([2 * np.pi / n for n in range(1, 7)])
    assert len(counted) == 1
