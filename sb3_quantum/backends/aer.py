"""Backend for Qiskit Aer: noise models, GPUs, clusters, and an independent check of our own simulator."""

import json
import os
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch as th

from sb3_quantum.backends.aer_method import aer_method
from sb3_quantum.backends.base import Backend
from sb3_quantum.backends.noise import make_noise, plain_noise
from sb3_quantum.backends.templates import TemplateCache
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, check_int, meant

if TYPE_CHECKING:
    from qiskit_aer import AerSimulator

#: methods that cannot rotate by any angle, or cannot measure
UNUSABLE = ("stabilizer", "extended_stabilizer", "unitary", "superop")
#: seconds to wait for a Dask scheduler
CONNECT_SECONDS = 10
#: connections to Dask schedulers, by process (a forked child must not use those of its parent) and address
_CLIENTS: dict[tuple[int, str], Any] = {}


class _Rows(NamedTuple):
    """
    Results of some rows of a batch.

    :param bits: ``(rows, shots, n_qubits)``, uint8
    :param hits: rows whose circuit was in the cache
    :param misses: rows whose circuit was built
    """

    bits: np.ndarray
    hits: int
    misses: int


class _Circuits:
    """Simulator and circuits of one spec, once per process."""

    def __init__(self, ansatz: Circuit, noise: dict[str, Any] | None, cache_size: int, device: str, **options: Any):
        self.simulator = _simulator()
        devices = self.simulator.available_devices()
        if device not in devices:
            raise ValueError(
                f"device={device!r} is not available on this machine, available are {', '.join(map(repr, devices))}; "
                "a GPU needs a build of qiskit-aer for it, such as the package qiskit-aer-gpu"
            )
        model, transpile = make_noise(noise, ansatz)
        options["method"] = aer_method(ansatz.n_qubits, options["method"])
        self.simulator.set_options(device=device, noise_model=model, **options)
        self.cache = TemplateCache(ansatz, transpile or (lambda circuit: circuit), cache_size)
        # Aer binds many rows of one circuit several times faster than Qiskit, and a single row slower. It cannot bind the
        # expressions that transpiling leaves (some fail with an OverflowError in Qiskit 2.6.2), nor every gate of a user's
        # circuit: crx gives one result for all rows
        self.bound_by_aer = transpile is None and ansatz.is_direct and ansatz.n_angles > 0
        # Threads of an executor share the cache; Aer runs one job at a time per process anyway
        self.lock = Lock()

    def run(self, inputs: np.ndarray, shots: int, seed: int) -> _Rows:
        """
        Measure circuits.

        :param inputs: circuit inputs, ``(rows, n_inputs)``
        :param shots: per circuit
        :param seed: seed of Aer's generator, from which every circuit gets its own seed
        :return: bits and cache counters
        """
        with self.lock:
            hits, misses = self.cache.hits, self.cache.misses
            circuits, binds, rows = [], [], []
            for circuit, members, values in self.cache.bind(th.from_numpy(inputs)):
                if self.bound_by_aer and len(members) > 1:
                    circuits.append(circuit)
                    binds.append(dict(zip(circuit.parameters, values.T.tolist(), strict=True)))
                else:
                    circuits += [circuit.assign_parameters(row) for row in values]
                    binds += [{}] * len(members)
                rows.append(members)
            result = self.simulator.run(
                circuits, parameter_binds=binds, shots=shots, memory=True, seed_simulator=seed
            ).result()
            hits, misses = self.cache.hits - hits, self.cache.misses - misses
        if not result.success:
            raise RuntimeError(f"Aer could not run the circuits: {result.status}")
        n_qubits = self.cache.ansatz.n_qubits
        width = -(-n_qubits // 8)
        # Each shot is a hexadecimal number whose lowest bit is qubit 0
        words = b"".join(int(word, 16).to_bytes(width, "little") for run in result.results for word in run.data.memory)
        packed = np.frombuffer(words, np.uint8).reshape(len(inputs), shots, width)
        bits = np.empty((len(inputs), shots, n_qubits), np.uint8)
        bits[np.concatenate(rows)] = np.unpackbits(packed, axis=2, count=n_qubits, bitorder="little")
        return _Rows(bits, hits, misses)


def _simulator() -> "AerSimulator":
    try:
        from qiskit_aer import AerSimulator
    except ImportError as error:
        raise ImportError('backend "aer" needs qiskit-aer: pip install "sb3-quantum[aer]"') from error
    return AerSimulator()


@lru_cache(maxsize=4)
def _circuits(process: int, ansatz: Circuit, spec: str) -> _Circuits:
    """
    Return a worker's circuits, which outlast a job; ``process`` because a forked child must not wait for its parent's lock.
    """
    return _Circuits(ansatz, **json.loads(spec))


def _run_job(ansatz: Circuit, spec: str, inputs: np.ndarray, shots: int, seed: int) -> _Rows:
    """Run a job in an executor's process."""
    return _circuits(os.getpid(), ansatz, spec).run(inputs, shots, seed)


def _client(address: str) -> Any:
    """Connect to a Dask scheduler, once for all backends of this process."""
    client = _CLIENTS.get((os.getpid(), address))
    if client is not None and client.status == "running":
        return client
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(f'executor={address!r} needs Dask: pip install "sb3-quantum[dask]"') from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"executor={address!r} is no Dask scheduler that answers (accepted are addresses such as "
            f"'tcp://127.0.0.1:8786', or an object with a submit method): {error}"
        ) from error
    _CLIENTS[os.getpid(), address] = client
    return client


