"""Batch renormalization, https://arxiv.org/abs/1702.03275."""

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F


class BatchRenorm(nn.Module):
    """
    Normalize features by the batch's statistics and, after a warm-up, correct them towards running statistics.

    Which statistics are used is an argument of the call, not the module's mode. Source: Ioffe 2017,
    https://arxiv.org/abs/1702.03275.

    :param num_features: features of a row
    :param momentum: weight of a batch in the running statistics
    :param eps: added to variances
    :param warmup_steps: batches before the correction begins; up to then it is plain batch normalization
    :param r_max: the correction's factor is clipped to [1 / r_max, r_max]
    :param d_max: its shift is clipped to +- this, in running standard deviations
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    steps: th.Tensor

    def __init__(
        self,
        num_features: int,
        momentum: float = 0.01,
        eps: float = 1e-3,
        warmup_steps: int = 100_000,
        r_max: float = 3.0,
        d_max: float = 5.0,
    ):
        super().__init__()
        self.momentum, self.eps, self.warmup_steps = momentum, eps, warmup_steps
        self.r_max, self.d_max = r_max, d_max
        self.register_buffer("running_mean", th.zeros(num_features))
        self.register_buffer("running_var", th.ones(num_features))
        self.register_buffer("steps", th.tensor(0))
        self.weight = nn.Parameter(th.ones(num_features))
        self.bias = nn.Parameter(th.zeros(num_features))
        # A copy of ``steps``: reading the buffer would stop a GPU in every update. Set from it once after loading
        self._n_steps: int | None = 0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._n_steps = None

    def forward(self, x: th.Tensor, batch_statistics: bool) -> th.Tensor:
        """
        Normalize a batch.

        :param x: ``(batch, num_features)``
        :param batch_statistics: whether to use the batch's statistics, and update the running ones, or the running ones
        :return: normalized, the same shape
        """
        mean, var = self.running_mean, self.running_var
        if not batch_statistics:
            return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        if self._n_steps is None:
            self._n_steps = int(self.steps)
        weight: th.Tensor = self.weight
        bias: th.Tensor = self.bias
        if self._n_steps >= self.warmup_steps:
            with th.no_grad():
                batch_var, batch_mean = th.var_mean(x, dim=0)  # (num_features,)
                deviation = (var + self.eps).sqrt()
                # r and d of the paper's Algorithm 1
                r = ((batch_var + self.eps).sqrt() / deviation).clamp_(1 / self.r_max, self.r_max)
                d = ((batch_mean - mean) / deviation).clamp_(-self.d_max, self.d_max)
            # One operation applies the batch's statistics, the correction, and weight and bias
            weight, bias = weight * r, bias + weight * d
        self._n_steps += 1
        self.steps += 1
        return F.batch_norm(x, mean, var, weight, bias, True, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, momentum={self.momentum}, eps={self.eps}, warmup_steps={self.warmup_steps}"
