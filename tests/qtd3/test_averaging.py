"""Averaged weights of the actor: what they are, where they act, and that nothing learns from them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.hub.model_card import model_card
from sb3_quantum.hub.report import Report
from sb3_quantum.layers import QuantumLayer
from sb3_quantum.qtd3.averaging import WeightAverage
from tests.envs import SMALL, TinyImageEnv
from tests.qtd3.test_save_load import OBS, same
from tests.qtd3.test_train import equal, pendulum, weights


def averaging(tau: float = 0.1, **kwargs: Any) -> QuantumTD3:
    policy_kwargs = {**kwargs.pop("policy_kwargs", {}), "actor_average_tau": tau}
    return pendulum(policy_kwargs=policy_kwargs, batch_size=16, **kwargs)


def values(module: nn.Module | None) -> list[th.Tensor]:
    assert module is not None
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.fixture(scope="module")
def trained() -> QuantumTD3:
    """Never trained any further: tests that do take a copy."""
    return averaging(policy_delay=3).learn(100)


@pytest.mark.parametrize(
    "kwargs", [{}, {"block": "rbg"}, {"critic": "crossq", "readout": "mean", "share_features_extractor": True}]
)
def test_nothing_learns_from_the_average(kwargs: dict[str, Any]) -> None:
    """The same weights, generators, counters and recorded pairs as without it, evaluations in between or not."""
    model = averaging(policy_kwargs=kwargs, learning_starts=5)
    for _ in range(2):
        model.learn(15, reset_num_timesteps=False)
        model.predict(OBS, deterministic=True)
    plain = pendulum(policy_kwargs=kwargs, learning_starts=5, batch_size=16)
    for _ in range(2):
        plain.learn(15, reset_num_timesteps=False)
        plain.predict(OBS, deterministic=True)
    own = {key: value for key, value in weights(model).items() if not key.startswith(("actor_average.", "averaging."))}
    assert equal(own, weights(plain)) and len(own) < len(weights(model))
    assert plain.policy.actor_average is None and plain.policy.averaging is None
    buffers = [m.replay_buffer.circuit for m in (model, plain)]  # type: ignore[union-attr]
    if "block" not in kwargs:
        assert all(np.array_equal(one, two) for one, two in zip(*map(_fields, buffers), strict=True))


def _fields(circuit: Any) -> list[np.ndarray]:
    return [value for value in vars(circuit).values() if isinstance(value, np.ndarray)]


@pytest.mark.parametrize("tau", [0.3, 1e-12, 1.0])
def test_an_exponential_average_corrected_for_its_beginning(tau: float) -> None:
    model = averaging(tau)
    seen: list[list[th.Tensor]] = []
    for _ in range(5):
        with th.no_grad():
            for parameter in model.actor.parameters():
                parameter += th.randn_like(parameter)
        model._update_targets()
        seen.append(values(model.actor))
        factors = tau * (1 - tau) ** np.arange(len(seen))[::-1] if 1e-6 < tau < 1 else np.full(len(seen), 1.0)
        if tau == 1:
            factors[:-1] = 0
        expected = [
            sum(float(f) * w for f, w in zip(factors / factors.sum(), ws, strict=True)) for ws in zip(*seen, strict=True)
        ]
        th.testing.assert_close(values(model.policy.actor_average), expected)
    assert model.policy.averaging is not None and model.policy.averaging.n_averaged == 5


def test_a_training_averages_every_update_of_the_actor(trained: QuantumTD3) -> None:
    average, averaged = trained.policy.averaging, trained.policy.actor_average
    assert average is not None and averaged is not None
    assert average.n_averaged == trained._n_updates // 3 == 16
    for name, parameter in trained.actor.named_parameters():  # encoding parameters too
        other = averaged.get_parameter(name)
        assert other is not parameter and (not th.equal(other, parameter) or not name.endswith("weight"))
    assert any(name.startswith("encoding.") for name, _ in averaged.named_parameters())


def test_which_weights_act(trained: QuantumTD3) -> None:
    policy, obs = trained.policy, th.as_tensor(OBS, device=trained.device)
    average = policy.actor_average
    assert average is not None and policy.deployed_actor is average
    with th.no_grad():
        own, averaged = (2 * actor(obs, "mean").cpu().numpy() for actor in (trained.actor, average))
    assert not np.allclose(own, averaged)
    assert np.allclose(trained.predict(OBS, deterministic=True)[0], averaged, atol=1e-6)
    mean = copy.deepcopy(policy)
    mean.readout = "mean"
    assert np.allclose(mean.predict(OBS, deterministic=False)[0], averaged, atol=1e-6)
    # Drawn bits are those of the average's circuit
    mean.eval_readout = "sample"
    assert mean.actor_average is not None
    with th.no_grad():
        drawn = [2 * mean.actor_average(row, "sample", np.random.default_rng(0)).cpu().numpy() for row in obs.split(1)]
    assert np.allclose(mean.predict(OBS, deterministic=True)[0], np.concatenate(drawn), atol=1e-6)
    # The training acts, and records pairs, with the actor's own
    model = averaging(learning_starts=0)
    assert model.policy.deployed_actor is model.actor  # nothing is averaged yet
    calls = []
    for name in ("actor", "actor_average"):
        for method in ("act", "encode", "forward", "surrogate"):
            actor = getattr(model.policy, name)
            original = getattr(actor, method)

            def watched(*args: Any, called: str = f"{name}.{method}", original: Any = original, **kwargs: Any) -> Any:
                calls.append(called)
                return original(*args, **kwargs)

            setattr(actor, method, watched)
    model.learn(10)
    assert "actor.act" in calls and not [call for call in calls if call.startswith("actor_average")]


def test_the_circuit_and_the_normalizer_are_the_policys(trained: QuantumTD3) -> None:
    policy = copy.deepcopy(trained.policy)
    average = policy.actor_average
    assert average is not None and average.block is policy.quantum_layer and average.normalizer is policy.normalizer
    assert policy.quantum_layer is not trained.policy.quantum_layer
    assert not [key for key in policy.state_dict() if key.startswith("actor_average") and ("qtdnn" in key or "normal" in key)]
    learned = {id(p) for group in policy.actor.optimizer.param_groups for p in group["params"]}
    assert not learned & {id(p) for p in average.parameters()} and average.optimizer is None
    # By itself it is an actor, and its state is one of an actor: learning can go on from the average
    policy.actor.load_state_dict(average.state_dict())
    assert same(values(policy.actor), values(average))
    policy.quantum_layer = QuantumLayer(3, 2, qtdnn_arch=[8], seed=1)
    policy.normalizer = None
    assert average.block is policy.quantum_layer and average.normalizer is None


def test_files_and_copies_go_on_with_the_average(trained: QuantumTD3, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    save_safe(trained, tmp_path)
    trained.policy.save(tmp_path / "policy")
    fresh = averaging(policy_delay=3)
    fresh.set_parameters(trained.get_parameters())
    expected = trained.predict(OBS, deterministic=True)[0]
    state = trained.policy.state_dict()
    policies = [
        QuantumTD3.load(tmp_path / "model").policy,
        load_safe(tmp_path).policy,
        MlpPolicy.load(tmp_path / "policy", device=trained.device),
        fresh.policy,
        copy.deepcopy(trained.policy),
    ]
    for policy in policies:
        assert np.array_equal(policy.predict(OBS, deterministic=True)[0], expected)
        now = policy.state_dict()
        assert now.keys() == state.keys() and same(
            *({key: value for key, value in each.items() if "quantum_layer._extra" not in key} for each in (now, state))
        )
        assert policy.averaging is not None and policy.averaging.n_averaged == 16
    # A step as wide as that of the seventeenth update, not of a first one
    going_on = policies[0]
    assert going_on.actor_average is not None
    before = values(going_on.actor_average)
    going_on.update_average()
    step = 0.1 / (1 - 0.9**17)
    moved = [old + step * (own - old) for old, own in zip(before, values(going_on.actor), strict=True)]
    th.testing.assert_close(values(going_on.actor_average), moved)


def test_a_number_of_updates_that_is_none() -> None:
    average = WeightAverage(0.1)
    average.n_averaged = 7
    for damaged in (-1, 1.5, "many", None):
        other = WeightAverage(0.1)
        other.n_averaged = damaged  # type: ignore[assignment]
        with pytest.raises(RuntimeError, match="the saved state of an average is damaged"):
            average.load_state_dict(other.state_dict())
    # Noise on every tensor of a policy, as in SB3's manual
    average.load_state_dict({key: value + 0.1 * th.randn_like(value) for key, value in average.state_dict().items()})
    assert average.n_averaged == 7


def test_edited_networks() -> None:
    model = averaging().learn(60)
    policy = model.policy
    assert policy.averaging is not None

    def train() -> None:
        model.actor.optimizer = th.optim.Adam(model.actor.parameters(), 1e-2)
        model.learn(6, reset_num_timesteps=False)

    # Frozen: the average stands still with it
    model.actor.pre.requires_grad_(False)
    train()
    for _ in range(200):
        policy.update_average()
    assert policy.actor_average is not None
    th.testing.assert_close(values(policy.actor_average.pre), values(model.actor.pre))
    model.actor.pre.requires_grad_(True)
    # A layer of the same shape: the average goes on, through both
    count = policy.averaging.n_averaged
    for actor in (model.actor, model.actor_target):
        actor.post[-2] = nn.Linear(16, 1).to(model.device)
    train()
    assert policy.averaging.n_averaged > count
    # Another structure: it begins anew, in evaluation mode, with the policy's own circuit and normalizer
    for actor in (model.actor, model.actor_target):
        actor.post.insert(1, nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.5)).to(model.device))
    train()
    average = policy.actor_average
    assert average is not None and len(average.post) == len(model.actor.post) and policy.averaging.n_averaged == 3
    assert average.block is policy.quantum_layer and average.normalizer is policy.normalizer
    statistics = [actor.post[1][1].running_mean for actor in (model.actor, average)]
    assert statistics[1].abs().sum() > 0 and not th.equal(*statistics)
    policy.train()  # by a user, past SB3's set_training_mode
    first = model.predict(OBS, deterministic=True)[0]
    assert np.array_equal(first, model.predict(OBS, deterministic=True)[0])
    assert not any(module.training for module in average.modules())
    # A module without parameters is another structure too
    for actor in (model.actor, model.actor_target):
        actor.post[2] = nn.Tanh()
    train()
    assert policy.actor_average is not average and type(policy.actor_average.post[2]) is nn.Tanh


def test_images_are_averaged_with_their_features() -> None:
    kwargs = dict(learning_starts=10, buffer_size=20, batch_size=8, seed=0, train_freq=10, gradient_steps=4)
    policy_kwargs = {**SMALL, "actor_average_tau": 0.5, "share_features_extractor": True}
    model = QuantumTD3("CnnPolicy", TinyImageEnv(), policy_kwargs=policy_kwargs, **kwargs).learn(20)  # type: ignore[arg-type]
    average = model.policy.actor_average
    assert average is not None
    own, averaged = model.actor.features_extractor.cnn[0].weight, average.features_extractor.cnn[0].weight
    assert not th.equal(own, averaged)
    observation = model.observation_space.sample()
    with th.no_grad():
        expected = average(model.policy.obs_to_tensor(observation)[0], "mean")
    assert np.allclose(model.predict(observation, deterministic=True)[0], expected[0].cpu().numpy(), atol=1e-5)


def test_the_model_card_says_which_weights_act(trained: QuantumTD3) -> None:
    report = Report([1.0, 2.0], 0, True, "statevector", {"qtdnn/cosine": 0.9})
    card = model_card(trained, report, "Pendulum-v1", "somebody/something")
    assert "the actor's, averaged over its 16 updates (exponentially, `actor_average_tau=0.1`)" in card
    assert "These figures are of the actor's own weights" in card
    plain = model_card(pendulum(), report, "Pendulum-v1", "somebody/something")
    assert "| weights of this policy | the actor's own, after its last update |" in plain
    assert "These figures are of" not in plain
