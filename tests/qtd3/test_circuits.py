"""Agents with circuits of every family are trained, saved in both forms, and unchanged after loading."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from sb3_quantum import QuantumLayer, QuantumTD3
from sb3_quantum.circuits import PaperCircuit, QiskitCircuit
from sb3_quantum.hub import load_safe, save_safe
from tests.envs import SMALL


def mine() -> QiskitCircuit:
    x, w = ParameterVector("x", 4), ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    for layer in range(2):
        circuit.rx(x[2 * layer], 0)
        circuit.ry(x[2 * layer + 1], 1)
        circuit.cx(0, 1)
        circuit.rz(w[layer], 1)
        circuit.rx(w[layer], 1)
    return QiskitCircuit(circuit, x, w)


CIRCUITS: list[dict[str, Any]] = [
    {"circuit_kwargs": {"n_cz": 2}},
    {"circuit_kwargs": {"n_cz": 0}},
    {"circuit": "brickwork"},
    {"circuit": PaperCircuit(3, 2, n_cz=2)},
    {"circuit": mine()},
    {"circuit": "qiskit", "circuit_kwargs": mine().kwargs},
]


def agent(choice: dict[str, Any], **kwargs: Any) -> QuantumTD3:
    own = choice.get("circuit") in ("qiskit", mine())
    policy_kwargs = {key: value for key, value in SMALL.items() if not (own and key in ("n_qubits", "n_layers"))}
    return QuantumTD3(
        "MlpPolicy", "Pendulum-v1", learning_starts=10, buffer_size=100, batch_size=8, probe_std=0.2, seed=0,
        policy_kwargs={**policy_kwargs, **choice}, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("choice", CIRCUITS, ids=lambda choice: str(choice)[:40])
def test_train_save_and_load(choice: dict[str, Any], tmp_path: Path) -> None:
    model = agent(choice)
    weights = getattr(model.policy.actor.encoding, "weights", None)
    before = None if weights is None else weights.detach().clone()
    model.learn(30)
    if weights is not None:
        assert weights.shape == (2,) and not th.equal(weights, before)  # trained with the actor
        assert not th.equal(weights, model.policy.actor_target.encoding.weights)  # whose target follows behind
    observations = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    actions, _ = model.predict(observations, deterministic=True)
    model.save(tmp_path / "model.zip")
    save_safe(model, tmp_path / "safe")
    for again in (QuantumTD3.load(tmp_path / "model.zip"), load_safe(tmp_path / "safe")):
        assert again.policy.ansatz == model.policy.ansatz
        assert np.array_equal(again.predict(observations, deterministic=True)[0], actions)


def test_an_instance_agrees_with_n_qubits_or_is_refused() -> None:
    kwargs = dict(n_links=2, net_arch=[8], circuit=mine())
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", buffer_size=10, policy_kwargs={**kwargs, "n_qubits": 2, "n_layers": 1})
    assert model.policy.ansatz == mine()
    with pytest.raises(ValueError, match=r"n_qubits=3 contradicts circuit=QiskitCircuit.*, which has 2"):
        QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs={**kwargs, "n_qubits": 3})


def test_a_layer_has_the_weights_of_its_circuit() -> None:
    th.manual_seed(0)
    layer = QuantumLayer(circuit=mine(), readout="mean", qtdnn_arch=[16])
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["weights"]
    data = th.randn(6, 4)
    outputs = layer(data)
    assert outputs.shape == (6, 2)
    outputs.sum().backward()
    assert layer.weights is not None and layer.weights.grad is not None and bool((layer.weights.grad != 0).any())
    whole = th.cat([data, layer.weights.detach().expand(6, -1)], dim=1)
    assert th.allclose(layer(whole), outputs)  # all inputs may be given, too
    layer.fit_surrogate(data)
    assert "weights" not in QuantumLayer(circuit=mine(), own_weights=False).state_dict()


def test_another_circuits_file_is_refused() -> None:
    th.manual_seed(0)
    state = QuantumLayer(3, 2).state_dict()
    with pytest.raises(RuntimeError, match="but this one has"):
        QuantumLayer(3, 2, circuit_kwargs={"n_cz": 2}).load_state_dict(state, strict=False)
