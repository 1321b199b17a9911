"""Circuits as jobs: bound templates, one job per batch, and recovery of lost jobs."""

import time
import uuid
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th

from sb3_quantum.backends.base import Backend, BackendError, Usage
from sb3_quantum.backends.templates import Bound, TemplateCache
from sb3_quantum.circuits import ChipTimes, Circuit
from sb3_quantum.circuits.checks import check_int, check_number
from sb3_quantum.circuits.wording import counted

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.primitives import BaseSamplerV2
    from qiskit.transpiler import Target

#: two-qubit gates that equal a CZ up to one-qubit rotations
TWO_QUBIT_GATES = ("cz", "ecr", "cx")


class JobError(BackendError):
    """
    Error of a batch that got no result after all retries. None of its samples was counted.

    :param message: what happened
    :param job_ids: ids of all jobs submitted for the batch; the last one may still finish
    """

    def __init__(self, message: str, job_ids: list[str]):
        super().__init__(message)
        self.job_ids = job_ids


class JobBackend(Backend):
    """
    Base class of backends that submit jobs to a sampler.

    The circuits of a batch are sorted by their CZ pattern and submitted as one job, with one PUB per pattern and a row of
    angles per circuit. The circuit of a pattern is transpiled once and kept.

    If the connection breaks during the wait for a result, the same job is requested again. Only a job that failed, was
    cancelled or is unknown to the other side is submitted again. The pause in between doubles each time. Every submitted job
    is billed once; circuits and shots are counted when their bits arrive.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated
    :param seed: seed of the generator from which the samplers' seeds are drawn
    :param optimization_level: optimization level of Qiskit's transpiler, 0 to 3
    :param seed_transpiler: seed of its layout and routing, so that two runs have the same circuits; fresh entropy if ``None``
    :param cache_size: number of transpiled circuits to keep
    :param max_retries: number of times that a batch is requested or submitted again before :class:`JobError`
    :param retry_delay: the first pause in seconds
    :param limits: see :class:`~sb3_quantum.backends.Backend`
    :raises ValueError: if one of them is not usable
    """

    exact = False
    differentiable = False
    _sleep = staticmethod(time.sleep)

    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 100,
        seed: int | None = None,
        optimization_level: int = 1,
        seed_transpiler: int | None = 0,
        cache_size: int = 256,
        max_retries: int = 5,
        retry_delay: float = 1.0,
        **limits: Any,
    ):
        super().__init__(ansatz, shots, seed, **limits)
        cache_size = check_int("cache_size", cache_size)
        if optimization_level not in range(4):
            raise ValueError(f"optimization_level must be 0, 1, 2 or 3, got {optimization_level!r}")
        max_retries = check_int("max_retries", max_retries, least=0)
        retry_delay = check_number("retry_delay", retry_delay, least=0, unit="seconds")
        self.optimization_level, self.seed_transpiler, self.cache_size = optimization_level, seed_transpiler, cache_size
        self.max_retries, self.retry_delay = max_retries, retry_delay
        #: number of times that a batch had to be requested or submitted again so far
        self.retries = 0
        self._templates = TemplateCache(ansatz, self._transpile, cache_size)
        self._pass_manager: Any = None

    @property
    def kwargs(self) -> dict[str, Any]:
        defaults = {
            "optimization_level": 1,
            "seed_transpiler": 0,
            "cache_size": 256,
            "max_retries": 5,
            "retry_delay": 1.0,
        }
        return {**super().kwargs, **changed(self, defaults)}

    @property
    def statistics(self) -> dict[str, float]:
        """
        Share of the rows so far whose circuit was transpiled already, in [0, 1], and the number of retries.
        """
        return {"template_hit_rate": self._templates.hit_rate, "retries": self.retries}

    def _set_target(self, target: "Target", chip: str, rep_delay: float = 0.0, job: float = 0.0) -> None:
        """
        Transpile for a chip from now on, and use its gate times.

        :param target: Qiskit's description of the chip
        :param chip: its name, for messages
        :param rep_delay: pause between two shots in seconds, in which the qubits return to 0
        :param job: overhead of a job in seconds
        :raises ValueError: if the chip cannot run the circuit
        """
        from qiskit.exceptions import QiskitError
        from qiskit.transpiler import generate_preset_pass_manager

        needed, found = self.ansatz.n_qubits, target.num_qubits
        if found is not None and found < needed:
            raise ValueError(f"chip {chip} has {counted(found, 'qubit')}, but the circuit has {needed}")
        if "measure" not in target.operation_names:
            raise ValueError(f"chip {chip} cannot run the circuit: it has no measurement")
        self._pass_manager = generate_preset_pass_manager(
            self.optimization_level, target=target, seed_transpiler=self.seed_transpiler
        )
        try:
            self._transpile(self.ansatz.template(self.ansatz.sample_structure()))
        except QiskitError as error:
            raise ValueError(f"chip {chip} cannot run the circuit: {error.message}") from error
        self.times = _chip_times(target, chip, rep_delay, job) or self.times

    def _transpile(self, circuit: "QuantumCircuit") -> "QuantumCircuit":
        if self._pass_manager is not None:
            circuit = self._pass_manager.run(circuit)
            # No measurement sees it, and Aer cannot bind parameters in it
            circuit.global_phase = 0.0
        return circuit

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        bits = np.empty((len(inputs), shots, self.ansatz.n_qubits), np.uint8)
        if len(inputs) > 0:
            parts = self._templates.bind(inputs)
            seed = int(generator.integers(1, 2**31))
            pubs = [(part.circuit, part.values) for part in parts]
            results = self._collect(pubs, shots, self.estimate(len(inputs), shots), seed)
            if len(results) != len(parts):
                raise RuntimeError(f"the sampler returned {counted(len(results), 'result')} for {len(parts)} PUBs")
            for part, result in zip(parts, results, strict=True):
                bits[part.rows] = self._read(part, result, shots)
        return bits, bits.mean(1)

    def _read(self, part: Bound, result: Any, shots: int) -> np.ndarray:
        """Read the bits of a PUB, ``(rows, shots, n_qubits)``, whatever the register's name is."""
        bits = result.data[part.circuit.cregs[0].name].to_bool_array(order="little")
        asked = (len(part.rows), shots, self.ansatz.n_qubits)
        if bits.shape != asked:
            raise RuntimeError(f"the sampler returned bits of the shape {bits.shape}, expected {asked}")
        return bits

    @abstractmethod
    def _sampler(self, seed: int, tag: str) -> "BaseSamplerV2":
        """
        Return the sampler for the next job.

        :param seed: seed of its randomness, if it can be seeded
        :param tag: a unique name for the job
        :return: the sampler
        """

    def _find(self, tag: str) -> Any:
        """Find a job by its tag; ``None`` if there is none or it cannot be found."""
        return None

    def _mendable(self, error: Exception) -> bool:
        """Tell whether a retry may help: after a broken connection or a failed job, but not after a mistake."""
        from qiskit.providers.exceptions import JobError as QiskitJobError

        return isinstance(error, OSError | QiskitJobError)

    def _over(self, job: Any, error: Exception) -> bool:
        """Tell whether a job without a result will never have one."""
        try:
            status = job.status()
        except Exception:
            return False
        return str(getattr(status, "name", status)).upper() in ("ERROR", "CANCELLED")

    def _collect(self, pubs: list[tuple["QuantumCircuit", np.ndarray]], shots: int, asked: Usage, seed: int) -> Any:
        """
        Get the result of a batch, with retries as the class describes.

        :param pubs: circuits with their parameter values
        :param shots: shots per row of values
        :param asked: the estimate for one job
        :param seed: seed of the sampler; a job that is submitted again has the same, so that losing one changes no simulation
        :return: one result per PUB
        """
        job: Any = None
        tag: str | None = None
        job_ids: list[str] = []
        done = False
        try:
            for attempt in range(self.max_retries + 1):
                if job is None and job_ids and self.limits:
                    self.check_budget(asked + Usage(chip_seconds=self._chip_seconds))
                try:
                    if job is None:
                        # The connection may have broken after the job arrived
                        job = None if tag is None else self._find(tag)
                        if job is None:
                            tag = tag or uuid.uuid4().hex
                            job = self._sampler(seed, tag).run(pubs, shots=shots)
                        job_ids.append(job.job_id())
                    results = job.result()
                    done = True
                    return results
                except Exception as error:
                    problem = error
                    if not self._mendable(error):
                        raise
                if job is not None and self._over(job, problem):
                    self._settle(job, asked, done)
                    job = tag = None
                if attempt < self.max_retries:
                    self._pause(attempt, job_ids, problem)
            jobs = f"jobs {', '.join(job_ids)}" if job_ids else "no job got through"
            raise JobError(
                f"no result after {counted(self.max_retries + 1, 'attempt')} ({jobs}): {problem}. The jobs count, "
                "their samples do not; a job that finishes later can be fetched by its id",
                job_ids,
            ) from problem
        finally:
            if job is not None:
                self._settle(job, asked, done)

    def _pause(self, attempt: int, job_ids: list[str], problem: Exception) -> None:
        """Log the retry, and wait before the next attempt."""
        self.retries += 1
        delay = self.retry_delay * 2**attempt
        job = f"job {job_ids[-1]}" if job_ids else "a job"
        warnings.warn(f"{job}: {type(problem).__name__}: {problem}; next attempt in {delay:g} s", RuntimeWarning, stacklevel=2)
        self._sleep(delay)

    def _settle(self, job: Any, asked: Usage, done: bool) -> None:
        """Bill a job: the chip's charge, or the estimate if the chip does not report one (yet)."""
        charged = _charged(job)
        self._bill(asked.chip_seconds if charged is None or (done and charged == 0) else charged)


