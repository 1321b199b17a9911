"""Does it learn, is it reproducible, and does every option run?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.layers import FITTED_GRADIENTS
from sb3_quantum.qtd3.features import split_arch
from tests.envs import SMALL, CountingEnv, TinyImageEnv


@pytest.mark.parametrize("readout", ["sample", "mean"])
def test_identity(readout: str) -> None:
    """SB3's smoke test of a broken update: 90 of 100 in the identity environment after 400 steps."""
    env = DummyVecEnv([lambda: IdentityEnvBox(eps=0.5)])
    model = QuantumTD3(
        "MlpPolicy",
        env,
        learning_rate=1e-3,
        learning_starts=100,
        seed=0,
        policy_kwargs={**SMALL, "net_arch": [64, 64], "readout": readout},
    )
    model.learn(400)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=20, warn=False)
    assert mean > 90


def pendulum(**kwargs: Any) -> QuantumTD3:
    kwargs["policy_kwargs"] = {**SMALL, **kwargs.get("policy_kwargs", {})}
    return QuantumTD3("MlpPolicy", "Pendulum-v1", **{"learning_starts": 50, "buffer_size": 500, "seed": 1, **kwargs})


def weights(model: QuantumTD3) -> dict[str, th.Tensor]:
    return {key: value.clone() for key, value in model.policy.state_dict().items()}


def equal(one: dict[str, th.Tensor], other: dict[str, th.Tensor]) -> bool:
    return one.keys() == other.keys() and all(th.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("block", ["pqc", "rbg"])
def test_two_seeded_runs_are_equal(block: str) -> None:
    runs = [weights(pendulum(policy_kwargs={"block": block}).learn(150)) for _ in range(2)]
    assert equal(*runs)
    assert not equal(runs[0], weights(pendulum(policy_kwargs={"block": block}, seed=2).learn(150)))


def test_evaluation_does_not_move_the_training() -> None:
    """Training with and without an EvalCallback, deterministic or not, gives the same weights and the same generators."""
    plain = pendulum().learn(150)
    for deterministic in (True, False):
        callback = EvalCallback(
            make_vec_env("Pendulum-v1", 1), eval_freq=25, n_eval_episodes=1, deterministic=deterministic, verbose=0
        )
        watched = pendulum().learn(150, callback=callback)
        ours, theirs = weights(plain), weights(watched)
        # The counters tell evaluation apart; generator and training counters must agree
        layers = [model.policy.quantum_layer for model in (plain, watched)]
        assert layers[0] is not None and layers[1] is not None
        states = [layer.backend.get_state() for layer in layers]
        assert states[0]["generator"] == states[1]["generator"] and states[0]["usage"] == states[1]["usage"]
        assert states[1]["eval_usage"]["circuits"] > 0 == states[0]["eval_usage"]["circuits"]
        for state in (ours, theirs):
            state.pop("quantum_layer._extra_state")
        assert equal(ours, theirs)


OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {**PAPER, "policy_kwargs": {**PAPER["policy_kwargs"], **SMALL}},
    "fc": {"policy_kwargs": {"block": "fc"}},
    "rbg": {"policy_kwargs": {"block": "rbg"}},
    "zeros": {"policy_kwargs": {"block": "zeros"}},
    "majority": {"policy_kwargs": {"readout": "majority", "eval_readout": "majority"}},
    "no links": {"policy_kwargs": {"n_links": 0}},
    "one qubit": {"policy_kwargs": {"n_qubits": 1, "n_layers": 1}},
    "raw encoding": {"policy_kwargs": {"encoding": "raw"}},
    "encoding kwargs": {"policy_kwargs": {"encoding_kwargs": {"angle_scale": 0.5}}},
    "raw qtdnn": {"policy_kwargs": {"qtdnn_features": "raw"}},
    "no prior": {"policy_kwargs": {"qtdnn_prior": "none"}},
    "probe": {"probe_std": 0.2},
    "recent pairs": {"qtdnn_recent_pairs": 50},
    "recent pairs and probe": {"qtdnn_recent_pairs": 50, "probe_std": 0.2},
    "qtdnn sgd": {"policy_kwargs": {"qtdnn_optimizer_class": th.optim.SGD, "qtdnn_optimizer_kwargs": {"momentum": 0.9}}},
    "exact targets": {"fit_targets": "exact"},
    "sampled targets": {"fit_targets": "sample"},
    "aer": {"backend": "aer", "backend_kwargs": {"shots": 3}, "learning_starts": 10},
    "exact gradient": {"gradient": "exact"},
    "parameter shift": {"gradient": "parameter_shift", "batch_size": 16},
    "spsa": {"gradient": "spsa"},
    "noise": {"gradient": "noise"},
    "frozen": {"gradient": "frozen"},
    "n_steps": {"n_steps": 3},
    "episodes": {"train_freq": (1, "episode"), "gradient_steps": -1},
    "train_freq": {"train_freq": 4, "gradient_steps": 2},
    "memory": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    "normal noise": {"action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))},
    "ou noise": {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.1 * np.ones(1))},
    "no noise": {"action_noise": None},
    "schedules": {"learning_rate": "lin_1e-3", "qf_learning_rate": lambda p: 1e-3 * p, "qtdnn_learning_rate": "lin_3e-3"},
    "policy_delay": {"policy_delay": 3},
    "critic layer norm": {"policy_kwargs": {"critic_layer_norm": True}},
    "three critics": {"policy_kwargs": {"n_critics": 3}},
    "shared features": {"policy_kwargs": {"share_features_extractor": True}},
    "sgd": {"policy_kwargs": {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}}},
    "activation": {"policy_kwargs": {"activation_fn": nn.Tanh}},
    "raw observations": {"policy_kwargs": {"normalize_observations": False}},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_run(option: str) -> None:
    """Each option for 110 steps, in which the actor moves and the predictions stay in bounds."""
    model = pendulum(**OPTIONS[option])
    before = weights(model)
    model.learn(410 if option == "episodes" else 110)
    after = weights(model)
    moved = {key for key, value in after.items() if not th.equal(value, before[key])}
    assert any(key.startswith("actor.post") for key in moved) and any(key.startswith("critic.qf0") for key in moved)
    if model.policy.quantum_layer is not None:
        assert any(key.startswith("quantum_layer.qtdnn") for key in moved) == (model.gradient in FITTED_GRADIENTS)
    assert model.env is not None
    for deterministic in (True, False):
        actions, _ = model.predict(model.env.reset(), deterministic=deterministic)
        assert np.all(np.abs(actions) <= 2) and np.all(np.isfinite(actions))


