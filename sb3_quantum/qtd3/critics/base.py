"""The contract of critics. A new critic is one file beside this one, and a line in the registry."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_quantum.common.buffers import QuantumReplayBufferSamples
from sb3_quantum.common.normalization import ObservationNormalizer
from sb3_quantum.qtd3.features import NormalizedFeatures


class Critic(NormalizedFeatures, ContinuousCritic):
    """
    Base class of the Q-value networks and their loss.

    A subclass makes its networks in its constructor, passes them to :meth:`_add_networks`, and implements :meth:`forward`,
    :meth:`q1_forward` and :meth:`loss`.

    :param observation_space: observation space
    :param action_space: action space
    :param features_extractor: network to extract features
    :param normalizer: the policy's normalizer of observations
    :param normalize_images: whether to divide images by 255
    :param share_features_extractor: whether the features extractor is the actor's (and learns from the actor's loss only)
    """

    #: whether the policy keeps a target network, which :meth:`loss` receives
    has_target: ClassVar[bool] = True

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        features_extractor: BaseFeaturesExtractor,
        normalizer: ObservationNormalizer | None = None,
        normalize_images: bool = True,
        share_features_extractor: bool = False,
    ):
        # Skip ContinuousCritic, which would build its own networks
        super(ContinuousCritic, self).__init__(
            observation_space, action_space, features_extractor=features_extractor, normalize_images=normalize_images
        )
        self.share_normalizer(normalizer)
        self.share_features_extractor = share_features_extractor
        self.n_critics = 0

    def _add_networks(self, networks: Iterable[nn.Module]) -> None:
        """
        Register the networks.

        :param networks: one per critic; they are registered as ``qf0``, ``qf1`` and so on
        """
        for network in networks:
            self.add_module(f"qf{self.n_critics}", network)
            self.n_critics += 1

    @property
    def q_networks(self) -> list[nn.Module]:  # type: ignore[override]
        """The critics ``qf0``, ``qf1``, ..., looked up each time, because users may replace them."""
        return [self._modules[f"qf{idx}"] for idx in range(self.n_critics)]  # type: ignore[misc]

    def features(self, obs: PyTorchObs, normalized: bool) -> th.Tensor:
        """
        Normalize observations and extract features.

        :param obs: observations, ``(batch, ...)``
        :param normalized: whether the policy's normalizer has been applied to them already
        :return: ``(batch, features_dim)``; without a gradient if the extractor is the actor's
        """
        if not self.share_features_extractor:
            return self.extract_features(obs, self.features_extractor, normalized)
        with th.no_grad():
            return self.extract_features(obs, self.features_extractor, normalized)

    @abstractmethod
    def forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> tuple[th.Tensor, ...]:
        """
        Compute the Q-values of all critics.

        :param obs: observations, ``(batch, ...)``
        :param actions: actions in [-1, 1], ``(batch, action_dim)``
        :param normalized: whether the policy's normalizer has been applied to the observations already
        :return: one Q-value per critic, each ``(batch, 1)``
        """

    @abstractmethod
    def q1_forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> th.Tensor:
        """
        Compute the Q-values of the first critic, for the actor's loss; the features extractor gets no gradient.

        :param obs: observations, ``(batch, ...)``
        :param actions: actions in [-1, 1], ``(batch, action_dim)``
        :param normalized: whether the policy's normalizer has been applied to the observations already
        :return: ``(batch, 1)``
        """

    @abstractmethod
    def loss(
        self,
        replay_data: QuantumReplayBufferSamples,
        next_actions: th.Tensor,
        discounts: th.Tensor | float,
        target: "Critic",
    ) -> th.Tensor:
        """
        Compute the loss of step (B2) of Algorithm 1.

        :param replay_data: the mini-batch, its observations normalized
        :param next_actions: actions of the smoothed target policy, in [-1, 1], ``(batch, action_dim)``, without a gradient
        :param discounts: discounts of the next Q-values, ``(batch, 1)`` or a number
        :param target: the target network; this critic itself without :attr:`has_target`
        :return: a number, summed over the critics
        """
