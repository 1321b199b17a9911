"""Trained agents with the outputs of their block replaced."""

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.priors import make_prior
from sb3_quantum.study.agents import acts_deterministically, evaluate, evaluate_point
from sb3_quantum.study.interventions import _fresh, information, recorded, replaced
from sb3_quantum.study.models import maker
from sb3_quantum.study.spec import ABLATIONS, Environment, Evaluation

ENV = Environment("Pendulum-v1")


def model_of(**kwargs: object) -> QuantumTD3:
    arguments = {"n_qubits": 3, "n_layers": 2, "n_links": 0, "net_arch": [8, 8], "readout": "mean", **kwargs}
    return QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=10, batch_size=8, buffer_size=200, policy_kwargs=arguments,
                      seed=0).learn(30)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> QuantumTD3:
    return model_of()


def actions(model: QuantumTD3, observations: np.ndarray, deterministic: bool = True) -> np.ndarray:
    return model.predict(observations, deterministic=deterministic)[0]


def test_a_record_is_what_the_block_was_given_and_gave(model: QuantumTD3) -> None:
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    plain = actions(model, observations)
    with recorded(model) as pool:
        assert np.array_equal(actions(model, observations), plain)
    assert pool.outputs.shape == (20, 3) and np.array_equal(pool.observations(np.arange(20)), observations)
    assert th.allclose(model.policy.quantum_layer.backend.expected_bits(pool.inputs), pool.outputs)  # type: ignore[union-attr]
    # The actor is as it was
    assert "encode" not in vars(model.actor) and "decode" not in vars(model.actor)


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("readout", ["mean", "sample", "majority"])
def test_a_replacement_is_what_its_name_says(name: str, readout: str, model: QuantumTD3) -> None:
    observations = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    model.policy.readout = readout
    seen: list[th.Tensor] = []
    with recorded(model) as pool:
        actions(model, observations, deterministic=False)
    actor = model.policy.deployed_actor
    # What the PostDNN is given; there are no links
    hook = actor.post.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    with replaced(model, name, pool, deterministic=False, seed=3):
        actions(model, observations, deterministic=False)
    hook.remove()
    model.policy.readout = "mean"
    outputs = seen[-1]
    assert outputs.shape == (400, 3)
    if name == "zeros":
        assert not outputs.any()
    elif name == "shuffled":
        rows = {tuple(row.tolist()) for row in pool.outputs}
        assert all(tuple(row.tolist()) in rows for row in outputs)
        assert readout == "majority" or not th.equal(outputs, pool.outputs)
        assert th.allclose(outputs.mean(0), pool.outputs.mean(0), atol=0.12)
    elif name == "mean_field":
        expected = make_prior("mean_field", actor.ansatz).bits(pool.inputs)
        if readout == "mean":
            assert th.allclose(outputs, expected, atol=1e-6)
        elif readout == "majority":
            assert th.equal(outputs, (expected > 0.5).float())
        else:
            assert set(outputs.unique().tolist()) <= {0.0, 1.0}
            assert th.allclose(outputs.mean(0), expected.mean(0), atol=0.12)
    else:
        assert not th.equal(outputs, pool.outputs)


def test_fresh_angles_know_nothing_and_keep_the_circuits_choices() -> None:
    circuit = PaperCircuit(3, 2)
    inputs = th.rand(500, circuit.n_inputs)
    fresh = _fresh(circuit, inputs, np.random.default_rng(0))
    angles, indices = circuit.split(fresh)
    assert th.equal(indices, circuit.split(inputs)[1])
    periods = th.as_tensor(circuit.periods)
    assert bool((angles >= 0).all()) and bool((angles < periods).all()) and bool((angles.std(0) > 0.25 * periods).all())


def test_what_bits_say_of_the_state() -> None:
    assert information(th.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 0.5]])) == pytest.approx(1)
    assert information(th.full((9, 4), 0.3)) == pytest.approx(0, abs=1e-9)


def test_an_evaluation_of_everything(model: QuantumTD3) -> None:
    evaluation = Evaluation(episodes=2, ablations=ABLATIONS, fidelity=True, point_episodes=1)
    found = evaluate(model, maker(ENV), evaluation, 0)
    assert set(found["ablations"]) == set(ABLATIONS) and 0 < found["information"] < 3
    # On two layers of three qubits the mean field is nearly the circuit
    assert found["ablations"]["mean_field"] == pytest.approx(found["returns"], rel=0.05)
    assert found["ablations"]["zeros"] != found["returns"] and -1 <= found["fidelity"]["qtdnn/cosine"] <= 1
    assert evaluate(model, maker(ENV), evaluation, 0) == found
    assert np.isnan(evaluate_point(model, maker(ENV), evaluation)["own_return"])


def test_averaged_weights_are_deployed_and_the_others_are_there_too() -> None:
    model = model_of(actor_average_tau=0.1)
    evaluation = Evaluation(episodes=2, point_episodes=1)
    found = evaluate(model, maker(ENV), evaluation, 0)
    assert found["own_returns"] != found["returns"] and "ablations" not in found
    point = evaluate_point(model, maker(ENV), evaluation)
    assert point["own_return"] != point["return"] and model.policy.deployed_actor is model.policy.actor_average


@pytest.mark.parametrize("block", ["fc", "rbg", "zeros", "mean_field", "bernoulli"])
def test_blocks_without_a_circuit_have_fewer_ablations(block: str) -> None:
    found = evaluate(model_of(block=block), maker(ENV), Evaluation(episodes=2, ablations=ABLATIONS, fidelity=True), 0)
    assert set(found.get("ablations", ())) == (set() if block == "zeros" else {"shuffled", "zeros"})
    assert "fidelity" not in found


def test_agents_act_as_they_were_trained(model: QuantumTD3) -> None:
    assert acts_deterministically(model, Evaluation()) and not acts_deterministically(model, Evaluation(deterministic=False))
    assert not acts_deterministically(model_of(readout="sample"), Evaluation())
