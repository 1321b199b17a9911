"""What every backend does, and what it can rely on."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th

from sb3_quantum.circuits import Ansatz


class Measurement(NamedTuple):
    """
    What running a batch of circuits gave.

    :param bits: one measured bitstring per circuit, ``(batch, n_qubits)``, zeros and ones in the inputs' dtype;
        column m is qubit m. ``None`` if no draw was asked for (exact backends only).
    :param expected_bits: probability of reading 1, ``(batch, n_qubits)``: exact where the backend knows it,
        otherwise the mean over the shots.
    """

    bits: th.Tensor | None
    expected_bits: th.Tensor


@dataclass
class Usage:
    """
    What a backend has been asked to do so far.

    :param circuits: circuits run (one per row of a batch)
    :param shots: measured bitstrings, over all circuits
    """

    circuits: int = 0
    shots: int = 0


class CircuitBudgetError(RuntimeError):
    """More circuits were asked for than the backend's ``max_circuits`` allows. Raised before any of them is run."""


class Backend(ABC):
    """
    Runs circuits of one :class:`~sb3_quantum.circuits.Ansatz`.

    A subclass implements :meth:`_run`. All randomness comes from numpy generators: the backend's own one (its state is saved
    with the model) or one that the caller hands in. A backend is pickled and copied as its spec (name and keyword arguments)
    with its generator and counters, so clients, simulators and tokens never end up in a file.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated; exact backends ignore it
    :param seed: seed of the backend's generator; fresh entropy if ``None``
    :param max_circuits: how many circuits may be run in all, in training and evaluation together; no limit if ``None``
    :raises ValueError: if ``shots`` or ``max_circuits`` is not a positive integer
    """

    #: the name under which the backend is registered
    name: ClassVar[str]
    #: whether :meth:`expected_bits` is exact and free of shots
    exact: ClassVar[bool]
    #: whether autograd passes through :meth:`expected_bits`
    differentiable: ClassVar[bool]

    def __init__(self, ansatz: Ansatz, shots: int = 1, seed: int | None = None, max_circuits: int | None = None):
        _check_positive("shots", shots)
        if max_circuits is not None:
            _check_positive("max_circuits", max_circuits)
        self.ansatz = ansatz
        self.shots = shots
        self.max_circuits = max_circuits
        self.generator = np.random.default_rng(seed)
        self.usage = Usage()
        self.eval_usage = Usage()

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that describe this backend: plain data, fit for YAML and a model file."""
        limit = {} if self.max_circuits is None else {"max_circuits": self.max_circuits}
        return {"shots": self.shots, **limit}

    @property
    def circuits_left(self) -> int | None:
        """What remains of ``max_circuits``; ``None`` without a limit."""
        if self.max_circuits is None:
            return None
        return max(self.max_circuits - self.usage.circuits - self.eval_usage.circuits, 0)

    @abstractmethod
    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[th.Tensor, th.Tensor]:
        """
        Run one circuit per row.

        :param inputs: checked circuit inputs, ``(batch, n_inputs)``
        :param shots: how many bitstrings to draw per circuit; 0 (exact backends only) draws none
        :param generator: where the randomness comes from
        :return: bits ``(batch, shots, n_qubits)`` and expected bits ``(batch, n_qubits)``
        """

    def seed(self, seed: int | None) -> None:
        """
        Start the backend's generator anew.

        :param seed: the seed; fresh entropy if ``None``
        """
        self.generator = np.random.default_rng(seed)

    def _count(self, circuits: int, shots: int, evaluation: bool) -> None:
        left = self.circuits_left
        if left is not None and circuits > left:
            raise CircuitBudgetError(
                f"{circuits} circuits were asked for, but only {left} of max_circuits={self.max_circuits} are left; "
                f"none of them was run"
            )
        usage = self.eval_usage if evaluation else self.usage
        usage.circuits += circuits
        usage.shots += circuits * shots

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
        :param generator: where the randomness comes from; the backend's own generator by default
        :param evaluation: count circuits and shots as evaluation, not as training
        :return: zeros and ones in the inputs' dtype and on their device: ``(batch, n_qubits)`` for one shot,
            ``(batch, shots, n_qubits)`` for several
        :raises ValueError: if the inputs or ``shots`` are not usable
        :raises CircuitBudgetError: as all that runs circuits, if they are more than are left of ``max_circuits``
        """
        _check_positive("shots", shots)
        self.ansatz.check(inputs)
        self._count(len(inputs), shots, evaluation)
        with th.no_grad():
            bits, _ = self._run(inputs, shots, generator or self.generator)
        return bits[:, 0] if shots == 1 else bits

    def expected_bits(
        self, inputs: th.Tensor, shots: int | None = None, generator: np.random.Generator | None = None
    ) -> th.Tensor:
        """
        Probability of reading 1 on every qubit.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param shots: shots per circuit, ``self.shots`` by default; exact backends need none and draw nothing
        :param generator: where the randomness comes from; the backend's own generator by default
        :return: ``(batch, n_qubits)``, in [0, 1]; differentiable in the angles where :attr:`differentiable` says so
        :raises ValueError: if the inputs are not usable
        """
        self.ansatz.check(inputs)
        shots = 0 if self.exact else (shots or self.shots)
        self._count(len(inputs), shots, evaluation=False)
        return self._run(inputs, shots, generator or self.generator)[1]

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
        :param draw: whether a bitstring is wanted; an exact backend asked for none does not touch the generator
        :param generator: where the randomness comes from; the backend's own generator by default
        :param evaluation: count circuits and shots as evaluation, not as training
        :return: the measurement, without gradient
        :raises ValueError: if the inputs are not usable
        """
        self.ansatz.check(inputs)
        shots = int(draw) if self.exact else self.shots
        self._count(len(inputs), shots, evaluation)
        with th.no_grad():
            bits, expected = self._run(inputs, shots, generator or self.generator)
        return Measurement(bits[:, 0] if shots > 0 else None, expected)

    def get_state(self) -> dict[str, Any]:
        """
        Generator and counters as plain data, to be saved with a model.

        :return: a dictionary that JSON can hold
        """
        return {
            "generator": self.generator.bit_generator.state,
            "usage": asdict(self.usage),
            "eval_usage": asdict(self.eval_usage),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """
        The inverse of :meth:`get_state`.

        :param state: what it returned, possibly from a backend of another kind
        """
        self.generator = np.random.default_rng()
        self.generator.bit_generator.state = state["generator"]
        self.usage = Usage(**state["usage"])
        self.eval_usage = Usage(**state["eval_usage"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.ansatz, self.kwargs), self.get_state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.set_state(state)


def _check_positive(name: str, value: int) -> None:
    """Refuse what is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def _rebuild(backend_class: type[Backend], ansatz: Ansatz, kwargs: dict[str, Any]) -> Backend:
    """Make a backend from its spec (for pickle and copy)."""
    return backend_class(ansatz, **kwargs)
