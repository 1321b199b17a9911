"""A Dask cluster of two processes, and forked children: compiled code and threads must survive both."""

import json
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
from distributed import Client, LocalCluster
from scipy.stats import chisquare

from sb3_quantum.backends import AerBackend, Backend, StatevectorBackend, aer, make_backend
from sb3_quantum.circuits import PaperCircuit

ANSATZ = PaperCircuit(4, 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster
        # Closed first: a cluster that goes away while it is in use takes its time
        aer._client(cluster.scheduler_address).close()


def circuits(rows: int, ansatz: PaperCircuit = ANSATZ) -> th.Tensor:
    return 3 * th.randn(rows, ansatz.n_inputs, generator=th.Generator().manual_seed(0))


def jobs_by_process(client: Client) -> dict[int, int]:
    """Tasks that every worker has run so far, by its process."""
    return dict(client.run(lambda dask_worker: (os.getpid(), dask_worker.state.executed_count)).values())


def run_on(name: str, kwargs: dict[str, Any], ansatz: PaperCircuit, rows: int, threads: int) -> tuple[int, np.ndarray]:
    """Run in a worker or child: return the process and the bits of its own backend."""
    th.set_num_threads(threads)
    bits = make_backend(name, ansatz, {"seed": 7, **kwargs}).sample(circuits(rows, ansatz), shots=2)
    return os.getpid(), bits.numpy()


def test_both_processes_of_a_cluster_run_circuits(cluster: LocalCluster) -> None:
    """By address, as YAML has it. Chi-square against the exact distribution, false-alarm rate 1e-6 over all circuits."""
    kwargs = {"executor": cluster.scheduler_address, "max_job_size": 1, "shots": 4000}
    backend = AerBackend(ANSATZ, seed=1, **kwargs)
    assert json.loads(json.dumps(backend.kwargs)) == kwargs
    inputs = circuits(8)
    with Client(cluster) as client:
        before = jobs_by_process(client)
        bits = backend.sample(inputs, shots=4000).long().numpy()
        ran = {process: count - before[process] for process, count in jobs_by_process(client).items()}
    # Reading the counts is no task
    assert len(ran) == 2 and os.getpid() not in ran and min(ran.values()) >= 1 and sum(ran.values()) == 8, ran
    exact = StatevectorBackend(ANSATZ).probabilities(inputs).double().numpy()
    for row in range(8):
        counts = np.bincount(bits[row] @ (1 << np.arange(4)), minlength=16)
        often = exact[row] > 2e-3
        expected = np.append(exact[row][often], exact[row][~often].sum() + 1e-9)
        found = np.append(counts[often], counts[~often].sum())
        assert chisquare(found, expected / expected.sum() * 4000).pvalue > 1e-6 / 8


@pytest.mark.parametrize(
    "noise",
    [None, {"depolarizing": {"r": 0.01, "cz": 0.05}}, {"chip": "FakeManilaV2"}],
    ids=["exact", "depolarizing", "chip"],
)
@pytest.mark.parametrize("method", ["automatic", "statevector"])
def test_the_cluster_gives_the_bits_of_one_process(cluster: LocalCluster, noise: Any, method: str) -> None:
    kwargs = {"noise": noise, "method": method, "max_job_size": 2}
    here = AerBackend(ANSATZ, seed=3, **kwargs)
    there = AerBackend(ANSATZ, seed=3, executor=cluster.scheduler_address, **kwargs)
    for _ in range(2):
        assert th.equal(here.sample(circuits(5), shots=30), there.sample(circuits(5), shots=30))
    assert there.usage == here.usage


def test_a_client_is_never_pickled(cluster: LocalCluster) -> None:
    inputs = circuits(4)
    with Client(cluster, set_as_default=False) as client:
        by_object = AerBackend(ANSATZ, seed=1, executor=client, max_job_size=2)
        by_address = AerBackend(ANSATZ, seed=1, executor=cluster.scheduler_address, max_job_size=2)
        assert by_object.kwargs == {"shots": 100, "max_job_size": 2}
        assert pickle.loads(pickle.dumps(by_address)).kwargs == by_address.kwargs
        copies: list[Backend] = [pickle.loads(pickle.dumps(backend)) for backend in (by_object, by_address)]
        given = AerBackend(ANSATZ, **{**by_object.kwargs, "executor": cluster.scheduler_address})
        given.set_state(by_object.get_state())
        expected = by_object.sample(inputs, shots=20)
        for backend in (by_address, given, *copies):
            assert th.equal(backend.sample(inputs, shots=20), expected)


def test_a_lost_connection_is_made_again(cluster: LocalCluster) -> None:
    backend = AerBackend(ANSATZ, seed=1, executor=cluster.scheduler_address)
    aer._client(cluster.scheduler_address).close()
    assert backend.sample(circuits(2)).shape == (2, 4)


def test_errors_of_workers_arrive(cluster: LocalCluster) -> None:
    """Devices are the workers' own, so that only they can tell that one is missing."""
    backend = AerBackend(ANSATZ, executor=cluster.scheduler_address, device="TPU")
    with pytest.raises(ValueError, match="device='TPU' is not available"):
        backend.sample(circuits(1))


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aer, "CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(ConnectionError, match=f"executor='{address}' is no Dask scheduler that answers"):
            AerBackend(ANSATZ, executor=address)


def test_compiled_kernels_in_workers(cluster: LocalCluster) -> None:
    """Machine code from numba's cache on disk, in two processes at once."""
    ansatz = PaperCircuit(10, 10)
    with Client(cluster, set_as_default=False) as client:
        futures = [
            client.submit(run_on, "statevector", {}, ansatz, 64, 2, workers=[worker], pure=False)
            for worker in client.scheduler_info()["workers"]
        ]
        answers = client.gather(futures)
    assert len({process for process, _ in answers} - {os.getpid()}) == 2
    expected = StatevectorBackend(ansatz, seed=7).sample(circuits(64, ansatz), shots=2).numpy()
    for _, bits in answers:
        assert np.array_equal(bits, expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "kwargs"), [("statevector", {}), ("aer", {}), ("aer", {"noise": {"depolarizing": {"r": 0.01}}})]
)
def test_a_forked_child_goes_on(name: str, kwargs: dict[str, Any]) -> None:
    """Threads that ran before the fork are not there after it, as in SB3's SubprocVecEnv: nobody may wait for them."""
    ansatz, rows = (PaperCircuit(10, 3), 256) if name == "statevector" else (PaperCircuit(6, 2), 8)
    _, expected = run_on(name, kwargs, ansatz, rows, 2)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        sender.send(run_on(name, kwargs, ansatz, rows, 2))

    process = context.Process(target=child, daemon=True)
    process.start()
    try:
        assert receiver.poll(60), "the child does not answer: it waits for threads of its parent"
        pid, bits = receiver.recv()
    finally:
        process.kill()
        process.join()
    assert pid == process.pid != os.getpid()
    assert np.array_equal(bits, expected)
