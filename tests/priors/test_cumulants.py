"""The cumulant expansion against exact simulation where it is exact, and its compiled loops against torch everywhere."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Pauli, Statevector

from sb3_quantum.circuits.program import HADAMARD, KINDS, N_ANGLES, Gate, Program
from sb3_quantum.priors import cumulants
from sb3_quantum.priors.cumulants import CumulantExpansion

PAULIS = [Pauli(name).to_matrix() for name in "IXYZ"]


def make_program(n_qubits: int, pairs: Sequence[tuple[int, int]], seed: int = 0, kinds: Sequence[str] = KINDS) -> Program:
    """Random gates of one qubit, and between them gates of two between the given pairs, all of them of the given kinds."""
    rng = np.random.default_rng(seed)
    gates, n_angles = [], 0
    singles = [kind for kind in kinds if kind not in ("cz", "rzz")]
    for step in range(len(pairs) + 1):
        for qubit in [*range(n_qubits), *rng.integers(n_qubits, size=2)]:
            kind = str(rng.choice(singles))
            angles = tuple(range(n_angles, n_angles + N_ANGLES[kind]))
            unit = rng.normal(size=4)
            a, b, c, d = (unit / np.linalg.norm(unit)).tolist()
            gates.append(Gate(kind, (int(qubit),), angles, fixed=(a, b, c, d) if kind == "fixed" else None))
            n_angles += len(angles)
        if step < len(pairs):
            kind = str(rng.choice([kind for kind in kinds if kind in ("cz", "rzz")]))
            angles = (n_angles,) if kind == "rzz" else ()
            gates.append(Gate(kind, pairs[step], angles))
            n_angles += len(angles)
    return Program(n_qubits, tuple(gates), n_angles)


def make_dense(n_qubits: int, n_layers: int, n_cz: int) -> Program:
    """Rotations of all qubits, and CZ gates whose qubits the rows choose."""
    gates = []
    for layer in range(n_layers):
        start = 2 * n_qubits * layer
        gates += [Gate("r", (qubit,), (start + 2 * qubit, start + 2 * qubit + 1)) for qubit in range(n_qubits)]
        gates += [Gate("cz", choice=n_cz * layer + place) for place in range(n_cz)]
    return Program(n_qubits, tuple(gates), 2 * n_qubits * n_layers, n_cz * n_layers)


def make_rows(program: Program, rows: int = 4, dtype: th.dtype = th.float32) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(0)
    angles = 2 * th.randn(rows, program.n_angles, generator=generator)
    return angles.to(dtype), th.randint(program.n_qubits, (rows, program.n_choices, 2), generator=generator)


def exact(program: Program, angles: th.Tensor, choices: th.Tensor) -> np.ndarray:
    """Independent witness: Qiskit's statevector."""
    found = []
    for row, chosen in zip(angles.tolist(), choices.tolist(), strict=True):
        circuit = QuantumCircuit(program.n_qubits)
        for gate in program.gates:
            values = [row[place] for place in gate.angles]
            if gate.fixed is not None:
                a, *others = gate.fixed
                matrix = a * PAULIS[0] - 1j * sum(b * pauli for b, pauli in zip(others, PAULIS[1:], strict=True))
                circuit.append(UnitaryGate(matrix), gate.qubits)
            else:
                qubits = gate.qubits if gate.choice is None else chosen[gate.choice]
                if len(qubits) == 1 or qubits[0] != qubits[1]:
                    getattr(circuit, gate.name)(*values, *qubits)
        state = Statevector(circuit)
        found.append([state.expectation_value(Pauli("Z"), [qubit]).real for qubit in range(program.n_qubits)])
    return np.array(found)


def of_both_paths(program: Program, order: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[th.Tensor, ...]]:
    """Values and gradients, compiled and in torch."""
    angles, choices = make_rows(program, rows)
    weights = th.randn(rows, program.n_qubits, generator=th.Generator().manual_seed(1))
    found = []
    for _ in range(2):
        leaf = angles.clone().requires_grad_(True)
        z = CumulantExpansion(program, order)(leaf, choices)
        found.append((z.detach(), *th.autograd.grad((z * weights).sum(), leaf)))
        monkeypatch.setattr(cumulants, "in_graph", lambda tensor: True)
    return found


CHAIN = [(0, 1), (1, 2), (2, 0)]
CASES = {
    "pair": (2, [(0, 1), (1, 0)] * 4),  # two qubits at any depth
    "pairs": (5, [(0, 1), (3, 2)] * 4),  # pairs that stay among themselves, and a qubit that meets nobody
    "ring": (4, CHAIN),  # three qubits, as long as only correlations of pairs have been looked at
}


