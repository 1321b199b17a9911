"""Output normalization: its effect on saturated actors, and that it is saved with them."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.autograd import gradcheck

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.qtd3.output_normalization import OutputNormalization
from tests.envs import SMALL


class FourActions(gym.Env[np.ndarray, np.ndarray]):
    """A few steps with four actions, which are all that the reward is made of."""

    observation_space = spaces.Box(-1, 1, (3,))
    action_space = spaces.Box(-1, 1, (4,))

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self.left = 8
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.left -= 1
        return self.observation_space.sample(), float(action.sum()), self.left == 0, False, {}


def model(normalized: bool) -> QuantumTD3:
    kwargs = dict(**SMALL, output_normalization=normalized, actor_average_tau=0.1)
    return QuantumTD3("MlpPolicy", FourActions(), learning_starts=8, batch_size=8, policy_kwargs=kwargs, seed=0, device="cpu")


def test_the_formula() -> None:
    """Outputs of a mean size of 1 or less stay what they are, others get a mean size of 1; derivatives are of that."""
    outputs = th.randn(64, 5, dtype=th.float64) * th.logspace(-2, 2, 64, dtype=th.float64)[:, None]
    normalized = OutputNormalization()(outputs)
    sizes = outputs.abs().mean(1)
    small = sizes <= 1
    assert small.any() and not small.all()
    assert th.equal(normalized[small], outputs[small])
    assert th.allclose(normalized[~small].abs().mean(1), th.ones(1, dtype=th.float64))
    assert th.allclose(normalized[~small] * sizes[~small, None], outputs[~small])
    assert gradcheck(OutputNormalization(), outputs[[0, 10, 50, 63]].requires_grad_(True))


@pytest.mark.parametrize("normalized", [False, True])
def test_an_actor_with_huge_outputs_learns_on(normalized: bool) -> None:
    """Without it, tanh of outputs of 100 is flat in single precision and no gradient comes through at all."""
    trained = model(normalized)
    with th.no_grad():
        list(trained.actor.post.parameters())[-1].copy_(th.tensor([100.0, -100.0, 120.0, -90.0]))
    obs = th.zeros(2, 3)
    actions = trained.actor.surrogate(obs)
    actions[:, :2].sum().backward()  # of some actions: the mean size of all of them cannot change
    size = sum(float(p.grad.abs().sum()) for p in trained.actor.parameters() if p.grad is not None)
    assert (size > 1e-6) == normalized
    assert (float(actions.detach().abs().max()) < 0.95) == normalized


def test_all_actors_have_it_and_it_is_saved(tmp_path: Path) -> None:
    trained = model(True).learn(24)
    policy = trained.policy
    assert policy.actor_average is not None
    for actor in (policy.actor, policy.actor_target, policy.actor_average):
        assert isinstance(actor.post[-2], OutputNormalization) and isinstance(actor.post[-1], th.nn.Tanh)
    # It has no parameters: state dictionaries of either kind of actor fit the other
    assert list(model(False).policy.state_dict()) == list(policy.state_dict())
    obs = np.full((5, 3), 0.3, np.float32)
    actions = trained.predict(obs, deterministic=True)[0]
    trained.save(tmp_path / "model.zip")
    policy.save(str(tmp_path / "policy.pth"))
    save_safe(trained, tmp_path / "safe")
    for again in (
        QuantumTD3.load(tmp_path / "model.zip", device="cpu"),
        MlpPolicy.load(str(tmp_path / "policy.pth"), device="cpu"),
        load_safe(tmp_path / "safe", device="cpu"),
    ):
        assert np.array_equal(again.predict(obs, deterministic=True)[0], actions)


def test_one_action_alone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"output_normalization needs at least two actions.*0\.76"):
        QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(**SMALL, output_normalization=True))
