"""The mean field against the exact circuit where it is exact, and against density matrices everywhere."""

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, partial_trace

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit, mean_field, mean_field_bits, mean_field_features

SHAPES = [(1, 1), (1, 4), (2, 3), (3, 5), (4, 4)]


def make(n_qubits: int, n_layers: int, rows: int = 6) -> tuple[PaperCircuit, th.Tensor]:
    th.manual_seed(0)
    ansatz = PaperCircuit(n_qubits, n_layers)
    # Angles beyond a turn and indices beyond the register, so that wrapping is part of what is compared
    return ansatz, 5 * th.randn(rows, ansatz.n_inputs)


def set_cz(ansatz: PaperCircuit, inputs: th.Tensor, pairs: list[tuple[int, int]]) -> th.Tensor:
    angles, _ = ansatz.split(inputs)
    return ansatz.join(angles, th.tensor(pairs).flatten().float().expand(len(inputs), -1))


def product(states: list[DensityMatrix]) -> DensityMatrix:
    whole = states[0]
    for state in states[1:]:
        whole = state.tensor(whole)
    return whole


@pytest.mark.parametrize("n_qubits, n_layers", SHAPES)
def test_equals_density_matrices_without_correlations(n_qubits: int, n_layers: int) -> None:
    """Independent witness: Qiskit's density matrices, replaced by the product of their qubits' after every CZ."""
    ansatz, inputs = make(n_qubits, n_layers)
    ours = mean_field_bits(ansatz, inputs)
    for row, bits in zip(inputs, ours, strict=True):
        theta, phi, index = (part[0].tolist() for part in ansatz.gates(row[None]))
        qubits = [DensityMatrix.from_label("0")] * n_qubits
        for layer in range(n_layers):
            for qubit in range(n_qubits):
                gate = QuantumCircuit(1)
                gate.r(theta[layer][qubit], phi[layer][qubit], 0)
                qubits[qubit] = qubits[qubit].evolve(gate)
            ((i, j),) = index[layer]
            if i != j:
                gate = QuantumCircuit(n_qubits)
                gate.cz(i, j)
                state = product(qubits).evolve(gate)
                qubits = [partial_trace(state, [q for q in range(n_qubits) if q != qubit]) for qubit in range(n_qubits)]
        theirs = [qubit.probabilities()[1] for qubit in qubits]
        assert np.abs(bits.numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize(
    "pairs, exact",
    [
        ([(0, 0), (1, 1), (2, 2), (3, 3)], True),  # no CZ at all
        ([(0, 1), (2, 3), (1, 2), (0, 3)], True),  # two pairs, which meet once; the last CZ is never seen
        ([(0, 1), (0, 1), (2, 3), (0, 0)], False),  # qubits that are entangled already
        ([(0, 1), (1, 2), (2, 0), (0, 0)], False),  # by way of another qubit
    ],
)
def test_exact_while_no_qubit_meets_one_that_it_is_entangled_with(pairs: list[tuple[int, int]], exact: bool) -> None:
    ansatz, inputs = make(4, 4)
    inputs = set_cz(ansatz, inputs, pairs)
    difference = (mean_field_bits(ansatz, inputs) - StatevectorBackend(ansatz).expected_bits(inputs)).abs().max()
    assert (difference < 1e-5) == exact
    assert exact or difference > 1e-2


@pytest.mark.parametrize("n_qubits, n_layers", [*SHAPES, (10, 10)])
def test_kernel_and_torch_agree(n_qubits: int, n_layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients of the features; logits are compared where they are not steep."""
    ansatz, inputs = make(n_qubits, n_layers, rows=20)
    weights = th.randn(20, 2 * ansatz.n_inputs + n_qubits)
    found = []
    for _ in range(2):
        leaf = inputs.clone().requires_grad_(True)
        features = mean_field_features(ansatz, leaf, 0.02)
        found.append((features.detach(), *th.autograd.grad((features * weights).sum(), leaf)))
        monkeypatch.setattr(mean_field, "_is_compiled", lambda inputs: False)
    assert th.allclose(found[0][0], found[1][0], atol=1e-4)
    assert th.allclose(found[0][1], found[1][1], atol=2e-3)


def test_features_are_trigonometry_and_logits() -> None:
    ansatz, inputs = make(3, 4)
    angles, indices = ansatz.split(inputs)
    turns = th.cat([angles, indices * 2 * np.pi / 3], dim=1)
    bits = mean_field_bits(ansatz, inputs)
    expected = th.cat([turns.cos(), turns.sin(), th.logit(bits, eps=1e-3)], dim=1)
    assert th.allclose(mean_field_features(ansatz, inputs, 1e-3), expected, atol=1e-4)
    # At the margin there is no slope: without any rotation every bit is 0
    none = th.zeros(1, ansatz.n_inputs, requires_grad=True)
    features = mean_field_features(ansatz, none, 1e-3)
    assert th.allclose(features[:, -3:], th.tensor(np.log(1e-3 / (1 - 1e-3)), dtype=th.float32))
    assert float(th.autograd.grad(features[:, -3:].sum(), none)[0].abs().max()) == 0


def test_nan_is_passed_on_and_writes_nowhere() -> None:
    """NaN is no CZ index: compiled loops must not take it for one."""
    ansatz, inputs = make(3, 4)
    inputs[1] = float("nan")
    features = mean_field_features(ansatz, inputs, 1e-3)
    assert th.equal(features[[0, 2]], mean_field_features(ansatz, inputs[[0, 2]], 1e-3))


def test_gradients_are_those_of_the_mean_field() -> None:
    """gradcheck in double precision, in the angles; the CZ indices are discrete and get zero."""
    ansatz, inputs = make(3, 4, rows=2)
    angles, indices = ansatz.split(inputs.double())
    angles.requires_grad_(True)
    assert th.autograd.gradcheck(lambda x: mean_field_bits(ansatz, ansatz.join(x, indices)), (angles,))
    whole = inputs.clone().requires_grad_(True)
    mean_field_bits(ansatz, whole).sum().backward()
    assert whole.grad is not None
    assert bool((ansatz.split(whole.grad)[1] == 0).all()) and bool((ansatz.split(whole.grad)[0] != 0).any())


def test_half_precision_takes_the_torch_path() -> None:
    ansatz, inputs = make(3, 4)
    halves = mean_field_bits(ansatz, inputs.bfloat16())
    assert halves.dtype == th.bfloat16
    assert th.allclose(halves.float(), mean_field_bits(ansatz, inputs.bfloat16().float()), atol=0.15)


def test_huge_and_no_inputs() -> None:
    ansatz = PaperCircuit(4, 3)
    bits = mean_field_bits(ansatz, th.full((1, ansatz.n_inputs), 1e30))
    assert bool(((bits >= 0) & (bits <= 1)).all())
    assert mean_field_bits(ansatz, th.zeros(0, ansatz.n_inputs)).shape == (0, 4)
    assert th.equal(mean_field_bits(ansatz, th.zeros(2, ansatz.n_inputs)), th.zeros(2, 4))
