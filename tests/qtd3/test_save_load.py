"""Saving and loading loses nothing."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.save_util import save_to_pkl

from sb3_quantum import PAPER, MlpPolicy, QuantumTD3
from tests.envs import SMALL
from tests.qtd3.test_train import pendulum

OBS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)


def flat(parameters: Any) -> list[Any]:
    """Every tensor and number of nested state dicts, in order."""
    if isinstance(parameters, dict):
        return [leaf for key in sorted(parameters, key=str) for leaf in flat(parameters[key])]
    if isinstance(parameters, (list, tuple)):
        return [leaf for value in parameters for leaf in flat(value)]
    return [parameters]


def same(one: Any, other: Any) -> bool:
    pairs = list(zip(flat(one), flat(other), strict=True))
    return all(th.equal(a, b) if isinstance(a, th.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize(
    "kwargs", [{}, {"policy_kwargs": {"block": "fc"}}, {"n_steps": 3}, {"probe_std": 0.0, "fit_targets": "sample"}]
)
def test_save_and_load(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    model = pendulum(**kwargs).learn(120)
    model.save(tmp_path / "model")
    assert model.env is not None
    loaded = QuantumTD3.load(tmp_path / "model", env=model.env)
    # Parameters of all networks and all three optimizers, and the backend's generator
    assert same(model.get_parameters(), loaded.get_parameters())
    if "policy_kwargs" not in kwargs:
        assert "policy.quantum_layer.optimizer" in loaded.get_parameters()
    assert np.array_equal(model.predict(OBS, deterministic=True)[0], loaded.predict(OBS, deterministic=True)[0])
    assert loaded.replay_buffer_class is None and type(loaded.replay_buffer) is type(model.replay_buffer)
    assert (loaded.num_timesteps, loaded._n_updates) == (model.num_timesteps, model._n_updates)
    before = loaded.get_parameters()["policy"]["actor.post.0.weight"].clone()
    loaded.learn(120, reset_num_timesteps=False)
    assert loaded.num_timesteps == 240
    assert not th.equal(before, loaded.get_parameters()["policy"]["actor.post.0.weight"])


def test_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    """Also with the seed that the file keeps, which would otherwise start it anew."""
    model = pendulum().learn(60)
    model.save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model")
    obs = th.as_tensor(OBS, device=model.device)
    first, second = (m.actor.act(obs, "sample", record_bits=True).circuit_outputs for m in (model, loaded))
    assert first is not None and second is not None and th.equal(first, second)
    fresh = pendulum()
    fresh.policy.load_state_dict(
        {**model.policy.state_dict(), "quantum_layer._extra_state": fresh.policy.state_dict()["quantum_layer._extra_state"]}
    )
    other = fresh.actor.act(obs, "sample", record_bits=True).circuit_outputs
    assert other is not None and not th.equal(first, other)


def test_set_parameters() -> None:
    model, other = pendulum(seed=1).learn(80), pendulum(seed=2)
    other.set_parameters(model.get_parameters())
    assert same(model.get_parameters(), other.get_parameters())
    assert np.array_equal(model.predict(OBS, deterministic=True)[0], other.predict(OBS, deterministic=True)[0])


def test_file_of_another_circuit_is_refused(tmp_path: Path) -> None:
    pendulum().save(tmp_path / "model")
    with pytest.raises(RuntimeError, match=r"PaperCircuit\(n_qubits=3, .*, but this one has .*\(n_qubits=4, "):
        pendulum(policy_kwargs={"n_qubits": 4}).set_parameters(str(tmp_path / "model.zip"))


def test_policy_alone(tmp_path: Path) -> None:
    model = pendulum(policy_kwargs={"encoding_kwargs": {"angle_scale": 0.4}, "eval_readout": "majority"}).learn(60)
    model.policy.save(tmp_path / "policy")
    loaded = MlpPolicy.load(tmp_path / "policy")
    assert np.array_equal(model.policy.predict(OBS, deterministic=True)[0], loaded.predict(OBS, deterministic=True)[0])
    assert same(model.policy.state_dict(), loaded.state_dict())
    assert loaded.eval_readout == "majority" and loaded.actor.encoding.angle_scale == 0.4


def test_load_onto_another_backend(tmp_path: Path) -> None:
    model = pendulum().learn(60)
    model.save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model", backend="aer", backend_kwargs={"shots": 20_000})
    assert loaded.policy.quantum_layer is not None and loaded.policy.quantum_layer.backend.name == "aer"
    # 20,000 shots: the action moves by the shot noise only
    difference = loaded.predict(OBS, deterministic=True)[0] - model.predict(OBS, deterministic=True)[0]
    assert 0 < np.abs(difference).max() < 0.05
    loaded.set_backend("statevector")
    assert np.array_equal(model.predict(OBS, deterministic=True)[0], loaded.predict(OBS, deterministic=True)[0])


def test_load_without_the_package_of_the_files_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with keyword arguments in the file that only that backend has."""
    noise = {"depolarizing": {"r": 0.01}}
    model = pendulum(backend="aer", backend_kwargs={"shots": 3, "noise": noise, "max_circuits": 1000}).learn(20)
    model.save(tmp_path / "model")
    assert QuantumTD3.load(tmp_path / "model").policy.quantum_layer.backend.kwargs["noise"] == noise
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[aer\]"):
        QuantumTD3.load(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model", backend="statevector", env=gym.make("Pendulum-v1"))
    assert loaded.policy.quantum_layer.backend.kwargs == {"shots": 1}
    assert loaded.policy.quantum_layer.backend.usage == model.policy.quantum_layer.backend.usage
    loaded.learn(5, reset_num_timesteps=False)


def test_live_objects_among_the_keyword_arguments_are_in_no_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        model = pendulum(backend="aer", backend_kwargs={"shots": 2, "executor": executor}).learn(10)
        model.save(tmp_path / "model")
        model.set_backend("aer", {"shots": 3, "executor": executor})
        model.save(tmp_path / "other")
    for name, shots in (("model", 2), ("other", 3)):
        loaded = QuantumTD3.load(tmp_path / name)
        assert loaded.backend_kwargs == loaded.policy.quantum_layer.backend.kwargs == {"shots": shots}


def test_replay_buffer(tmp_path: Path) -> None:
    model = pendulum().learn(80)
    model.save_replay_buffer(tmp_path / "buffer")
    other = pendulum()
    other.load_replay_buffer(tmp_path / "buffer")
    assert other.replay_buffer is not None and model.replay_buffer is not None
    assert other.replay_buffer.size() == 80 and np.array_equal(other.replay_buffer.actions, model.replay_buffer.actions)
    other.learn(60)


def test_replay_buffer_that_does_not_fit(tmp_path: Path) -> None:
    plain = pendulum(probe_std=0.2)
    assert plain.replay_buffer is not None
    space = (plain.observation_space, plain.action_space)
    save_to_pkl(tmp_path / "plain.pkl", ReplayBuffer(10, *space))
    pendulum(probe_std=0.2, policy_kwargs={"n_layers": 3}).save_replay_buffer(tmp_path / "other.pkl")
    pendulum(probe_std=0.0).save_replay_buffer(tmp_path / "unprobed.pkl")
    for name, message in (
        ("plain", r"holds pairs of None, but the policy's circuit is PaperCircuit\(n_qubits=3, n_layers=2, n_cz=1\)"),
        ("other", r"n_layers=3, n_cz=1\), but the policy's circuit is PaperCircuit\(n_qubits=3, n_layers=2, n_cz=1\)"),
        ("unprobed", "no probe field, which does not fit probe_std=0.2"),
    ):
        before = plain.replay_buffer
        with pytest.raises(ValueError, match=message):
            plain.load_replay_buffer(tmp_path / f"{name}.pkl")
        assert plain.replay_buffer is before


def test_paper_settings_survive(tmp_path: Path) -> None:
    model = QuantumTD3(
        "MlpPolicy", "Pendulum-v1", buffer_size=10, **{**PAPER, "policy_kwargs": {**PAPER["policy_kwargs"], **SMALL}}
    )
    model.save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model")
    assert loaded.policy_kwargs == model.policy_kwargs and loaded.fit_targets == "sample" and loaded.qtdnn_gradient_steps == 8


def test_schedules_survive(tmp_path: Path) -> None:
    pendulum(qf_learning_rate="lin_1e-3").save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model", qtdnn_learning_rate="lin_1e-2")
    assert loaded.qf_lr_schedule(0.5) == pytest.approx(5e-4) and loaded.qtdnn_lr_schedule(0.5) == pytest.approx(5e-3)


@pytest.mark.parametrize("other", [TD3, PPO])
def test_file_of_another_algorithm_is_refused(tmp_path: Path, other: type[TD3 | PPO]) -> None:
    other("MlpPolicy", "Pendulum-v1").save(tmp_path / "model")
    for path in (tmp_path / "model", str(tmp_path / "model.zip")):
        with pytest.raises(ValueError, match="is not a model of QuantumTD3, but of another algorithm"):
            QuantumTD3.load(path)
    pendulum().save(tmp_path / "ours")
    with open(tmp_path / "ours.zip", "rb") as file:
        assert isinstance(QuantumTD3.load(file), QuantumTD3)
        assert not file.closed


@pytest.mark.parametrize("block", ["pqc", "fc"])
def test_an_actor_alone(tmp_path: Path, block: str) -> None:
    """As SB3's ``policy.actor.save``: with the quantum layer and the normalizer, which it only refers to."""
    model = pendulum(policy_kwargs={"block": block}).learn(60)
    model.actor.save(tmp_path / "actor.pt")
    actor = type(model.actor).load(tmp_path / "actor.pt")
    observations = model.replay_buffer.observations[:20, 0]
    assert same(actor.state_dict(), model.actor.state_dict())
    np.testing.assert_array_equal(actor.predict(observations)[0], model.actor.predict(observations)[0])


def test_noise_added_to_all_of_a_state_dict() -> None:
    """SB3's manual perturbs parameters like this; what is no parameter must neither break nor be in the way."""
    model = pendulum().learn(60)
    policy, before = model.policy, model.policy.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    assert all(tensor.is_floating_point() for tensor in before.values())
    usage = policy.quantum_layer.backend.usage
    noisy = {name: tensor + 0.1 * th.randn_like(tensor) for name, tensor in before.items()}
    mean = {name: (tensor + other.policy.state_dict()[name]) / 2 for other in [pendulum()] for name, tensor in before.items()}
    drawn = []
    for state in (noisy, mean, noisy):
        policy.load_state_dict(state)
        assert np.isfinite(model.predict(np.zeros((5, 3), dtype=np.float32))[0]).all()
        drawn.append(policy.quantum_layer.backend.generator.random())
    # The generator follows from the parameters; what was spent stays spent
    assert drawn[0] == drawn[2] != drawn[1] and policy.quantum_layer.backend.usage == usage
    model.learn(20)
    old = {**before, "quantum_layer._extra_state": before["quantum_layer._extra_state"].to(th.uint8)}
    for state in (before, old):  # version 0.1.0 wrote uint8
        policy.load_state_dict(state)
        assert same(policy.state_dict(), before)
    damaged = before["quantum_layer._extra_state"].clone()
    damaged[0] = 7.0
    with pytest.raises(RuntimeError, match="saved state of a generator is damaged"):
        policy.load_state_dict({**before, "quantum_layer._extra_state": damaged})


def test_a_learning_rate_set_anew_reaches_the_critics() -> None:
    def rates(model: QuantumTD3) -> list[float]:
        model.train(1, 8)
        return [network.optimizer.param_groups[0]["lr"] for network in (model.actor, model.critic)]

    model = pendulum().learn(20)
    model.lr_schedule = lambda _: 0.5
    assert rates(model) == [0.5, 0.5]
    model.qf_lr_schedule = lambda _: 0.25
    assert rates(model) == [0.5, 0.25]
    model = pendulum(qf_learning_rate=0.125).learn(20)
    model.lr_schedule = lambda _: 0.5
    assert rates(model) == [0.5, 0.125]


def test_losses_are_logged_when_train_returns() -> None:
    """On a CPU: from other devices they are fetched when the logs are written."""
    model = pendulum(device="cpu").learn(20)
    model.logger.name_to_value.clear()
    model.train(4, 8)
    logged = model.logger.name_to_value
    assert logged["train/n_updates"] == model._n_updates
    assert all(
        np.isfinite(logged[key]) and logged[key] != 0 for key in ("train/critic_loss", "train/actor_loss", "qtdnn/loss")
    )
