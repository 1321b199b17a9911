import multiprocessing
from itertools import product

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector
from scipy.stats import chisquare

from sb3_quantum.backends import kernel, split, split_engine
from sb3_quantum.backends.split_engine import SplitEngine
from sb3_quantum.circuits.program import HADAMARD, Gate, Program


def random_program(n_qubits: int, n_gates: int, seed: int, choices: bool = True) -> Program:
    """All kinds of gates, in any order, some angles used twice and pairs of qubits that may be one."""
    rng = np.random.default_rng(seed)
    gates: list[Gate] = []
    n_angles = n_choices = 0
    names = ["r", "rx", "ry", "rz", "fixed"] + ["cz", "rzz", "choice"] * (n_qubits > 1)
    for _ in range(n_gates):
        name = str(rng.choice(names))
        one, other = (int(q) for q in rng.choice(n_qubits, 2, replace=n_qubits == 1))
        if name == "choice" and choices:
            gates.append(Gate("cz", choice=n_choices))
            n_choices += 1
        elif name in ("cz", "choice"):
            gates.append(Gate("cz", (one, other)))
        elif name == "rzz":
            gates.append(Gate("rzz", (one, other), (n_angles,)))
        elif name == "fixed":
            turned = rng.standard_normal(4)
            quaternion = [HADAMARD, tuple(turned / np.linalg.norm(turned)), (np.sqrt(0.5), 0.0, 0.0, -np.sqrt(0.5))]
            gates.append(Gate("fixed", (one,), fixed=quaternion[rng.integers(3)]))
        elif name == "rx" and n_angles and rng.random() < 0.3:
            gates.append(Gate("rx", (one,), (int(rng.integers(n_angles)),)))
        else:
            gates.append(Gate(name, (one,), (n_angles, n_angles + 1) if name == "r" else (n_angles,)))
        n_angles += {"r": 2, "rx": 1, "ry": 1, "rz": 1, "rzz": 1}.get(gates[-1].name, 0)
    return Program(n_qubits, tuple(gates), n_angles, n_choices)


def in_qiskit(program: Program, angles: np.ndarray, pairs: np.ndarray) -> QuantumCircuit:
    circuit = QuantumCircuit(program.n_qubits)
    for gate in program.gates:
        if gate.name == "cz":
            one, other = gate.qubits if gate.choice is None else (int(q) for q in pairs[gate.choice])
            if one != other:
                circuit.cz(one, other)
        elif gate.fixed is not None:
            a, b, c, d = gate.fixed
            circuit.unitary([[a - 1j * d, -c - 1j * b], [c - 1j * b, a + 1j * d]], gate.qubits)
        else:
            getattr(circuit, gate.name)(*(float(angles[place]) for place in gate.angles), *gate.qubits)
    return circuit


def theirs(program: Program, angles: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    state = Statevector(in_qiskit(program, angles, pairs))
    return np.array([state.probabilities([qubit])[1] for qubit in range(program.n_qubits)])


def rows_for(program: Program, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 4 * rng.standard_normal((rows, program.n_angles)), rng.integers(program.n_qubits, size=(rows, program.n_choices, 2))


def paper(n_qubits: int, n_layers: int, rows: int, n_cz: int = 1, seed: int = 0) -> tuple[SplitEngine, np.ndarray]:
    """The paper's circuit, which reads its angles and qubits off the inputs; some are beyond a turn or the register."""
    width = 2 * n_qubits + 2 * n_cz
    columns = np.arange(n_layers * width).reshape(n_layers, width)
    gates = []
    for layer in range(n_layers):
        place = 2 * layer * n_qubits
        gates += [Gate("r", (q,), (place + 2 * q, place + 2 * q + 1)) for q in range(n_qubits)]
        gates += [Gate("cz", choice=layer * n_cz + number) for number in range(n_cz)]
    ends = tuple((layer + 1) * (n_qubits + n_cz) for layer in range(n_layers))
    program = Program(n_qubits, tuple(gates), 2 * n_qubits * n_layers, n_cz * n_layers, ends)
    engine = SplitEngine(program, columns[:, : 2 * n_qubits].flatten(), columns[:, 2 * n_qubits :].reshape(-1, 2))
    inputs = np.random.default_rng(seed).standard_normal((rows, n_layers * width)).astype(np.float32)
    return engine, 5 * inputs


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 5e-6), (np.float64, 1e-12)])
def test_any_program_equals_qiskit(seed: int, dtype: type, tolerance: float) -> None:
    """Independent witness: qiskit.quantum_info.Statevector, gate by gate."""
    program = random_program(1 + seed % 6, 10 + 5 * seed, seed)
    angles, pairs = rows_for(program, 3, seed)
    angles = angles.astype(dtype)
    measured = SplitEngine(program).measure(angles, choices=pairs)
    assert measured is not None
    for row in range(3):
        assert np.abs(measured[1][row] - theirs(program, angles[row].astype(float), pairs[row])).max() < tolerance


