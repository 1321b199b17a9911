"""The contract of circuits: the meaning of their inputs, and their gates."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch as th

from sb3_quantum.circuits.program import Program
from sb3_quantum.circuits.shift_rule import shift_rule
from sb3_quantum.circuits.tracing import width
from sb3_quantum.circuits.wrapping import wrap_angles
from sb3_quantum.circuits.writer import write_program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from sb3_quantum.circuits.cost import ChipTimes


class Column(NamedTuple):
    """
    One of a circuit's inputs.

    :param kind: ``"angle"``, a real number in radians, or ``"index"``, which is rounded to the number of a qubit
    :param period: adding it leaves the circuit unchanged, in radians or qubits; infinite if there is no period
    :param label: its name, for messages
    :param trained: whether it is a weight of the circuit, the same for every row of a batch, instead of data
    """

    kind: str
    period: float
    label: str
    trained: bool = False


class Circuit(ABC):
    """
    Base class of circuit families: circuits with open inputs, immutable, hashable, and described by plain data. Backends,
    gradients, encodings, replay buffers, costs, drawings and files use only this interface.

    Each row of the inputs, a float tensor ``(batch, n_inputs)``, is one circuit. It starts in the state 0, and all qubits are
    measured in Z at the end. A family is one file: a frozen dataclass with :attr:`columns`, :attr:`program` and
    :attr:`kwargs`, and a line in :data:`~sb3_quantum.circuits.CIRCUITS`, so that files can name it. Trained columns come last.

    :raises ValueError: if an argument of a family is not one of those accepted
    """

    #: the name under which the family is registered
    family: ClassVar[str]
    #: qubits, M in the paper
    n_qubits: int
    #: layers, L in the paper; 1 for a circuit without layers
    n_layers: int

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns of the inputs."""

    @property
    @abstractmethod
    def program(self) -> Program:
        """The gates."""

    @property
    @abstractmethod
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that make this circuit, as plain data for YAML and model files."""

    @cached_property
    def angle_columns(self) -> np.ndarray:
        """Numbers of the angle columns, ``(n_angles,)``, int64."""
        return np.array([place for place, column in enumerate(self.columns) if column.kind == "angle"], dtype=np.int64)

    @cached_property
    def index_columns(self) -> np.ndarray:
        """Numbers of the index columns, ``(n_indices,)``, int64."""
        return np.array([place for place, column in enumerate(self.columns) if column.kind == "index"], dtype=np.int64)

    @cached_property
    def periods(self) -> np.ndarray:
        """The angles' periods in radians, ``(n_angles,)``, float64."""
        return np.array([self.columns[place].period for place in self.angle_columns])

    @cached_property
    def n_inputs(self) -> int:
        """Number of inputs of one circuit: 220 for the paper's 10 qubits and 10 layers."""
        return len(self.columns)

    @cached_property
    def n_angles(self) -> int:
        """Number of angles among the inputs: 200 for the paper's circuit."""
        return len(self.angle_columns)

    @cached_property
    def n_indices(self) -> int:
        """Number of indices among the inputs: 20 for the paper's circuit."""
        return len(self.index_columns)

    @cached_property
    def n_weights(self) -> int:
        """Number of trained weights among the inputs: 0 for the paper's circuit."""
        return sum(column.trained for column in self.columns)

    @property
    def n_data(self) -> int:
        """Number of inputs that encode the observation; they come first."""
        return self.n_inputs - self.n_weights

    @property
    def spec(self) -> dict[str, Any]:
        """Family and keyword arguments, from which :func:`~sb3_quantum.circuits.make_circuit` makes the same circuit."""
        return {"circuit": self.family, "circuit_kwargs": self.kwargs}

    def split(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Split inputs into angles and (unrounded) indices.

        :param inputs: ``(batch, n_inputs)``
        :return: angles ``(batch, n_angles)`` in radians and indices ``(batch, n_indices)``
        """
        if self.n_indices == 0:
            return inputs, inputs[:, :0]
        return inputs[:, self._places("angle_columns", inputs)], inputs[:, self._places("index_columns", inputs)]

    def join(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        """
        Join angles and indices, the inverse of :meth:`split`.

        :param angles: ``(batch, n_angles)`` in radians
        :param indices: ``(batch, n_indices)``
        :return: circuit inputs ``(batch, n_inputs)``, in the dtype of the angles
        """
        if self.n_indices == 0:
            return angles
        order = np.argsort(np.concatenate([self.angle_columns, self.index_columns]))
        return th.cat([angles, indices.to(angles.dtype)], dim=1)[:, th.as_tensor(order, device=angles.device)]

    def _places(self, name: str, like: th.Tensor) -> th.Tensor:
        return th.as_tensor(getattr(self, name), device=like.device)

    def wrap(self, inputs: th.Tensor) -> th.Tensor:
        """
        Wrap inputs: angles into half a period on either side of 0, indices to the number of a qubit. The circuit stays the
        same.

        :param inputs: ``(batch, n_inputs)``, any finite values
        :return: equivalent inputs, ``(batch, n_inputs)``; the gradient passes to the angles unchanged
        """
        angles, indices = self.split(inputs)
        return self.join(self.wrap_angles(angles), self.round_indices(indices))

    def wrap_angles(self, angles: th.Tensor) -> th.Tensor:
        """
        Wrap angles into half a period on either side of 0, ``(-pi, pi]`` for a whole turn.

        Huge finite angles do not overflow; beyond their type's precision the result is arbitrary, but in range. The gradient
        passes unchanged.

        :param angles: angles in radians, ``(..., n_angles)``, any finite value
        :return: equivalent angles in radians, the same shape
        """
        if self._whole_turns:
            return wrap_angles(angles)
        periods = th.as_tensor(self.periods, device=angles.device, dtype=angles.dtype)
        periodic = th.isfinite(periods)
        turns = th.ceil(angles.detach() / periods - 0.5)  # 0 without a period
        wrapped = angles - th.where(periodic, turns * th.where(periodic, periods, 0.0), 0.0)
        half = periods / 2
        return wrapped + (th.minimum(th.maximum(wrapped, -half), half) - wrapped).detach()

    @cached_property
    def _whole_turns(self) -> bool:
        return bool((self.periods == 2 * math.pi).all())

    def round_indices(self, indices: th.Tensor) -> th.Tensor:
        """
        Round real numbers to qubit indices: nearest integer (ties to even), then modulo ``n_qubits``.

        :param indices: any shape, any finite value
        :return: int64 tensor with values in [0, n_qubits), the same shape
        """
        # The remainder comes before the conversion to integers: 1e30 does not fit into one
        rounded = th.round(indices)
        turns = th.floor(rounded / self.n_qubits)
        # The bounds come after it: NaN becomes an arbitrary integer, and such an index would end a process on a GPU
        return th.sub(rounded, turns, alpha=self.n_qubits).long().clamp_(0, self.n_qubits - 1)

    def turns(self, inputs: th.Tensor) -> th.Tensor:
        """
        Scale every input to its period, in radians, for the qtDNN's cosines and sines.

        :param inputs: ``(batch, n_inputs)``
        :return: angles, then indices with ``n_qubits`` as a whole turn, ``(batch, n_inputs)``; angles without a period stay
            unchanged
        """
        angles, indices = self.split(inputs)
        if not self._whole_turns:
            speed = np.where(np.isfinite(self.periods), 2 * math.pi / self.periods, 1.0)
            angles = angles * th.as_tensor(speed, device=angles.device, dtype=angles.dtype)
        return th.cat([angles, indices * (2 * math.pi / self.n_qubits)], dim=1)

    def pack(self, inputs: th.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """
        Pack wrapped inputs into few bytes, for storage.

        :param inputs: ``(batch, n_inputs)``
        :return: angles ``(batch, n_angles)``, float16 (half a unit in the last place is 0.001 rad at most), and indices
            ``(batch, n_indices)`` of the type :attr:`index_dtype`
        """
        # In numpy: for a few numbers, torch's operations take several times as long
        rows = inputs.detach().cpu().numpy()
        angles, indices = rows[:, self.angle_columns], rows[:, self.index_columns]
        periods = self.periods.astype(rows.dtype)
        turns = np.ceil(angles / periods - 0.5)
        if not self._whole_turns:
            turns[:, np.isinf(periods)], periods[np.isinf(periods)] = 0.0, 2 * float(np.finfo(np.float16).max)
        wrapped = np.clip(angles - periods * turns, -periods / 2, periods / 2)
        return wrapped.astype(np.float16), np.mod(np.rint(indices), self.n_qubits).astype(self.index_dtype)

    def unpack(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        """
        Unpack inputs, the inverse of :meth:`pack`.

        :param angles: ``(batch, n_angles)``
        :param indices: ``(batch, n_indices)``
        :return: circuit inputs ``(batch, n_inputs)``, float32
        """
        return self.join(angles.float(), indices.float())

    @property
    def index_dtype(self) -> type[np.unsignedinteger[Any]]:
        """Smallest type that holds the number of a qubit."""
        return np.uint8 if self.n_qubits <= 256 else np.uint16

    @property
    def angle_terms(self) -> tuple[tuple[tuple[int, float], ...] | None, ...]:
        """
        The program's gate angles as sums of the circuit's angles: for each gate angle, pairs of an angle (its place among the
        angle columns) and a factor; ``None`` if a gate angle is not such a sum. By default gate angles are the circuit's
        angles.
        """
        return tuple(((place, 1.0),) for place in range(self.program.n_angles))

    @cached_property
    def is_direct(self) -> bool:
        """Whether the gate angles are the circuit's angles, in their order."""
        return type(self).angle_terms is Circuit.angle_terms

    @cached_property
    def gate_columns(self) -> np.ndarray | None:
        """
        The column of every gate angle, ``(program.n_angles,)``, if each is a column, so that an engine can read it from the
        inputs; ``None`` if one is not.
        """
        return self.angle_columns if self.is_direct else None

    def gate_angles(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute the angles of the program's gates.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: in radians, ``(batch, program.n_angles)``, differentiable
        """
        return self.split(inputs)[0]

    def choices(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return the qubits that every row chooses for its CZ gates.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: ``(batch, program.n_choices, 2)``, int64
        """
        return self.round_indices(self.split(inputs.detach())[1]).reshape(len(inputs), self.program.n_choices, 2)

    def structures(self, inputs: th.Tensor) -> list[Hashable]:
        """
        Return, row by row, everything that is not an angle. A new structure must be transpiled.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: for each row the qubits of its chosen CZ gates, ``(0, 0)`` where there is no gate
        """
        if self.program.n_choices == 0:
            return [()] * len(inputs)
        # A CZ is symmetric, and no gate if both ends are one qubit
        chosen = self.choices(inputs).cpu().sort(dim=2).values
        chosen[chosen[..., 0] == chosen[..., 1]] = 0
        return [tuple(map(tuple, row)) for row in chosen.tolist()]

    def sample_structure(self) -> Hashable:
        """
        Return a possible structure of a row, with a two-qubit gate wherever there can be one.
        """
        return ((0, self.n_qubits - 1),) * self.program.n_choices

    def write(
        self, angles: Sequence[Any], structure: Hashable, measure: bool = True, layers: bool = False
    ) -> "QuantumCircuit":
        """
        Write the circuit as a Qiskit circuit.

        :param angles: angles of the angle columns, ``n_angles`` numbers or Qiskit parameters
        :param structure: one of :meth:`structures`
        :param measure: whether to append ``measure_all()``
        :param layers: whether a barrier, labelled with its number, ends each layer
        :return: a Qiskit circuit; qubit m is column m of the outputs
        """
        return write_program(self.program, angles, structure, measure, layers)

    def template(self, structure: Hashable = ()) -> "QuantumCircuit":
        """
        Write the measured circuit with open angles.

        :param structure: one of :meth:`structures`
        :return: a Qiskit circuit with a parameter vector ``x`` of length ``n_angles``, ordered as in :meth:`split`
        """
        from qiskit.circuit import ParameterVector

        return self.write(list(ParameterVector("x", self.n_angles)), structure)

    def to_qiskit(self, inputs: "th.Tensor | np.ndarray", measure: bool = True, layers: bool = False) -> "QuantumCircuit":
        """
        Write the circuit that is run for these inputs, with its numbers bound.

        :param inputs: ``(n_inputs,)`` or ``(1, n_inputs)``
        :param measure: whether to append ``measure_all()``
        :param layers: whether a barrier, labelled with its number, ends each layer
        :return: a Qiskit circuit; qubit m is column m of the outputs
        :raises ValueError: if more than one circuit, or a circuit of another shape, is given
        """
        row = th.as_tensor(inputs).detach().cpu().reshape(-1, np.shape(inputs)[-1])
        self.check(row)
        if len(row) != 1:
            raise ValueError(f"to_qiskit writes one circuit at a time, got inputs of shape {tuple(row.shape)}")
        angles = self.wrap_angles(self.split(row)[0])[0].tolist()
        return self.write(angles, self.structures(row)[0], measure, layers)

    def shift_rule(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        Return the terms of the parameter-shift rule: ``df/dx[column] = sum of coefficient * f(x + shift at column)``.

        :return: columns (int64), shifts in radians and coefficients (float64), each ``(n_terms,)``; n_terms is 600 for the
            paper's circuit
        :raises ValueError: if the rule does not cover how a column enters the gates; the message names it
        """
        return shift_rule(self.program, self.angle_terms, self.angle_columns, [column.label for column in self.columns])

    @cached_property
    def n_shifted(self) -> int:
        """Number of circuits that the parameter-shift rule runs for one gradient: 600 for the paper's circuit."""
        return len(self.shift_rule()[0])

    def seconds(self, times: "ChipTimes") -> float:
        """
        Compute the chip time of one shot, without readout and reset, along the longest chain of gates that wait for each
        other. One-qubit gates in a row count as one rotation, and all qubits wait for a CZ whose qubits the row chooses.

        :param times: gate times of the chip
        :return: seconds
        """
        return self.program.seconds(times.rotation, times.cz)

    def describe(self) -> dict[str, str]:
        """
        Describe the circuit for model cards.

        :return: texts under ``"gates"`` and ``"inputs"``
        """
        counts = ", ".join(f"{number} {name}" for name, number in self.program.counts().items())
        inputs = f"{self.n_angles} angles" + (f" and {self.n_indices} CZ indices" if self.n_indices else "")
        trained = f", {self.n_weights} of them trained weights, the others" if self.n_weights else ", all of them"
        return {"gates": counts, "inputs": f"{inputs}{trained} from the observation"}

    def check(self, inputs: th.Tensor) -> None:
        """
        Check circuit inputs.

        :param inputs: what was given as circuit inputs
        :raises ValueError: if the shape is not ``(batch, n_inputs)`` or a value is NaN or infinite;
            the message names the input
        """
        self.check_shape(inputs)
        # A finite sum has finite terms and is the cheapest check; a sum of finite terms may still overflow
        if not math.isfinite(inputs.sum().item()):
            self.check_finite(inputs)

    def check_shape(self, inputs: th.Tensor) -> None:
        """
        Check the shape of circuit inputs.

        :param inputs: what was given as circuit inputs
        :raises ValueError: if the shape is not ``(batch, n_inputs)``
        """
        if inputs.dim() != 2 or width(inputs) != self.n_inputs:
            raise ValueError(
                f"circuit inputs must have the shape (batch, {self.n_inputs}) for {self}, got {tuple(inputs.shape)}"
            )

    def check_finite(self, inputs: th.Tensor) -> None:
        """
        Check that circuit inputs are finite.

        :param inputs: inputs of the right shape
        :raises ValueError: if a value is NaN or infinite
        """
        finite = th.isfinite(inputs)
        if not bool(finite.all()):
            row, column = (int(i) for i in th.nonzero(~finite)[0])
            raise ValueError(
                f"circuit inputs must be finite, got {float(inputs[row, column])} for {self.columns[column].label} "
                f"(row {row} of the batch): the network in front of the circuit has diverged or received such a value"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Without cached properties
        fields = getattr(type(self), "__dataclass_fields__", self.__dict__)
        return {name: value for name, value in self.__dict__.items() if name in fields}
