"""Checks of action spaces, and exploration noise."""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise, OrnsteinUhlenbeckActionNoise

from sb3_quantum.circuits.checks import shown


def check_action_space(space: spaces.Box) -> None:
    """
    Refuse action spaces to which [-1, 1] cannot be scaled.

    :param space: the environment's
    :raises ValueError: if it is of integers, without a number, or has a range that is empty or beyond its type
    """
    if space.dtype is None or space.dtype.kind != "f":
        raise ValueError(f"the action space must be a Box of real numbers, got {shown(space)} of {space.dtype}")
    if 0 in space.shape:
        raise ValueError(f"the action space must have at least one action, got the shape {space.shape}")
    with np.errstate(over="ignore"):
        width = np.asarray(space.high - space.low)
    bad = ~((width > 0) & np.isfinite(width))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        low, high = np.asarray(space.low)[place], np.asarray(space.high)[place]
        where = f" at index {place[0] if len(place) == 1 else place}" if place else ""
        raise ValueError(
            f"the action space must have a low below its high, and their difference within {space.dtype}, "
            f"got [{low:g}, {high:g}]{where}"
        )


def make_action_noise(noise: Any, shape: tuple[int, ...]) -> ActionNoise | None:
    """
    Make exploration noise in the shape of an action, ``(1,)`` for a scalar.

    :param noise: the checked ``action_noise``: a standard deviation, a list of them, or SB3's noise
    :param shape: shape of an action
    :return: the noise
    :raises ValueError: if its shape is not that of an action
    """
    known = isinstance(noise, NormalActionNoise | OrnsteinUhlenbeckActionNoise)
    if noise is None or (isinstance(noise, ActionNoise) and not known):
        return noise
    shape = shape or (1,)
    mean, std = (noise._mu, noise._sigma) if known else (0.0, noise)
    try:
        mean, std = (np.array(np.broadcast_to(np.asarray(numbers, dtype=float), shape)) for numbers in (mean, std))
    except ValueError:
        raise ValueError(f"action_noise must have the shape of an action, {shape}, got {shown(noise)}") from None
    if not known:
        return NormalActionNoise(mean, std)
    if np.shape(noise._mu) == np.shape(noise._sigma) == shape:
        return noise
    noise = copy.copy(noise)
    noise._mu, noise._sigma = mean, std
    noise.reset()
    return noise
