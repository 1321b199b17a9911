"""Normalization of observations by the policy itself, without a wrapper around the environment."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_quantum.circuits.jit import jit


class RunningNormalizer(nn.Module):
    """
    Running mean and variance of one array of observations, by the parallel algorithm (Chan et al., as in SB3's
    ``RunningMeanStd``).

    :param shape: shape of one observation
    :param clip: normalized observations are clipped to +- this, ``VecNormalize``'s default
    :param epsilon: added to the variance
    """

    mean: th.Tensor
    var: th.Tensor
    count: th.Tensor
    shift: th.Tensor
    factor: th.Tensor

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0, epsilon: float = 1e-8):
        super().__init__()
        self.clip = clip
        self.epsilon = epsilon
        # Double precision: a single observation must change a count of millions
        self.register_buffer("mean", th.zeros(shape, dtype=th.float64))
        self.register_buffer("var", th.ones(shape, dtype=th.float64))
        self.register_buffer("count", th.tensor(epsilon, dtype=th.float64))
        # The factor and the mean that are applied to observations, in single precision
        self.register_buffer("shift", th.zeros(shape), persistent=False)
        self.register_buffer("factor", th.ones(shape), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> "RunningNormalizer":
        """Move to a device, but keep the statistics' precision when networks are cast to half or double."""

        def move(buffer: th.Tensor) -> th.Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

        return super()._apply(move, recurse)

    def update(self, observations: th.Tensor) -> None:
        """
        Update mean and variance with a batch of observations.

        :param observations: ``(batch, *shape)``, not normalized
        """
        if self.mean.device.type != "cpu":
            self._update_on_device(observations)
            return
        count, mean, var, shift, factor = (
            tensor.numpy().reshape(-1) for tensor in (self.count, self.mean, self.var, self.shift, self.factor)
        )
        rows = observations.double().numpy().reshape(len(observations), -1)
        count += len(rows)
        _update(rows, mean, var, shift, factor, len(rows) / count[0], self.epsilon)

    def _update_on_device(self, observations: th.Tensor) -> None:
        """Do what :meth:`update` does in torch, on any device."""
        self.count += len(observations)
        weight: Any = len(observations) / self.count
        batch = observations.to(self.mean)
        batch_mean = batch.mean(0)
        batch_var = ((batch - batch_mean) ** 2).mean(0)
        delta = batch_mean - self.mean
        self.mean += weight * delta
        self.var += weight * (batch_var - self.var) + weight * (1 - weight) * delta**2
        self._refresh()

    def _refresh(self) -> None:
        """Recompute the single-precision factor and mean."""
        self.shift.copy_(self.mean)
        self.factor.copy_(th.rsqrt(self.var + self.epsilon))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # Noise may have been added to a state_dict: variance and count must not be negative
        self.var.clamp_(min=0)
        self.count.clamp_(min=self.epsilon)
        self._refresh()

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        Normalize a batch.

        :param observations: ``(batch, *shape)``
        :return: normalized and clipped, float32, the same shape
        """
        # In place after the first operation, which makes a new tensor: no gradient reaches observations
        normalized = observations.float() - self.shift
        return normalized.mul_(self.factor).clamp_(-self.clip, self.clip)


@jit
def _update(batch, mean, var, shift, factor, weight, epsilon):
    """Compiled update, because it runs in every step for a few numbers."""
    n_rows = batch.shape[0]
    for column in range(batch.shape[1]):
        batch_mean = batch_var = 0.0
        for row in range(n_rows):
            batch_mean += batch[row, column]
        batch_mean /= n_rows
        for row in range(n_rows):
            batch_var += (batch[row, column] - batch_mean) ** 2
        delta = batch_mean - mean[column]
        mean[column] += weight * delta
        var[column] += weight * (batch_var / n_rows - var[column]) + weight * (1 - weight) * delta**2
        shift[column] = mean[column]
        factor[column] = 1 / np.sqrt(var[column] + epsilon)


class ObservationNormalizer(nn.Module):
    """
    Normalize the parts of an observation that are arrays of real numbers; images, discrete spaces and integers pass unchanged.

    :param observation_space: the observation space, a Box or a Dict of spaces
    """

    def __init__(self, observation_space: spaces.Space):
        super().__init__()
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        real = {_key(name): space.shape for name, space in parts.items() if _is_real(space)}
        self.parts = nn.ModuleDict({key: RunningNormalizer(shape) for key, shape in real.items()})  # type: ignore[arg-type]

    def update(self, observations: PyTorchObs) -> None:
        """
        Update mean and variance with a batch of observations.

        :param observations: ``(batch, ...)``, or a dictionary of such tensors
        """
        for name, tensor in observations.items() if isinstance(observations, dict) else [("", observations)]:
            if _key(name) in self.parts:
                self.parts[_key(name)].update(tensor)  # type: ignore[operator]

    def forward(self, observations: PyTorchObs) -> PyTorchObs:
        """
        Normalize observations.

        :param observations: ``(batch, ...)``, or a dictionary of such tensors
        :return: the same, normalized
        """
        if isinstance(observations, dict):
            return {name: self.parts[_key(name)](x) if _key(name) in self.parts else x for name, x in observations.items()}
        return self.parts[_key("")](observations) if len(self.parts) else observations


def _key(name: str) -> str:
    """Make a valid module name from an observation's key, which may be empty or contain dots."""
    return "box_" + name.replace(".", "_")


def _is_real(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f" and not is_image_space(space)
