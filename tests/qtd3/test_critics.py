"""The other critics: do they learn, are they saved, and do they follow their papers?"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.qtd3.critics import CRITICS, CategoricalCritic, CrossQCritic, check_critic
from sb3_quantum.qtd3.critics.batch_renorm import BatchRenorm
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_save_load import OBS, same
from tests.qtd3.test_train import pendulum

#: bins that cover Pendulum's returns, and a warm-up that ends within a test
KINDS: dict[str, dict[str, Any]] = {
    "crossq": dict(critic="crossq", critic_kwargs=dict(warmup_steps=20)),
    "categorical": dict(critic="categorical", critic_kwargs=dict(n_bins=21, v_min=-200.0, v_max=0.0)),
}


@pytest.mark.parametrize("critic", KINDS)
def test_identity(critic: str) -> None:
    """SB3's smoke test of a broken update: 90 of 100 in the identity environment after 400 steps."""
    env = DummyVecEnv([lambda: IdentityEnvBox(eps=0.5)])
    kwargs = {**SMALL, **KINDS[critic], "net_arch": [64, 64]}
    if critic == "categorical":
        kwargs["critic_kwargs"] = dict(v_min=0.0, v_max=110.0)
    model = QuantumTD3("MlpPolicy", env, learning_rate=1e-3, learning_starts=100, seed=0, policy_kwargs=kwargs).learn(400)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=20, warn=False)
    assert mean > 90


@pytest.mark.parametrize("critic", KINDS)
def test_files(tmp_path: Path, critic: str) -> None:
    """The zip and the files without pickle hold everything, and the training goes on from them."""
    model = pendulum(policy_kwargs=KINDS[critic]).learn(100)
    model.save(tmp_path / "model")
    save_safe(model, tmp_path)
    model.policy.save(tmp_path / "policy")
    assert same(MlpPolicy.load(tmp_path / "policy").state_dict(), model.policy.state_dict())
    assert model.env is not None
    # Fetched once: predictions below are counted in it
    parameters = model.get_parameters()
    for loaded in (QuantumTD3.load(tmp_path / "model", env=model.env), load_safe(tmp_path, env=model.env)):
        assert type(loaded.critic) is CRITICS[critic] and loaded.critic_target is loaded.critic
        assert same(parameters, loaded.get_parameters())
        assert np.array_equal(model.predict(OBS, deterministic=True)[0], loaded.predict(OBS, deterministic=True)[0])
        before = loaded.critic.q_networks[0].norms[0].steps.clone()  # type: ignore[index, union-attr]
        loaded.learn(80, reset_num_timesteps=False)
        assert loaded.critic.q_networks[0].norms[0].steps == before + 80  # type: ignore[index, union-attr]


def test_without_a_target_there_is_one_critic() -> None:
    model = pendulum(policy_kwargs=KINDS["crossq"], tau=0.5)
    policy = model.policy
    assert policy.critic_target is policy.critic is model.critic_target
    assert not any(key.startswith("critic_target") for key in policy.state_dict())
    statistics = policy.critic.q_networks[0].norms[1].running_var.clone()  # type: ignore[index, union-attr]
    before = policy.actor_target.post[0].weight.clone()  # type: ignore[union-attr]
    model.learn(60)
    assert not th.equal(before, policy.actor_target.post[0].weight)  # type: ignore[arg-type]
    moved = policy.critic.q_networks[0].norms[1].running_var  # type: ignore[index, union-attr]
    assert not th.equal(statistics, moved) and bool((moved > 0).all())


@pytest.mark.parametrize("kwargs", [{"n_steps": 3}, {"policy_kwargs": {"share_features_extractor": True, "n_critics": 3}}])
@pytest.mark.parametrize("block", ["pqc", "fc", "rbg", "zeros"])
def test_every_block_has_them(block: str, kwargs: dict[str, Any]) -> None:
    policy_kwargs = {**kwargs.get("policy_kwargs", {}), **KINDS["crossq"], "block": block}
    model = pendulum(**{**kwargs, "policy_kwargs": policy_kwargs})
    before = model.critic.q_networks[-1].linears[0].weight.clone()  # type: ignore[index, union-attr]
    model.learn(60)
    assert not th.equal(before, model.critic.q_networks[-1].linears[0].weight)  # type: ignore[index, union-attr]


def test_dictionaries() -> None:
    env = make_vec_env(lambda: CountingEnv(dictionary=True), 2)
    kwargs = dict(learning_starts=20, buffer_size=100, batch_size=16, policy_kwargs={**SMALL, **KINDS["crossq"]})
    model = QuantumTD3("MultiInputPolicy", env, **kwargs).learn(60)  # type: ignore[arg-type]
    assert model._n_updates > 0


