"""Circuits with open angles, one for every pattern of CZ gates that comes along."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch as th

from sb3_quantum.circuits import Ansatz

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


class Bound(NamedTuple):
    """
    Rows of a batch that share a circuit.

    :param circuit: with open parameters
    :param rows: which rows of the batch, ``(n,)``
    :param values: of the circuit's parameters, in their order, ``(n, n_parameters)``, in radians
    """

    circuit: "QuantumCircuit"
    rows: np.ndarray
    values: np.ndarray


class TemplateCache:
    """
    Transpiling takes far longer than binding angles, and what has to be transpiled depends on the CZ indices only. The least
    recently used circuits are forgotten.

    :param ansatz: the circuit's shape
    :param transpile: what is done once to every new circuit
    :param maxsize: how many circuits are kept
    """

    def __init__(self, ansatz: Ansatz, transpile: "Callable[[QuantumCircuit], QuantumCircuit]", maxsize: int = 256):
        self.ansatz = ansatz
        self.transpile = transpile
        self.maxsize = maxsize
        #: rows whose circuit was there already, and those for which it was made
        self.hits = self.misses = 0
        self._circuits: OrderedDict[tuple[tuple[int, int], ...], QuantumCircuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._circuits)

    @property
    def hit_rate(self) -> float:
        """Share of the rows so far whose circuit was there already, in [0, 1]."""
        return self.hits / max(self.hits + self.misses, 1)

    def bind(self, inputs: th.Tensor) -> list[Bound]:
        """
        Sort a batch by circuit.

        :param inputs: checked circuit inputs, ``(batch, n_inputs)``
        :return: every row of the batch, in as few parts as there are patterns
        """
        theta, phi, index = (part.detach().cpu().numpy() for part in self.ansatz.gates(inputs))
        angles = np.stack([theta, phi], axis=-1).reshape(len(inputs), -1).astype(float)
        rows: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for row, layers in enumerate(index.tolist()):
            # A CZ is symmetric, and none where both ends are one qubit
            pattern = tuple((min(i, j), max(i, j)) if i != j else (0, 0) for i, j in layers)
            rows.setdefault(pattern, []).append(row)
        parts = []
        for pattern, members in rows.items():
            circuit = self._circuit(pattern, len(members))
            # Transpiling may remove what cannot be measured, and its parameters with it
            columns = [parameter.index for parameter in circuit.parameters]
            parts.append(Bound(circuit, np.array(members), angles[np.ix_(members, columns)]))
        return parts

    def _circuit(self, pattern: tuple[tuple[int, int], ...], rows: int) -> "QuantumCircuit":
        if pattern in self._circuits:
            self.hits += rows
            self._circuits.move_to_end(pattern)
        else:
            self.hits, self.misses = self.hits + rows - 1, self.misses + 1
            self._circuits[pattern] = self.transpile(self.ansatz.template(pattern))
            if len(self._circuits) > self.maxsize:
                self._circuits.popitem(last=False)
        return self._circuits[pattern]