@pytest.mark.parametrize("seed", range(8))
def test_gradients_equal_finite_differences(seed: int) -> None:
    """Central differences of Qiskit's probabilities in double precision, and the same gradient in single precision."""
    program = random_program(1 + seed % 5, 12 + 4 * seed, seed)
    angles, pairs = rows_for(program, 1, seed)
    weights = np.random.default_rng(seed).standard_normal((1, program.n_qubits))
    engine = SplitEngine(program)
    ours = engine.gradient(angles, pairs, weights)[0]
    for place in range(program.n_angles):
        step = 1e-5 * np.eye(program.n_angles)[place]
        difference = theirs(program, angles[0] + step, pairs[0]) - theirs(program, angles[0] - step, pairs[0])
        assert abs(ours[place] - weights[0] @ difference / 2e-5) < 1e-8
    single = engine.gradient(angles.astype(np.float32), pairs, weights.astype(np.float32))[0]
    assert np.abs(single - ours).max() < 2e-5


@pytest.mark.parametrize("n_qubits, n_layers", [(1, 1), (1, 4), (2, 3), (5, 4), (10, 10), (11, 3), (10, 30)])
def test_the_papers_circuit_equals_the_full_engine(n_qubits: int, n_layers: int) -> None:
    """Values, gradients, and but for rounding the same bits from the same random numbers."""
    engine, inputs = paper(n_qubits, n_layers, rows=16)
    inputs[0, :], inputs[1, :] = 1e30, 3e4
    uniforms = np.random.default_rng(1).random((16, 20))
    measured = engine.measure(inputs, uniforms=uniforms)
    assert measured is not None
    bits, expected = measured
    full_bits, full = np.empty_like(bits), np.empty_like(expected)
    assert kernel.measure(inputs, n_qubits, uniforms, full_bits, full)
    assert np.isfinite(expected).all() and np.abs(expected - full)[1:].max() < 1e-5
    assert (bits != full_bits)[1:].any(2).mean() < 0.01
    weights = np.random.default_rng(2).standard_normal((16, n_qubits)).astype(np.float32)
    table = (np.arange(2**n_qubits) >> np.arange(n_qubits)[:, None]) & 1
    wanted = np.empty_like(inputs)
    kernel.gradient(inputs, n_qubits, weights @ table.astype(np.float32), wanted)
    assert np.abs(engine.gradient(inputs, None, weights) - wanted)[1:].max() < 1e-4


@pytest.mark.parametrize("n_cz", [0, 3])
def test_more_and_fewer_gates_in_a_layer(n_cz: int) -> None:
    engine, inputs = paper(6, 4, rows=3, n_cz=n_cz)
    measured = engine.measure(inputs)
    assert measured is not None
    for row, expected in zip(inputs, measured[1], strict=True):
        angles = row[engine._kernels.angle_columns].astype(float)
        pairs = np.mod(np.rint(row[engine._kernels.columns]), 6)
        assert np.abs(expected - theirs(engine.program, angles, pairs)).max() < 5e-6


def test_qubits_alone_at_any_width() -> None:
    """127 qubits without an entangling gate are 127 rotations, whose bits are known on paper."""
    engine, inputs = paper(127, 1, rows=5)
    measured = engine.measure(inputs, uniforms=np.random.default_rng(0).random((5, 4000)))
    assert measured is not None
    bits, expected = measured
    assert np.abs(expected - np.sin(inputs[:, : 2 * 127 : 2].astype(float) / 2) ** 2).max() < 1e-5
    # Deviations in standard errors: 7 of them happen by chance in 2e-9 of all runs with 635 qubits
    error = np.sqrt(expected * (1 - expected) / 4000) + 1e-3 / 7
    assert (np.abs(bits.mean(1) - expected) / error).max() < 7
    gradient = engine.gradient(inputs, None, np.ones((5, 127), np.float32))
    assert np.abs(gradient[:, : 2 * 127 : 2] - np.sin(inputs[:, : 2 * 127 : 2]) / 2).max() < 1e-5


