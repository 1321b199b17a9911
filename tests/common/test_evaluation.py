import gymnasium as gym
import numpy as np
import pytest

from sb3_quantum.common import interquartile_mean, interval, returns_of
from tests.qtd3.test_train import pendulum


def test_side_by_side_is_one_after_the_other() -> None:
    model, env = pendulum(), gym.make("Pendulum-v1")
    expected = []
    for seed in range(5, 8):
        obs, done, total = env.reset(seed=seed)[0], False, 0.0
        while not done:
            obs, reward, terminated, truncated, _ = env.step(model.predict(obs, deterministic=True)[0])
            total, done = total + float(reward), terminated or truncated
        expected.append(total)
    assert returns_of(model, lambda: gym.make("Pendulum-v1"), 3, 5) == pytest.approx(expected, rel=1e-3)


def test_interquartile_mean() -> None:
    """Independent witness: scipy's trimmed mean."""
    from scipy.stats import trim_mean

    values = np.random.default_rng(0).normal(size=(4, 10))
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25, axis=None))


def test_interval_covers() -> None:
    """Single-model intervals of the mean of a symmetric law hold it 95 % of the time: 200 trials, +-4 standard deviations."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = interval(rng.normal(size=(1, 200)), draws=300)
        hits += low <= 0 <= high
    assert abs(hits / 200 - 0.95) < 4 * (0.95 * 0.05 / 200) ** 0.5