def test_batch_renormalization() -> None:
    """By the batch alone at first; then corrected towards running statistics, and clipped, as in the paper's equation 5."""
    th.manual_seed(0)
    norm = BatchRenorm(4, momentum=0.1, eps=1e-3, warmup_steps=1, r_max=1.5, d_max=0.5)
    with th.no_grad():
        norm.weight.copy_(th.rand(4) + 0.5)
        norm.bias.copy_(th.randn(4))
    first, x = th.randn(6, 4), 3 * th.randn(6, 4) + th.tensor([0.0, 0.1, 2.0, -5.0])
    th.testing.assert_close(norm(first, True), F.batch_norm(first, None, None, norm.weight, norm.bias, True, 0.0, 1e-3))
    mean, var = 0.1 * first.mean(0), 0.9 + 0.1 * first.var(0)
    th.testing.assert_close((norm.running_mean, norm.running_var), (mean, var))
    deviation = (var + 1e-3).sqrt()
    r = ((x.var(0) + 1e-3).sqrt() / deviation).clamp(1 / 1.5, 1.5)
    d = ((x.mean(0) - mean) / deviation).clamp(-0.5, 0.5)
    assert bool((r == 1.5).any()) and bool((d.abs() == 0.5).any()) and bool((d.abs() < 0.5).any())
    normalized = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-3).sqrt() * r + d
    th.testing.assert_close(norm(x, True), norm.weight * normalized + norm.bias)
    # Running statistics look at no other row, and are not moved
    rows = norm(x, False)
    th.testing.assert_close(th.cat([norm(row, False) for row in x.split(1)]), rows)
    th.testing.assert_close(rows, (x - norm.running_mean) / (norm.running_var + 1e-3).sqrt() * norm.weight + norm.bias)
    assert norm.steps == 2


def test_one_joint_pass() -> None:
    """Q-values of the batch and of the next states are normalized together, and the next ones are no path of the gradient."""
    model = pendulum(policy_kwargs={"critic": "crossq"}, gamma=0.9).learn(60)
    critic = model.critic
    data = model._sample_batch(16)
    next_actions = th.rand(16, 1, device=model.device) * 2 - 1
    both = th.cat([th.cat([data.observations, data.actions], 1), th.cat([data.next_observations, next_actions], 1)])
    states = [th.clone(value) for value in critic.state_dict().values()]
    critic.optimizer.zero_grad()
    loss = critic.loss(data, next_actions, 0.9, critic)
    loss.backward()
    gradient = critic.q_networks[1].linears[0].weight.grad.clone()  # type: ignore[index, union-attr]
    for value, state in zip(critic.state_dict().values(), states, strict=True):
        value.copy_(state)
    critic.optimizer.zero_grad()
    q_values = [q_net(both, True) for q_net in critic.q_networks]
    target = data.rewards + (1 - data.dones) * 0.9 * th.minimum(*(q[16:] for q in q_values)).detach()
    expected = sum(((q[:16] - target) ** 2).mean() for q in q_values)
    th.testing.assert_close(loss, expected)
    expected.backward()  # type: ignore[union-attr]
    th.testing.assert_close(gradient, critic.q_networks[1].linears[0].weight.grad)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("critic", KINDS)
def test_the_actor_sees_running_statistics(critic: str) -> None:
    """Whatever mode the policy is in, Q-values of a row are the same in every batch, and asking for them moves nothing."""
    policy = pendulum(policy_kwargs=KINDS[critic]).learn(60).policy
    obs, actions = th.randn(5, 3, device=policy.device), th.rand(5, 1, device=policy.device)
    before = [value.clone() for value in policy.critic.state_dict().values()]
    for mode in (True, False):
        policy.set_training_mode(mode)
        whole = policy.critic.q1_forward(obs, actions)
        rows = [policy.critic.q1_forward(o, a) for o, a in zip(obs.split(1), actions.split(1), strict=True)]
        th.testing.assert_close(th.cat(rows), whole)
        th.testing.assert_close(policy.critic(obs, actions)[0], whole)
    assert all(th.equal(a, b) for a, b in zip(before, policy.critic.state_dict().values(), strict=True))


def test_histogram() -> None:
    """Its mean is the target it was made from, clipped to the bins; a network that fits it gives the target back."""
    critic = pendulum(policy_kwargs=KINDS["categorical"], device="cpu").critic
    assert isinstance(critic, CategoricalCritic)
    targets = th.tensor([[-150.0], [-77.7], [-3.0], [40.0], [-999.0]])
    logits = th.zeros(5, 21, requires_grad=True)
    optimizer = th.optim.Adam([logits], 0.1)
    for _ in range(400):
        optimizer.zero_grad()
        (5 * critic._loss(logits, targets)).backward()
        optimizer.step()
    values = critic._values(logits.detach()).squeeze(1)
    th.testing.assert_close(values[:2], targets[:2, 0], atol=0.5, rtol=0)
    # At the ends half of the Gaussian is cut off, and the mean moves inwards by part of a bin of 10
    assert -14 < float(values[2]) < -3 and -10 < float(values[3]) < 0 and -200 < float(values[4]) < -190