@pytest.mark.parametrize("n_qubits", [30, 60, 127])
def test_wide_circuits_equal_matrix_product_states(n_qubits: int) -> None:
    """Independent witness: Aer's matrix product state. Values in double precision, and gradients by the shift rule."""
    from qiskit_aer import AerSimulator

    engine, inputs = paper(n_qubits, 4, rows=1)
    simulator = AerSimulator(method="matrix_product_state", matrix_product_state_truncation_threshold=1e-16)

    def witness(row: np.ndarray) -> np.ndarray:
        pairs = np.mod(np.rint(row[engine._kernels.columns]), n_qubits)
        circuit = in_qiskit(engine.program, row[engine._kernels.angle_columns].astype(float), pairs)
        for qubit in range(n_qubits):
            circuit.save_probabilities([qubit], label=str(qubit))
        data = simulator.run(circuit).result().data()
        return np.array([data[str(qubit)][1] for qubit in range(n_qubits)])

    measured = engine.measure(inputs)
    assert measured is not None and np.abs(measured[1][0] - witness(inputs[0])).max() < 1e-5
    # The rotation about x of a qubit in the second layer, shifted by a quarter of a turn either way
    qubit = int(np.mod(np.rint(inputs[0, 2 * n_qubits]), n_qubits))
    column = 2 * n_qubits + 2 + 2 * qubit
    shifted = np.repeat(inputs.astype(float), 2, axis=0)
    shifted[:, column] += [np.pi / 2, -np.pi / 2]
    wanted = (witness(shifted[0]) - witness(shifted[1])).sum() / 2
    assert abs(engine.gradient(inputs.astype(float), None, np.ones((1, n_qubits)))[0, column] - wanted) < 1e-7


def test_bits_follow_their_joint_distribution() -> None:
    """
    Chi-square of 20,000 bitstrings against Qiskit's probabilities, over two blocks and a qubit alone; false-alarm rate 1e-6 at
    this fixed seed.
    """
    gates = [Gate("ry", (q,), (q,)) for q in range(5)] + [Gate("cz", (4, 0)), Gate("rzz", (1, 3), (5,))]
    gates += [Gate("rx", (q,), (6 + q,)) for q in range(5)]
    program = Program(5, tuple(gates), 11)
    angles = np.random.default_rng(0).uniform(0.5, 2.5, (1, 11)).astype(np.float32)
    measured = SplitEngine(program).measure(angles, uniforms=np.random.default_rng(1).random((1, 20_000)))
    assert measured is not None
    exact = Statevector(in_qiskit(program, angles[0].astype(float), np.empty((0, 2)))).probabilities()
    counts = np.bincount(measured[0][0].astype(int) @ (1 << np.arange(5)), minlength=32)
    assert exact.min() > 1e-5
    assert chisquare(counts, exact / exact.sum() * 20_000).pvalue > 1e-6


def test_a_random_number_suffices_for_any_width() -> None:
    """
    200 fair coins from 4,000 random numbers of 53 bits each. Sums of the qubits are binomial: their mean and variance are off
    by less than 6 standard errors, which happens by chance in 4e-9 of all runs.
    """
    program = Program(200, tuple(Gate("fixed", (q,), fixed=HADAMARD) for q in range(200)), 0)
    measured = SplitEngine(program).measure(np.empty((1, 0), np.float32), uniforms=np.random.default_rng(0).random((1, 4000)))
    assert measured is not None
    sums = measured[0][0].sum(1)
    assert abs(sums.mean() - 100) < 6 * np.sqrt(50 / 4000) and abs(sums.var() - 50) < 6 * 50 * np.sqrt(2 / 4000)
    # Neighbours are independent: their correlations are 1 / sqrt(4000) wide
    signs = 2 * measured[0][0] - 1
    assert np.abs((signs[:, 1:] * signs[:, :-1]).mean(0)).max() < 6 / np.sqrt(4000)


