"""Observations normalized by the policy itself, so that a bare constructor needs no wrapper around its environment."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn


class RunningNormalizer(nn.Module):
    """
    Running mean and variance of one array of observations, by the parallel algorithm (Chan et al., as in SB3's
    ``RunningMeanStd``).

    :param shape: of one observation
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
        # Double precision: a count of millions must still be moved by a single observation
        self.register_buffer("mean", th.zeros(shape, dtype=th.float64))
        self.register_buffer("var", th.ones(shape, dtype=th.float64))
        self.register_buffer("count", th.tensor(epsilon, dtype=th.float64))
        # What observations are multiplied with after the mean was subtracted, and that mean, in single precision
        self.register_buffer("shift", th.zeros(shape), persistent=False)
        self.register_buffer("factor", th.ones(shape), persistent=False)

    def update(self, observations: th.Tensor) -> None:
        """
        Take a batch of observations into account.

        :param observations: ``(batch, *shape)``, not normalized
        """
        batch: Any = observations.to(self.mean)
        mean: Any = self.mean
        var: Any = self.var
        self.count += len(batch)
        weight: Any = len(batch) / self.count
        if self.mean.device.type == "cpu":
            # The same arithmetic in numpy, on the same memory: a third of the time for so few numbers
            batch, mean, var, weight = batch.numpy(), mean.numpy(), var.numpy(), float(weight)
        batch_mean = batch.mean(0)
        batch_var = ((batch - batch_mean) ** 2).mean(0)
        delta = batch_mean - mean
        mean += weight * delta
        var += weight * (batch_var - var) + weight * (1 - weight) * delta**2
        self._refresh()

    def _refresh(self) -> None:
        """Single precision, from double precision."""
        self.shift.copy_(self.mean)
        self.factor.copy_(th.rsqrt(self.var + self.epsilon))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._refresh()

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        :param observations: ``(batch, *shape)``
        :return: normalized and clipped, float32, the same shape
        """
        # In place behind the first operation, which makes a tensor of its own: no gradient reaches observations
        normalized = observations.float() - self.shift
        return normalized.mul_(self.factor).clamp_(-self.clip, self.clip)


class ObservationNormalizer(nn.Module):
    """
    Normalizes whatever of an observation space is an array of real numbers: images, discrete spaces and integers pass
    unchanged.

    :param observation_space: the observation space, a Box or a Dict of spaces
    """

    def __init__(self, observation_space: spaces.Space):
        super().__init__()
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        real = {_key(name): space.shape for name, space in parts.items() if _is_real(space)}
        self.parts = nn.ModuleDict({key: RunningNormalizer(shape) for key, shape in real.items()})  # type: ignore[arg-type]

    def update(self, observations: PyTorchObs) -> None:
        """
        Take a batch of observations into account.

        :param observations: ``(batch, ...)``, or a dictionary of such tensors
        """
        for name, tensor in observations.items() if isinstance(observations, dict) else [("", observations)]:
            if _key(name) in self.parts:
                self.parts[_key(name)].update(tensor)  # type: ignore[operator]

    def forward(self, observations: PyTorchObs) -> PyTorchObs:
        """
        :param observations: ``(batch, ...)``, or a dictionary of such tensors
        :return: the same, normalized
        """
        if isinstance(observations, dict):
            return {name: self.parts[_key(name)](x) if _key(name) in self.parts else x for name, x in observations.items()}
        return self.parts[_key("")](observations) if len(self.parts) else observations


def _key(name: str) -> str:
    """A module's name must be neither empty nor dotted, an observation's may be."""
    return "box_" + name.replace(".", "_")


def _is_real(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f" and not is_image_space(space)
