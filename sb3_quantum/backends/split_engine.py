"""The split engine: from a program and arrays of angles to bits, expected bits and gradients, see :mod:`.split`."""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
import torch as th

from sb3_quantum.backends import split
from sb3_quantum.backends.threads import in_shares, memory_bytes
from sb3_quantum.circuits.program import KINDS, Program
from sb3_quantum.circuits.waiting import PATIENCE, announce, duration
from sb3_quantum.circuits.wording import counted

#: nanoseconds of work that justify another thread
THREAD_WORK = 250_000
#: nanoseconds: of a gate on one qubit, of a two-qubit gate, and of a two-qubit gate per amplitude
GATE_WORK, PAIR_WORK, AMPLITUDE_WORK = 14, 100, 0.6
#: time of a gradient in units of a measurement's
GRADIENT_WORK = 3
#: numbers per amplitude: the state, sums of probabilities, and their order
NUMBERS = 5


#: no qubits that rows choose
_NONE = np.empty((0, 0, 2), np.int64)


class _Kernels(NamedTuple):
    """A program in the form of the kernels, see :func:`sb3_quantum.backends.split.measure`."""

    angle_columns: np.ndarray
    gates: np.ndarray
    fixed: np.ndarray
    last: np.ndarray
    columns: np.ndarray


def _read(program: Program, angle_columns: np.ndarray | None, choice_columns: np.ndarray | None, kind: str) -> _Kernels:
    arrays = program.arrays
    fixed = arrays.kind == KINDS.index("fixed")
    diagonal = np.isin(arrays.kind, [KINDS.index(name) for name in ("rz", "cz", "rzz")])
    diagonal |= fixed & (arrays.fixed[:, 1:3] == 0).all(1)
    gates = np.stack([arrays.kind, arrays.first, arrays.second, arrays.angle, arrays.choice, diagonal], axis=1)
    last = np.full(program.n_qubits, -1, np.int64)
    for place in np.flatnonzero(~diagonal):
        last[arrays.first[place]] = place
    return _Kernels(
        np.arange(program.n_angles) if angle_columns is None else np.asarray(angle_columns, np.int64),
        np.ascontiguousarray(gates, np.int64),
        arrays.fixed.astype(kind),
        last,
        np.empty((0, 2), np.int64) if choice_columns is None else np.asarray(choice_columns, np.int64).reshape(-1, 2),
    )