@pytest.mark.parametrize("probe_std, per_step", [(0.0, 1), (0.2, 2)])
def test_several_envs_and_vec_normalize(probe_std: float, per_step: int) -> None:
    """One circuit per environment step to act, and one to probe."""
    env = VecNormalize(make_vec_env("Pendulum-v1", 3), gamma=0.99)
    model = QuantumTD3(
        "MlpPolicy", env, learning_starts=30, buffer_size=300, probe_std=probe_std, policy_kwargs=SMALL, seed=0
    ).learn(120)
    assert model.policy.quantum_layer is not None and model.replay_buffer is not None
    assert model.policy.quantum_layer.backend.usage.circuits == per_step * 120
    assert model.replay_buffer.size() == 40


def test_tensorboard_and_progress_bar(tmp_path: Path) -> None:
    model = pendulum(tensorboard_log=str(tmp_path)).learn(250, log_interval=1, progress_bar=True)
    (run,) = tmp_path.iterdir()
    assert run.name == "QuantumTD3_1"
    events = EventAccumulator(str(run))
    events.Reload()
    assert {"qtdnn/loss", "quantum/circuits", "train/actor_loss", "rollout/ep_rew_mean"} <= set(events.Tags()["scalars"])
    assert model.num_timesteps == 250


def test_several_action_dimensions() -> None:
    """Actions of shape (2, 2), as SB3 allows them."""
    env = CountingEnv()
    env.action_space = spaces.Box(-1.0, 1.0, (2, 2), dtype=np.float32)
    model = QuantumTD3("MlpPolicy", env, learning_starts=20, buffer_size=50, batch_size=16, policy_kwargs=SMALL).learn(40)
    assert model.predict(env.observation_space.sample(), deterministic=True)[0].shape == (2, 2)


