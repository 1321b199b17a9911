import copy
import json
import pickle
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch as th
from qiskit_aer import AerSimulator
from scipy.stats import chisquare

from sb3_quantum.backends import AerBackend, StatevectorBackend, check_backend
from sb3_quantum.circuits import PaperCircuit


class CountingExecutor(ThreadPoolExecutor):
    """Remembers what was handed over."""

    def __init__(self) -> None:
        super().__init__(2)
        self.rows: list[int] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.rows.append(len(args[2]))
        return super().submit(function, *args, **kwargs)


def test_frequencies_agree_with_our_statevector() -> None:
    """Chi-square of Aer's bitstrings against our distribution, three circuits; false-alarm rate 1e-6 each at a fixed seed."""
    ansatz = PaperCircuit(4, 3)
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
    ansatz = PaperCircuit(3, 1)
    inputs = th.zeros(3, ansatz.n_inputs)
    for qubit in range(3):
        inputs[qubit, 2 * qubit] = np.pi
    assert th.equal(AerBackend(ansatz, seed=0).sample(inputs), th.eye(3))


def test_seeds_and_fresh_bits() -> None:
    ansatz = PaperCircuit(5, 2)
    inputs = th.full((4, ansatz.n_inputs), 1.0)
    one, other = AerBackend(ansatz, seed=3), AerBackend(ansatz, seed=3)
    first, second = one.sample(inputs, shots=20), one.sample(inputs, shots=20)
    assert th.equal(first, other.sample(inputs, shots=20))
    assert not th.equal(first, second)
    assert not th.equal(first[0], first[1])


def test_expected_bits_are_the_shots_mean() -> None:
    ansatz = PaperCircuit(3, 2)
    inputs = th.randn(2, ansatz.n_inputs)
    measurement = AerBackend(ansatz, shots=8, seed=0).measure(inputs)
    assert bool((measurement.expected_bits * 8 == (measurement.expected_bits * 8).round()).all())
    assert AerBackend(ansatz, shots=8).kwargs == {"shots": 8}


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"max_job_size": 2, "precision": "single", "method": "statevector"},
        {"noise": {"depolarizing": {"r": 0.01, "cz": 0.02}, "readout_error": [0.01, 0.03]}},
        {"noise": {"chip": "FakeManilaV2"}},
    ],
)
def test_contract(kwargs: dict[str, Any]) -> None:
    """The conformance suite, false-alarm rate 1e-6 at a fixed seed."""
    check_backend(AerBackend(PaperCircuit(3, 2), seed=0, shots=20, **kwargs), shots=1000, noisy="noise" in kwargs)


def test_every_row_has_its_own_distribution() -> None:
    """
    Rows of three CZ patterns mixed, so that some are bound by Aer and some by Qiskit, in jobs of five. Every row turns other
    qubits over, and after a CZ its bits are certain all the same: not one may be elsewhere. Ten qubits take two bytes.
    """
    ansatz = PaperCircuit(10, 2)
    inputs = th.zeros(12, ansatz.n_inputs)
    right = th.tensor([[(7 * row + 3) >> qubit & 1 for qubit in range(10)] for row in range(12)])
    inputs[:, 0:20:2] = np.pi * right
    for row, other in enumerate([1, 1, 2, 1, 3, 2, 1, 1, 2, 3, 1, 1]):
        inputs[row, 21] = other
    for max_job_size in (None, 5):
        bits = AerBackend(ansatz, seed=0, max_job_size=max_job_size).sample(inputs, shots=3)
        assert th.equal(bits.long(), right[:, None].expand(-1, 3, -1))


def test_first_shots_are_draws_of_their_own() -> None:
    """The agent acts on the first shot: over 600 rows of one circuit it is distributed as it should be (false alarms 1e-6)."""
    ansatz = PaperCircuit(2, 2)
    th.manual_seed(0)
    inputs = th.randn(1, ansatz.n_inputs)
    exact = StatevectorBackend(ansatz).probabilities(inputs).double().numpy()[0]
    bits = AerBackend(ansatz, shots=3, seed=0).measure(inputs.expand(600, -1)).bits
    assert bits is not None
    counts = np.bincount(bits.long().numpy() @ np.array([1, 2]), minlength=4)
    assert chisquare(counts, exact / exact.sum() * 600).pvalue > 1e-6


def test_spec_is_plain_data() -> None:
    ansatz = PaperCircuit(3, 2)
    kwargs = {
        "shots": 7,
        "noise": {"readout_error": 0.1},
        "method": "density_matrix",
        "precision": "single",
        "max_job_size": 2,
        "cache_size": 5,
        "max_shots": 1000,
    }
    backend = AerBackend(ansatz, seed=0, **kwargs)
    assert json.loads(json.dumps(backend.kwargs)) == kwargs


