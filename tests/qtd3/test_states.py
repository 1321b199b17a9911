"""What the states of a policy's parts hold."""

import copy
import warnings
from typing import Any

import pytest
import torch as th

from sb3_quantum import QuantumTD3


def make(seed: int, **policy_kwargs: Any) -> QuantumTD3:
    kwargs = {"n_qubits": 3, "n_layers": 2, "net_arch": [16, 16], **policy_kwargs}
    return QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, seed=seed, learning_starts=10, batch_size=16)


OBSERVATIONS = th.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, -3.0]])


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("block", ["pqc", "fc", "zeros"])
def test_an_actors_state_is_whole(block: str, assign: bool) -> None:
    trained, other = make(0, block=block).learn(30), make(1, block=block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.actor.load_state_dict(copy.deepcopy(trained.actor.state_dict()), assign=assign)
        other.critic.load_state_dict(trained.critic.state_dict())
    observations = OBSERVATIONS.to(trained.device)
    assert th.equal(trained.actor(observations), other.actor(observations))
    assert block == "zeros" or th.equal(trained.actor.surrogate(observations), other.actor.surrogate(observations))
    actions = trained.actor(observations)
    assert th.equal(trained.critic(observations, actions)[0], other.critic(observations, actions)[0])


def test_the_policys_state_holds_each_part_once() -> None:
    keys = list(make(0).policy.state_dict())
    assert len(keys) == len(set(keys))
    assert not [key for key in keys if key.startswith(("actor.normalizer", "actor.qtdnn", "critic.normalizer"))]


def test_a_state_without_its_shared_parts_says_so() -> None:
    """Version 0.1.0 wrote such states."""
    model = make(0)
    own = {key: value for key, value in model.actor.state_dict().items() if not key.startswith(("normalizer.", "qtdnn."))}
    with pytest.warns(UserWarning, match="has no (normalizer|qtdnn): it belongs to the policy") as caught:
        model.actor.load_state_dict(own)
    assert len(caught) == 2
    whole = model.actor.state_dict()
    del whole["pre.0.weight"]
    with pytest.raises(RuntimeError, match="Missing key"):
        model.actor.load_state_dict(whole)


def bits(model: QuantumTD3) -> th.Tensor:
    return th.cat([model.actor.act(OBSERVATIONS.to(model.device), "sample").actions for _ in range(20)])


def test_random_bits_are_seeded_and_saved(tmp_path: Any) -> None:
    model = make(0, block="rbg").learn(20)
    model.save(tmp_path / "model")
    first, second = QuantumTD3.load(tmp_path / "model"), QuantumTD3.load(tmp_path / "model")
    went_on = bits(model)
    assert th.equal(bits(first), went_on) and th.equal(bits(second), went_on)
    model.set_random_seed(7)
    again = bits(model)
    assert not th.equal(again, went_on)
    model.set_random_seed(7)
    assert th.equal(bits(model), again)


def test_random_bits_of_an_older_file() -> None:
    model = make(0, block="rbg")
    state = model.policy.state_dict()
    older = {key: value for key, value in state.items() if not key.endswith("block._extra_state")}
    assert len(older) == len(state) - 2
    model.policy.load_state_dict(older)
