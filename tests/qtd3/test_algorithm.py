"""One update of Algorithm 1 against the same update written out by hand."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from torch.nn import functional as F

from sb3_quantum import QuantumTD3
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_train import pendulum


def make() -> QuantumTD3:
    """Some training, so that actor and target differ; then no noise, and a qtDNN that stands still."""
    model = pendulum(target_policy_noise=0.0, tau=0.1, learning_rate=1e-2).learn(80)
    model.qtdnn_lr_schedule = lambda progress: 0.0
    return model


def copies(module: th.nn.Module) -> list[th.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_critic_target_is_the_surrogate_target_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """(B2): r + gamma (1 - done) min Q'(s', surrogate target actor(s')), squared error summed over the critics."""
    model = make()
    assert model.replay_buffer is not None and model.policy.quantum_layer is not None
    data = model.replay_buffer.sample(64)
    data = data._replace(dones=(th.arange(64, device=model.device) % 3 == 0).float()[:, None])
    monkeypatch.setattr(model.replay_buffer, "sample", lambda *args, **kwargs: data)
    with th.no_grad():
        inputs, links = model.actor_target.encode(data.next_observations)
        bits = th.sigmoid(model.policy.quantum_layer.qtdnn(inputs))
        next_actions = model.actor_target.decode(bits, links)
        assert not th.allclose(next_actions, model.actor.surrogate(data.next_observations), atol=1e-3)
        features = model.policy.normalizer(data.next_observations)
        both = [q(features, next_actions) for q in model.critic_target.q_networks]
        target = data.rewards + 0.99 * (1 - data.dones) * th.min(*both)
        loss = sum(F.mse_loss(q, target) for q in model.critic(data.observations, data.actions))
    model._n_updates = 0  # an update without the delayed part
    model.train(gradient_steps=1, batch_size=64)
    model._record_training()
    assert model.logger.name_to_value["train/critic_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_actor_loss_and_soft_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """(B3) -Q1(s, surrogate actor(s)) with the updated critic, (B4) soft updates; every other update."""
    model = make()
    assert model.replay_buffer is not None
    data = model.replay_buffer.sample(64)
    monkeypatch.setattr(model.replay_buffer, "sample", lambda *args, **kwargs: data)
    pairs = ((model.actor, model.actor_target), (model.critic, model.critic_target))
    model._n_updates = 0
    before = [copies(target) for _, target in pairs] + [copies(model.actor)]
    model.train(gradient_steps=1, batch_size=64)
    after = [copies(target) for _, target in pairs] + [copies(model.actor)]
    assert all(th.equal(a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))

    with th.no_grad():
        actions = model.actor.surrogate(data.observations)
    model.train(gradient_steps=1, batch_size=64)
    # Adam has moved the actor since, the critic only before: its loss can be computed again
    with th.no_grad():
        loss = -model.critic.q1_forward(data.observations, actions).mean()
    model._record_training()
    assert model.logger.name_to_value["train/actor_loss"] == pytest.approx(float(loss), rel=1e-5)
    for (online, target), old in zip(pairs, before, strict=False):
        moved = 0.0
        for now, new, then in zip(online.parameters(), target.parameters(), old, strict=True):
            assert th.allclose(new, 0.9 * then + 0.1 * now, atol=1e-6)
            moved += float((new.detach() - then).abs().sum())
        assert moved > 0


def test_target_noise_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Huge noise that is clipped at 0 changes nothing; clipped at 0.5 it does."""
    losses = []
    for std, clip in ((0.0, 0.5), (100.0, 0.0), (100.0, 0.5)):
        model = pendulum(target_policy_noise=std, target_noise_clip=clip, gradient_steps=0).learn(80)
        model.qtdnn_lr_schedule = lambda progress: 0.0
        np.random.seed(0)
        model.train(gradient_steps=1, batch_size=64)
        model._record_training()
        losses.append(model.logger.name_to_value["train/critic_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6) != losses[2]


def test_normalizer_knows_the_observations_that_were_acted_on() -> None:
    """Mean and variance of the training's observations, warm-up included; an evaluation in between adds none."""
    env = make_vec_env(CountingEnv, 2)
    model = QuantumTD3("MlpPolicy", env, learning_starts=20, buffer_size=500, batch_size=16, policy_kwargs=SMALL, seed=0)
    model.learn(100, callback=EvalCallback(make_vec_env(CountingEnv, 1), eval_freq=10, verbose=0))
    assert model.replay_buffer is not None and model.policy.normalizer is not None
    running = model.policy.normalizer.parts["box_"]
    seen = model.replay_buffer.observations[:50].reshape(100, 3)
    assert float(running.count) == pytest.approx(100)
    assert np.allclose(running.mean.cpu().numpy(), seen.mean(0), atol=1e-6) and np.allclose(
        running.var.cpu().numpy(), seen.var(0), rtol=1e-4
    )
    with th.no_grad():
        normalized = model.policy.normalizer(th.as_tensor(seen, device=model.device))
        assert abs(float(normalized.mean())) < 1e-5
        # Actor and critic both see normalized observations
        assert th.allclose(
            model.actor.extract_features(th.as_tensor(seen, device=model.device), model.actor.features_extractor), normalized
        )
        assert th.allclose(
            model.critic.extract_features(th.as_tensor(seen, device=model.device), model.critic.features_extractor), normalized
        )


def test_the_actors_step_gives_the_critic_no_gradients() -> None:
    """They would be unused. The actor's gradients are those of a full backward pass."""
    model = make()
    assert model.replay_buffer is not None
    data = model._sample_batch(64)
    model.critic.optimizer.zero_grad()
    model._update_actor(data)
    assert all(parameter.grad is None for parameter in model.critic.parameters())
    found = [parameter.grad.clone() for parameter in model.actor.parameters() if parameter.grad is not None]
    model.actor.optimizer.zero_grad()
    actions = model.actor.surrogate(data.observations, normalized=True)
    (-model.critic.q1_forward(data.observations, actions, normalized=True).mean()).backward()
    again = [parameter.grad for parameter in model.actor.parameters() if parameter.grad is not None]
    # The actor has moved by one step of Adam in between
    assert len(found) == len(again) > 0
    cosine = F.cosine_similarity(th.cat([g.flatten() for g in found]), th.cat([g.flatten() for g in again]), dim=0)
    assert float(cosine) > 0.99


def test_modes_are_switched_everywhere() -> None:
    model = make()
    for mode in (True, False):
        model.policy.set_training_mode(mode)
        modules = [*model.actor.modules(), *model.critic.modules(), model.policy]
        assert {module.training for module in modules} == {mode}

    class Stubborn(th.nn.Linear):
        """A layer that never trains."""

        def train(self, mode: bool = True) -> "Stubborn":
            return super().train(False)

    model.actor.post[0] = Stubborn(2, 2)
    model.policy._plain_modules = None
    model.policy.set_training_mode(True)
    assert model.actor.post[2].training and not model.actor.post[0].training
