"""The critics of the paper."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn import functional as F

from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.common.buffers import QuantumReplayBufferSamples
from sb3_quantum.layers import mlp
from sb3_quantum.qtd3.critics.base import Critic
from sb3_quantum.qtd3.features import split_arch


class _QNetwork(nn.Module):
    """One critic of the paper; the action enters after the first segment."""

    def __init__(
        self, features_dim: int, action_dim: int, critic_arch: list[int], activation_fn: type[nn.Module], layer_norm: bool
    ):
        super().__init__()
        before, after = split_arch(critic_arch)
        norms: list[type[nn.Module]] = [nn.LayerNorm] if layer_norm else []
        self.before = mlp(features_dim, -1, before, activation_fn, post_linear_modules=norms)
        width = before[-1] if before else features_dim
        self.after = mlp(width + action_dim, 1, after, activation_fn, post_linear_modules=norms)

    def forward(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.after(th.cat([self.before(features), actions], dim=1))


class TwinCritic(Critic):
    """
    The critics of the paper: 376-256, then (256+17)-256-1 for Humanoid-v4, with clipped double Q-learning as in TD3
    (https://arxiv.org/abs/1802.09477).

    :param observation_space: observation space
    :param action_space: action space
    :param critic_arch: widths of the hidden layers; the action enters in the middle
    :param features_dim: number of features
    :param activation_fn: activation function
    :param n_critics: number of critics
    :param layer_norm: whether to apply layer normalization before every activation function
    :param kwargs: see :class:`~sb3_quantum.qtd3.critics.base.Critic`
    """

    @names_checked({})
    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        critic_arch: list[int],
        features_dim: int,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        n_critics: int = 2,
        layer_norm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(observation_space, action_space, **kwargs)
        action_dim = get_action_dim(self.action_space)
        self._add_networks(
            _QNetwork(features_dim, action_dim, critic_arch, activation_fn, layer_norm) for _ in range(n_critics)
        )

    def forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> tuple[th.Tensor, ...]:
        features = self.features(obs, normalized)
        return tuple(q_net(features, actions) for q_net in self.q_networks)

    def q1_forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> th.Tensor:
        with th.no_grad():
            features = self.features(obs, normalized)
        return self.q_networks[0](features, actions)

    def loss(
        self, replay_data: QuantumReplayBufferSamples, next_actions: th.Tensor, discounts: th.Tensor | float, target: Critic
    ) -> th.Tensor:
        # Clipped double Q-learning: targets from the smaller critic, (batch, 1)
        with th.no_grad():
            next_q_values = th.cat(target(replay_data.next_observations, next_actions, normalized=True), dim=1)
            next_q_values = next_q_values.amin(dim=1, keepdim=True)
            target_q_values = replay_data.rewards + (1 - replay_data.dones) * discounts * next_q_values
        current_q_values = self(replay_data.observations, replay_data.actions, normalized=True)
        return th.stack([F.mse_loss(current_q, target_q_values) for current_q in current_q_values]).sum()
