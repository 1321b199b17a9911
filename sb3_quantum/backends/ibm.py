"""Backend for IBM's chips through Qiskit's IBM runtime, or its local testing mode."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_quantum.backends.aer_method import aer_method
from sb3_quantum.backends.jobs import JobBackend, changed
from sb3_quantum.backends.sampler import fake_chip
from sb3_quantum.circuits import CHIPS, Circuit
from sb3_quantum.circuits.checks import check_number, meant
from sb3_quantum.circuits.wording import counted

if TYPE_CHECKING:
    from qiskit.primitives import BaseSamplerV2

#: execution modes of jobs
MODES = ("batch", "job", "session")
#: overhead of a job in seconds
JOB_SECONDS = CHIPS["ibm_fez"].job
#: keyword arguments that may contain a secret
SECRETS = ("token", "account", "key", "password", "secret")


class IBMBackend(JobBackend):
    """
    Run circuits on one of IBM's chips.

    The account is Qiskit's own, saved once with ``QiskitRuntimeService.save_account`` or in the environment
    (``QISKIT_IBM_TOKEN``). It is never an argument, so no YAML or model file can contain it.

    The name of a fake chip (``"FakeManilaV2"``) selects the runtime's local testing mode: the same code runs on this machine,
    on a noisy simulation of that chip, without account or network. A seed repeats such a run, but not a run on a chip.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated
    :param seed: seed of the generator from which the local simulator's seeds are drawn
    :param chip: the chip's name, ``"least_busy"``, or a class of ``qiskit_ibm_runtime.fake_provider``
    :param instance: instance of the account, by name or CRN; the account's default if ``None``
    :param channel: channel of the account, such as ``"ibm_quantum_platform"``; the account's default if ``None``
    :param mode: ``"batch"``, ``"job"`` (every job queues by itself), or ``"session"``, which reserves the chip: time between
        jobs is billed too, and open plans refuse it. An expired batch is opened again, a session is not.
    :param job_overhead: overhead of a job in seconds, for estimates
    :param settings: see :class:`~sb3_quantum.backends.jobs.JobBackend`
    :raises ValueError: if an argument is not usable or looks like a secret, there is no account, or the chip cannot run the
        circuit
    :raises ImportError: if qiskit-ibm-runtime is not installed (in local testing mode: or qiskit-aer)
    """

    name = "ibm"
    circuits = (Circuit,)
    extra = "ibm"
    reproducible = False

    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 100,
        seed: int | None = None,
        chip: str = "least_busy",
        instance: str | None = None,
        channel: str | None = None,
        mode: str = "batch",
        job_overhead: float = JOB_SECONDS,
        **settings: Any,
    ):
        secret = [name for name in settings if any(word in name.lower() for word in SECRETS)]
        if secret:
            raise ValueError(
                f"{', '.join(secret)} cannot be given here, because arguments are written to YAML and model files; save the "
                "account once with QiskitRuntimeService.save_account(...), or set QISKIT_IBM_TOKEN in the environment"
            )
        super().__init__(ansatz, shots, seed, **settings)
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} is unknown, accepted are {', '.join(map(repr, MODES))}{meant([mode], MODES)}")
        job_overhead = check_number("job_overhead", job_overhead, least=0, unit="seconds")
        self.chip, self.instance, self.channel = chip, instance, channel
        self.mode, self.job_overhead = mode, job_overhead
        self._container: Any = None
        try:
            import qiskit_ibm_runtime  # noqa: F401
        except ImportError as error:
            raise ImportError('backend "ibm" needs qiskit-ibm-runtime: pip install "sb3-quantum[ibm]"') from error
        #: whether this is the local testing mode
        self.local = str(chip).startswith("Fake")
        self._service: Any = None
        if self.local:
            snapshot, self._chip = _local_chip(chip, ansatz.n_qubits)
        else:
            self._service = self._connect()
            snapshot = self._chip = self._choose()
        rep_delay = getattr(snapshot, "default_rep_delay", None) or 0.0
        self._set_target(snapshot.target, str(snapshot.name), rep_delay, job_overhead)

    @property
    def kwargs(self) -> dict[str, Any]:
        defaults = {"instance": None, "channel": None, "mode": "batch", "job_overhead": JOB_SECONDS}
        return {**super().kwargs, "chip": self.chip, **changed(self, defaults)}

    def _connect(self) -> Any:
        """Connect to the service with Qiskit's own account."""
        from qiskit_ibm_runtime import QiskitRuntimeService
        from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError

        where = {name: value for name, value in (("channel", self.channel), ("instance", self.instance)) if value is not None}
        try:
            return QiskitRuntimeService(**where)
        except AccountNotFoundError as error:
            raise ValueError(
                "no IBM account was found: save it once with QiskitRuntimeService.save_account(...), or set QISKIT_IBM_TOKEN "
                'in the environment; chip="FakeManilaV2" needs none'
            ) from error

    def _choose(self) -> Any:
        """Return the chip of that name, or the one with the shortest queue and enough qubits."""
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        try:
            if self.chip == "least_busy":
                return self._service.least_busy(min_num_qubits=self.ansatz.n_qubits, operational=True, simulator=False)
            return self._service.backend(self.chip)
        except QiskitBackendNotFoundError as error:
            raise ValueError(
                f"this account has no chip for chip={self.chip!r} and {counted(self.ansatz.n_qubits, 'qubit')}: {error}"
            ) from error

    def _sampler(self, seed: int, tag: str) -> "BaseSamplerV2":
        sampler_class = _sampler_class()
        if self.local:
            self._chip.seeds = np.random.default_rng(seed)
            options: dict[str, Any] = {}
        else:
            options = {"environment": {"job_tags": ["sb3-quantum", tag]}}
        if self.mode != "job" and self._container is None:
            from qiskit_ibm_runtime import Batch, Session

            self._container = (Batch if self.mode == "batch" else Session)(backend=self._chip)
        return sampler_class(mode=self._container or self._chip, options=options)

    def close(self) -> None:
        """Close the batch or session, if one is open. The next job opens another one."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _find(self, tag: str) -> Any:
        found = [] if self.local else self._service.jobs(limit=1, job_tags=[tag])
        return found[0] if found else None

    def _mendable(self, error: Exception) -> bool:
        from qiskit_ibm_runtime import exceptions

        errors = _chain(error)
        mistakes = exceptions.IBMNotAuthorizedError | exceptions.IBMInputValueError | exceptions.RuntimeProgramNotFound
        if any(isinstance(one, mistakes) for one in errors):
            return False
        if any(isinstance(one, exceptions.RuntimeJobNotFound | exceptions.RuntimeInvalidStateError) for one in errors):
            return True
        status = _http_status(errors)
        if status is not None and status not in (-1, 404, 408, 429) and status < 500:
            return self._reopen()
        return status is not None or super()._mendable(error)

    def _reopen(self) -> bool:
        """Tell whether a refusal came from an expired batch, so that another one will be opened."""
        if self.mode != "batch" or self._container is None:
            return False
        if self._container.status() not in ("Closed", "In progress, not accepting new jobs"):
            return False
        self._container = None
        return True

    def _over(self, job: Any, error: Exception) -> bool:
        from qiskit_ibm_runtime.exceptions import RuntimeJobNotFound

        errors = _chain(error)
        lost = _http_status(errors) == 404 or any(isinstance(one, RuntimeJobNotFound) for one in errors)
        return lost or super()._over(job, error)


def _sampler_class() -> Any:
    """Return the runtime's current sampler, which newer versions have in a separate module."""
    try:
        from qiskit_ibm_runtime.executor_sampler import Sampler
    except ImportError:
        from qiskit_ibm_runtime import SamplerV2 as Sampler
    return Sampler


