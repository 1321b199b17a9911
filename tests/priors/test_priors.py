"""Priors by name: what each of them keeps, on every circuit, and how the qtDNN uses it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector

from sb3_quantum import QuantumLayer
from sb3_quantum.circuits import BrickworkCircuit, Circuit, PaperCircuit, QiskitCircuit, mean_field_bits
from sb3_quantum.circuits.program import Gate, Program
from sb3_quantum.layers import QtDNN
from sb3_quantum.priors import PRIORS, MeanField, NoPrior, PairCorrelations, Prior, make_prior


def make_qiskit() -> QiskitCircuit:
    """Inputs in several gates and in expressions, a weight, and gates that become programs of several."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 1)
    circuit = QuantumCircuit(3)
    for _ in range(2):
        circuit.ry(2 * x[0] + x[1], 0)
        circuit.rx(x[1], 1)
        circuit.h(2)
        circuit.cx(0, 1)
        circuit.rzz(w[0], 1, 2)
        circuit.ry(x[0], 2)
    return QiskitCircuit(circuit, inputs=x, weights=w)


CIRCUITS = [PaperCircuit(3, 3), PaperCircuit(4, 3, n_cz=2), PaperCircuit(3, 2, n_cz=0), BrickworkCircuit(4, 3), make_qiskit()]


def make_inputs(circuit: Circuit, rows: int = 5) -> th.Tensor:
    # Angles beyond a turn and indices beyond the register
    return 5 * th.randn(rows, circuit.n_inputs, generator=th.Generator().manual_seed(0))


def exact_bits(circuit: Circuit, inputs: th.Tensor) -> th.Tensor:
    states = [Statevector(circuit.to_qiskit(row, measure=False)) for row in inputs]
    return th.tensor([[state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)] for state in states]).float()


@pytest.mark.parametrize("circuit", CIRCUITS, ids=lambda circuit: circuit.family)
@pytest.mark.parametrize("name", PRIORS)
def test_features_are_trigonometry_and_the_priors_logits(name: str, circuit: Circuit) -> None:
    prior, inputs = make_prior(name, circuit), make_inputs(circuit)
    turns = circuit.turns(inputs)
    logits = prior.logits(inputs)
    assert logits.shape == (5, prior.n_logits)
    assert th.allclose(prior.features(inputs), th.cat([turns.cos(), turns.sin(), logits], dim=1), atol=1e-3)
    bits = prior.bits(inputs)
    assert bits.shape == (5, circuit.n_qubits) and bool(((bits >= 0) & (bits <= 1)).all())
    if prior.n_logits:
        assert th.allclose(th.sigmoid(logits), bits, atol=1e-3)


@pytest.mark.parametrize("circuit", CIRCUITS, ids=lambda circuit: circuit.family)
def test_each_prior_is_closer_than_the_one_before(circuit: Circuit) -> None:
    inputs = make_inputs(circuit, 8)
    exact = exact_bits(circuit, inputs)
    none, first, second = (
        float((kind(circuit).bits(inputs) - exact).abs().mean()) for kind in (NoPrior, MeanField, PairCorrelations)
    )
    assert second <= first + 1e-6 and first < none
    if circuit == PaperCircuit(3, 2, n_cz=0):
        assert first < 1e-5


def test_the_papers_circuit_has_loops_of_its_own_with_the_same_result() -> None:
    circuit = PaperCircuit(4, 4)
    inputs = make_inputs(circuit)
    prior = MeanField(circuit)
    assert th.equal(prior.bits(inputs), mean_field_bits(circuit, inputs))
    z = prior.expansion(circuit.gate_angles(inputs), circuit.choices(inputs))
    assert th.allclose((1 - z) / 2, prior.bits(inputs), atol=1e-5)
    assert 0 < prior.operations() < PairCorrelations(circuit).operations()


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "none"])
@pytest.mark.parametrize("features", ["periodic", "raw"])
def test_before_a_fit_the_qtdnn_is_its_prior(name: str, features: str) -> None:
    circuit = PaperCircuit(4, 3, n_cz=2)
    layer = QuantumLayer(circuit=circuit, qtdnn_prior=name, qtdnn_features=features, qtdnn_arch=[8])
    inputs = make_inputs(circuit).requires_grad_(True)
    expected = make_prior(name, circuit).bits(inputs)
    assert th.allclose(layer.surrogate(inputs), expected, atol=1e-3)
    ours, theirs = (th.autograd.grad(bits.sum(), inputs)[0] for bits in (layer.surrogate(inputs), expected))
    assert th.allclose(ours, theirs, atol=1e-3) and float(theirs.abs().max()) > 0.1
    targets = exact_bits(circuit, inputs.detach())
    losses = [layer.fit_surrogate(inputs.detach(), targets, gradient_steps=20) for _ in range(10)]
    assert losses[-1] < losses[0]


