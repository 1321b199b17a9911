"""Inputs of a quantum layer with any number of leading dimensions."""

import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from torch import nn

from sb3_quantum import QuantumLayer
from sb3_quantum.circuits import QiskitCircuit


def make_layer(**kwargs) -> QuantumLayer:
    th.manual_seed(0)
    return QuantumLayer(**{"n_qubits": 3, "n_layers": 2, "qtdnn_arch": [16], "readout": "mean", "seed": 0, **kwargs})


def own_circuit() -> QiskitCircuit:
    """Two inputs and a weight."""
    x, w, circuit = ParameterVector("x", 2), ParameterVector("w", 1), QuantumCircuit(2)
    circuit.ry(x[0], 0)
    circuit.rx(x[1], 1)
    circuit.cz(0, 1)
    circuit.ry(w[0], 1)
    return QiskitCircuit(circuit, inputs=x, weights=w)


@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (1, 2, 3), (0, 4), (2, 0, 3)])
@pytest.mark.parametrize("readout", ["sample", "mean"])
@pytest.mark.parametrize("gradient", ["qtdnn", "exact"])
def test_leading_dimensions_are_those_of_a_linear_layer(leading: tuple[int, ...], readout: str, gradient: str) -> None:
    """Values, drawn bits and gradients are those of the same rows in one batch."""
    whole, flat = make_layer(readout=readout, gradient=gradient), make_layer(readout=readout, gradient=gradient)
    inputs = th.randn(*leading, whole.n_inputs, requires_grad=True)
    rows = inputs.detach().reshape(-1, whole.n_inputs).requires_grad_(True)
    assert whole(inputs).shape == nn.Linear(whole.n_inputs, 3)(inputs).shape
    outputs, expected = whole(inputs), (flat(rows), flat(rows))[1]
    assert th.equal(outputs.reshape(-1, 3), expected)
    weights = th.randn(len(rows), 3)
    (outputs.reshape(-1, 3) * weights).sum().backward()
    (expected * weights).sum().backward()
    assert inputs.grad is not None and th.equal(inputs.grad.reshape(rows.shape), rows.grad)
    assert th.equal(whole.surrogate(inputs).reshape(-1, 3), flat.surrogate(rows))


@pytest.mark.parametrize("leading", [(2, 3), ()])
def test_a_circuits_own_weights_complete_them(leading: tuple[int, ...]) -> None:
    layer = QuantumLayer(circuit=own_circuit(), readout="mean")
    inputs = th.randn(*leading, 2)
    assert th.equal(layer(inputs).reshape(-1, 2), layer(inputs.reshape(-1, 2)))
    layer(inputs).sum().backward()
    assert layer.weights is not None and layer.weights.grad is not None


@pytest.mark.parametrize("targets", [False, True])
def test_fit_takes_them(targets: bool) -> None:
    whole, flat = make_layer(), make_layer()
    inputs, bits = th.randn(2, 4, whole.n_inputs), th.rand(2, 4, 3)
    loss = whole.fit_surrogate(inputs, bits if targets else None)
    assert loss == flat.fit_surrogate(inputs.flatten(0, 1), bits.flatten(0, 1) if targets else None)
    assert all(map(th.equal, whole.qtdnn.parameters(), flat.qtdnn.parameters()))


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (), (3,), (16, 5)])
def test_what_does_not_fit_is_named_with_its_own_shape(shape: tuple[int, ...]) -> None:
    layer = make_layer()
    assert layer.n_inputs == 16
    for function in (layer, layer.surrogate, layer.fit_surrogate):
        with pytest.raises(ValueError, match=r"must have the shape \(batch, 16\)") as caught:
            function(th.zeros(shape))
        assert f"got {shape}" in str(caught.value)


@pytest.mark.parametrize("wrong", [(2, 4, 2), (4, 2, 3), (7, 3), (3,)])
def test_targets_must_match(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"targets must have the shape \(8, 3\)") as caught:
        make_layer().fit_surrogate(th.zeros(2, 4, 16), th.zeros(wrong))
    assert f"got {wrong}" in str(caught.value)
