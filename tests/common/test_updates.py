import pytest
import torch as th
from stable_baselines3.common.utils import polyak_update

from sb3_quantum.common.updates import soft_update


def test_equals_polyak_update() -> None:
    parameters = [th.randn(3, 4), th.randn(5)]
    ours = [th.randn(3, 4), th.randn(5)]
    theirs = [target.clone() for target in ours]
    soft_update(parameters, ours, 0.1)
    polyak_update(parameters, theirs, 0.1)
    assert all(th.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_nothing_to_move_and_unequal_numbers() -> None:
    soft_update([], [], 0.1)
    with pytest.raises(ValueError, match="shorter"):
        soft_update([th.zeros(1), th.zeros(1)], [th.zeros(1)], 0.1)
