"""Qiskit Aer as an independent witness of our own simulator."""

from typing import Any

import numpy as np
import torch as th

from sb3_quantum.backends.base import Backend
from sb3_quantum.circuits import Ansatz


class AerBackend(Backend):
    """
    Every circuit is written as a ``QuantumCircuit``, run by ``qiskit_aer.AerSimulator`` and measured shot by shot.

    :param ansatz: the circuit's shape
    :param shots: shots per circuit when expected bits are estimated
    :param seed: seed of the generator that Aer's own seeds are drawn from
    :param limits: see :class:`~sb3_quantum.backends.Backend`
    :raises ImportError: if qiskit-aer is not installed
    """

    name = "aer"
    exact = False
    differentiable = False

    def __init__(self, ansatz: Ansatz, shots: int = 100, seed: int | None = None, **limits: Any):
        super().__init__(ansatz, shots, seed, **limits)
        try:
            from qiskit_aer import AerSimulator
        except ImportError as error:
            raise ImportError('backend "aer" needs qiskit-aer: pip install "sb3-quantum[aer]"') from error
        self._simulator = AerSimulator(method="statevector")

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[th.Tensor, th.Tensor]:
        rows = inputs.detach().cpu()
        circuits = [self.ansatz.to_qiskit(row) for row in rows]
        if not circuits:
            empty = inputs.new_zeros(0, shots, self.ansatz.n_qubits)
            return empty, empty[:, 0]
        seed = int(generator.integers(2**31))
        result = self._simulator.run(circuits, shots=shots, memory=True, seed_simulator=seed).result()
        # Qiskit prints qubit 0 last
        memory = [[[int(bit) for bit in reversed(shot)] for shot in result.get_memory(i)] for i in range(len(circuits))]
        bits = th.tensor(memory, dtype=inputs.dtype, device=inputs.device)
        return bits, bits.mean(1)
