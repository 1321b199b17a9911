"""
Exact simulation block by block in torch's operations: on any device, in any precision, differentiable any number of times. The
rows' choices determine the blocks, so a circuit's cost follows from its largest block, not from its width. For the same reason
it cannot be traced where rows choose. The compiled engine in :mod:`.split` is faster.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch as th

from sb3_quantum.backends import program_graph
from sb3_quantum.backends.threads import memory_bytes
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.program import Gate, Program

#: amplitudes processed at once
CHUNK = 2**21
#: real numbers per amplitude: the state, its update, and a table of its qubits
NUMBERS = 6
_TURNING = ("r", "rx", "ry", "fixed")


class Blocks(NamedTuple):
    """
    Blocks of one kind and their final states.

    :param rows: the blocks' rows in the batch, ``(n_blocks,)``, int64
    :param qubits: their qubits, in increasing order, ``(n_blocks, size)``, int64
    :param amplitudes: real and imaginary parts, ``(n_blocks, 2, 2**size)``, little-endian in that order
    """

    rows: th.Tensor
    qubits: th.Tensor
    amplitudes: th.Tensor


def _last_turns(program: Program) -> list[int]:
    """
    Find the last gate of each qubit that is not a phase. A two-qubit gate after those of both its qubits does not change a
    measurement.
    """
    last = [-1] * program.n_qubits
    for place, gate in enumerate(program.gates):
        if gate.name in _TURNING:
            last[gate.qubits[0]] = place
    return last


def partition(program: Program, choices: np.ndarray, measured: bool = True) -> list[list[tuple[int, ...]]]:
    """
    Find which qubits become one block.

    :param program: the gates
    :param choices: the qubits that rows choose, ``(batch, n_choices, 2)``
    :param measured: leave out gates that no measurement in Z sees
    :return: for each row its blocks, each as its qubits in increasing order
    """
    last = _last_turns(program)
    pairs = [(place, gate) for place, gate in enumerate(program.gates) if gate.name in ("cz", "rzz")]
    found = []
    for row in choices.tolist():
        block = [[qubit] for qubit in range(program.n_qubits)]
        for place, gate in pairs:
            one, other = gate.qubits if gate.choice is None else row[gate.choice]
            if block[one] is block[other] or (measured and place > last[one] and place > last[other]):
                continue
            joined = block[one] + block[other]
            for qubit in joined:
                block[qubit] = joined
        found.append([tuple(sorted(own)) for qubit, own in enumerate(block) if qubit == min(own)])
    return found


class _Part(NamedTuple):
    """The gates on some qubits, relabelled: number of their kind, and their angles and choices in the whole program."""

    kind: int
    angles: list[int]
    choices: list[int]


class _Parts:
    """Parts of a program, each on qubits that no gate joins with others."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.own: list[list[int]] = [[] for _ in range(program.n_qubits)]
        self.chosen: list[int] = []
        for place, gate in enumerate(program.gates):
            if gate.choice is not None:
                self.chosen.append(place)
            for qubit in gate.qubits[:1]:
                self.own[qubit].append(place)
        self.kinds: dict[tuple[Gate, ...], int] = {}
        self._known: dict[tuple[int, ...], _Part] = {}

    def on(self, qubits: tuple[int, ...]) -> _Part:
        """Return the part on some qubits; it is the same for all rows, so it contains all gates whose qubits rows choose."""
        if qubits not in self._known:
            self._known[qubits] = self._find(qubits)
        return self._known[qubits]

    def _find(self, qubits: tuple[int, ...]) -> _Part:
        order = [place for qubit in qubits for place in self.own[qubit]] + (self.chosen if len(qubits) > 1 else [])
        label = {qubit: at for at, qubit in enumerate(qubits)}
        gates: list[Gate] = []
        angles: list[int] = []
        choices: list[int] = []
        for place in sorted(order):
            gate = self.program.gates[place]
            if not all(qubit in label for qubit in gate.qubits):
                continue  # a gate that no measurement sees
            takes = tuple(range(len(angles), len(angles) + len(gate.angles)))
            angles += gate.angles
            which = None if gate.choice is None else len(choices)
            choices += [] if gate.choice is None else [gate.choice]
            gates.append(replace(gate, qubits=tuple(label[q] for q in gate.qubits), angles=takes, choice=which))
        return _Part(self.kinds.setdefault(tuple(gates), len(self.kinds)), angles, choices)


def blocks(circuit: Circuit, inputs: th.Tensor, measured: bool = True) -> Iterator[Blocks]:
    """
    Run circuits block by block.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
    :param measured: leave out gates that no measurement in Z sees; without this the states are whole
    :return: the blocks of all rows, those of one kind together; differentiable in the angles
    :raises ValueError: if a block does not fit into this machine's memory; it names the row and the block
    """
    program, wrapped = circuit.program, circuit.wrap(inputs)
    angles = circuit.gate_angles(wrapped).to(inputs.dtype)
    chosen = circuit.choices(wrapped).cpu().numpy() if program.n_choices else np.empty((len(inputs), 0, 2), np.int64)
    parts = _Parts(program)
    members: dict[int, list[tuple[int, tuple[int, ...], _Part]]] = defaultdict(list)
    for row, found in enumerate(partition(program, chosen, measured)):
        for own in found:
            _check_memory(program, own, row, inputs)
            part = parts.on(own)
            members[part.kind].append((row, own, part))
    for gates, kind in parts.kinds.items():
        _, own, part = members[kind][0]
        small = Program(len(own), gates, len(part.angles), len(part.choices))
        step = max(CHUNK >> len(own), 1)
        for start in range(0, len(members[kind]), step):
            yield _run(small, members[kind][start : start + step], angles, chosen)