def test_state_of_a_qtdnn_does_not_grow_with_its_prior() -> None:
    """Model files hold the fitted network; a prior has no parameters."""
    shapes = [
        {key: value.shape for key, value in QtDNN(PaperCircuit(3, 2), prior=name).state_dict().items()}
        for name in ("mean_field", "pair_correlations")
    ]
    assert shapes[0] == shapes[1]


def test_unknown_names_and_circuits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="qtdnn_prior='pauli' is unknown, accepted are 'auto', 'none', 'mean_field'"):
        QuantumLayer(3, 2, qtdnn_prior="pauli")

    @dataclass(frozen=True)
    class Odd(PaperCircuit):
        family: ClassVar[str] = "odd"

        @cached_property
        def program(self) -> Program:
            program = super().program
            return replace(program, gates=(*program.gates, Gate("swap", (0, 1))))

    inputs = make_inputs(Odd(3, 2))
    for name in ("mean_field", "pair_correlations"):
        with pytest.raises(ValueError, match=r"a prior supports the gates r, rx, .*, rzz, but the circuit has swap"):
            make_prior(name, Odd(3, 2)).bits(inputs)

    class Shallow(NoPrior):
        name = "shallow"

        @classmethod
        def supports(cls, circuit: Circuit) -> str | None:
            return "it has several layers" if circuit.n_layers > 1 else None

    monkeypatch.setitem(PRIORS, "shallow", Shallow)
    QuantumLayer(3, 1, qtdnn_prior="shallow")
    with pytest.raises(ValueError, match=r"qtdnn_prior='shallow' does not fit PaperCircuit\(.*\): it has several layers"):
        QuantumLayer(3, 2, qtdnn_prior="shallow")


def test_the_default_suits_the_circuit() -> None:
    for circuit in CIRCUITS:
        papers = isinstance(circuit, PaperCircuit) and circuit.n_cz <= 1
        assert QtDNN(circuit).prior.name == ("mean_field" if papers else "pair_correlations")


@pytest.mark.parametrize("name", ["auto", *PRIORS])
def test_making_a_prior_takes_nothing_however_large_the_circuit(name: str) -> None:
    """Files of strangers are checked by making what their settings say."""
    for circuit in (PaperCircuit(10**9, 10**9, n_cz=10**9), BrickworkCircuit(10**9, 10**9)):
        assert make_prior(name, circuit).n_logits in (0, 10**9)


def test_a_prior_of_ones_own_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Coin(Prior):
        name = "coin"

        def bits(self, inputs: th.Tensor) -> th.Tensor:
            return 0.5 + 0.4 * self.circuit.gate_angles(inputs)[:, : self.circuit.n_qubits].sin()

        def operations(self) -> int:
            return self.circuit.n_qubits

    monkeypatch.setitem(PRIORS, "coin", Coin)
    layer = QuantumLayer(3, 2, qtdnn_prior="coin")
    inputs = make_inputs(layer.ansatz)
    assert th.allclose(layer.surrogate(inputs), Coin(layer.ansatz).bits(inputs), atol=1e-5)
    from sb3_quantum.qtd3 import QuantumTD3

    kwargs: dict[str, Any] = dict(n_qubits=3, n_layers=2, qtdnn_prior="coin", net_arch=[8])
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, buffer_size=100, seed=0)
    assert model.policy.quantum_layer is not None
    assert model.policy.quantum_layer.qtdnn.prior.name == "coin"


def test_dense_circuits_train_with_pairs() -> None:
    from sb3_quantum.qtd3 import QuantumTD3

    kwargs: dict[str, Any] = dict(circuit_kwargs=dict(n_cz=2), n_qubits=4, n_layers=3, net_arch=[8])
    kwargs["qtdnn_prior"] = "pair_correlations"
    model = QuantumTD3(
        "MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, buffer_size=100, learning_starts=20, batch_size=16, seed=0
    )
    before = th.nn.utils.parameters_to_vector(model.actor.parameters()).detach().clone()
    model.learn(40)
    assert not np.allclose(before, th.nn.utils.parameters_to_vector(model.actor.parameters()).detach())
