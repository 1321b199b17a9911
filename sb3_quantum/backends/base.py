"""The contract of backends."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
import torch as th
from torch._compile import _disable_dynamo  # torch.compiler.disable would import dynamo at once

from sb3_quantum.backends.contract import check_declaration, check_measured
from sb3_quantum.backends.randomness import Stream
from sb3_quantum.circuits import CHIPS, ChipTimes, Circuit, PaperCircuit, job_seconds, shot_seconds
from sb3_quantum.circuits.checks import check_instance, check_int, check_number, names_checked
from sb3_quantum.circuits.tracing import any_autocast, computable, full_precision, in_graph, is_recorded, leaves_graph

#: array types that :meth:`Backend._run` may return
Array = th.Tensor | np.ndarray


class Measurement(NamedTuple):
    """
    Results of a batch of circuits.

    :param bits: one measured bitstring per circuit, ``(batch, n_qubits)``, zeros and ones in the inputs' dtype; column m is
        qubit m. ``None`` without a draw (exact backends only).
    :param expected_bits: probability of reading 1, ``(batch, n_qubits)``: exact on an exact backend, otherwise the mean over
        the shots.
    """

    bits: th.Tensor | None
    expected_bits: th.Tensor


@dataclass
class Usage:
    """
    Counters of a backend: circuits, shots, jobs and chip seconds so far.

    :param circuits: circuits run (one per row of a batch)
    :param shots: measured bitstrings, over all circuits
    :param jobs: submitted batches, including lost ones that were submitted again
    :param chip_seconds: chip time in seconds, as billed if the chip reports it, otherwise by the cost model
    """

    circuits: int = 0
    shots: int = 0
    jobs: int = 0
    chip_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class BackendError(RuntimeError):
    """Error of a backend that cannot continue. In ``learn()`` it ends the training; the model can be saved."""


class BudgetError(BackendError):
    """More was asked for than a limit of the backend allows. Raised before any of it is run."""


class Backend(ABC):
    """
    Base class of backends, which run the circuits of one :class:`~sb3_quantum.circuits.Circuit`.

    A subclass implements :meth:`_run`. All randomness comes from numpy generators: the backend's own, whose state is saved
    with the model, or one that the caller passes. A backend is pickled and copied as its spec (name and keyword arguments)
    with its generator and counters, so clients, simulators and tokens never end up in a file.

    The limits count training and evaluation together, and nothing runs beyond them.

    :param ansatz: the circuit
    :param shots: shots per circuit when expected bits are estimated; exact backends ignore it
    :param seed: seed of the backend's generator; fresh entropy if ``None``
    :param max_circuits: limit of the circuits in all; no limit if ``None``
    :param max_shots: limit of the measured bitstrings in all
    :param max_chip_seconds: limit of the chip time in all, in seconds
    :raises ValueError: if ``shots`` or a limit is not positive, or if the backend does not run such circuits
    :raises TypeError: if a subclass lacks one of the class attributes, or ``_run`` returns other shapes than it must
    """

    #: the name under which the backend is registered
    name: ClassVar[str]
    #: the families of circuits that it runs, with exactly their gates; a backend that runs other gates must name other
    #: families
    circuits: ClassVar[tuple[type[Circuit], ...]] = (PaperCircuit,)
    #: the extra of this package that it needs
    extra: ClassVar[str | None] = None
    #: whether :meth:`expected_bits` is exact and free of shots
    exact: ClassVar[bool]
    #: whether autograd passes through :meth:`expected_bits`
    differentiable: ClassVar[bool]
    #: whether the same seed gives the same bits
    reproducible: bool = True
    #: gate and readout times for estimates of chip seconds
    times: ChipTimes = CHIPS["paper"]

    @names_checked({})
    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 1,
        seed: int | None = None,
        max_circuits: int | None = None,
        max_shots: int | None = None,
        max_chip_seconds: float | None = None,
    ):
        self.ansatz = check_instance("ansatz", ansatz, Circuit)
        check_declaration(type(self))
        if not isinstance(ansatz, self.circuits):
            families = self.circuits if isinstance(self.circuits, tuple) else (self.circuits,)
            names = ", ".join(repr(kind.family) if hasattr(kind, "family") else "all" for kind in families)
            raise ValueError(f"the backend {self.name!r} does not run {ansatz}, it runs circuits of the families {names}")
        self.shots = check_int("shots", shots)
        self.limits: dict[str, float] = {}
        for what, limit in (("circuits", max_circuits), ("shots", max_shots)):
            if limit is not None:
                self.limits[what] = check_int(f"max_{what}", limit)
        if max_chip_seconds is not None:
            self.limits["chip_seconds"] = check_number("max_chip_seconds", max_chip_seconds, above=0)
        self._stream = Stream(None if seed is None else check_int("seed", seed, least=0))
        self.usage = Usage()
        self.eval_usage = Usage()
        self._jobs, self._chip_seconds = 0, 0.0
        self._timed: ChipTimes | None = None
        self._seconds = 0.0
        self._run_checked = False

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that describe this backend, as plain data for YAML and model files."""
        return {"shots": self.shots, **{f"max_{what}": limit for what, limit in self.limits.items()}}

    @property
    def statistics(self) -> dict[str, float]:
        """Further numbers to log beside the usage; none by default."""
        return {}

    def estimate(self, circuits: int, shots: int, jobs: int = 1) -> Usage:
        """
        Estimate what circuits would add to :attr:`usage`. Nothing is run.

        :param circuits: number of circuits, over all jobs
        :param shots: per circuit
        :param jobs: number of jobs
        :return: the estimate
        """
        seconds = job_seconds(self.ansatz, circuits, shots, self.times, jobs)
        return Usage(circuits, circuits * shots, jobs, seconds)

    def check_budget(self, asked: Usage) -> None:
        """
        Check a usage against the limits.

        :param asked: the usage about to be added, see :meth:`estimate`
        :raises BudgetError: if it exceeds what is left; the message names the limit
        """
        used = self.usage + self.eval_usage
        for what, limit in self.limits.items():
            spent, wanted = getattr(used, what), getattr(asked, what)
            if wanted > 0 and spent + wanted > limit:
                noun = what.replace("_", " ")
                asks = f"{noun.removesuffix('s')} was" if wanted == 1 else f"{noun} were"
                raise BudgetError(
                    f"{wanted:,.6g} {asks} asked for, but only {max(limit - spent, 0):,.6g} of "
                    f"max_{what}={limit:,.6g} are left; none of them was run"
                )

    @abstractmethod
    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """
        Run one circuit per row.

        :param inputs: checked circuit inputs, ``(batch, n_inputs)``
        :param shots: bitstrings to draw per circuit; 0 (exact backends only) draws none
        :param generator: source of randomness
        :return: bits ``(batch, shots, n_qubits)`` and expected bits ``(batch, n_qubits)``, of any type and on any device
        """

    def seed(self, seed: int | None) -> None:
        """
        Restart the backend's generator.

        :param seed: the seed; fresh entropy if ``None``
        """
        self._stream.seed(None if seed is None else check_int("seed", seed, least=0))

    @property
    def generator(self) -> np.random.Generator:
        """The backend's generator. A copy in another process has a different one, see :class:`Stream`."""
        return self._stream.generator

    @generator.setter
    def generator(self, generator: np.random.Generator) -> None:
        self._stream.replace(generator)

    def _check(self, inputs: th.Tensor) -> None:
        """Check circuit inputs; subclasses may override it with a faster check."""
        self.ansatz.check(inputs)

    def _bill(self, chip_seconds: float | None = None) -> None:
        """
        Bill one job, for subclasses that may submit a job again. A :meth:`_run` that never calls this is billed one job by the
        cost model.

        :param chip_seconds: chip time of the job, as the chip reports it
        """
        self._jobs += 1
        self._chip_seconds += chip_seconds or 0.0

    def _shot_seconds(self) -> float:
        """Chip time of one shot, cached as long as the gate times are the same."""
        if self._timed is not self.times:
            self._timed, self._seconds = self.times, shot_seconds(self.ansatz, self.times)
        return self._seconds

    def _account(
        self, inputs: th.Tensor, shots: int, generator: np.random.Generator | None, evaluation: bool
    ) -> tuple[Array, Array]:
        """Check the inputs and the budget, run, and count. Lost jobs count; samples that never arrived do not."""
        inputs = computable("circuit inputs", inputs)
        self._check(inputs)
        # Computed once: a tensor's length takes a third of a microsecond
        rows = inputs.shape[0]
        if self.limits:
            self.check_budget(self.estimate(rows, shots))
        self._jobs, self._chip_seconds = 0, 0.0
        usage = self.eval_usage if evaluation else self.usage
        try:
            if any_autocast():
                with full_precision(inputs):
                    measured = self._run(inputs, shots, generator or self.generator)
            else:  # entering a context costs as much as drawing a random number
                measured = self._run(inputs, shots, generator or self.generator)
        finally:
            if self._jobs:
                usage.jobs += self._jobs
                usage.chip_seconds += self._chip_seconds
        # Once per backend: a subclass that returns other shapes does so at once
        if not self._run_checked:
            check_measured(self, measured, rows, shots)
            self._run_checked = True
        usage.circuits += rows
        usage.shots += rows * shots
        if rows and not self._jobs:
            usage.jobs += 1
        if self._chip_seconds == 0:
            usage.chip_seconds += rows * shots * self._shot_seconds() + self.times.job
        return measured

    def sample(
        self,
        inputs: th.Tensor,
        shots: int = 1,
        generator: np.random.Generator | None = None,
        evaluation: bool = False,
    ) -> th.Tensor:
        """
        Measure every circuit.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param shots: bitstrings per circuit
        :param generator: source of randomness; the backend's own generator by default
        :param evaluation: count circuits and shots as evaluation, not as training
        :return: zeros and ones in the inputs' dtype and on their device: ``(batch, n_qubits)`` for one shot,
            ``(batch, shots, n_qubits)`` for several
        :raises ValueError: if the inputs or ``shots`` are not usable
        :raises BudgetError: if it exceeds a limit, as in every method that runs circuits
        """
        if type(shots) is not int or shots < 1:
            shots = check_int("shots", shots)
        if in_graph(inputs):
            if leaves_graph():
                return _outside(self.sample, inputs, shots, generator, evaluation)
            if is_recorded(inputs):
                self._refuse_draw()
        bits, _ = self._account(_plain(inputs), shots, generator, evaluation)
        return _like(bits[:, 0] if shots == 1 else bits, inputs)

    def expected_bits(
        self, inputs: th.Tensor, shots: int | None = None, generator: np.random.Generator | None = None
    ) -> th.Tensor:
        """
        Compute the probability of reading 1 on every qubit.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param shots: shots per circuit, ``self.shots`` by default; exact backends need none and draw nothing
        :param generator: source of randomness; the backend's own generator by default
        :return: ``(batch, n_qubits)``, in [0, 1]; differentiable in the angles if :attr:`differentiable`
        :raises ValueError: if the inputs are not usable
        """
        shots = 0 if self.exact else (shots or self.shots)
        if in_graph(inputs):
            if leaves_graph():
                return _outside(self.expected_bits, inputs, shots, generator)
            if is_recorded(inputs):
                return self._recorded(inputs).to(inputs)
        return _like(self._account(inputs, shots, generator, evaluation=False)[1], inputs)

    def measure(
        self,
        inputs: th.Tensor,
        draw: bool = True,
        generator: np.random.Generator | None = None,
        evaluation: bool = False,
    ) -> Measurement:
        """
        Run every circuit once and return bits and expected bits of that same run.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param draw: whether to draw a bitstring; without it an exact backend leaves the generator unchanged
        :param generator: source of randomness; the backend's own generator by default
        :param evaluation: count circuits and shots as evaluation, not as training
        :return: the measurement, without gradient
        :raises ValueError: if the inputs are not usable
        """
        shots = int(draw) if self.exact else self.shots
        if in_graph(inputs):
            if leaves_graph():
                return _outside(self.measure, inputs, draw, generator, evaluation)
            if is_recorded(inputs):
                return Measurement(self._refuse_draw() if draw else None, self._recorded(inputs.detach()).to(inputs))
        bits, expected = self._account(_plain(inputs), shots, generator, evaluation)
        return Measurement(_like(bits[:, 0], inputs) if shots > 0 else None, _like(expected, inputs))

    def _recorded(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute expected bits with torch's operations, for a graph that is recorded or transformed, or raise an error. A graph
        neither checks for NaN nor counts circuits.
        """
        raise RuntimeError(
            f"the backend {self.name!r} runs its circuits outside of torch, so they cannot be part of a traced, exported or "
            f'transformed graph; use "statevector" for it (set_backend), whose circuit is part of the graph'
        )

    def _refuse_draw(self) -> NoReturn:
        raise RuntimeError(
            "a drawn bitstring cannot be part of a traced, exported or transformed graph, which would repeat the same bits "
            'for ever; use the readout "mean" or "majority" for it'
        )

    def get_state(self) -> dict[str, Any]:
        """
        Return generator and counters as plain data, to save with a model.

        :return: a dictionary that JSON can hold
        """
        return {
            "generator": self._stream.get_state(),
            "usage": asdict(self.usage),
            "eval_usage": asdict(self.eval_usage),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """
        Restore generator and counters.

        :param state: return value of :meth:`get_state`, possibly of another kind of backend
        """
        self._stream.set_state(state["generator"])
        self.usage = Usage(**state["usage"])
        self.eval_usage = Usage(**state["eval_usage"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.ansatz, self.kwargs), {**self.get_state(), "stream": self._stream}

    def __setstate__(self, state: dict[str, Any]) -> None:
        stream = state.pop("stream", None)
        self.set_state(state)
        self._stream = stream or self._stream


@_disable_dynamo
def _outside(method: Callable[..., Any], *args: Any) -> Any:
    """Call a method outside ``torch.compile``'s graph."""
    return method(*args)


def _plain(inputs: th.Tensor) -> th.Tensor:
    """Without gradient."""
    return inputs.detach() if isinstance(inputs, th.Tensor) and inputs.requires_grad else inputs


def _like(array: Array, inputs: th.Tensor) -> th.Tensor:
    """Convert to the inputs' dtype and device."""
    if isinstance(array, np.ndarray):
        tensor, there = th.from_numpy(array), inputs.is_cpu
    else:
        tensor, there = array, array.device == inputs.device
    return tensor if there and tensor.dtype is inputs.dtype else tensor.to(inputs)


def _rebuild(backend_class: type[Backend], ansatz: Circuit, kwargs: dict[str, Any]) -> Backend:
    """Make a backend from its spec (for pickle and copy)."""
    return backend_class(ansatz, **kwargs)
