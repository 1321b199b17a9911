"""Circuits with open angles, one for every structure."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


class Bound(NamedTuple):
    """
    Rows of a batch that share a circuit.

    :param circuit: a circuit with open parameters
    :param rows: numbers of the rows in the batch, ``(n,)``
    :param values: values of the circuit's parameters, in their order, ``(n, n_parameters)``, in radians
    """

    circuit: "QuantumCircuit"
    rows: np.ndarray
    values: np.ndarray


class TemplateCache:
    """
    Cache of transpiled circuits, one per structure.

    Transpiling takes far longer than binding angles, and depends only on a row's structure (for the paper's circuit: its CZ
    indices). The least recently used circuits are dropped.

    :param ansatz: the circuit's shape
    :param transpile: applied once to every new circuit
    :param maxsize: number of circuits to keep
    """

    def __init__(self, ansatz: Circuit, transpile: "Callable[[QuantumCircuit], QuantumCircuit]", maxsize: int = 256):
        self.ansatz = ansatz
        self.transpile = transpile
        self.maxsize = maxsize
        #: rows whose circuit was in the cache, and rows for which it was made
        self.hits = self.misses = 0
        self._circuits: OrderedDict[Hashable, QuantumCircuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._circuits)

    @property
    def hit_rate(self) -> float:
        """Share of the rows so far whose circuit was in the cache, in [0, 1]."""
        return self.hits / max(self.hits + self.misses, 1)

    def bind(self, inputs: th.Tensor) -> list[Bound]:
        """
        Sort a batch by circuit.

        :param inputs: checked circuit inputs, ``(batch, n_inputs)``
        :return: all rows of the batch, one part per structure
        """
        inputs = inputs.detach().cpu()
        angles = self.ansatz.wrap_angles(self.ansatz.split(inputs)[0]).numpy().astype(float)
        rows: dict[Hashable, list[int]] = {}
        for row, structure in enumerate(self.ansatz.structures(inputs)):
            rows.setdefault(structure, []).append(row)
        parts = []
        for structure, members in rows.items():
            circuit = self._circuit(structure, len(members))
            # Transpiling may remove gates that do not change a measurement, and their parameters
            columns = [parameter.index for parameter in circuit.parameters]
            parts.append(Bound(circuit, np.array(members), angles[np.ix_(members, columns)]))
        return parts

    def _circuit(self, structure: Hashable, rows: int) -> "QuantumCircuit":
        if structure in self._circuits:
            self.hits += rows
            self._circuits.move_to_end(structure)
        else:
            self.hits, self.misses = self.hits + rows - 1, self.misses + 1
            self._circuits[structure] = self.transpile(self.ansatz.template(structure))
            if len(self._circuits) > self.maxsize:
                self._circuits.popitem(last=False)
        return self._circuits[structure]
