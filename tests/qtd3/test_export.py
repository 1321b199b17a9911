"""Policies outside of Python: TorchScript, ONNX and torch.export, as SB3's manual exports a policy."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class OnnxablePolicy(th.nn.Module):
    """As in SB3's manual, "Exporting models"."""

    def __init__(self, policy: Any, deterministic: bool = True):
        super().__init__()
        self.policy, self.deterministic = policy, deterministic

    def forward(self, observation: th.Tensor) -> th.Tensor:
        return self.policy(observation, deterministic=self.deterministic)


MODELS: dict[str, dict[str, Any]] = {
    "pqc": {},
    "raw": {"encoding": "raw", "n_links": 0},
    "majority": {"eval_readout": "majority", "normalize_observations": False},
    "average": {"actor_average_tau": 0.01},
    "fc": {"block": "fc"},
    "rbg": {"block": "rbg"},
    "zeros": {"block": "zeros"},
    "mean_field": {"block": "mean_field"},
    "bernoulli": {"block": "bernoulli"},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> QuantumTD3:
    return trained(**MODELS[request.param])


def trained(**policy_kwargs: Any) -> QuantumTD3:
    """A model whose normalizer and networks have moved from where they started; on the CPU, where graphs are recorded."""
    kwargs = {"n_qubits": 3, "n_layers": 2, "n_links": 2, "net_arch": [16, 16], **policy_kwargs}
    model = QuantumTD3(
        "MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, seed=0, learning_starts=10, batch_size=16, device="cpu"
    )
    return model.learn(30)


OBSERVATIONS = th.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 4.0], [-1.0, 0.0, -6.0], [0.6, -0.8, 1.0], [-0.28, 0.96, 7.5]])


def deployed(model: QuantumTD3) -> np.ndarray:
    """What ``predict`` gives, scaled to [-1, 1] as the networks' outputs are."""
    actions, _ = model.predict(OBSERVATIONS.numpy(), deterministic=True)
    return model.policy.scale_action(actions)


def through_onnx(path: Path) -> np.ndarray:
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {"observation": OBSERVATIONS.numpy()})[0]


def test_torchscript_equals_predict(model: QuantumTD3) -> None:
    """Traced with one observation, run with several others."""
    file = io.BytesIO()
    th.jit.save(th.jit.trace(OnnxablePolicy(model.policy).eval(), OBSERVATIONS[:1]), file)
    file.seek(0)
    assert np.allclose(th.jit.load(file)(OBSERVATIONS).detach().numpy(), deployed(model), atol=1e-5)


def test_onnx_equals_predict(model: QuantumTD3, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    options: dict[str, Any] = dict(input_names=["observation"], dynamic_axes={"observation": {0: "batch"}}, opset_version=17)
    policy = OnnxablePolicy(model.policy).eval()
    th.onnx.export(policy, (OBSERVATIONS[:1],), tmp_path / "policy.onnx", dynamo=False, **options)
    assert np.allclose(through_onnx(tmp_path / "policy.onnx"), deployed(model), atol=1e-5)


@pytest.mark.parametrize("block", ["pqc", "zeros", "mean_field"])
def test_exported_program_equals_predict(block: str) -> None:
    model = trained(block=block)
    shapes = ({0: th.export.Dim("batch")},)
    program = th.export.export(OnnxablePolicy(model.policy).eval(), (OBSERVATIONS[:2],), dynamic_shapes=shapes)
    assert np.allclose(program.module()(OBSERVATIONS).detach().numpy(), deployed(model), atol=1e-5)


def test_the_newer_onnx_exporter(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = trained(n_qubits=2)
    names: dict[str, Any] = dict(input_names=["observation"], dynamic_shapes=({0: th.export.Dim("batch")},))
    policy = OnnxablePolicy(model.policy).eval()
    th.onnx.export(policy, (OBSERVATIONS[:2],), tmp_path / "policy.onnx", dynamo=True, verbose=False, **names)
    assert np.allclose(through_onnx(tmp_path / "policy.onnx"), deployed(model), atol=1e-5)


def test_onnx_of_the_surrogate(tmp_path: Path) -> None:
    """The actor of the updates, with the fitted qtDNN in the circuit's place."""
    pytest.importorskip("onnx")
    model = trained()

    class Surrogate(th.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = model.policy

        def forward(self, observation: th.Tensor) -> th.Tensor:
            return self.policy.actor.surrogate(observation)

    options: dict[str, Any] = dict(input_names=["observation"], dynamic_axes={"observation": {0: "batch"}}, opset_version=17)
    th.onnx.export(Surrogate().eval(), (OBSERVATIONS[:1],), tmp_path / "actor.onnx", dynamo=False, **options)
    found = through_onnx(tmp_path / "actor.onnx")
    assert np.allclose(found, model.policy.actor.surrogate(OBSERVATIONS).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"eval_readout": "sample"}, "a drawn bitstring cannot be part of a traced"),
        ({"eval_readout": "sample", "block": "rbg"}, "random bits of numpy cannot be part of a traced"),
        ({"backend": "sampler"}, "the backend 'sampler' runs its circuits outside of torch"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(kwargs: dict[str, Any], message: str) -> None:
    kwargs = {"n_qubits": 3, "n_layers": 2, **kwargs}
    backend = kwargs.pop("backend", "statevector")
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, seed=0, backend=backend, device="cpu")
    policy = OnnxablePolicy(model.policy).eval()
    with pytest.raises(RuntimeError, match=message):
        th.jit.trace(policy, OBSERVATIONS[:1])
    with pytest.raises(RuntimeError, match=message), th._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as fake:
        policy(fake.from_tensor(OBSERVATIONS))


def test_a_stochastic_policy_is_refused() -> None:
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(n_qubits=3, n_layers=2), seed=0, device="cpu")
    with pytest.raises(RuntimeError, match='use the readout "mean" or "majority" for it'):
        th.jit.trace(OnnxablePolicy(model.policy, deterministic=False), OBSERVATIONS[:1])
