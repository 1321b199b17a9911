"""What an update asks a GPU to do, counted on torch's meta device (benchmarks/launches.py)."""

import pytest

from benchmarks.launches import count_update, to_meta
from sb3_quantum import QuantumTD3

pytest.importorskip("triton")


def test_launches_copies_and_waits_of_an_update() -> None:
    """With the paper's circuit: 150 launches at most, one copy, and nobody waits."""
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=20, buffer_size=100, seed=0, device="cpu").learn(22)
    to_meta(model)
    without, counted = (count_update(model, 8, kernels) for kernels in (False, True))
    assert 750 < without.total() / 2 < 900
    assert counted.total() / 2 < 150
    assert sum(counted.copies.values()) == 2 and not counted.waits
    assert {"kernel _features", "kernel _gradient", "kernel _encode"} <= set(counted.launches["actor"])
    assert counted.launches.keys() == {"batch", "fit", "critics", "actor", "targets"}
