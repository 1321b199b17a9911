import pickle
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, StatevectorSampler
from qiskit.providers.exceptions import JobError as QiskitJobError
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from scipy.stats import chisquare

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import BudgetError, JobError, SamplerBackend, StatevectorBackend, Usage, check_backend, make_backend
from sb3_quantum.backends.jobs import JobBackend
from sb3_quantum.circuits import PaperCircuit
from tests.qtd3.test_train import pendulum


def mixed_inputs(ansatz: PaperCircuit) -> th.Tensor:
    """Five circuits: the first three share their CZ gates, the others have some of their own."""
    inputs = 3 * th.randn(5, ansatz.n_inputs, generator=th.Generator().manual_seed(1))
    angles, indices = ansatz.split(inputs)
    return ansatz.join(angles, indices[[0, 0, 0, 1, 2]])


def noiseless_chip() -> AerSimulator:
    """The gates and connections of a chip, without its noise."""
    return AerSimulator.from_backend(FakeManilaV2(), noise_model=None)


@pytest.mark.parametrize("kind", ["statevector", "aer", "chip without noise"])
def test_frequencies_agree_with_our_statevector(kind: str) -> None:
    """Chi-square of every circuit of a batch against our distribution; false-alarm rate 1e-6 each, the last kind unseeded."""
    ansatz = PaperCircuit(4, 3)
    inputs = mixed_inputs(ansatz)
    exact = StatevectorBackend(ansatz).probabilities(inputs).double().numpy()
    if kind == "chip without noise":
        backend = SamplerBackend(ansatz, sampler=BackendSamplerV2(backend=noiseless_chip()))
    else:
        backend = SamplerBackend(ansatz, seed=1, sampler=kind)
    bits = backend.sample(inputs, shots=3000).long().numpy()
    for row in range(len(inputs)):
        counts = np.bincount(bits[row] @ (1 << np.arange(4)), minlength=16)
        seen = exact[row] > 2e-3
        expected = np.append(exact[row][seen], exact[row][~seen].sum() + 1e-9)
        observed = np.append(counts[seen], counts[~seen].sum())
        assert chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-6


@pytest.mark.parametrize("sampler", ["statevector", "aer"])
def test_conformance(sampler: str) -> None:
    check_backend(SamplerBackend(PaperCircuit(3, 2), sampler=sampler))


def test_fake_chip() -> None:
    """On a chip's own gates and with its noise: marginals within 0.2 of the exact ones, gate times from the chip."""
    ansatz = PaperCircuit(5, 2)
    backend = SamplerBackend(ansatz, shots=500, seed=0, sampler="fake", chip="FakeManilaV2")
    inputs = mixed_inputs(ansatz)
    error = backend.expected_bits(inputs) - StatevectorBackend(ansatz).expected_bits(inputs)
    assert 0 < error.abs().max() < 0.2
    times, chip = backend.times, FakeManilaV2()
    assert times.rotation == pytest.approx(2 * chip.target["sx"][(0,)].duration)
    assert times.readout == pytest.approx(chip.target["measure"][(0,)].duration) and times.reset == chip.default_rep_delay
    assert backend.estimate(2, 100).chip_seconds == pytest.approx(backend.usage.chip_seconds * 200 / 2500)
    circuit = backend._transpile(ansatz.template([(0, 4), (1, 3)]))
    assert {instruction.operation.name for instruction in circuit} <= {"rz", "sx", "x", "cx", "measure", "barrier"}
    connected = set(chip.coupling_map.get_edges())
    pairs = [tuple(circuit.find_bit(q).index for q in one.qubits) for one in circuit if one.operation.name == "cx"]
    assert len(pairs) > 0 and set(pairs) <= connected
    check_backend(SamplerBackend(PaperCircuit(2, 2), sampler="fake", chip="FakeManilaV2"), shots=200, noisy=True)


