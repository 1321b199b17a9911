"""Users edit the networks between two trainings, as SB3's TD3 allows; what was frozen, replaced or added must be noticed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import nn

from sb3_quantum import QuantumTD3
from sb3_quantum.layers import QuantumLayer
from tests.envs import SMALL

#: parts by their path from the policy
PARTS = ("actor.pre", "actor.pre.0", "actor.post", "actor", "critic", "critic.qf0", "critic.qf1.after")


def make(**kwargs: Any) -> QuantumTD3:
    policy_kwargs = {**SMALL, **kwargs.pop("policy_kwargs", {})}
    return QuantumTD3(
        "MlpPolicy", "Pendulum-v1", learning_starts=10, batch_size=16, seed=0, policy_kwargs=policy_kwargs, **kwargs
    )


def train(model: QuantumTD3, steps: int = 6) -> QuantumTD3:
    return model.learn(steps, reset_num_timesteps=False)


def values(module: nn.Module) -> list[th.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(module: nn.Module, before: list[th.Tensor]) -> list[bool]:
    return [not th.equal(p, old) for p, old in zip(module.parameters(), before, strict=True)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", PARTS)
def test_freezing_and_unfreezing(path: str, when: str) -> None:
    model = make()
    if when == "after":
        train(model, 16)
    part = model.policy.get_submodule(path)
    part.requires_grad_(False)
    frozen, rest = {id(parameter) for parameter in part.parameters()}, {}
    for name, parameter in [*model.actor.named_parameters(), *model.critic.named_parameters()]:
        if id(parameter) not in frozen:
            rest[name] = (parameter, parameter.detach().clone())
    before = values(part)
    train(model, 16)
    assert not any(moved(part, before))
    # The actor's links from the circuit have no gradient where their inputs are constant; weights always do
    assert all(not th.equal(parameter, old) for name, (parameter, old) in rest.items() if name.endswith("weight"))

    part.requires_grad_(True)
    train(model)
    after = moved(part, before)
    assert any(after) and all(m for m, p in zip(after, part.parameters(), strict=True) if p.dim() == 2)


def test_everything_frozen_trains_nothing_and_does_not_crash() -> None:
    model = make()
    model.actor.requires_grad_(False)
    model.critic.requires_grad_(False)
    before = values(model.actor) + values(model.critic)
    train(model, 16)
    assert not any(moved(nn.ModuleList([model.actor, model.critic]), before))


def replace_layer(model: QuantumTD3) -> list[str]:
    for actor in (model.actor, model.actor_target):
        actor.post[-2] = nn.Linear(16, 1)
    return ["actor.post.2"]


def append_layer(model: QuantumTD3) -> list[str]:
    for actor in (model.actor, model.actor_target):
        actor.pre.insert(1, nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)))
    return ["actor.pre.1.0", "actor.pre.1.1"]


def replace_critic(model: QuantumTD3) -> list[str]:
    new = copy.deepcopy(model.critic.qf0)
    for module in new.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    model.critic.qf0, model.critic_target.qf0 = new, copy.deepcopy(new)
    return ["critic.qf0"]


def wrap_output(model: QuantumTD3) -> list[str]:
    """As low-rank adapters do: the last layer is no longer a plain linear one."""
    for actor in (model.actor, model.actor_target):
        actor.pre[-1] = nn.Sequential(actor.pre[-1])
    return ["actor.pre.2"]


def reparametrize(model: QuantumTD3) -> list[str]:
    for network in (model.critic, model.critic_target):
        nn.utils.parametrizations.weight_norm(network.qf1.after[0])
    return ["critic.qf1.after.0"]


@pytest.mark.parametrize("block", ["pqc", "zeros"])
@pytest.mark.parametrize("edit", [replace_layer, append_layer, replace_critic, wrap_output, reparametrize])
def test_new_parts_are_trained_and_followed(edit: Callable[[QuantumTD3], list[str]], block: str) -> None:
    model = train(make(policy_kwargs={"block": block}), 16)
    paths = edit(model)
    model.policy.to(model.device)
    for network in (model.actor, model.critic):
        network.optimizer = th.optim.Adam(network.parameters(), 1e-2)
    targets = [path.replace("actor.", "actor_target.").replace("critic.", "critic_target.") for path in paths]
    parts = [model.policy.get_submodule(path) for path in (*paths, *targets)]
    before = [values(part) for part in parts]
    train(model)
    for path, part, old in zip((*paths, *targets), parts, before, strict=True):
        assert any(moved(part, old)), path


def test_new_parts_have_the_right_mode_and_running_statistics_follow() -> None:
    model = train(make(), 16)
    for actor in (model.actor, model.actor_target):
        actor.post.insert(1, nn.Dropout(0.5))
        actor.post.insert(1, nn.BatchNorm1d(16).to(model.device))
    seen: dict[str, set[bool]] = {}
    for name in ("actor", "actor_target"):
        for kind in (1, 2):
            seen[f"{name}.{kind}"] = set()

            def record(module: nn.Module, *_: Any, key: str = f"{name}.{kind}") -> None:
                seen[key].add(module.training)

            getattr(model, name).post[kind].register_forward_hook(record)
    train(model)
    # The actor acts in evaluation mode and is updated in training mode
    assert seen == {"actor.1": {True, False}, "actor.2": {True, False}, "actor_target.1": {False}, "actor_target.2": {False}}
    norm, target = model.actor.post[1], model.actor_target.post[1]
    assert th.equal(norm.running_mean, target.running_mean) and norm.running_mean.abs().sum() > 0

    class Stubborn(nn.Linear):
        """A layer that never trains."""

        def train(self, mode: bool = True) -> "Stubborn":
            return super().train(False)

    model.critic.qf0.before[0] = Stubborn(3, 16)
    model.policy.set_training_mode(True)
    assert model.actor.post[1].training and not model.critic.qf0.before[0].training


def test_another_quantum_layer_or_normalizer_reaches_the_networks() -> None:
    model = train(make(), 16)
    model.policy.quantum_layer = QuantumLayer(3, 2, qtdnn_arch=[8], seed=1).to(model.device)
    before = values(model.policy.quantum_layer)
    train(model)
    assert model.actor.block is model.actor_target.block is model.policy.quantum_layer
    assert any(moved(model.policy.quantum_layer, before)) and model.policy.quantum_layer.backend.usage.circuits == 6
    model.policy.normalizer = None
    train(model)
    assert all(getattr(model, name).normalizer is None for name in ("actor", "actor_target", "critic", "critic_target"))


def test_two_layers_may_share_a_parameter() -> None:
    model = make()
    for network in (model.critic, model.critic_target):
        network.qf1.before[0].weight = network.qf0.before[0].weight
    source, target = model.critic.qf0.before[0].weight.detach(), model.critic_target.qf0.before[0].weight
    old = target.detach().clone()
    with th.no_grad():
        source += 1.0
    expected = old + model.tau * (source - old)
    model._update_targets()
    assert th.allclose(target, expected)  # moved once, not twice
