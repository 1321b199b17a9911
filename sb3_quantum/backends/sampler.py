"""Any Qiskit sampler as a backend."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_quantum.backends.aer_method import WHOLE_QUBITS, aer_method
from sb3_quantum.backends.jobs import JobBackend
from sb3_quantum.backends.threads import memory_bytes
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import meant

if TYPE_CHECKING:
    from qiskit.primitives import BaseSamplerV2
    from qiskit.transpiler import Target

#: samplers that can be named in a spec
SAMPLERS = ("statevector", "aer", "fake")
#: placeholder in a spec for a sampler object
GIVEN = "given"


def fake_chip(name: str) -> Any:
    """
    Return a snapshot of a real chip from Qiskit's IBM runtime.

    :param name: name of its class, such as ``"FakeManilaV2"``
    :return: the chip, a Qiskit ``BackendV2``
    :raises ImportError: if qiskit-ibm-runtime is not installed
    :raises ValueError: if there is no such class
    """
    try:
        from qiskit.providers import BackendV2
        from qiskit_ibm_runtime import fake_provider
    except ImportError as error:
        raise ImportError('fake chips need qiskit-ibm-runtime: pip install "sb3-quantum[ibm]"') from error
    found = getattr(fake_provider, name, None) if isinstance(name, str) and name.startswith("Fake") else None
    if not (isinstance(found, type) and issubclass(found, BackendV2)):
        raise ValueError(
            f"chip={name!r} is not a fake chip; accepted are classes of qiskit_ibm_runtime.fake_provider: FakeManilaV2, ..."
            + meant([name], [known for known in dir(fake_provider) if known.startswith("Fake")])
        )
    return found()


class SamplerBackend(JobBackend):
    """
    Run circuits on any Qiskit ``SamplerV2``.

    By name: ``"statevector"`` (Qiskit's ``StatevectorSampler``), ``"aer"`` (Aer's ``SamplerV2``) and ``"fake"``
    (``BackendSamplerV2`` on a snapshot of a real chip, with its noise if Aer is installed). Every job has its own seed from
    the backend's generator: a seed repeats a run, and no two calls see the same bits.

    Or as an object, which has its own randomness and is not saved: a backend from a file or pickle has ``sampler="given"`` in
    its ``kwargs``, and raises an error that says what to pass when it is asked to run. Copies share the object.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated
    :param seed: seed of the generator from which the samplers' seeds are drawn
    :param sampler: a name, or an instance of ``BaseSamplerV2``
    :param chip: for ``"fake"``: a class of ``qiskit_ibm_runtime.fake_provider``, such as ``"FakeManilaV2"``
    :param target: Qiskit's ``Target``, for an instance whose ``backend`` does not have one
    :param settings: see :class:`~sb3_quantum.backends.jobs.JobBackend`
    :raises ValueError: if an argument is not usable, the chip cannot run the circuit, or an instance would repeat its bits
    :raises ImportError: if a package that the sampler needs is not installed
    """

    name = "sampler"
    circuits = (Circuit,)

    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 100,
        seed: int | None = None,
        sampler: "str | BaseSamplerV2" = "statevector",
        chip: str | None = None,
        target: "Target | None" = None,
        **settings: Any,
    ):
        super().__init__(ansatz, shots, seed, **settings)
        named = isinstance(sampler, str)
        if sampler == GIVEN:
            raise ValueError(
                f"sampler={GIVEN!r} stands for a sampler object, which files do not contain; pass one, for example "
                "QuantumTD3.load(path, backend=SamplerBackend(ansatz, sampler=...)), or name another backend"
            )
        if named and sampler not in SAMPLERS:
            raise ValueError(
                f"sampler={sampler!r} is unknown, accepted are {', '.join(map(repr, SAMPLERS))} or a BaseSamplerV2 instance"
                + meant([sampler], SAMPLERS)
            )
        if (chip is not None) != (sampler == "fake"):
            raise ValueError(
                f'sampler="fake" needs the name of a chip, and no other sampler does; got {sampler!r}, chip={chip!r}'
            )
        if named and target is not None:
            raise ValueError(f"target is for sampler objects, but sampler is the name {sampler!r}")
        self.chip = chip
        self._given: dict[str, Any] = {} if named else {"sampler": sampler, "target": target}
        self._named = sampler if named else GIVEN
        #: a sampler object has its own generator
        self.reproducible = named
        self._chip: Any = None
        if sampler == "statevector" and 2**ansatz.n_qubits * 16 > memory_bytes():
            raise ValueError(
                f'sampler="statevector" holds all basis states of n_qubits={ansatz.n_qubits}, '
                f"{2**ansatz.n_qubits / 2**26:,.0f} GiB, but this machine has {memory_bytes() / 2**30:,.0f} GiB of memory; "
                'use sampler="aer"'
            )
        if sampler == "aer":
            self._import_aer()
        elif sampler == "fake":
            self._chip = snapshot = fake_chip(chip)  # type: ignore[arg-type]
            if ansatz.n_qubits > WHOLE_QUBITS:
                self._chip = self._wide_chip(snapshot)
            self._set_target(snapshot.target, str(chip), getattr(snapshot, "default_rep_delay", 0.0) or 0.0)
        elif not named:
            self._check_given(sampler, target)

    def _check_given(self, sampler: Any, target: "Target | None") -> None:
        """Refuse an object that is no sampler or would repeat its bits, and find its target."""
        from qiskit.primitives import BaseSamplerV2

        if not isinstance(sampler, BaseSamplerV2 | _NoSampler):
            raise ValueError(f"sampler must be a name or an instance of Qiskit's BaseSamplerV2, got {type(sampler).__name__}")
        options = getattr(sampler, "options", None)
        places = (sampler, "seed"), (options, "seed_simulator"), (getattr(options, "simulator", None), "seed_simulator")
        if any(isinstance(getattr(owner, attribute, None), int) for owner, attribute in places):
            raise ValueError(
                f"this {type(sampler).__name__} has a fixed seed and would measure the same bits in every batch; make it "
                "without one (StatevectorSampler: or with a numpy.random.Generator), or name the sampler instead"
            )
        chip = getattr(sampler, "backend", None)
        chip = chip() if callable(chip) else chip
        target = target or getattr(chip, "target", None)
        if target is not None:
            name = getattr(chip, "name", None) or f"behind {type(sampler).__name__}"
            self._set_target(target, str(name), getattr(chip, "default_rep_delay", 0.0) or 0.0)

    @staticmethod
    def _import_aer() -> Any:
        try:
            from qiskit_aer.primitives import SamplerV2
        except ImportError as error:
            raise ImportError('sampler="aer" needs qiskit-aer: pip install "sb3-quantum[aer]"') from error
        return SamplerV2

    def _wide_chip(self, snapshot: Any) -> Any:
        """Make a simulator of a chip that is too wide for a statevector, which the snapshot's own would use."""
        try:
            from qiskit_aer import AerSimulator
        except ImportError as error:
            raise ImportError(
                f'sampler="fake" needs qiskit-aer for more than {WHOLE_QUBITS} qubits: pip install "sb3-quantum[aer]"'
            ) from error
        return AerSimulator.from_backend(snapshot, method=aer_method(self.ansatz.n_qubits))

    @property
    def kwargs(self) -> dict[str, Any]:
        chip = {} if self.chip is None else {"chip": self.chip}
        return {**super().kwargs, "sampler": self._named, **chip}

    def _sampler(self, seed: int, tag: str) -> "BaseSamplerV2":
        if self._given:
            return self._given["sampler"]
        if self._named == "aer":
            options = {"backend_options": {"method": aer_method(self.ansatz.n_qubits)}}
            return self._import_aer()(seed=seed, options=options)
        from qiskit.primitives import BackendSamplerV2, StatevectorSampler

        if self._named == "fake":
            return BackendSamplerV2(backend=self._chip, options={"seed_simulator": seed})
        # With an integer, every circuit of the job would see the same random numbers
        return StatevectorSampler(seed=np.random.default_rng(seed))

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._given:
            return super().__reduce__()
        return _rebuild_without_sampler, (type(self), self.ansatz, self.kwargs), self.get_state()

    def __deepcopy__(self, memo: dict[int, Any]) -> "SamplerBackend":
        twin = type(self)(self.ansatz, **{**self.kwargs, **self._given})
        twin.set_state(self.get_state())
        return twin


class _NoSampler:
    """Placeholder for a sampler object that was not saved."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "this backend measured with a sampler object, which files do not contain; pass one: "
            "model.set_backend(SamplerBackend(ansatz, sampler=...)), or name another backend"
        )


def _rebuild_without_sampler(backend_class: type[SamplerBackend], ansatz: Circuit, kwargs: dict[str, Any]) -> SamplerBackend:
    """Make a backend whose sampler is missing from the rest of its spec (for pickle)."""
    return backend_class(ansatz, **{**kwargs, "sampler": _NoSampler()})