def test_bit_order_beyond_one_byte() -> None:
    """Column m is qubit m."""
    ansatz = PaperCircuit(10, 1)
    inputs = th.zeros(10, ansatz.n_inputs)
    inputs[range(10), range(0, 20, 2)] = np.pi
    assert th.equal(SamplerBackend(ansatz).sample(inputs), th.eye(10))


@pytest.mark.parametrize("spec", [{"sampler": "statevector"}, {"sampler": "aer"}, {"sampler": "fake", "chip": "FakeManilaV2"}])
def test_seeds_and_fresh_bits(spec: dict[str, str]) -> None:
    ansatz = PaperCircuit(5, 1)
    inputs = th.zeros(4, ansatz.n_inputs)
    inputs[:, : 2 * 5 : 2] = np.pi / 2  # fair coins
    inputs[2:, -1] = 1  # another CZ, and so another PUB
    one, other = SamplerBackend(ansatz, seed=3, **spec), SamplerBackend(ansatz, seed=3, **spec)
    first, second = one.sample(inputs, shots=20), one.sample(inputs, shots=20)
    assert th.equal(first, other.sample(inputs, shots=20))
    assert not th.equal(first, second)
    assert all(not th.equal(first[i], first[j]) for i in range(4) for j in range(i))


class Job:
    """A job that does what the script says: an error to raise, or ``None`` for the result."""

    def __init__(self, name: str, real: Any, script: Iterator[Any], metrics: dict[str, Any] | None):
        self.name, self.real, self.script, self._metrics = name, real, script, metrics
        self._status = "RUNNING"

    def job_id(self) -> str:
        return self.name

    def status(self) -> str:
        return self._status

    def result(self) -> Any:
        error = next(self.script)
        if error is None:
            return self.real.result()
        if isinstance(error, QiskitJobError):
            self._status = "ERROR"
        raise error

    def metrics(self) -> dict[str, Any]:
        if self._metrics is None:
            raise ConnectionError("no metrics")
        return self._metrics


class Flaky(BaseSamplerV2):
    """Counts what it is asked for, and fails as the script says, at submission (tuples of one error) or at the result."""

    def __init__(self, *script: Any, metrics: dict[str, Any] | None = None):
        self.inner = StatevectorSampler(seed=np.random.default_rng(0))
        self.script, self.metrics = list(script), metrics
        self.jobs: list[list[Any]] = []

    def __iter__(self) -> "Flaky":
        return self

    def __next__(self) -> Any:
        return self.script.pop(0) if self.script else None

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        if self.script and isinstance(self.script[0], tuple):
            raise self.script.pop(0)[0]
        self.jobs.append(list(pubs))
        return Job(f"job-{len(self.jobs)}", self.inner.run(pubs, shots=shots), self, self.metrics)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits, in seconds, instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr(JobBackend, "_sleep", staticmethod(waited.append))
    return waited


def test_one_job_per_batch_and_cached_circuits() -> None:
    ansatz, sampler = PaperCircuit(4, 3), Flaky()
    backend = SamplerBackend(ansatz, shots=7, sampler=sampler)
    inputs = mixed_inputs(ansatz)
    for _ in range(2):
        backend.measure(inputs)
    assert [[values.shape for _, values in job] for job in sampler.jobs] == [[(3, 24), (1, 24), (1, 24)]] * 2
    assert backend.statistics == {"template_hit_rate": 0.7, "retries": 0}
    assert all(one[0] is other[0] for one, other in zip(*sampler.jobs, strict=True))
    assert (backend.usage.circuits, backend.usage.shots, backend.usage.jobs) == (10, 70, 2)
    backend.measure(inputs[:0])
    assert len(sampler.jobs) == 2


def test_cache_is_bounded() -> None:
    backend = SamplerBackend(PaperCircuit(4, 3), cache_size=2)
    backend.sample(mixed_inputs(backend.ansatz))
    assert len(backend._templates) == 2 and backend.kwargs["cache_size"] == 2


