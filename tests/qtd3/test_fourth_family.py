"""A family of a user's own is one file: nothing else needs to know it, from the training to the model card."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch as th
import yaml
from stable_baselines3.common.monitor import Monitor

from sb3_quantum import QuantumLayer, QuantumTD3, check_circuit
from sb3_quantum.backends import AerBackend
from sb3_quantum.circuits import CHIPS, CIRCUITS, Circuit, Column, Gate, Program, TrainingPlan, training_seconds
from sb3_quantum.circuits.program import HADAMARD
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.hub.model_card import _circuit
from sb3_quantum.plots import circuit_figure
from sb3_quantum.plots.figure import new_figure
from sb3_quantum.plots.film import CircuitPanel
from sb3_quantum.qtd3 import FidelityCallback
from sb3_quantum.study import make_model
from tests.envs import SMALL
from tests.study.helpers import small


@dataclass(frozen=True)
class Ladder(Circuit):
    """
    In every layer one input turns all qubits, and one weight joins the neighbours by RXX gates. So it has few inputs for its
    size, each of them in several gates, and no gate of the paper's circuit.
    """

    n_qubits: int = 3
    n_layers: int = 2

    family: ClassVar[str] = "ladder"

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"n_qubits": self.n_qubits, "n_layers": self.n_layers}

    @property
    def columns(self) -> tuple[Column, ...]:
        inputs = [Column("angle", 2 * math.pi, f"the input of layer {layer}") for layer in range(self.n_layers)]
        return (*inputs, *(Column("angle", 2 * math.pi, f"the weight of layer {k}", True) for k in range(self.n_layers)))

    @property
    def program(self) -> Program:
        gates: list[Gate] = []
        turned = [Gate("fixed", (qubit,), fixed=HADAMARD) for qubit in range(self.n_qubits)]
        for layer in range(self.n_layers):
            gates += [Gate("ry", (qubit,), (layer,)) for qubit in range(self.n_qubits)]
            gates += [*turned, *(Gate("rzz", (q, q + 1), (self.n_layers + layer,)) for q in range(self.n_qubits - 1)), *turned]
        return Program(self.n_qubits, tuple(gates), 2 * self.n_layers)


#: of a size for which another family would have 40 times as many inputs
KWARGS = {"n_qubits": 5, "n_layers": 8}


@pytest.fixture(scope="module")
def model() -> Iterator[QuantumTD3]:
    """As YAML of the zoo or of a study asks for it, after some updates."""
    settings = yaml.safe_load("{circuit: ladder, circuit_kwargs: {n_qubits: 5}, n_layers: 8, net_arch: [8], n_links: 1}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CIRCUITS, "ladder", Ladder)
        model = QuantumTD3(
            "MlpPolicy", "Pendulum-v1", learning_starts=10, buffer_size=100, batch_size=8, probe_std=0.2, seed=0,
            policy_kwargs={**settings, "qtdnn_arch": [8]},
        )  # fmt: skip
        callback = FidelityCallback(freq=15, n_states=8)
        weights = model.policy.actor.encoding.weights.detach().clone()
        model.learn(30, callback=callback)
        assert model.policy.ansatz == Ladder(**KWARGS)
        assert not th.equal(model.policy.actor.encoding.weights, weights)
        assert callback.latest["qtdnn/cosine"] > 0.5
        yield model


def test_its_contract() -> None:
    check_circuit(Ladder())


def test_model_files_and_buffer(model: QuantumTD3, tmp_path: Path) -> None:
    observations = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    actions, _ = model.predict(observations, deterministic=True)
    model.save(tmp_path / "model.zip")
    save_safe(model, tmp_path / "safe")
    model.save_replay_buffer(tmp_path / "buffer")
    for again in (QuantumTD3.load(tmp_path / "model.zip", env=model.get_env()), load_safe(tmp_path / "safe")):
        assert again.policy.ansatz == model.policy.ansatz
        assert np.array_equal(again.predict(observations, deterministic=True)[0], actions)
    again = QuantumTD3.load(tmp_path / "model.zip", env=model.get_env())
    again.load_replay_buffer(tmp_path / "buffer")
    assert again.replay_buffer.pos == model.replay_buffer.pos
    again.learn(5, reset_num_timesteps=False)


def test_gradients_noise_and_cost(model: QuantumTD3) -> None:
    circuit = model.policy.ansatz
    inputs = th.randn(2, circuit.n_inputs, generator=th.Generator().manual_seed(0))
    found = []
    for gradient in ("exact", "parameter_shift"):
        leaf = inputs.clone().requires_grad_(True)
        layer = QuantumLayer(circuit=circuit, gradient=gradient, qtdnn_arch=[8])
        found += th.autograd.grad(layer.surrogate(leaf).sum(), leaf)
    assert th.allclose(*found, atol=1e-4)
    mixed = AerBackend(circuit, seed=0, noise={"depolarizing": {"r": 1.0, "cz": 1.0}}).sample(inputs, shots=2000).mean(1)
    assert bool((mixed - 0.5).abs().max() < 0.1)
    plan = TrainingPlan(steps=10, updates=10)
    assert training_seconds(circuit, "parameter_shift", plan, CHIPS["paper"]) > 0


def test_drawings_and_card(model: QuantumTD3) -> None:
    circuit = model.policy.ansatz
    inputs = th.full((1, circuit.n_inputs), 7.0)
    assert circuit_figure(circuit, inputs).axes
    figure = new_figure(3, 2)
    panel = CircuitPanel(circuit, figure.add_subplot())
    panel.draw(inputs, th.zeros(1, circuit.n_qubits))
    shown = np.asarray(panel._squares.get_array())
    assert np.abs(shown).max() <= math.pi and math.isclose(shown[0], 7 - 2 * math.pi, rel_tol=1e-5)
    assert "16 angles, 8 of them trained weights" in " ".join(_circuit(model, diagram=False))


def test_onnx(model: QuantumTD3, tmp_path: Path) -> None:
    layer = QuantumLayer(circuit=Ladder(), readout="mean", qtdnn_arch=[8], seed=0)
    inputs = th.randn(3, layer.n_inputs)
    path = str(tmp_path / "layer.onnx")
    th.onnx.export(layer, (inputs,), path, dynamo=False, input_names=["inputs"])
    (outputs,) = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})
    assert np.allclose(outputs, layer(inputs).detach(), atol=1e-5)


def test_an_arm_of_a_study(model: QuantumTD3) -> None:
    study = small(arms="{own: {policy_kwargs: {circuit: ladder}}}", comparisons="[]")
    made = make_model(study.arm("own"), study.environment, 0)
    assert isinstance(made, QuantumTD3) and made.policy.ansatz == Ladder(SMALL["n_qubits"], SMALL["n_layers"])
    assert isinstance(made.get_env().envs[0], Monitor)  # type: ignore[union-attr]
