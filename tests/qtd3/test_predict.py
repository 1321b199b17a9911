"""Readouts and generators of predictions."""

from typing import Any

import numpy as np
import pytest
import torch as th
from qiskit.primitives import StatevectorSampler

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import SamplerBackend
from tests.envs import SMALL, CountingEnv


def make(readout: str = "sample", eval_readout: str = "mean", **kwargs: Any) -> QuantumTD3:
    policy_kwargs = {**SMALL, "readout": readout, "eval_readout": eval_readout, **kwargs.pop("policy_kwargs", {})}
    return QuantumTD3("MlpPolicy", "Pendulum-v1", buffer_size=10, seed=0, policy_kwargs=policy_kwargs, **kwargs)


OBS = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)


@pytest.mark.parametrize("backend", ["statevector", "aer"])
@pytest.mark.parametrize("eval_readout", ["sample", "majority", "mean"])
def test_equal_observations_give_equal_actions(backend: str, eval_readout: str) -> None:
    """In the same batch, in another batch, and in another call."""
    kwargs = {"backend_kwargs": {"shots": 3}} if backend == "aer" else {}
    model = make(eval_readout=eval_readout, backend=backend, **kwargs)
    obs = OBS[[0, 1, 2, 0, 1]]
    first, _ = model.predict(obs, deterministic=True)
    assert np.array_equal(first[0], first[3]) and np.array_equal(first[1], first[4])
    assert np.array_equal(model.predict(obs, deterministic=True)[0], first)
    assert np.allclose(model.predict(obs[2], deterministic=True)[0], first[2], atol=1e-6)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("eval_readout", ["sample", "mean"])
def test_predictions_leave_the_training_generators(deterministic: bool, eval_readout: str) -> None:
    model = make(eval_readout=eval_readout)
    assert model.policy.quantum_layer is not None
    before = (model.policy.quantum_layer.backend.get_state()["generator"], th.get_rng_state(), np.random.get_state()[1].copy())
    model.predict(OBS, deterministic=deterministic)
    assert model.policy.quantum_layer.backend.get_state()["generator"] == before[0]
    assert th.equal(th.get_rng_state(), before[1]) and np.array_equal(np.random.get_state()[1], before[2])


def test_stochastic_predictions_are_fresh() -> None:
    model = make()
    assert not np.array_equal(model.predict(OBS)[0], model.predict(OBS)[0])


def test_deterministic_mean_reads_the_expected_bits() -> None:
    model = make()
    layer = model.policy.quantum_layer
    assert layer is not None
    with th.no_grad():
        inputs, links = model.actor.encode(th.as_tensor(OBS, device=model.device))
        expected = model.actor.decode(layer.backend.expected_bits(inputs), links)
        majority = model.actor.decode((layer.backend.expected_bits(inputs) > 0.5).float(), links)
    assert np.allclose(model.predict(OBS, deterministic=True)[0], 2 * expected.cpu().numpy(), atol=1e-5)
    model.policy.eval_readout = "majority"
    assert np.allclose(model.predict(OBS, deterministic=True)[0], 2 * majority.cpu().numpy(), atol=1e-5)


def test_sampled_actions_average_over_bits() -> None:
    """Sampled bits average to the expected bits, within five standard errors (false-alarm rate 6e-7 a qubit)."""
    model = make()
    obs = th.as_tensor(OBS[:1].repeat(4000, 0), device=model.device)
    step = model.actor.act(obs, "sample", record_bits=True)
    assert step.circuit_outputs is not None and step.circuit_inputs is not None and model.policy.quantum_layer is not None
    mean = model.policy.quantum_layer.backend.expected_bits(step.circuit_inputs[:1])[0].detach()
    error = (mean * (1 - mean) / 4000).sqrt() + 1e-6
    assert bool(((step.circuit_outputs.mean(0) - mean).abs() < 5 * error).all())


def test_set_random_seed_governs_the_circuits() -> None:
    model = make()
    obs = th.as_tensor(OBS, device=model.device)
    recorded = []
    for seed in (5, 5, 6):
        model.set_random_seed(seed)
        recorded.append(model.actor.act(obs, "sample", record_bits=True).circuit_outputs)
    assert th.equal(recorded[0], recorded[1]) and not th.equal(recorded[0], recorded[2])


@pytest.mark.parametrize("readout", ["sample", "majority", "mean"])
@pytest.mark.parametrize("chip", ["local testing mode", "sampler object"])
def test_a_batch_is_one_job_where_a_seed_means_nothing(chip: str, readout: str) -> None:
    """A chip, and a sampler with randomness of its own. The training's generator stays where it is."""
    model = make(eval_readout=readout)
    layer = model.policy.quantum_layer
    assert layer is not None
    if chip == "local testing mode":
        model.set_backend("ibm", {"chip": "FakeManilaV2", "shots": 4})
    else:
        model.set_backend(SamplerBackend(layer.ansatz, shots=4, sampler=StatevectorSampler()))
    before = layer.backend.get_state()["generator"]
    for calls, obs in enumerate((OBS[:6], OBS[:6], OBS[0]), start=1):
        actions, _ = model.predict(obs, deterministic=True)
        assert actions.shape == (*obs.shape[:-1], 1) and layer.backend.eval_usage.jobs == calls
    assert layer.backend.eval_usage.circuits == 13 and layer.backend.usage.jobs == 0
    assert layer.backend.get_state()["generator"] == before


def test_a_batch_of_dictionaries_is_one_job_too() -> None:
    model = QuantumTD3("MultiInputPolicy", CountingEnv(dictionary=True), buffer_size=10, policy_kwargs=SMALL, seed=0)
    model.set_backend("ibm", {"chip": "FakeManilaV2", "shots": 4})
    assert model.policy.quantum_layer is not None
    model.predict({"a": np.zeros((5, 3)), "b": np.zeros((5, 2), np.float32)}, deterministic=True)
    assert model.policy.quantum_layer.backend.eval_usage.jobs == 1


@pytest.mark.parametrize("part", ["policy", "actor", "actor.post", "critic"])
@pytest.mark.parametrize("kind", ["half", "double", "bfloat16"])
def test_networks_of_another_precision(kind: str, part: str) -> None:
    """One sentence, and the way back."""
    settings: dict[str, Any] = dict(learning_starts=2, batch_size=4, policy_kwargs=SMALL, seed=0)
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", **settings)
    module = model.policy.get_submodule("" if part == "policy" else part)
    getattr(module, kind)()
    message = rf"the policy's parameter '(actor|critic)\S+' is torch\.\w*{16 if kind != 'double' else 64}, .*float32"
    if part != "critic":
        for deterministic in (True, False):
            with pytest.raises(ValueError, match=message):
                model.predict(OBS, deterministic=deterministic)
    with pytest.raises(ValueError, match=message):
        model.learn(5)
    model.policy.float()
    assert model.policy.normalizer is not None
    precisions = {name: buffer.dtype for name, buffer in model.policy.normalizer.state_dict().items()}
    assert set(precisions.values()) == {th.float64}
    assert model.learn(5).num_timesteps == 5


def test_an_error_of_another_cause_stays_what_it_is() -> None:
    model = make()

    def fail(*_: Any) -> None:
        raise RuntimeError("the radio is broken")

    model.actor.post.register_forward_hook(fail)
    model.critic.half()
    with pytest.raises(RuntimeError, match="the radio is broken"):
        model.predict(OBS)
