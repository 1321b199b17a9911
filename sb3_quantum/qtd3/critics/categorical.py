"""Critics that learn a histogram of the Q-value instead of a number."""

from typing import Any

import torch as th
from gymnasium import spaces
from torch.nn import functional as F

from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.qtd3.critics.crossq import CrossQCritic


class CategoricalCritic(CrossQCritic):
    """
    Critics that classify instead of regress: :class:`CrossQCritic` with a histogram of the Q-value.

    A network gives the logits of a histogram, whose mean is the Q-value. It learns by cross-entropy from a Gaussian around the
    target (HL-Gauss, https://arxiv.org/abs/2403.03950). XQC (https://arxiv.org/abs/2509.25174) combines batch normalization
    and cross-entropy in this way.

    Targets beyond the bins are clipped to them. The same bins for all environments need rewards of one scale: divide rewards
    by the running standard deviation of the discounted return, ``VecNormalize(env, norm_obs=False, gamma=gamma)``.

    :param observation_space: observation space
    :param action_space: action space
    :param critic_arch: widths of the hidden layers; the action enters at the first
    :param features_dim: number of features
    :param n_bins: bins of the histogram
    :param v_min: centre of the first bin
    :param v_max: centre of the last bin
    :param sigma: standard deviation of the Gaussian, in bins
    :param kwargs: see :class:`CrossQCritic`
    """

    edges: th.Tensor
    centres: th.Tensor

    @names_checked({})
    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        critic_arch: list[int],
        features_dim: int,
        n_bins: int = 101,
        v_min: float = -10.0,
        v_max: float = 10.0,
        sigma: float = 0.75,
        **kwargs: Any,
    ):
        if n_bins < 2 or not v_min < v_max or not sigma > 0:
            raise ValueError(
                "critic_kwargs needs n_bins >= 2, v_min < v_max and sigma > 0, "
                f"got n_bins={n_bins!r}, v_min={v_min!r}, v_max={v_max!r}, sigma={sigma!r}"
            )
        super().__init__(observation_space, action_space, critic_arch, features_dim, n_outputs=n_bins, **kwargs)
        self.v_min, self.v_max = v_min, v_max
        width = (v_max - v_min) / (n_bins - 1)
        # One matrix product instead of one per bin; divided by the Gaussian's width
        self.scale = 1 / (sigma * width * 2**0.5)
        self.register_buffer("centres", th.linspace(v_min, v_max, n_bins).unsqueeze(1), persistent=False)
        edges = th.linspace(v_min - width / 2, v_max + width / 2, n_bins + 1)
        self.register_buffer("edges", edges * self.scale, persistent=False)

    def _values(self, outputs: th.Tensor) -> th.Tensor:
        return outputs.softmax(dim=1) @ self.centres

    def _loss(self, outputs: th.Tensor, target_q_values: th.Tensor) -> th.Tensor:
        targets = target_q_values.clamp(self.v_min, self.v_max) * self.scale
        # Gaussian around each target, integrated over the bins, (batch, n_bins), and normalized
        cumulated = th.erf(self.edges - targets)
        histogram = cumulated.diff(dim=1) / (cumulated[:, -1:] - cumulated[:, :1])
        return F.cross_entropy(outputs, histogram)
