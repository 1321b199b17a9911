"""IBM's backend in the runtime's local testing mode, and against a service that is a stand-in."""

import pickle
import sys
import zipfile
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qiskit_ibm_runtime
import torch as th
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import Batch, Session, exceptions
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import IBMBackend, JobError, StatevectorBackend, Usage, check_backend, ibm, make_backend
from sb3_quantum.backends.jobs import JobBackend
from sb3_quantum.circuits import CHIPS, PaperCircuit
from tests.qtd3.test_train import pendulum

#: no account, no network
LOCAL = {"chip": "FakeManilaV2"}


@pytest.fixture(autouse=True)
def no_account_and_no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL", "QISKIT_IBM_INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    accounts = tmp_path / "no-account.json"
    monkeypatch.setattr("qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(accounts))
    monkeypatch.setattr(JobBackend, "_sleep", staticmethod(lambda seconds: None))


def coins(ansatz: PaperCircuit, rows: int) -> th.Tensor:
    """Fair coins, the second half of the rows with another CZ and so in another PUB."""
    inputs = th.zeros(rows, ansatz.n_inputs)
    inputs[:, : 2 * ansatz.n_qubits : 2] = np.pi / 2
    inputs[rows // 2 :, -1] = 1
    return inputs


@pytest.mark.filterwarnings("error")
def test_local_testing_mode_without_any_warning() -> None:
    """The current sampler class; marginals within 0.2 of the exact ones, which is the chip's noise."""
    ansatz = PaperCircuit(4, 2)
    backend = IBMBackend(ansatz, shots=500, seed=0, **LOCAL)
    assert ibm._sampler_class() is Sampler and isinstance(backend._sampler(1, ""), Sampler)
    inputs = 3 * th.randn(4, ansatz.n_inputs, generator=th.Generator().manual_seed(0))
    error = backend.expected_bits(inputs) - StatevectorBackend(ansatz).expected_bits(inputs)
    assert 0 < error.abs().max() < 0.2
    assert backend.times.job == CHIPS["ibm_fez"].job
    estimate = backend.estimate(4, 500)
    assert backend.usage == Usage(4, 2000, 1, estimate.chip_seconds) and estimate.chip_seconds > 2


def test_conformance() -> None:
    check_backend(IBMBackend(PaperCircuit(2, 2), **LOCAL), shots=200, noisy=True)


def test_seeds_and_fresh_bits() -> None:
    """Rows of different PUBs see random numbers of their own, which the local testing mode alone does not do."""
    ansatz = PaperCircuit(3, 1)
    inputs = coins(ansatz, 4)
    one, other = IBMBackend(ansatz, seed=3, **LOCAL), IBMBackend(ansatz, seed=3, **LOCAL)
    first, second = one.sample(inputs, shots=400), one.sample(inputs, shots=400)
    assert th.equal(first, other.sample(inputs, shots=400)) and not th.equal(first, second)
    agreement = (first[:, None] == first[None]).double().mean((2, 3))
    # 1200 fair coins: 0.1 is seven standard deviations
    assert (agreement - 0.5 - 0.5 * th.eye(4)).abs().max() < 0.1


def test_one_job_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    run = Sampler.run
    monkeypatch.setattr(Sampler, "run", lambda self, pubs, **kwargs: jobs.append(len(pubs)) or run(self, pubs, **kwargs))
    backend = IBMBackend(PaperCircuit(3, 1), **LOCAL)
    for _ in range(2):
        backend.sample(coins(backend.ansatz, 4))
    assert jobs == [2, 2] and backend.statistics == {"template_hit_rate": 0.75, "retries": 0}


@pytest.mark.parametrize("mode, container", [("batch", Batch), ("session", Session), ("job", type(None))])
def test_modes(mode: str, container: type) -> None:
    """One batch for all jobs by default; no session unless asked for."""
    backend = IBMBackend(PaperCircuit(2, 1), **LOCAL, **({} if mode == "batch" else {"mode": mode}))
    backend.sample(coins(backend.ansatz, 2))
    first = backend._container
    assert type(first) is container
    backend.sample(coins(backend.ansatz, 2))
    assert backend._container is first
    backend.close()
    assert backend._container is None
    backend.sample(coins(backend.ansatz, 2))


def test_spec_survives() -> None:
    spec = {"chip": "FakeManilaV2", "shots": 8, "mode": "job", "job_overhead": 1.0, "max_chip_seconds": 99.5}
    backend = make_backend("ibm", PaperCircuit(2, 2), spec)
    assert backend.kwargs == spec
    for copy in (deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert copy.kwargs == spec and copy.times == backend.times and copy.get_state() == backend.get_state()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"token": "s3cr3t"}, r"^token cannot be given here.*QiskitRuntimeService\.save_account"),
        ({"api_token": "s3cr3t"}, "^api_token cannot be given here"),
        ({"account": {"token": "s3cr3t"}}, "^account cannot be given here.*QISKIT_IBM_TOKEN"),
        ({"mode": "dedicated"}, "mode='dedicated' is unknown, accepted are 'batch', 'job', 'session'"),
        ({"job_overhead": -1.0}, "job_overhead must be a number >= 0"),
        ({"chip": "FakeNews"}, "chip='FakeNews' is not a fake chip"),
        ({"chip": "ibm_fez"}, "no IBM account was found: save it once with QiskitRuntimeService.save_account"),
        ({"shots": 0}, "shots must be an integer >= 1"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        IBMBackend(PaperCircuit(2, 2), **{**LOCAL, **kwargs})
    assert "s3cr3t" not in str(error.value)


def test_chip_with_too_few_qubits() -> None:
    with pytest.raises(ValueError, match="chip fake_manila has 5 qubits, but the circuit has 6"):
        IBMBackend(PaperCircuit(6, 1), **LOCAL)


@pytest.mark.parametrize("module, extra", [("qiskit_ibm_runtime", r"\[ibm\]"), ("qiskit_aer", r"\[aer,ibm\]")])
def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"sb3-quantum{extra}"):
        IBMBackend(PaperCircuit(2, 2), **LOCAL)


def test_older_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime.executor_sampler", None)
    assert ibm._sampler_class() is qiskit_ibm_runtime.SamplerV2


class Service:
    """
    In the place of ``QiskitRuntimeService``: one chip, which is simulated, and a list of jobs by tag.

    :param kwargs: what the account was asked for with
    """

    known: dict[str, Any]
    made: list[dict[str, Any]]

    def __init__(self, **kwargs: Any):
        self.made.append(kwargs)

    def backend(self, name: str) -> Any:
        if name != "ibm_somewhere":
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return FakeManilaV2()

    def least_busy(self, min_num_qubits: int, **filters: Any) -> Any:
        if min_num_qubits > 5:
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return FakeManilaV2()

    def jobs(self, limit: int, job_tags: list[str]) -> list[Any]:
        return [self.known[tag] for tag in job_tags if tag in self.known][:limit]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    Service.known, Service.made = {}, []
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", Service)
    return Service


def test_account_is_qiskits_own(service: type[Service]) -> None:
    backend = IBMBackend(PaperCircuit(2, 1), chip="ibm_somewhere", instance="mine")
    IBMBackend(PaperCircuit(2, 1))
    assert service.made == [{"instance": "mine"}, {}] and not backend.local
    backend.sample(coins(backend.ansatz, 2))
    tags = backend._sampler(1, "some-tag").options.environment.job_tags  # type: ignore[attr-defined]
    assert tags == ["sb3-quantum", "some-tag"]
    for kwargs in ({"chip": "ibm_nowhere"}, {"chip": "least_busy"}):
        with pytest.raises(ValueError, match=f"this account has no chip for chip='{kwargs['chip']}' and 6 qubits"):
            IBMBackend(PaperCircuit(6, 1), **kwargs)


class Scripted:
    """
    In the place of the runtime's sampler: submissions and results that fail as the scripts say, an error or ``None`` each.

    :param service: to which jobs that arrived are known
    """

    def __init__(self, service: type[Service], submissions: list[Any] = (), results: list[Any] = ()):  # type: ignore[assignment]
        self.service, self.submissions, self.results = service, list(submissions), list(results)
        self.arrived: list[str] = []

    def __call__(self, mode: Any, options: dict[str, Any]) -> Any:
        tag = options["environment"]["job_tags"][1]
        return SimpleNamespace(run=lambda pubs, shots: self.run(Sampler(mode=mode, options=options), tag, pubs, shots))

    def run(self, sampler: Sampler, tag: str, pubs: Any, shots: int) -> Any:
        arrives, error = self.submissions.pop(0) if self.submissions else (True, None)
        if arrives:
            name = f"job-{len(self.arrived) + 1}"
            real = sampler.run(pubs, shots=shots)
            status = ["RUNNING"]

            def result() -> Any:
                problem = self.results.pop(0) if self.results else None
                if problem is None:
                    return real.result()
                status[0] = "ERROR" if isinstance(problem, exceptions.RuntimeJobFailureError) else status[0]
                raise problem

            job = SimpleNamespace(job_id=lambda: name, status=lambda: status[0], result=result, metrics=lambda: {})
            self.service.known[tag] = job
            self.arrived.append(name)
        if error is not None:
            raise error
        return job


def hidden(error: Exception) -> Exception:
    """Raise an error as the runtime does, with the reason only in the suppressed exception."""
    try:
        try:
            raise error
        except Exception as reason:
            raise exceptions.IBMRuntimeError(f"Failed to run program: {reason}") from None
    except exceptions.IBMRuntimeError as raised:
        return raised


@pytest.mark.filterwarnings("ignore:job job", "ignore:a job")
@pytest.mark.parametrize(
    "submissions, results, jobs",
    [
        ([], [RequestsApiError("no route"), RequestsApiError("maintenance", 503)], 1),  # asked again
        ([], [exceptions.RuntimeJobFailureError("calibration")], 2),
        ([], [RequestsApiError("no such job", 404)], 2),
        ([(False, hidden(RequestsApiError("no route")))], [], 1),
        ([(True, hidden(RequestsApiError("no route")))], [], 1),  # it had arrived, and is found by its tag
    ],
)
def test_lost_jobs(
    monkeypatch: pytest.MonkeyPatch, service: type[Service], submissions: list[Any], results: list[Any], jobs: int
) -> None:
    backend = IBMBackend(PaperCircuit(2, 1), chip="ibm_somewhere")
    scripted = Scripted(service, submissions, results)
    monkeypatch.setattr(ibm, "_sampler_class", lambda: scripted)
    assert backend.sample(coins(backend.ansatz, 2), shots=3).shape == (2, 3, 2)
    assert len(scripted.arrived) == jobs
    assert backend.usage == Usage(2, 6, jobs, pytest.approx(jobs * backend.estimate(2, 3).chip_seconds))


@pytest.mark.filterwarnings("ignore:job job")
def test_mistakes_and_endless_loss(monkeypatch: pytest.MonkeyPatch, service: type[Service]) -> None:
    for error, jobs in (
        (exceptions.IBMNotAuthorizedError("who are you"), 0),
        (hidden(RequestsApiError("bad request", 400)), 0),
        (exceptions.RuntimeJobMaxTimeoutError("ran too long"), 1),
        (exceptions.RuntimeJobFailureError("never works"), 3),
    ):
        backend = IBMBackend(PaperCircuit(2, 1), chip="ibm_somewhere", mode="job", max_retries=2)
        scripted = Scripted(service, [(False, error)] if jobs == 0 else [], [error] * 3)
        monkeypatch.setattr(ibm, "_sampler_class", lambda scripted=scripted: scripted)
        with pytest.raises(JobError if jobs == 3 else type(error)) as raised:
            backend.sample(coins(backend.ansatz, 2))
        assert len(scripted.arrived) == jobs == backend.usage.jobs and backend.usage.circuits == 0
        if isinstance(raised.value, JobError):
            assert raised.value.job_ids == ["job-1", "job-2", "job-3"]


@pytest.mark.filterwarnings("ignore:a job")
@pytest.mark.parametrize("mode", ["batch", "session"])
def test_batch_that_has_run_out_is_opened_again(monkeypatch: pytest.MonkeyPatch, service: type[Service], mode: str) -> None:
    """A session is not: it costs while it is open."""
    backend = IBMBackend(PaperCircuit(2, 1), chip="ibm_somewhere", mode=mode)
    backend.sample(coins(backend.ansatz, 2))
    first = backend._container
    monkeypatch.setattr(Session, "status", lambda self: "Closed")
    scripted = Scripted(service, [(False, hidden(RequestsApiError("session is closed", 409)))])
    monkeypatch.setattr(ibm, "_sampler_class", lambda: scripted)
    if mode == "batch":
        backend.sample(coins(backend.ansatz, 2))
        assert backend._container is not first and len(scripted.arrived) == 1
    else:
        with pytest.raises(exceptions.IBMRuntimeError, match="session is closed"):
            backend.sample(coins(backend.ansatz, 2))


def test_training_and_no_token_in_any_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "s3cr3t-t0ken")
    model = pendulum(
        backend="ibm", backend_kwargs={**LOCAL, "shots": 5}, learning_starts=5, batch_size=8, policy_kwargs={"n_qubits": 2}
    )
    plan = model.dry_run(15)
    model.learn(15)
    assert model.policy.quantum_layer is not None
    backend = model.policy.quantum_layer.backend
    usage = backend.usage
    assert (plan.circuits, plan.shots, plan.jobs) == (usage.circuits, usage.shots, usage.jobs) == (15, 75, 15)
    assert plan.chip_seconds == pytest.approx(usage.chip_seconds)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy.pt")
    with zipfile.ZipFile(tmp_path / "model.zip") as files:
        contents = [files.read(name) for name in files.namelist()]
    contents += [pickle.dumps(backend), str(backend.kwargs).encode(), (tmp_path / "policy.pt").read_bytes()]
    assert all(b"s3cr3t" not in content for content in contents)
    loaded = QuantumTD3.load(tmp_path / "model")
    assert loaded.policy.quantum_layer is not None and loaded.policy.quantum_layer.backend.kwargs == backend.kwargs
    assert loaded.policy.quantum_layer.backend.usage == usage


def test_trained_elsewhere_run_on_a_chip(tmp_path: Path) -> None:
    """With budgets that end it."""
    model = pendulum()
    model.save(tmp_path / "model")
    budget = {**LOCAL, "shots": 50, "max_chip_seconds": 5}
    loaded = QuantumTD3.load(tmp_path / "model", backend="ibm", backend_kwargs=budget, env=model.env)
    with pytest.warns(UserWarning, match=r"training ends at 2 of 10 steps: .*max_chip_seconds=5"):
        loaded.learn(10)