def changed(owner: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that differ from their defaults."""
    return {name: getattr(owner, name) for name, default in defaults.items() if getattr(owner, name) != default}


def _charged(job: Any) -> float | None:
    """Return the billed chip time of a job in seconds; ``None`` if it is unknown."""
    try:
        usage = job.metrics()["usage"]
        return float(usage["qpu_charge_time_seconds"]) if usage["status"] != "pending" else None
    except Exception:  # samples must not be lost because of the bill
        return None


def _chip_times(target: "Target", chip: str, rep_delay: float, job: float) -> ChipTimes | None:
    """
    Return gate and readout times for the cost model, medians over the chip.

    :param target: transpiler target of the chip
    :param chip: its name
    :param rep_delay: pause between two shots in seconds
    :param job: overhead of a job in seconds
    :return: the times; ``None`` if the target does not have all of them
    """

    def duration(*names: str) -> float | None:
        for name in names:
            if name in target.operation_names:
                durations = [properties.duration for properties in target[name].values() if properties is not None]
                known = [duration for duration in durations if duration is not None]
                if known:
                    return float(np.median(known))
        return None

    # RGate is RZ SX RZ SX RZ, and RZ takes no time
    sx, cz, readout = duration("sx", "x"), duration(*TWO_QUBIT_GATES), duration("measure")
    if sx is None or cz is None or readout is None:
        return None
    source = f"medians of the target of chip {chip}, and its delay between shots"
    return ChipTimes(rotation=2 * sx, cz=cz, readout=readout, reset=rep_delay, job=job, source=source)