def test_bfloat16_is_near() -> None:
    """Hidden layers in half the precision: Q-values of the same networks within a few hundredths of their spread."""
    full = pendulum(policy_kwargs={"critic": "crossq"}, device="cpu")
    half = pendulum(policy_kwargs={"critic": "crossq", "critic_kwargs": {"bfloat16": True}}, device="cpu")
    half.set_parameters(full.get_parameters())
    obs, actions = th.randn(64, 3, device=full.device), th.rand(64, 1, device=full.device)
    one, other = (model.critic.q1_forward(obs, actions) for model in (full, half))
    assert other.dtype == th.float32 and not th.equal(one, other)
    th.testing.assert_close(one, other, atol=0.05 * float(one.std()), rtol=0)
    with th.autocast("cpu", th.bfloat16):
        users = full.critic.q1_forward(obs, actions)
    th.testing.assert_close(one, users.float(), atol=0.05 * float(one.std()), rtol=0)
    half.learn(60)
    assert {parameter.dtype for parameter in half.critic.parameters()} == {th.float32}


@pytest.mark.parametrize("pays", [True, False])
def test_bfloat16_where_it_pays(pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "auto" is True on a device that multiplies faster so, and False on others."""
    monkeypatch.setattr("sb3_quantum.qtd3.critics.crossq.bfloat16_pays", lambda device_type: pays)
    models = [
        pendulum(policy_kwargs={"critic": "crossq", "critic_kwargs": {"bfloat16": bfloat16}}, device="cpu")
        for bfloat16 in ("auto", pays, not pays)
    ]
    obs, actions = th.randn(16, 3), th.rand(16, 1)
    auto, same, other = (model.critic.q1_forward(obs, actions) for model in models)
    assert th.equal(auto, same) and not th.equal(auto, other)


def test_bfloat16_where_it_does_not_pay_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 14 times as slow on a processor without AVX512-BF16 (benchmarks/half_precision.py)."""
    monkeypatch.setattr("sb3_quantum.qtd3.critics.crossq.bfloat16_pays", lambda device_type: False)
    for bfloat16, expected in ((True, 1), ("auto", 0), (False, 0)):
        kwargs = {"critic": "categorical", "critic_kwargs": {"bfloat16": bfloat16}}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = pendulum(policy_kwargs=kwargs, device="cpu")
            assert not [each for each in caught if "bfloat16" in str(each.message)]  # an agent that only acts is not slower
            model.learn(60)
        assert len([each for each in caught if "an update may take ten times as long" in str(each.message)]) == expected


def test_whether_bfloat16_pays_is_what_the_device_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from sb3_quantum.qtd3.critics.crossq import bfloat16_pays

    says = {"cpu": True, "cuda": False}
    monkeypatch.setattr(th.cpu, "_is_avx512_bf16_supported", lambda: says["cpu"], raising=False)
    monkeypatch.setattr(th.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(th.cuda, "is_bf16_supported", lambda including_emulation: says["cuda"])
    for answers in (says, {"cpu": False, "cuda": True}):
        says.update(answers)
        bfloat16_pays.cache_clear()
        assert {name: bfloat16_pays(name) for name in says} == says and not bfloat16_pays("meta")
    bfloat16_pays.cache_clear()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"critic": "crossq", "critic_kwargs": {"bfloat16": "yes"}}, r"bfloat16 must be True, False or 'auto', got 'yes'"),
        ({"critic": "triple"}, r"critic='triple' is unknown, accepted are 'twin', 'crossq', 'categorical'"),
        ({"critic_kwargs": {"momentum": 0.1}}, r"critic_kwargs has 'momentum', accepted for critic='twin' are 'layer_norm'"),
        (
            {"critic": "crossq", "critic_kwargs": {"n_outputs": 2}},
            r"has 'n_outputs', accepted for critic='crossq' are 'bfloat16'",
        ),
        ({"critic": "crossq", "critic_layer_norm": True}, r"critic_layer_norm=True is for critic=\"twin\""),
        ({"critic": "categorical", "critic_kwargs": {"v_min": 3.0, "v_max": 3.0}}, r"v_min < v_max .* got .*v_min=3.0"),
    ],
)
def test_what_cannot_be_made_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pendulum(policy_kwargs=kwargs)


def test_arguments_of_a_parent_are_accepted() -> None:
    assert check_critic("categorical", {"momentum": 0.1, "n_bins": 5}) is CategoricalCritic
    assert check_critic("crossq", None) is CrossQCritic