@pytest.mark.parametrize("case", CASES)
def test_second_order_is_exact_without_correlations_of_three(case: str) -> None:
    n_qubits, pairs = CASES[case]
    errors = []
    for seed in range(3):
        program = make_program(n_qubits, pairs, seed)
        angles, choices = make_rows(program)
        first, second = (CumulantExpansion(program, order)(angles, choices).numpy() for order in (1, 2))
        theirs = exact(program, angles, choices)
        assert np.abs(second - theirs).max() < 1e-5
        errors.append(np.abs(first - theirs).max())
    assert max(errors) > 1e-2  # nothing that the mean field knows


@pytest.mark.parametrize("order", [1, 2])
def test_product_states_are_exact(order: int) -> None:
    program = make_program(3, [], kinds=KINDS)
    angles, choices = make_rows(program)
    assert np.abs(CumulantExpansion(program, order)(angles, choices).numpy() - exact(program, angles, choices)).max() < 1e-5


def test_second_order_is_closer_where_neither_is_exact() -> None:
    program = make_dense(5, 5, 2)
    angles, choices = make_rows(program, rows=12)
    theirs = exact(program, angles, choices)
    first, second = (np.abs(CumulantExpansion(program, order)(angles, choices).numpy() - theirs).mean() for order in (1, 2))
    assert 1e-3 < second < 0.5 * first


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "program", [make_program(5, [*CHAIN, (3, 1), (4, 3)] * 3), make_dense(4, 5, 3)], ids=["fixed", "chosen"]
)
def test_kernel_and_torch_agree(program: Program, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = of_both_paths(program, order, 6, monkeypatch)
    assert th.allclose(ours[0], theirs[0], atol=1e-5)
    assert th.allclose(ours[1], theirs[1], atol=1e-4)
    assert float(theirs[1].abs().max()) > 0.1


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_any_order(order: int) -> None:
    """gradcheck in double precision, and the compiled function's second derivative."""
    program = make_program(3, CHAIN)
    angles, choices = make_rows(program, 2, th.float64)
    weights = th.tensor([1.0, -2.0, 0.5], dtype=th.float64)

    def loss(leaf: th.Tensor) -> th.Tensor:
        return (CumulantExpansion(program, order)(leaf, choices) * weights.to(leaf.dtype)).sum(1)

    assert th.autograd.gradcheck(loss, (angles.requires_grad_(True),))
    seconds = []
    for leaf in (angles, angles.detach().float().requires_grad_(True)):
        (gradient,) = th.autograd.grad(loss(leaf).sum(), leaf, create_graph=True)
        seconds.append(th.autograd.grad(gradient.square().sum(), leaf)[0].double())
    assert th.allclose(seconds[0], seconds[1], atol=1e-3)
    assert float(seconds[0].abs().max()) > 0.1


def test_gates_that_nobody_sees_and_circuits_that_are_hardly_any() -> None:
    nothing = th.zeros(3, 0, 2, dtype=th.long)
    empty = Program(2, (), 0)
    diagonal = Program(2, (Gate("rz", (0,), (0,)), Gate("cz", (0, 1)), Gate("rzz", (0, 1), (1,))), 2)
    hadamard = Program(1, (Gate("fixed", (0,), fixed=HADAMARD),), 0)
    for order in (1, 2):
        assert th.equal(CumulantExpansion(empty, order)(th.zeros(3, 0), nothing), th.ones(3, 2))
        leaf = th.ones(3, 2, requires_grad=True)
        z = CumulantExpansion(diagonal, order)(leaf, nothing)
        assert th.equal(z, th.ones(3, 2))
        assert th.equal(th.autograd.grad(z.sum(), leaf)[0], th.zeros(3, 2))
        assert th.allclose(CumulantExpansion(hadamard, order)(th.zeros(3, 0), nothing), th.zeros(3, 1), atol=1e-6)
        program = make_dense(3, 2, 1)
        no_rows = CumulantExpansion(program, order)(th.zeros(0, program.n_angles), th.zeros(0, 2, 2, dtype=th.long))
        assert no_rows.shape == (0, 3)


def test_nan_is_passed_on_and_writes_nowhere() -> None:
    program = make_dense(3, 4, 2)
    angles, choices = make_rows(program, 3)
    clean = CumulantExpansion(program, 2)(angles, choices)
    angles[1], choices[1] = float("nan"), th.iinfo(th.long).min
    spoiled = CumulantExpansion(program, 2)(angles, choices)
    assert th.equal(spoiled[[0, 2]], clean[[0, 2]])
    assert bool(spoiled[1].isnan().any())


def test_operations_grow_as_said() -> None:
    """Linear in the gates; at the second order, a gate of two qubits costs as much as there are qubits."""
    cost = {
        (n, depth): CumulantExpansion(make_dense(n, depth, n // 2), 2).operations() for n, depth in ((10, 5), (10, 9), (20, 5))
    }
    assert cost[10, 9] == pytest.approx(2 * cost[10, 5], rel=0.01)
    assert 3.5 < cost[20, 5] / cost[10, 5] < 4
    assert CumulantExpansion(make_dense(20, 5, 10), 1).operations() == pytest.approx(
        2 * CumulantExpansion(make_dense(10, 5, 5), 1).operations(), rel=0.01
    )
