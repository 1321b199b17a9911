"""
Run noisy circuits on a Dask cluster: here one of two processes on this machine.

    python examples/dask_cluster.py            # half a minute

A batch of circuits is cut into jobs of a few rows, and whichever worker is free runs the next one. Elsewhere the cluster runs
already, and only its address is needed:

    dask scheduler                                  # on one machine, prints its address
    dask worker tcp://<that address>:8786           # on every other one, with this package installed

    model = QuantumTD3("MlpPolicy", env, backend="aer",
                       backend_kwargs=dict(executor="tcp://<that address>:8786", max_job_size=8, shots=1000, noise=...))
"""

import argparse
import os
import time
from typing import Any

import torch as th
from distributed import Client, LocalCluster

from sb3_quantum.backends import AerBackend, StatevectorBackend
from sb3_quantum.circuits import PaperCircuit

NOISE = {"depolarizing": {"r": 0.001, "cz": 0.01}, "readout_error": 0.02}


def run(rows: int = 32, shots: int = 1000, max_job_size: int = 4) -> tuple[dict[int, int], bool, float]:
    """
    Run a batch on a local cluster and in this process.

    :param rows: circuits of the batch
    :param shots: per circuit
    :param max_job_size: most circuits of one job
    :return: jobs by process of the cluster, whether it gave the same bits as this process, and the mean absolute difference of
        its expected bits from those without noise
    """
    ansatz = PaperCircuit(n_qubits=8, n_layers=6)
    inputs = th.randn(rows, ansatz.n_inputs, generator=th.Generator().manual_seed(0))
    kwargs: dict[str, Any] = {"shots": shots, "noise": NOISE, "max_job_size": max_job_size}
    with (
        LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        there = AerBackend(ansatz, seed=1, executor=cluster.scheduler_address, **kwargs)
        for what in ("first batch, workers import and write circuits", "second batch"):
            start = time.perf_counter()
            bits = there.sample(inputs, shots=shots)
            print(f"cluster, {what}: {time.perf_counter() - start:.1f} s", flush=True)
        jobs = dict(client.run(lambda dask_worker: (os.getpid(), dask_worker.state.executed_count)).values())

    here = AerBackend(ansatz, seed=1, **kwargs)
    here.sample(inputs, shots=shots)
    start = time.perf_counter()
    same = th.equal(bits, here.sample(inputs, shots=shots))
    print(f"this process, second batch: {time.perf_counter() - start:.1f} s", flush=True)
    difference = (bits.mean(1) - StatevectorBackend(ansatz).expected_bits(inputs)).abs().mean()
    return jobs, same, float(difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--shots", type=int, default=1000)
    parser.add_argument("--max-job-size", type=int, default=4)
    args = parser.parse_args()
    jobs, same, difference = run(args.rows, args.shots, args.max_job_size)
    print(f"jobs by process: {jobs} (this process: {os.getpid()})")
    print(f"the same bits as in this process: {'yes' if same else 'NO'}")
    print(f"mean absolute difference from the expected bits without noise: {difference:.4f}")


if __name__ == "__main__":
    main()
