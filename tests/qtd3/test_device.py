"""The code path of other devices, without one: tensors on torch's meta device have no values, so fetching one fails."""

from typing import Any

import pytest

from sb3_quantum import PAPER
from sb3_quantum.common import QuantumReplayBufferSamples
from tests.qtd3.test_train import pendulum


@pytest.mark.parametrize(
    "settings", [{}, PAPER, dict(policy_kwargs=dict(block="zeros")), dict(policy_kwargs=dict(block="fc"))]
)
def test_an_update_makes_no_round_trip_to_the_host(settings: dict[str, Any]) -> None:
    """Every line of an update behind the gathering of the mini-batch, and nothing of it comes back before the logs do."""
    # The fused Adam of a GPU has no counterpart on the meta device
    policy_kwargs = {**settings.get("policy_kwargs", {}), "optimizer_kwargs": dict(foreach=True)}
    model = pendulum(**{**settings, "policy_kwargs": policy_kwargs})
    assert model.replay_buffer is not None
    model.learn(60)
    rows = model.replay_buffer.sample(16)
    for optimizer in (model.actor.optimizer, model.critic.optimizer):
        optimizer.state.clear()
    model.policy.to("meta")
    model._create_aliases()
    placed = [None if part is None else part.to("meta") for part in rows]
    model.replay_buffer.sample = lambda *args, **kwargs: QuantumReplayBufferSamples(*placed)  # type: ignore[method-assign]
    for group, parameters in ((model.actor.optimizer, model.actor), (model.critic.optimizer, model.critic)):
        group.param_groups[0]["params"] = list(parameters.parameters())
    if model.policy.quantum_layer is not None:
        layer = model.policy.quantum_layer
        layer.optimizer.state.clear()
        layer.optimizer.param_groups[0]["params"] = list(layer.qtdnn.parameters())
    model.train(gradient_steps=2, batch_size=16)
    assert {loss.device.type for losses in model._losses.values() for loss in losses} == {"meta"}
    assert {parameter.device.type for parameter in model.policy.parameters()} == {"meta"}
    with pytest.raises(RuntimeError, match="meta"):
        model._record_training()