class SplitEngine:
    """
    Run a program of gates on the CPU, in single or double precision, with separate blocks for qubits that no two-qubit gate
    has joined.

    Time and memory of a row depend on its largest block, not on the number of qubits. A row's results depend neither on other
    rows nor on the number of threads.

    :param program: the gates
    :param angle_columns: columns of the program's angles in the inputs; by default the inputs are these angles
    :param choice_columns: columns of the qubits that rows choose, as numbers that are rounded and taken modulo ``n_qubits``,
        ``(n_choices, 2)``; by default they are a separate array
    """

    def __init__(
        self, program: Program, angle_columns: np.ndarray | None = None, choice_columns: np.ndarray | None = None
    ) -> None:
        self.program = program
        self._of = {kind: _read(program, angle_columns, choice_columns, kind) for kind in "fd"}
        self._kernels = self._of["f"]
        self._chooses = choice_columns is None and program.n_choices > 0
        columns = np.concatenate([self._kernels.angle_columns, self._kernels.columns.ravel()])
        self._width = int(columns.max(initial=-1)) + 1
        self._work = self._row_work()
        # Number of rows from which a gradient on one thread takes long
        self._long = PATIENCE * 1e9 / (GRADIENT_WORK * self._work)

    def _row_work(self) -> float:
        """Estimate the nanoseconds of a row, with the qubits that rows choose drawn at random."""
        rng, rows = np.random.default_rng(0), 8 if self.program.n_choices else 1
        total = float(GATE_WORK * len(self.program.gates) * rows)
        for _ in range(rows):
            pairs = rng.integers(self.program.n_qubits, size=(self.program.n_choices, 2))
            blocks = [{qubit} for qubit in range(self.program.n_qubits)]
            for gate in self.program.gates:
                if gate.choice is None and len(gate.qubits) < 2:
                    continue
                one, other = gate.qubits if gate.choice is None else pairs[gate.choice]
                joined = blocks[one] | blocks[other]
                for qubit in joined:
                    blocks[qubit] = joined
                total += PAIR_WORK + AMPLITUDE_WORK * 2.0 ** len(joined)
        return total / rows

    def _threads(self, rows: int) -> int:
        return min(th.get_num_threads(), rows, int(rows * self._work / THREAD_WORK))

    def _check(self, inputs: np.ndarray, choices: np.ndarray | None) -> np.ndarray:
        """Check shapes, which compiled loops do not. Returns the qubits that rows choose."""
        if inputs.shape[1] < self._width:
            raise ValueError(f"inputs must have {self._width} columns or more, got the shape {inputs.shape}")
        if not self._chooses:
            return _NONE
        wanted = (len(inputs), self.program.n_choices, 2)
        if choices is None or choices.shape != wanted:
            raise ValueError(f"choices must have the shape {wanted}, got {None if choices is None else choices.shape}")
        return np.ascontiguousarray(choices, np.int64)

    def measure(
        self, inputs: np.ndarray, choices: np.ndarray | None = None, uniforms: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """
        Measure circuits.

        :param inputs: gate angles in radians, or circuit inputs with ``angle_columns``, ``(batch, n_inputs)``, float32 or
            float64
        :param choices: the qubits that rows choose, ``(batch, n_choices, 2)``, int64
        :param uniforms: random numbers in [0, 1), ``(batch, shots)``, float64; without them no bits are drawn
        :return: bits ``(batch, shots, n_qubits)`` and probabilities of reading 1, ``(batch, n_qubits)``, of the inputs' type;
            ``None`` if an input is NaN or infinite
        :raises ValueError: if a block of a row does not fit into this machine's memory
        """
        rows, n_qubits = len(inputs), self.program.n_qubits
        if uniforms is None:
            uniforms = np.empty((rows, 0))
        chosen, kind = self._check(inputs, choices), inputs.dtype
        bits = np.empty((rows, uniforms.shape[1], n_qubits), kind)
        expected = np.empty((rows, n_qubits), kind)
        answer = self._run(split.measure, inputs, chosen, uniforms, bits, expected)
        return (bits, expected) if answer == split.DONE else None

    def gradient(self, inputs: np.ndarray, choices: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
        """
        Compute the gradient of ``(weights * expected_bits).sum()`` with respect to the inputs.

        :param inputs: as in :meth:`measure`, finite
        :param choices: as in :meth:`measure`
        :param weights: ``(batch, n_qubits)``, of the inputs' type
        :return: ``(batch, n_inputs)``; zero where rows choose qubits
        :raises ValueError: if a block of a row does not fit into this machine's memory
        """
        out = np.empty(inputs.shape, inputs.dtype)
        self._run(split.gradient, inputs, self._check(inputs, choices), weights, out)
        return out

    def _run(self, kernel: Callable[..., int], inputs: np.ndarray, chosen: np.ndarray, *others: np.ndarray) -> int:
        """
        Run a kernel on all threads, or on one if only one of the large blocks fits into memory.

        :param kernel: a kernel of :mod:`.split`
        :param inputs: its first argument
        :param chosen: qubits that rows choose, or no rows at all
        :param others: further arrays with one row per circuit
        :return: the kernel's return value, other than :data:`.split.TOO_LARGE`
        """
        program, rows = self._of[inputs.dtype.char], len(inputs)
        amplitudes = memory_bytes() / (NUMBERS * inputs.itemsize)
        threads = self._threads(rows) if rows > 1 else 1
        if rows > self._long:
            self._announce(rows, threads, kernel is not split.measure)
        if threads > 1:

            def run(share: slice) -> int:
                return kernel(
                    inputs[share], *program, chosen[share], *(array[share] for array in others), amplitudes / threads
                )

            answers = in_shares(run, rows, threads)
            if split.TOO_LARGE not in answers:
                return max(answers)
        answer = kernel(inputs, *program, chosen, *others, amplitudes)
        if answer == split.TOO_LARGE:
            self._refuse(inputs, chosen)
        return answer

    def _announce(self, rows: int, threads: int, gradient: bool) -> None:
        """Announce how long a call will take, if it will take long."""
        seconds = rows * self._work * (GRADIENT_WORK if gradient else 1) * 1e-9 / max(threads, 1)
        if seconds > PATIENCE:
            announce(
                "simulation",
                f"exact simulation of {counted(rows, 'circuit')} of {self.program.n_qubits} qubits at a time takes about "
                f"{duration(seconds)}, if gates join qubits at random; every further joined qubit doubles the time",
            )

    def _refuse(self, inputs: np.ndarray, chosen: np.ndarray) -> NoReturn:
        """Raise an error that names the largest block."""
        kernels, program = self._kernels, self.program
        needed, row, size, place = split.largest(inputs, kernels.gates, kernels.last, kernels.columns, chosen)
        layer = bisect_right(program.layer_ends, place)
        where = f"in circuit layer {layer}" if program.layer_ends else f"at gate {place} ({program.gates[place].name})"
        raise ValueError(
            f"{size} of n_qubits={program.n_qubits} become one block {where} of row {row}, whose state and workspace need "
            f"{needed * NUMBERS * inputs.itemsize / 2**30:,.0f} GiB, but this machine has {memory_bytes() / 2**30:,.0f} GiB "
            f"of memory; use fewer layers or two-qubit gates, or another backend"
        )
