import math

import numpy as np
import pytest
import torch as th

from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.circuits.wrapping import wrap_angles


def test_paper_sizes() -> None:
    ansatz = PaperCircuit(10, 10)
    assert (ansatz.n_inputs, ansatz.n_angles, ansatz.n_indices) == (220, 200, 20)


@pytest.mark.parametrize("name, value", [("n_qubits", 0), ("n_layers", -1), ("n_qubits", 2.0), ("n_layers", True)])
def test_sizes_must_be_positive_integers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be an integer >= 1, got {value}"):
        PaperCircuit(**{name: value})


def test_layout_per_layer() -> None:
    """Two angles a qubit (theta, phi), then two CZ indices."""
    ansatz = PaperCircuit(n_qubits=2, n_layers=2)
    inputs = th.tensor([[0.1, 0.2, 0.3, 0.4, 1.0, 0.0, 0.5, 0.6, 0.7, 0.8, 0.0, 1.0]])
    theta, phi, index = ansatz.gates(inputs)
    assert th.allclose(theta, th.tensor([[[0.1, 0.3], [0.5, 0.7]]]))
    assert th.allclose(phi, th.tensor([[[0.2, 0.4], [0.6, 0.8]]]))
    assert index.tolist() == [[[[1, 0]], [[0, 1]]]]


def test_join_is_the_inverse_of_split() -> None:
    ansatz = PaperCircuit(3, 4)
    inputs = th.randn(5, ansatz.n_inputs)
    assert th.equal(ansatz.join(*ansatz.split(inputs)), inputs)


def test_wrapping_keeps_angles_equivalent() -> None:
    angles = th.tensor([0.0, math.pi, -math.pi, 3 * math.pi, -7.0, 100.0], dtype=th.float64)
    wrapped = wrap_angles(angles)
    assert bool((wrapped > -math.pi).all()) and bool((wrapped <= math.pi).all())
    assert th.allclose(th.polar(th.ones_like(angles), wrapped), th.polar(th.ones_like(angles), angles))


def test_wrapping_passes_gradients() -> None:
    angles = th.tensor([1.0, 4.0, -9.0], requires_grad=True)
    wrap_angles(angles).sum().backward()
    assert angles.grad is not None and angles.grad.tolist() == [1.0, 1.0, 1.0]


def test_indices_round_half_to_even_then_wrap() -> None:
    ansatz = PaperCircuit(n_qubits=3)
    values = th.tensor([0.5, 1.5, 2.5, 2.6, -0.4, -1.0, -3.0, 7.2])
    assert (
        ansatz.round_indices(values).tolist()
        == [int(np.rint(value)) % 3 for value in values.tolist()]
        == [0, 2, 2, 0, 0, 2, 0, 1]
    )


def test_huge_finite_inputs_do_not_overflow() -> None:
    ansatz = PaperCircuit(n_qubits=10)
    indices = ansatz.round_indices(th.tensor([1e30, -1e30, 3e38]))
    assert bool(((indices >= 0) & (indices < 10)).all())
    # Where a number was not looked at (on a GPU), it must still be no index beyond the register
    nowhere = ansatz.round_indices(th.tensor([math.nan, math.inf, -math.inf]))
    assert bool(((nowhere >= 0) & (nowhere < 10)).all())
    assert bool((wrap_angles(th.tensor([1e30, -1e30])).abs() <= math.pi).all())


@pytest.mark.parametrize(
    "column, what", [(0, "theta of qubit 0"), (13, "phi of qubit 2"), (6, "CZ index i"), (15, "CZ index j")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_inputs_name_the_layer(column: int, what: str, value: float) -> None:
    ansatz = PaperCircuit(n_qubits=3, n_layers=2)
    inputs = th.zeros(4, ansatz.n_inputs)
    inputs[2, column] = value
    with pytest.raises(ValueError, match=rf"{value} for {what} in circuit layer {column // 8} \(row 2"):
        ansatz.check(inputs)


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(batch, 220\) for PaperCircuit\(n_qubits=10, .*\), got \(2, 219\)"):
        PaperCircuit().check(th.zeros(2, 219))


def test_to_qiskit_holds_the_numbers() -> None:
    ansatz = PaperCircuit(n_qubits=2, n_layers=2)
    inputs = th.tensor([0.1, 0.2, 0.3, 0.4, 1.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 3.0])
    circuit = ansatz.to_qiskit(inputs)
    gates = [(i.operation.name, [circuit.find_bit(q).index for q in i.qubits], list(i.operation.params)) for i in circuit.data]
    assert [gate[:2] for gate in gates] == [
        ("r", [0]), ("r", [1]), ("cz", [0, 1]), ("r", [0]), ("r", [1]),
        ("barrier", [0, 1]), ("measure", [0]), ("measure", [1]),
    ]  # fmt: skip
    assert np.allclose([gates[i][2] for i in (0, 1, 3, 4)], [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])


def test_to_qiskit_takes_one_circuit() -> None:
    with pytest.raises(ValueError, match="one circuit at a time"):
        PaperCircuit().to_qiskit(th.zeros(2, 220))
