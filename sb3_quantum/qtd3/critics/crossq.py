"""Critics with batch (re)normalization and without target networks."""

import warnings
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn import functional as F

from sb3_quantum.circuits.checks import names_checked, shown
from sb3_quantum.common.buffers import QuantumReplayBufferSamples
from sb3_quantum.qtd3.critics.base import Critic
from sb3_quantum.qtd3.critics.batch_renorm import BatchRenorm


@cache
def bfloat16_pays(device_type: str) -> bool:
    """
    Tell whether a device multiplies matrices faster in bfloat16 than in single precision.

    :param device_type: such as ``"cpu"``
    :return: whether it does; for a processor, whether it has the instructions (AVX512-BF16, AMX), as far as this torch can
        tell
    """
    if device_type == "cpu":
        known = (getattr(th.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(is_supported() for is_supported in known if is_supported is not None)
    return device_type == "cuda" and th.cuda.is_bf16_supported(including_emulation=False)


class _RenormalizedNetwork(nn.Module):
    """Linear layers, each after a :class:`BatchRenorm`; observation and action enter together."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        critic_arch: list[int],
        activation_fn: type[nn.Module],
        bfloat16: bool | str,
        **kwargs: Any,
    ):
        super().__init__()
        widths = [input_dim, *critic_arch, output_dim]
        self.norms = nn.ModuleList(BatchRenorm(width, **kwargs) for width in widths[:-1])
        self.linears = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.activation = activation_fn()
        self.in_bfloat16 = bfloat16

    def forward(self, x: th.Tensor, batch_statistics: bool) -> th.Tensor:
        *hidden_layers, (norm, linear) = zip(self.norms, self.linears, strict=True)
        device_type = x.device.type
        halved = bfloat16_pays(device_type) if self.in_bfloat16 == "auto" else self.in_bfloat16
        # Otherwise the user's own autocast, if any, stays in force
        with th.autocast(device_type, th.bfloat16) if halved else nullcontext():
            for hidden_norm, hidden_linear in hidden_layers:
                x = self.activation(hidden_linear(hidden_norm(x, batch_statistics)))
            x = norm(x, batch_statistics)
        return linear(x.float())


class CrossQCritic(Critic):
    """
    The critics of CrossQ (https://openreview.net/forum?id=PczQtTsTIX): batch (re)normalization before every layer, and no
    target networks.

    Q-values of the mini-batch and of its next states come from one joint pass, so that statistics of their mixture normalize
    both. The actor's loss uses running statistics. CrossQ is based on SAC; this is its form for TD3, with target policy
    smoothing and the minimum of the critics. The authors use wide layers (``critic_arch=[512, 512]`` and more) and Adam with a
    beta1 of 0.5.

    :param observation_space: observation space
    :param action_space: action space
    :param critic_arch: widths of the hidden layers; the action enters at the first
    :param features_dim: number of features
    :param activation_fn: activation function
    :param n_critics: number of critics
    :param momentum: weight of a batch in the running statistics
    :param eps: added to variances
    :param warmup_steps: updates with plain batch normalization, before batches are corrected towards running statistics
    :param bfloat16: whether to multiply the hidden layers' matrices in half precision; ``"auto"``: if the device does that
        faster
    :param n_outputs: number of outputs of a network, for subclasses
    :param kwargs: see :class:`~sb3_quantum.qtd3.critics.base.Critic`
    """

    has_target: ClassVar[bool] = False

    @names_checked({})
    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        critic_arch: list[int],
        features_dim: int,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        n_critics: int = 2,
        momentum: float = 0.01,
        eps: float = 1e-3,
        warmup_steps: int = 100_000,
        bfloat16: bool | str = False,
        n_outputs: int = 1,
        **kwargs: Any,
    ):
        if bfloat16 not in (True, False, "auto"):
            raise ValueError(f"bfloat16 must be True, False or 'auto', got {shown(bfloat16)}")
        super().__init__(observation_space, action_space, **kwargs)
        input_dim = features_dim + get_action_dim(self.action_space)
        renorm = dict(momentum=momentum, eps=eps, warmup_steps=warmup_steps)
        self._add_networks(
            _RenormalizedNetwork(input_dim, n_outputs, critic_arch, activation_fn, bfloat16, **renorm)
            for _ in range(n_critics)
        )
        # Until the first update, which knows the device
        self._in_doubt = bfloat16 is True

    def _warn_once_of_slow_bfloat16(self, device_type: str) -> None:
        """Warn in the first update if the device only emulates the arithmetic that was asked for."""
        if self._in_doubt and not bfloat16_pays(device_type):
            warnings.warn(
                f"bfloat16=True: this device ({device_type}) has no such arithmetic, as far as torch can tell, and an update "
                "may take ten times as long; critic_kwargs=dict(bfloat16='auto') uses it only where it pays",
                stacklevel=2,
            )
        self._in_doubt = False

    def _values(self, outputs: th.Tensor) -> th.Tensor:
        """
        Map a network's outputs to Q-values.

        :param outputs: outputs of a network, ``(batch, n_outputs)``
        :return: Q-values, ``(batch, 1)``
        """
        return outputs

    def _loss(self, outputs: th.Tensor, target_q_values: th.Tensor) -> th.Tensor:
        """
        Compute the loss of one network.

        :param outputs: outputs of one network, ``(batch, n_outputs)``
        :param target_q_values: ``(batch, 1)``, without a gradient
        :return: its loss, a number
        """
        return F.mse_loss(outputs, target_q_values)

    def forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> tuple[th.Tensor, ...]:
        inputs = th.cat([self.features(obs, normalized), actions], dim=1)
        return tuple(self._values(q_net(inputs, batch_statistics=False)) for q_net in self.q_networks)

    def q1_forward(self, obs: PyTorchObs, actions: th.Tensor, normalized: bool = False) -> th.Tensor:
        with th.no_grad():
            features = self.features(obs, normalized)
        return self._values(self.q_networks[0](th.cat([features, actions], dim=1), batch_statistics=False))

    def loss(
        self, replay_data: QuantumReplayBufferSamples, next_actions: th.Tensor, discounts: th.Tensor | float, target: Critic
    ) -> th.Tensor:
        self._warn_once_of_slow_bfloat16(replay_data.actions.device.type)
        # 1. One joint pass over states and next states, (2 * batch, ...)
        features = th.cat([self.features(obs, True) for obs in (replay_data.observations, replay_data.next_observations)])
        inputs = th.cat([features, th.cat([replay_data.actions, next_actions])], dim=1)
        outputs = [q_net(inputs, batch_statistics=True).chunk(2) for q_net in self.q_networks]
        # 2. Targets from the smaller critic, (batch, 1)
        with th.no_grad():
            next_q_values = th.cat([self._values(following) for _, following in outputs], dim=1).amin(dim=1, keepdim=True)
            target_q_values = replay_data.rewards + (1 - replay_data.dones) * discounts * next_q_values
        return th.stack([self._loss(current, target_q_values) for current, _ in outputs]).sum()