def test_lost_connection_asks_the_same_job_again(pauses: list[float]) -> None:
    sampler = Flaky(ConnectionError("gone"), TimeoutError("slow"))
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler, retry_delay=0.5)
    with pytest.warns(RuntimeWarning) as warned:
        bits = backend.sample(th.zeros(2, 16), shots=3)
    assert [str(one.message) for one in warned] == [
        "job job-1: ConnectionError: gone; next attempt in 0.5 s",
        "job job-1: TimeoutError: slow; next attempt in 1 s",
    ]
    assert len(sampler.jobs) == 1 and pauses == [0.5, 1.0] and bits.shape == (2, 3, 3)
    assert backend.usage == Usage(2, 6, 1, backend.estimate(2, 3).chip_seconds) and backend.statistics["retries"] == 2


@pytest.mark.filterwarnings("ignore:job job-1")
def test_failed_job_is_submitted_again_and_billed_twice_by_the_chip() -> None:
    """No sample counts twice, every job does, with what the chip charges."""
    metrics = {"usage": {"status": "complete", "qpu_charge_time_seconds": 3}}
    sampler = Flaky(QiskitJobError("broken"), metrics=metrics)
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler)
    backend.sample(th.zeros(2, 16), shots=3)
    assert len(sampler.jobs) == 2 and backend.usage == Usage(2, 6, 2, 6.0)


@pytest.mark.parametrize("status, seconds", [("pending", None), ("complete", 3.0)])
def test_charge_that_is_not_known_yet_is_estimated(status: str, seconds: float | None) -> None:
    sampler = Flaky(metrics={"usage": {"status": status, "qpu_charge_time_seconds": 3}})
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler)
    backend.sample(th.zeros(2, 16), shots=3)
    assert backend.usage.chip_seconds == pytest.approx(seconds or backend.estimate(2, 3).chip_seconds)


@pytest.mark.filterwarnings("ignore:job job-1", "ignore:a job")
def test_submission_that_fails_is_repeated() -> None:
    sampler = Flaky((ConnectionError("down"),))
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler)
    backend.sample(th.zeros(2, 16))
    assert len(sampler.jobs) == 1 and backend.usage.jobs == 1


@pytest.mark.filterwarnings("ignore:job job", "ignore:a job")
def test_exhausted_retries(pauses: list[float]) -> None:
    """The error names the jobs; they are billed, samples are not counted; the backend goes on with the next batch."""
    sampler = Flaky(ConnectionError("gone"), QiskitJobError("broken"), ConnectionError("gone for good"))
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler, max_retries=2)
    with pytest.raises(JobError, match=r"3 attempts \(jobs job-1, job-2\): gone for good") as error:
        backend.sample(th.zeros(2, 16))
    assert error.value.job_ids == ["job-1", "job-2"] and pauses == [1.0, 2.0]
    seconds = backend.estimate(2, 1).chip_seconds
    assert backend.usage == Usage(0, 0, 2, 2 * seconds)
    backend.sample(th.zeros(2, 16))
    assert backend.usage == Usage(2, 2, 3, 3 * seconds)
    with pytest.raises(JobError, match="no job got through"):
        SamplerBackend(PaperCircuit(3, 2), sampler=Flaky((OSError("down"),)), max_retries=0).sample(th.zeros(2, 16))


def test_what_no_retry_mends_is_raised_at_once(pauses: list[float]) -> None:
    for error in (ValueError("bad circuit"), KeyboardInterrupt()):
        sampler = Flaky(error)
        backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler)
        with pytest.raises(type(error)):
            backend.sample(th.zeros(2, 16))
        # The job was submitted, and may run
        assert len(sampler.jobs) == 1 and backend.usage.jobs == 1 and backend.usage.circuits == 0
    assert pauses == []


@pytest.mark.filterwarnings("ignore:job job-1")
def test_no_second_job_beyond_the_budget() -> None:
    metrics = {"usage": {"status": "complete", "qpu_charge_time_seconds": 3}}
    sampler = Flaky(QiskitJobError("broken"), metrics=metrics)
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler, max_chip_seconds=3.0)
    with pytest.raises(BudgetError, match="max_chip_seconds=3"):
        backend.sample(th.zeros(2, 16))
    assert len(sampler.jobs) == 1 and backend.usage == Usage(0, 0, 1, 3.0)