def test_equal_rows_in_different_jobs_have_bits_of_their_own() -> None:
    ansatz = PaperCircuit(5, 2)
    bits = AerBackend(ansatz, seed=3, max_job_size=1).sample(th.full((3, ansatz.n_inputs), 1.0), shots=20)
    assert not th.equal(bits[0], bits[1]) and not th.equal(bits[1], bits[2])


def test_statistics_count_the_circuits_that_were_there() -> None:
    ansatz = PaperCircuit(3, 1)
    backend = AerBackend(ansatz, seed=0, cache_size=1)
    assert backend.statistics == {"template_hit_rate": 0.0}
    inputs = th.zeros(4, ansatz.n_inputs)
    backend.sample(inputs)
    assert backend.statistics == {"template_hit_rate": 0.75}
    inputs[:, -1] = 1
    backend.sample(inputs[:2])
    backend.sample(0 * inputs[:2])
    assert backend.statistics == {"template_hit_rate": 5 / 8}


def test_aers_own_executor_option_does_nothing() -> None:
    """Why jobs are cut and handed over by ourselves. If this fails, Aer does it again."""
    circuit = PaperCircuit(2, 1).to_qiskit(th.zeros(6))
    with CountingExecutor() as executor:
        AerSimulator(executor=executor, max_job_size=1).run([circuit] * 3, shots=1).result()
        assert executor.rows == []


def test_executor_runs_the_jobs() -> None:
    """The same bits as without; copies and pickles leave it behind and go on with the same bits."""
    ansatz = PaperCircuit(3, 2)
    th.manual_seed(0)
    inputs = th.randn(5, ansatz.n_inputs)
    with CountingExecutor() as executor:
        backend = AerBackend(ansatz, seed=1, executor=executor, max_job_size=2)
        assert backend.kwargs == {"shots": 100, "max_job_size": 2}
        bits = backend.sample(inputs, shots=20)
        assert executor.rows == [2, 2, 1]
        assert th.equal(bits, AerBackend(ansatz, seed=1, max_job_size=2).sample(inputs, shots=20))
        copies = copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))
        after = backend.sample(inputs)
        for copied in copies:
            assert th.equal(after, copied.sample(inputs))
        assert len(executor.rows) == 6
        assert 0 < backend.statistics["template_hit_rate"] < 1
        assert backend.usage.jobs == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "stabilizer"}, "method='stabilizer' cannot be used, accepted are 'automatic', 'statevector', 'density_"),
        ({"method": "exact"}, "method='exact' cannot be used"),
        ({"device": "TPU"}, "device='TPU' is not available on this machine, available are 'CPU'"),
        ({"precision": "half"}, "precision='half' is unknown, accepted are 'double', 'single'"),
        ({"cache_size": 0}, "cache_size must be an integer >= 1, got 0"),
        ({"max_job_size": 1.5}, "max_job_size must be an integer >= 1, got 1.5"),
        ({"executor": 3}, "executor=3 cannot be used, accepted are the address of a Dask scheduler"),
        ({"executor": ThreadPoolExecutor}, "executor=.*ThreadPoolExecutor.* cannot be used"),
        ({"executor": ThreadPoolExecutor(1), "noise": {"readout_error": 2}}, "readout_error must be"),
        ({"executor": ThreadPoolExecutor(1), "noise": {"chip": "FakeLimaV2"}}, "has 5 qubits, but the circuit has 6"),
    ],
)
def test_errors_name_what_is_accepted(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AerBackend(PaperCircuit(6, 2), **kwargs)


@pytest.mark.skipif("GPU" in AerSimulator().available_devices(), reason="this Aer was built for GPUs")
def test_no_gpu() -> None:
    with pytest.raises(ValueError, match=r"device='GPU' is not available .* available are 'CPU'; .*qiskit-aer-gpu"):
        AerBackend(PaperCircuit(2, 2), device="GPU")


@pytest.mark.skipif("GPU" not in AerSimulator().available_devices(), reason="this Aer was built without GPU support")
def test_gpu() -> None:
    check_backend(AerBackend(PaperCircuit(3, 2), seed=0, device="GPU", method="statevector"))


def test_what_aer_cannot_run_says_why() -> None:
    """A density matrix of 24 qubits, 2^48 numbers."""
    ansatz = PaperCircuit(24, 1)
    with pytest.raises(RuntimeError, match=r"Aer could not run the circuits: .*Insufficient memory"):
        AerBackend(ansatz, method="density_matrix").sample(th.zeros(1, ansatz.n_inputs))


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[aer\]"):
        AerBackend(PaperCircuit(2, 2))


def test_missing_dask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[dask\]"):
        AerBackend(PaperCircuit(2, 2), executor="tcp://127.0.0.1:1")
