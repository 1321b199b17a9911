"""A hundred qubits and more through layer, training, files and replay buffer."""

from pathlib import Path

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.layers import QuantumLayer
from tests.qtd3.test_train import pendulum


@pytest.mark.parametrize("n_qubits", [127, 156])
def test_a_layer_of_this_width_is_differentiated_exactly(n_qubits: int) -> None:
    """Only rotations about x and no CZ: an expected bit is sin(theta / 2) ** 2 of the sum, its slope half a sine."""
    layer = QuantumLayer(n_qubits, 2, gradient="exact", readout="mean")
    inputs = th.zeros(3, layer.ansatz.n_inputs)
    inputs[:, : 2 * n_qubits : 2] = th.linspace(-3, 3, 3 * n_qubits).reshape(3, -1)
    inputs.requires_grad_()
    outputs = layer(inputs)
    (gradient,) = th.autograd.grad(outputs.sum(), inputs)
    theta = inputs.detach()[:, : 2 * n_qubits : 2]
    assert th.allclose(outputs, (theta / 2).sin() ** 2, atol=1e-6)
    assert th.allclose(gradient[:, : 2 * n_qubits : 2], theta.sin() / 2, atol=1e-6)


def test_a_model_of_127_qubits_is_trained_and_comes_back(tmp_path: Path) -> None:
    model = pendulum(policy_kwargs=dict(n_qubits=127, n_layers=10, qtdnn_arch=[8]), learning_starts=5, batch_size=8).learn(20)
    assert model._n_updates == 15 and model.policy.quantum_layer is not None
    assert model.policy.quantum_layer.backend.get_state()["engine"] == "split"
    buffer = model.replay_buffer
    # As docs/qtd3.md says: 2,540 angles and 127 expected bits in two bytes each, 20 indices in one
    assert buffer is not None and buffer.circuit.nbytes / buffer.buffer_size == 2 * (2540 + 127) + 20  # type: ignore[attr-defined]
    observations = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    wanted = model.predict(observations, deterministic=True)[0]
    model.save(tmp_path / "model")
    save_safe(model, tmp_path / "safe")
    for loaded in (QuantumTD3.load(tmp_path / "model", buffer_size=1), load_safe(tmp_path / "safe", buffer_size=1)):
        assert np.array_equal(loaded.predict(observations, deterministic=True)[0], wanted)
        assert loaded.policy.ansatz == model.policy.ansatz