def test_answers_of_the_wrong_size() -> None:
    class Short(Flaky):
        def run(self, pubs: Any, *, shots: int | None = None) -> Any:
            return super().run(pubs, shots=1)

    class Few(Flaky):
        def run(self, pubs: Any, *, shots: int | None = None) -> Any:
            return super().run(pubs[:1], shots=shots)

    inputs = mixed_inputs(PaperCircuit(4, 3))
    for sampler, message in ((Short(), r"shape \(3, 1, 4\), expected \(3, 2, 4\)"), (Few(), "returned 1 result for 3 PUBs")):
        backend = SamplerBackend(PaperCircuit(4, 3), sampler=sampler)
        with pytest.raises(RuntimeError, match=message):
            backend.sample(inputs, shots=2)
        assert backend.usage.circuits == 0 and backend.usage.jobs == 1


def test_spec_survives() -> None:
    spec = {"sampler": "fake", "chip": "FakeManilaV2", "shots": 8, "optimization_level": 2, "max_retries": 1, "max_shots": 50}
    backend = make_backend("sampler", PaperCircuit(2, 2), spec)
    assert backend.kwargs == spec
    backend.measure(th.zeros(2, 12))
    for copy in (deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert copy.kwargs == spec and copy.usage == backend.usage and copy.times == backend.times
        assert copy.get_state() == backend.get_state()


def test_sampler_object_is_shared_by_copies_and_missing_in_files(tmp_path: Path) -> None:
    sampler = StatevectorSampler(seed=np.random.default_rng(0))
    backend = SamplerBackend(PaperCircuit(3, 2), shots=4, sampler=sampler)
    assert backend.kwargs == {"shots": 4, "sampler": "given"} and deepcopy(backend)._sampler(0, "") is sampler
    loaded = pickle.loads(pickle.dumps(backend))
    assert loaded.kwargs == backend.kwargs
    with pytest.raises(RuntimeError, match=r"pass one: model\.set_backend\(SamplerBackend"):
        loaded.sample(th.zeros(1, 16))
    with pytest.raises(ValueError, match="sampler='given' stands for a sampler object, which files do not contain; pass one"):
        make_backend("sampler", PaperCircuit(3, 2), backend.kwargs)

    model = pendulum(backend=backend)
    model.save(tmp_path / "model")
    observation = np.zeros((1, 3), np.float32)
    with pytest.raises(RuntimeError, match="pass one"):
        QuantumTD3.load(tmp_path / "model").predict(observation)
    other = SamplerBackend(PaperCircuit(3, 2), sampler=sampler)
    assert QuantumTD3.load(tmp_path / "model", backend=other, backend_kwargs=None).predict(observation)[0].shape == (1, 1)


def test_object_with_a_target_of_its_own() -> None:
    """A sampler that does not tell its chip is told what circuits it can run."""
    sampler = Flaky()
    backend = SamplerBackend(PaperCircuit(3, 2), sampler=sampler, target=FakeManilaV2().target)
    backend.sample(mixed_inputs(backend.ansatz))
    assert all(circuit.num_qubits == 5 and "r" not in circuit.count_ops() for circuit, _ in sampler.jobs[0])
    assert backend.times.rotation == pytest.approx(71e-9, rel=0.01)


def bare_target(measure: bool, qubits: int = 3) -> Target:
    """Qubits that can be turned, but not entangled."""
    from qiskit.circuit import Measure, Parameter, library

    target = Target(num_qubits=qubits)
    gates = [library.RZGate(Parameter("x")), library.SXGate(), *([Measure()] if measure else [])]
    for gate in gates:
        target.add_instruction(gate, {(qubit,): InstructionProperties() for qubit in range(qubits)})
    return target


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"sampler": "cirq"}, "sampler='cirq' is unknown, accepted are 'statevector', 'aer', 'fake'"),
        ({"sampler": 3}, "must be a name or an instance of Qiskit's BaseSamplerV2, got int"),
        ({"sampler": "fake"}, 'sampler="fake" needs the name of a chip'),
        ({"chip": "FakeManilaV2"}, 'sampler="fake" needs the name of a chip, and no other'),
        ({"sampler": "fake", "chip": "FakeNews"}, "chip='FakeNews' is not a fake chip"),
        ({"sampler": "fake", "chip": "fake_manila"}, "chip='fake_manila' is not a fake chip"),
        ({"target": FakeManilaV2().target}, "target is for sampler objects"),
        ({"sampler": StatevectorSampler(seed=1)}, "has a fixed seed and would measure the same bits"),
        ({"sampler": AerSampler(seed=1)}, "has a fixed seed"),
        ({"sampler": BackendSamplerV2(backend=FakeManilaV2(), options={"seed_simulator": 1})}, "has a fixed seed"),
        ({"sampler": Flaky(), "target": bare_target(measure=True)}, "cannot run the circuit: Unable to translate"),
        ({"sampler": Flaky(), "target": bare_target(measure=False)}, "cannot run the circuit: it has no measurement"),
        ({"sampler": Flaky(), "target": bare_target(measure=True, qubits=2)}, "has 2 qubits, but the circuit has 3"),
        ({"shots": 0}, "shots must be an integer >= 1"),
        ({"optimization_level": 4}, "optimization_level must be 0, 1, 2 or 3"),
        ({"cache_size": 0}, "cache_size must be an integer >= 1"),
        ({"max_retries": -1}, "max_retries must be an integer >= 0"),
        ({"retry_delay": float("nan")}, "retry_delay must be a number >= 0"),
        ({"max_shots": 0}, "max_shots must be an integer >= 1"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplerBackend(PaperCircuit(3, 2), **kwargs)


def test_chip_with_too_few_qubits() -> None:
    with pytest.raises(ValueError, match="chip FakeManilaV2 has 5 qubits, but the circuit has 6"):
        SamplerBackend(PaperCircuit(6, 1), sampler="fake", chip="FakeManilaV2")


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qiskit_aer.primitives", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[aer\]"):
        SamplerBackend(PaperCircuit(2, 2), sampler="aer")
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[ibm\]"):
        SamplerBackend(PaperCircuit(2, 2), sampler="fake", chip="FakeManilaV2")