def _local_chip(name: str, n_qubits: int) -> tuple[Any, Any]:
    """
    Return a fake chip, and the simulator of the local testing mode.

    :param name: a class of ``qiskit_ibm_runtime.fake_provider``
    :param n_qubits: qubits that the circuits use
    :return: the chip, and an ``AerSimulator`` with its noise
    :raises ImportError: if qiskit-aer is not installed
    :raises ValueError: if there is no such chip
    """
    try:
        from qiskit_aer import AerSimulator
    except ImportError as error:
        raise ImportError('the local testing mode needs qiskit-aer: pip install "sb3-quantum[aer,ibm]"') from error

    class LocalChip(AerSimulator):
        """
        Simulator that gives each PUB of a job its own seed. The local testing mode simulates all PUBs from one seed, so
        circuits of two PUBs would see the same random numbers.
        """

        seeds = np.random.default_rng()

        def run(self, circuits: Any, *args: Any, seed_simulator: int | None = None, **options: Any) -> Any:
            return super().run(circuits, *args, seed_simulator=int(self.seeds.integers(1, 2**31)), **options)

        def __deepcopy__(self, memo: dict[int, Any]) -> "LocalChip":
            # Every job copies it, and the noise of a large chip takes seconds to copy
            return self

    chip = fake_chip(name)
    return chip, LocalChip.from_backend(chip, method=aer_method(n_qubits))


def _chain(error: BaseException | None) -> list[BaseException]:
    """Yield an error and its causes; the runtime hides some of them."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def _http_status(errors: list[BaseException]) -> int | None:
    """Return the service's HTTP status among them, -1 if it did not answer; ``None`` if it was not asked."""
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError

    return next((one.status_code for one in errors if isinstance(one, RequestsApiError)), None)
