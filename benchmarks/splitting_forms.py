"""
Simulators that do not store all basis states: peers that keep separate qubits apart, and a matrix product state. They have
forms as in ``simulator_forms.py``.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
from simulator_forms import AerCircuits, Form, Pattern

from sb3_quantum.circuits import PaperCircuit


class PrismQ(Form):
    engine, form, package, most = "prism-q", "CircuitBuilder, run by the factored backend", "prism_q", math.inf

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        import prism_q

        self.prism, self.kind = prism_q, prism_q.BackendKind.factored()

    def build(self, inputs: th.Tensor) -> Any:
        return [self.circuit(*row) for row in zip(self.patterns, *self.angles(inputs), strict=True)]

    def circuit(self, pattern: Pattern, theta: Any, phi: Any) -> Any:
        """Build one circuit with its measurement."""
        builder, quarter = self.prism.CircuitBuilder(self.n_qubits, self.n_qubits), math.pi / 2
        u, cz = builder.u, builder.cz
        for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
            for qubit in range(self.n_qubits):
                u(thetas[qubit], phis[qubit] - quarter, quarter - phis[qubit], qubit)
            if i != j:
                cz(i, j)
        builder.measure_all()
        return builder.build()

    def run(self, built: Any) -> np.ndarray:
        seeds = self.generator.integers(2**32, size=len(built)).tolist()
        simulate, kind = self.prism.simulate, self.kind
        outcomes = [simulate(circuit).backend(kind).seed(seed).run() for circuit, seed in zip(built, seeds, strict=True)]
        return np.array([outcome.classical_bits for outcome in outcomes])

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        qubits = list(range(self.n_qubits))
        return np.array(
            [self.prism.simulate(circuit).backend(self.kind).probabilities_of(qubits) for circuit in self.unmeasured(inputs)]
        )

    def unmeasured(self, inputs: th.Tensor) -> list[Any]:
        """Build the circuits without their measurement, to compare their states."""
        circuits = []
        for measured in self.build(inputs):
            text = [line for line in measured.to_qasm().splitlines() if "measure" not in line]
            circuits.append(self.prism.parse_qasm("\n".join(text)))
        return circuits


class PrismQBatch(PrismQ):
    #: one seed for all of them, which no training could use
    form = "CircuitBuilder, run_batch on the factored backend"

    def run(self, built: Any) -> np.ndarray:
        outcomes = self.prism.run_batch(built, self.kind, seed=int(self.generator.integers(2**32)))
        return np.array([outcome.classical_bits for outcome in outcomes])


class PyQrack(Form):
    engine, form, package, most = "pyqrack", "QrackSimulator, gate by gate", "pyqrack", math.inf
    options: ClassVar[dict[str, Any]] = {}

    def build(self, inputs: th.Tensor) -> Any:
        return list(zip(self.patterns, *self.angles(inputs), strict=True))

    def state(self, pattern: Pattern, theta: Any, phi: Any) -> Any:
        """One circuit, run."""
        from pyqrack import QrackSimulator

        simulator, quarter = QrackSimulator(self.n_qubits, is_gpu=False, **self.options), math.pi / 2
        u = simulator.u
        for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
            for qubit in range(self.n_qubits):
                u(qubit, thetas[qubit], phis[qubit] - quarter, quarter - phis[qubit])
            if i != j:
                simulator.mcz([i], j)
        return simulator

    def run(self, built: Any) -> np.ndarray:
        rows = []
        for circuit in built:
            simulator = self.state(*circuit)
            if self.n_qubits <= 64:
                rows.append(self.bits([simulator.m_all()])[0])
            else:  # its measurement of all qubits at once ends the process
                rows.append(np.array([simulator.m(qubit) for qubit in range(self.n_qubits)], dtype=int))
        return np.array(rows)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return np.array([self.state(*circuit).out_probs() for circuit in self.build(inputs)])


class PyQrackHybrid(PyQrack):
    form, options = "QrackSimulator with stabilizers, gate by gate", {"is_stabilizer_hybrid": True}


class AerProductState(AerCircuits):
    engine, form, method = "aer_mps", "list of circuits, matrix product states", "matrix_product_state"

    @classmethod
    def takes(cls, n_qubits: int, batch: int) -> bool:
        """Take part where Aer's statevector is slower or cannot run; a whole batch would take minutes."""
        return n_qubits >= 20 and batch <= 8


SPLITTING_FORMS: list[type[Form]] = [PrismQ, PrismQBatch, PyQrack, PyQrackHybrid, AerProductState]