def test_images_and_dictionaries() -> None:
    for policy, env in (("CnnPolicy", TinyImageEnv), ("MultiInputPolicy", lambda: CountingEnv(dictionary=True))):
        model = QuantumTD3(
            policy, make_vec_env(env, 2), learning_starts=20, buffer_size=100, batch_size=16, policy_kwargs=SMALL
        )
        model.learn(60)
        assert model.env is not None
        actions, _ = model.predict(model.env.reset(), deterministic=True)
        assert actions.shape == (2, 2)


def test_no_circuit_runs_inside_train() -> None:
    """With the qtDNN the chip is used once per environment step, and once more for a probe."""
    model = pendulum(probe_std=0.0).learn(100)
    assert model.policy.quantum_layer is not None
    usage = model.policy.quantum_layer.backend.usage
    assert usage.circuits == usage.shots == 100
    model.train(gradient_steps=5, batch_size=32)
    assert usage.circuits == 100


def test_references_run_circuits_inside_train_and_need_no_fit() -> None:
    """
    Per update: next actions, and every other update the actor's forward pass, each one circuit a row; parameter-shift adds its
    6 * n_qubits * n_layers circuits a row to the latter. No probes.
    """
    for gradient, extra in (("exact", 0), ("parameter_shift", 36)):
        model = pendulum(gradient=gradient, batch_size=8).learn(60)
        assert model.policy.quantum_layer is not None and model.replay_buffer is not None
        model._record_training()
        logged = model.logger.name_to_value
        assert model.replay_buffer.probe is None and "qtdnn/loss" not in logged and "train/critic_loss" in logged
        updates = model._n_updates
        circuits = 60 + 8 * updates + 8 * (1 + extra) * (updates // 2)
        assert model.policy.quantum_layer.backend.usage.circuits == circuits


def test_qtdnn_is_in_neither_optimizer_nor_average() -> None:
    model = pendulum().learn(80)
    layer = model.policy.quantum_layer
    assert layer is not None
    qtdnn = {id(p) for p in layer.qtdnn.parameters()}
    for module in (model.actor, model.actor_target, model.critic, model.critic_target):
        assert not qtdnn & {id(p) for p in module.parameters()}
    for optimizer in (model.actor.optimizer, model.critic.optimizer):
        assert not qtdnn & {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert model.actor.block is model.actor_target.block is layer
    assert [name for name in model.policy.state_dict() if "qtdnn" in name and not name.startswith("quantum_layer.")] == []


def test_actor_learns_through_the_qtdnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the links cut, the PreDNN's gradient is the qtDNN's: zero when that is cut, reversed when its sign is flipped."""
    model = pendulum(policy_kwargs={"n_links": 0}).learn(80)
    layer = model.policy.quantum_layer
    assert layer is not None
    surrogate = layer.surrogate

    def gradient() -> th.Tensor:
        np.random.seed(0)
        data = model.replay_buffer.sample(64)
        actions = model.actor.surrogate(data.observations)
        loss = -model.critic.q1_forward(data.observations, actions).mean()
        parameters = list(model.actor.pre.parameters())
        grads = th.autograd.grad(loss, parameters, allow_unused=True)
        return th.cat(
            [th.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(grads, parameters, strict=True)]
        )

    whole = gradient()
    assert float(whole.norm()) > 0
    monkeypatch.setattr(layer, "surrogate", lambda x: surrogate(x).detach())
    assert float(gradient().norm()) == 0
    monkeypatch.setattr(layer, "surrogate", lambda x: 2 * surrogate(x).detach() - surrogate(x))
    assert float(F.cosine_similarity(gradient(), whole, dim=0)) < -0.999


def test_net_arch() -> None:
    assert split_arch([1, 2]) == ([1], [2]) and split_arch([1, 2, 3]) == ([1, 2], [3]) and split_arch([]) == ([], [])

    def shapes(module: nn.Module) -> list[tuple[int, ...]]:
        return [tuple(p.shape) for p in module.parameters() if p.dim() == 2]

    env = make_vec_env("Pendulum-v1", 1)

    def policy(**kwargs: Any) -> Any:
        return QuantumTD3(
            "MlpPolicy", env, buffer_size=10, policy_kwargs={"n_qubits": 3, "n_layers": 2, "n_links": 2, **kwargs}
        ).policy

    flat = policy(net_arch=[11, 12])
    assert shapes(flat.actor.pre) == [(11, 3), (18, 11)] and shapes(flat.actor.post) == [(12, 5), (1, 12)]
    assert shapes(flat.critic.q_networks[0]) == [(11, 3), (12, 12), (1, 12)]
    split = policy(net_arch=dict(pi=[1, 2, 3, 4], qf=[5, 6]), post_arch=[7])
    assert shapes(split.actor.pre) == [(1, 3), (2, 1), (18, 2)] and shapes(split.actor.post) == [(7, 5), (1, 7)]
    assert shapes(split.critic.q_networks[0]) == [(5, 3), (6, 6), (1, 6)]
    wins = policy(net_arch=[1, 2], pre_arch=[], critic_arch=[8, 9])
    assert shapes(wins.actor.pre) == [(18, 3)] and shapes(wins.critic.q_networks[1]) == [(8, 3), (9, 9), (1, 9)]


def test_default_networks_are_the_papers() -> None:
    """PreDNN 376-256-230, PostDNN 20-256-17, critics 376-256 and (256+17)-256-1."""
    model = QuantumTD3("MlpPolicy", "Humanoid-v4", buffer_size=10)
    shapes = {name: tuple(p.shape) for name, p in model.policy.named_parameters() if p.dim() == 2}
    assert shapes["actor.pre.0.weight"] == (256, 376) and shapes["actor.pre.2.weight"] == (230, 256)
    assert shapes["actor.post.0.weight"] == (256, 20) and shapes["actor.post.2.weight"] == (17, 256)
    assert [shapes[f"critic.qf0.{n}.weight"] for n in ("before.0", "after.0", "after.2")] == [(256, 376), (256, 273), (1, 256)]


def test_critics_hidden_layers_are_normalized() -> None:
    """Every hidden layer of every critic, and nothing of the actor, against the formula."""
    policy = pendulum(policy_kwargs={"net_arch": [8, 9], "critic_layer_norm": True}).policy
    assert not any(isinstance(module, nn.LayerNorm) for module in policy.actor.modules())
    observations, actions = th.randn(5, 3, device=policy.device), th.rand(5, 1, device=policy.device)
    for q_net in policy.critic.q_networks:
        first, _, _ = q_net.before
        second, _, _, last = q_net.after
        hidden = F.leaky_relu(F.layer_norm(first(observations), (8,)))
        hidden = F.leaky_relu(F.layer_norm(second(th.cat([hidden, actions], dim=1)), (9,)))
        th.testing.assert_close(q_net(observations, actions), last(hidden))


def test_blocks_differ_in_nothing_but_the_block() -> None:
    """The block swap keeps every other parameter's shape."""

    def shapes(block: str) -> dict[str, tuple[int, ...]]:
        named = pendulum(policy_kwargs={"block": block}).policy.named_parameters()
        return {name: tuple(p.shape) for name, p in named if ".block." not in name and not name.startswith("quantum_layer")}

    assert shapes("pqc") == shapes("fc") == shapes("rbg") == shapes("zeros")


def test_learning_rates_reach_their_optimizers() -> None:
    model = pendulum(learning_rate=1e-4, qf_learning_rate=2e-4, qtdnn_learning_rate="lin_1e-2").learn(100)
    model._current_progress_remaining = 0.25
    model.train(gradient_steps=2, batch_size=32)
    assert model.policy.quantum_layer is not None
    rates = [
        o.param_groups[0]["lr"] for o in (model.actor.optimizer, model.critic.optimizer, model.policy.quantum_layer.optimizer)
    ]
    assert rates[:2] == [1e-4, 2e-4] and rates[2] == pytest.approx(2.5e-3)
    model._record_training()
    logged = model.logger.name_to_value
    assert logged["train/learning_rate"] == 1e-4 and logged["train/qf_learning_rate"] == 2e-4
    assert logged["qtdnn/learning_rate"] == pytest.approx(rates[2])
    assert {"train/actor_loss", "train/critic_loss", "qtdnn/loss", "quantum/circuits", "quantum/shots"} <= set(logged)


@pytest.mark.parametrize("gradient, moves", [("qtdnn", True), ("noise", True), ("frozen", False)])
def test_frozen_circuit_inputs_stay_frozen(gradient: str, moves: bool) -> None:
    """Without links nothing but the circuit's inputs comes out of the PreDNN."""
    model = pendulum(gradient=gradient, policy_kwargs={"n_links": 0})
    before = weights(model)
    after = weights(model.learn(110))
    for part, rounding in (("actor.pre", 0.0), ("actor.encoding", 0.0), ("actor_target.pre", 1e-5)):
        keys = [key for key in before if key.startswith(part)]
        assert keys and any(bool(((after[key] - before[key]).abs() > rounding).any()) for key in keys) == moves, part


def test_qtdnn_has_its_own_optimizer() -> None:
    kwargs = {"qtdnn_optimizer_class": th.optim.SGD, "qtdnn_optimizer_kwargs": {"momentum": 0.5}}
    model = pendulum(policy_kwargs=kwargs)
    layer = model.policy.quantum_layer
    assert layer is not None and isinstance(layer.optimizer, th.optim.SGD)
    assert layer.optimizer.param_groups[0]["momentum"] == 0.5
    assert isinstance(model.actor.optimizer, th.optim.Adam) and isinstance(model.critic.optimizer, th.optim.Adam)
    plain = pendulum(policy_kwargs={"qtdnn_optimizer_kwargs": {"betas": (0.5, 0.9)}}).policy.quantum_layer
    assert plain is not None and isinstance(plain.optimizer, th.optim.Adam)
    assert plain.optimizer.param_groups[0]["betas"] == (0.5, 0.9)


def test_fits_to_recent_pairs_are_drawn_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pendulum(qtdnn_recent_pairs=10, probe_std=0.2).learn(80)
    layer, buffer = model.policy.quantum_layer, model.replay_buffer
    assert layer is not None and buffer is not None
    seen = []
    monkeypatch.setattr(layer, "fit_surrogate", lambda inputs, targets, *sizes: seen.append((inputs, targets)) or th.zeros(()))
    model.train(1, 16)
    ((inputs, targets),) = seen
    newest = np.arange(70, 80), np.zeros(10, dtype=int)
    known = [field.load(*newest, model.device) for field in (buffer.circuit, buffer.probe)]  # type: ignore[attr-defined]
    for half, pairs in zip(zip(inputs.chunk(2), targets.chunk(2), strict=True), known, strict=True):
        rows = {tuple(row.tolist()) for row in th.cat(pairs, dim=1)}
        drawn = {tuple(row.tolist()) for row in th.cat(half, dim=1)}
        # 128 draws miss none of 10 rows at a false-alarm rate of 10 * 0.9 ** 128 = 1e-5 (the seed is fixed)
        assert drawn == rows


@pytest.mark.parametrize("dtype", [th.bfloat16, th.float16])
@pytest.mark.parametrize(
    "settings",
    [{"gradient": "exact"}, *({"policy_kwargs": {"block": block}} for block in ("fc", "rbg", "mean_field", "bernoulli"))],
)
def test_a_training_under_autocast(settings: dict[str, Any], dtype: th.dtype) -> None:
    """Networks may compute in half precision; actions, circuit pairs and parameters stay in single."""
    model = pendulum(batch_size=8, learning_starts=10, **settings)
    with th.autocast("cpu", dtype=dtype):
        model.learn(20)
        action, _ = model.predict(model.observation_space.sample(), deterministic=True)
    assert action.dtype == np.float32 and model.action_space.contains(action)
    assert {parameter.dtype for parameter in model.policy.parameters()} == {th.float32}
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


@pytest.mark.parametrize("backend, exact", [("statevector", True), ("sampler", False)])
def test_counters_of_nothing_are_left_out_on_a_simulator(backend: str, exact: bool) -> None:
    """Eight lines of zeros in a console say nothing. Where what is counted is billed, a zero is an answer."""
    kwargs = {} if exact else {"sampler": "statevector", "shots": 2}
    model = pendulum(backend=backend, backend_kwargs=kwargs, learning_starts=5).learn(8)
    model._record_training()
    logged = {key: value for key, value in model.logger.name_to_value.items() if key.startswith("quantum/")}
    assert logged["quantum/circuits"] == logged["quantum/jobs"] == 8
    assert (0 in logged.values()) is not exact and ("quantum/eval_circuits" in logged) is not exact
    assert ("quantum/retries" in logged) is not exact
    model.predict(model.observation_space.sample())
    model._record_training()
    assert model.logger.name_to_value["quantum/eval_circuits"] == 1