def _run(program: Program, members: list[tuple[int, tuple[int, ...], _Part]], angles: th.Tensor, chosen: np.ndarray) -> Blocks:
    """Run blocks of one kind."""
    rows, qubits = np.array([row for row, _, _ in members]), np.array([own for _, own, _ in members])
    columns = np.array([part.angles for _, _, part in members], np.int64).reshape(len(members), program.n_angles)
    pairs = np.array([part.choices for _, _, part in members], np.int64).reshape(len(members), program.n_choices)
    pairs = _relabelled(chosen[rows[:, None], pairs], qubits)
    there = th.as_tensor(rows, device=angles.device)
    taken = angles[there[:, None], th.as_tensor(columns, device=angles.device)]
    state = program_graph.evolve(program, taken, th.as_tensor(pairs).flatten(1).to(angles))
    return Blocks(there, th.as_tensor(qubits, device=angles.device), state)


def _relabelled(pairs: np.ndarray, qubits: np.ndarray) -> np.ndarray:
    """Return pairs of qubits, ``(n_blocks, n_choices, 2)``, by their places in blocks; ``(0, 0)`` for qubits outside."""
    same = pairs[..., None] == qubits[:, None, None, :]
    place, inside = same.argmax(-1), same.any(-1).all(-1, keepdims=True)
    return np.where(inside, place, 0)


def _check_memory(program: Program, qubits: tuple[int, ...], row: int, inputs: th.Tensor) -> None:
    needed, available = 2 ** len(qubits) * (NUMBERS * inputs.element_size() + len(qubits)), memory_bytes()
    if needed > available:
        raise ValueError(
            f"{len(qubits)} of n_qubits={program.n_qubits} become one block of row {row}, whose state and workspace need "
            f"{needed / 2**30:,.0f} GiB, but this machine has {available / 2**30:,.0f} GiB of memory; use fewer layers or "
            f"two-qubit gates, or another backend"
        )


def measure(circuit: Circuit, inputs: th.Tensor, uniforms: np.ndarray | None = None) -> tuple[th.Tensor, th.Tensor]:
    """
    Measure circuits.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision, finite
    :param uniforms: random numbers in [0, 1), ``(batch, shots)``; each block derives its own from it and the block's first
        qubit. Without them no bits are drawn
    :return: bits ``(batch, shots, n_qubits)``, and probabilities of reading 1, ``(batch, n_qubits)``, differentiable in the
        angles; both of the inputs' type
    """
    batch, n_qubits = len(inputs), circuit.n_qubits
    shots = 0 if uniforms is None else uniforms.shape[1]
    bits = inputs.new_zeros(batch, shots, n_qubits)
    places, shares = [], []
    for rows, qubits, amplitudes in blocks(circuit, inputs):
        probabilities = amplitudes.square().sum(1)
        table = program_graph.bit_table(qubits.shape[1], probabilities)
        places.append((rows[:, None] * n_qubits + qubits).flatten())
        shares.append((probabilities @ table.T).flatten())
        if uniforms is not None and shots:
            fresh = _fresh(uniforms[rows.cpu().numpy()], qubits[:, :1].cpu().numpy())
            cumulative = probabilities.detach().double().cumsum(1)
            drawn = th.as_tensor(fresh, device=inputs.device) * cumulative[:, -1:]
            state = th.searchsorted(cumulative, drawn, right=True).clamp_(max=cumulative.shape[1] - 1)
            for at in range(qubits.shape[1]):
                bits[rows, :, qubits[:, at]] = ((state >> at) & 1).to(bits.dtype)
    if not shares:
        # No rows, but a graph to the inputs
        return bits, inputs[:, :n_qubits].clone()
    order = th.cat(places).argsort()
    return bits, th.cat(shares)[order].reshape(batch, n_qubits).clamp(0, 1)


def expected_bits(circuit: Circuit, inputs: th.Tensor) -> th.Tensor:
    """
    Compute expected bits of a circuit in which rows choose no qubits, so that its blocks are the same in all rows and it can
    be traced.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
    :return: ``(batch, n_qubits)``, in [0, 1]
    """
    program = circuit.program
    angles = circuit.gate_angles(circuit.wrap(inputs)).to(inputs.dtype)
    parts, shares = _Parts(program), []
    order: list[int] = []
    for own in partition(program, np.empty((1, 0, 2), np.int64))[0]:
        _check_memory(program, own, 0, inputs)
        part = parts.on(own)
        small = Program(len(own), list(parts.kinds)[part.kind], len(part.angles))
        state = program_graph.evolve(small, angles[:, part.angles], angles[:, :0])
        shares.append(th.matmul(state.square().sum(1), program_graph.bit_table(len(own), state).t()))
        order += own
    return th.cat(shares, dim=1)[:, np.argsort(order)].clamp(0, 1)


def _fresh(uniforms: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Derive further numbers in [0, 1), as :func:`sb3_quantum.backends.split._fresh` does."""
    with np.errstate(over="ignore"):
        word = (uniforms * 2.0**53).astype(np.uint64) + count.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((word ^ (word >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
