import sys

import numpy as np
import pytest
import torch as th
from scipy.stats import chisquare

from sb3_quantum.backends import AerBackend, StatevectorBackend
from sb3_quantum.circuits import Ansatz


def test_frequencies_agree_with_our_statevector() -> None:
    """Chi-square of Aer's bitstrings against our distribution, three circuits; false-alarm rate 1e-6 each at a fixed seed."""
    ansatz = Ansatz(4, 3)
    th.manual_seed(1)
    inputs = 3 * th.randn(3, ansatz.n_inputs)
    exact = StatevectorBackend(ansatz).probabilities(inputs).double().numpy()
    bits = AerBackend(ansatz, seed=1).sample(inputs, shots=5000).long().numpy()
    for row in range(3):
        counts = np.bincount(bits[row] @ (1 << np.arange(4)), minlength=16)
        seen = exact[row] > 1e-3
        expected = np.append(exact[row][seen], exact[row][~seen].sum() + 1e-9)
        observed = np.append(counts[seen], counts[~seen].sum())
        assert chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-6


def test_bit_order() -> None:
    """Column m is qubit m."""
    ansatz = Ansatz(3, 1)
    inputs = th.zeros(3, ansatz.n_inputs)
    for qubit in range(3):
        inputs[qubit, 2 * qubit] = np.pi
    assert th.equal(AerBackend(ansatz, seed=0).sample(inputs), th.eye(3))


def test_seeds_and_fresh_bits() -> None:
    ansatz = Ansatz(5, 2)
    inputs = th.full((4, ansatz.n_inputs), 1.0)
    one, other = AerBackend(ansatz, seed=3), AerBackend(ansatz, seed=3)
    first, second = one.sample(inputs, shots=20), one.sample(inputs, shots=20)
    assert th.equal(first, other.sample(inputs, shots=20))
    assert not th.equal(first, second)
    assert not th.equal(first[0], first[1])


def test_expected_bits_are_the_shots_mean() -> None:
    ansatz = Ansatz(3, 2)
    inputs = th.randn(2, ansatz.n_inputs)
    measurement = AerBackend(ansatz, shots=8, seed=0).measure(inputs)
    assert bool((measurement.expected_bits * 8 == (measurement.expected_bits * 8).round()).all())
    assert AerBackend(ansatz, shots=8).kwargs == {"shots": 8}


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[aer\]"):
        AerBackend(Ansatz(2, 2))