def test_training() -> None:
    """Usage is as the dry run plans it, and the cache's hit rate is logged."""
    model = pendulum(backend="sampler", backend_kwargs={"shots": 5}, learning_starts=10)
    plan = model.dry_run(30)
    model.learn(30)
    backend = model.policy.quantum_layer.backend
    assert (plan.circuits, plan.shots, plan.jobs) == (backend.usage.circuits, backend.usage.shots, backend.usage.jobs)
    model._record_training()
    assert 0 < model.logger.name_to_value["quantum/template_hit_rate"] <= 1


@pytest.mark.filterwarnings("ignore:job job-")
def test_a_lost_machine_ends_the_training_and_leaves_a_model(tmp_path: Path) -> None:
    """Ten jobs run, then every connection breaks; the training goes on where it was once it can."""
    sampler = Flaky(*[None] * 10, *[ConnectionError("gone")] * 2)
    backend = SamplerBackend(PaperCircuit(3, 2), shots=2, sampler=sampler, max_retries=1, retry_delay=0.0)
    model = pendulum(backend=backend, learning_starts=5)
    with pytest.warns(UserWarning, match=r"training ends at 10 of 40 steps: no result after 2 attempts \(jobs job-11\): gone"):
        model.learn(40)
    assert model.num_timesteps == model.replay_buffer.size() == backend.usage.circuits == 10
    model.save(tmp_path / "model")
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 30 and backend.usage.circuits == 30