class AerBackend(Backend):
    """
    Run circuits on ``qiskit_aer.AerSimulator``, measured shot by shot, with optional noise. For every pattern of CZ gates, a
    circuit with open angles is written once for the noise model and kept.

    A batch is cut into jobs of at most ``max_job_size`` rows, each with its own seed. So the bits of a backend's seed depend
    on ``max_job_size``, but not on where the jobs run. A single circuit is never cut and must fit into one worker. Aer's own
    options of these names are not used: qiskit-aer 0.18.2 accepts ``executor`` and never submits anything to it.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated
    :param seed: seed of the generator from which Aer's seeds are drawn
    :param noise: see :func:`~sb3_quantum.backends.noise.plain_noise`
    :param method: simulation method. ``"automatic"`` uses a density matrix for noise on few qubits and many shots, a matrix
        product state beyond 24 qubits, and otherwise a statevector, with noise one per shot
    :param device: ``"CPU"``, or another device for which Aer was built
    :param precision: precision of the simulation, ``"double"`` or ``"single"``
    :param executor: runs the jobs: the address of a Dask scheduler, or any object with ``submit(function, *arguments)`` that
        returns a future, such as a Dask ``Client`` or a ``ProcessPoolExecutor``. Workers need this package and whatever the
        noise needs. An address is part of the spec. An object is not: a backend that is loaded, copied or unpickled runs in
        its own process until it gets a new one.
    :param max_job_size: maximum number of rows in a job; the whole batch if ``None``
    :param cache_size: number of patterns of CZ gates to keep
    :param limits: see :class:`~sb3_quantum.backends.Backend`
    :raises ValueError: if an argument cannot be used
    :raises ImportError: if qiskit-aer, or a package that the noise or executor needs, is not installed
    :raises ConnectionError: if no scheduler answers at the address
    """

    name = "aer"
    circuits = (Circuit,)
    extra = "aer"
    exact = False
    differentiable = False

    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 100,
        seed: int | None = None,
        noise: Any = None,
        method: str = "automatic",
        device: str = "CPU",
        precision: Literal["double", "single"] = "double",
        executor: Any = None,
        max_job_size: int | None = None,
        cache_size: int = 256,
        **limits: Any,
    ):
        super().__init__(ansatz, shots, seed, **limits)
        methods = [method for method in _simulator().available_methods() if method not in UNUSABLE]
        if method not in methods:
            raise ValueError(
                f"method={method!r} cannot be used, accepted are {', '.join(map(repr, methods))}{meant([method], methods)}"
            )
        check_choice("precision", precision, ("double", "single"))
        cache_size = check_int("cache_size", cache_size)
        self.max_job_size = None if max_job_size is None else check_int("max_job_size", max_job_size)
        self._spec: dict[str, Any] = {
            "noise": plain_noise(noise),
            "method": method,
            "device": device,
            "precision": precision,
            "cache_size": cache_size,
        }
        self._key = json.dumps(self._spec)
        self._hits = self._misses = 0
        self._executor = executor
        if executor is None:
            self._local = _Circuits(ansatz, **self._spec)
            return
        # Bad noise is found here, not by a worker; devices are the workers' own
        make_noise(self._spec["noise"], ansatz)
        if isinstance(executor, str):
            _client(executor)
        elif isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
            raise ValueError(
                f"executor={executor!r} cannot be used, accepted are the address of a Dask scheduler such as "
                "'tcp://127.0.0.1:8786', or an object with a submit method"
            )

    @property
    def kwargs(self) -> dict[str, Any]:
        defaults = {"noise": None, "method": "automatic", "device": "CPU", "precision": "double", "cache_size": 256}
        chosen = {name: value for name, value in self._spec.items() if value != defaults[name]}
        if isinstance(self._executor, str):
            chosen["executor"] = self._executor
        if self.max_job_size is not None:
            chosen["max_job_size"] = self.max_job_size
        return {**super().kwargs, **chosen}

    @property
    def statistics(self) -> dict[str, float]:
        """Share of the rows so far whose circuit was in the cache, in [0, 1], on all workers."""
        return {"template_hit_rate": self._hits / max(self._hits + self._misses, 1)}

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = inputs.detach().cpu().numpy()
        if len(rows) == 0:
            return np.empty((0, shots, self.ansatz.n_qubits)), np.empty((0, self.ansatz.n_qubits))
        size = self.max_job_size or len(rows)
        jobs = [rows[start : start + size] for start in range(0, len(rows), size)]
        seeds = generator.integers(2**31, size=len(jobs)).tolist()
        if self._executor is None:
            parts = [self._local.run(job, shots, seed) for job, seed in zip(jobs, seeds, strict=True)]
        else:
            executor = _client(self._executor) if isinstance(self._executor, str) else self._executor
            futures = [
                executor.submit(_run_job, self.ansatz, self._key, job, shots, seed)
                for job, seed in zip(jobs, seeds, strict=True)
            ]
            parts = [future.result() for future in futures]
        self._hits += sum(part.hits for part in parts)
        self._misses += sum(part.misses for part in parts)
        bits = np.concatenate([part.bits for part in parts])
        return bits, bits.mean(1)