def test_what_cannot_be_is_never_drawn() -> None:
    """A GHZ state of three qubits beside a qubit that is 1 and one that is 0."""
    gates = [Gate("fixed", (q,), fixed=HADAMARD) for q in (0, 2, 4)] + [Gate("rx", (1,), (0,))]
    for target in (2, 4):
        gates += [Gate("cz", (0, target)), Gate("fixed", (target,), fixed=HADAMARD)]
    uniforms = np.concatenate([np.random.default_rng(0).random(500), [0.0, np.nextafter(1, 0)]])[None]
    measured = SplitEngine(Program(5, tuple(gates), 1)).measure(np.array([[np.pi]], np.float32), uniforms=uniforms)
    assert measured is not None
    assert np.unique(measured[0][0], axis=0).tolist() == [[0, 1, 0, 0, 0], [1, 1, 1, 0, 1]]


def test_neither_threads_nor_neighbours_change_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_engine, "THREAD_WORK", 1)
    engine, inputs = paper(8, 4, rows=23)
    uniforms, weights = np.random.default_rng(0).random((23, 3)), np.ones((23, 8), np.float32)
    found, threads = [], th.get_num_threads()
    try:
        for number in (1, 3):
            th.set_num_threads(number)
            found.append((*engine.measure(inputs, uniforms=uniforms), engine.gradient(inputs, None, weights)))  # type: ignore[misc]
    finally:
        th.set_num_threads(threads)
    row = slice(7, 8)
    found.append((*engine.measure(inputs[row], uniforms=uniforms[row]), engine.gradient(inputs[row], None, weights[row])))  # type: ignore[misc]
    for one, other, alone in zip(*found, strict=True):
        assert np.array_equal(one, other) and np.array_equal(one[row], alone)


def test_a_forked_child_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_engine, "THREAD_WORK", 1)
    engine, inputs = paper(3, 2, rows=8)
    threads = th.get_num_threads()
    th.set_num_threads(2)
    try:
        wanted = engine.measure(inputs)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply_async(engine.measure, (inputs,)).get(timeout=60)
        assert np.array_equal(wanted[1], found[1])  # type: ignore[index]
    finally:
        th.set_num_threads(threads)


@pytest.mark.parametrize("dtype, value", list(product([np.float32, np.float64], [np.nan, np.inf, -np.inf])))
def test_values_that_are_not_finite(dtype: type, value: float) -> None:
    engine, inputs = paper(3, 2, rows=5)
    inputs = inputs.astype(dtype)
    inputs[:] = 3e38  # finite, but its sum is not
    assert engine.measure(inputs) is not None
    for row, column in ((0, 0), (4, 15), (2, 7)):
        bad = inputs.copy()
        bad[row, column] = value
        assert engine.measure(bad) is None


def test_a_block_that_does_not_fit_is_named() -> None:
    """Its size is found without any amplitude, whatever the width; circuits of that width with small blocks go on."""
    engine, inputs = paper(127, 3, rows=2, n_cz=60)
    inputs[:, engine._kernels.columns] = np.random.default_rng(0).uniform(0, 126, size=(2, 180, 2))
    with pytest.raises(ValueError, match=r"\d+ of n_qubits=127 become one block in circuit layer \d of row \d.* [\d,]+ GiB"):
        engine.measure(inputs)
    with pytest.raises(ValueError, match="become one block"):
        engine.gradient(inputs, None, np.ones((2, 127), np.float32))
    inputs[:, engine._kernels.columns] = 5.0
    assert engine.measure(inputs) is not None


def test_gates_behind_the_last_rotation_join_nothing() -> None:
    """A CZ that no measurement sees makes no block."""
    gates = [Gate("ry", (q,), (q,)) for q in range(40)] + [Gate("cz", (q, q + 1)) for q in range(39)]
    engine = SplitEngine(Program(40, tuple(gates), 40))
    angles = np.linspace(0, 3, 40, dtype=np.float32)[None]
    assert (
        split.largest(
            angles, engine._kernels.gates, engine._kernels.last, engine._kernels.columns, np.empty((1, 0, 2), np.int64)
        )[2]
        == 1
    )
    measured = engine.measure(angles)
    assert measured is not None and np.abs(measured[1] - np.sin(angles / 2) ** 2).max() < 1e-6


def test_arrays_of_another_shape_are_refused() -> None:
    """Compiled loops would read what is beside them."""
    engine = SplitEngine(random_program(3, 30, 0))
    angles, pairs = rows_for(engine.program, 2)
    for wrong in (None, pairs[:1], pairs[:, 1:]):
        with pytest.raises(ValueError, match=r"choices must have the shape \(2, \d+, 2\), got"):
            engine.measure(angles, wrong)
    with pytest.raises(ValueError, match=r"inputs must have \d+ columns or more, got the shape"):
        engine.measure(angles[:, 1:], pairs)
