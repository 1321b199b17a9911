"""Storage for pairs of circuit input and output, row by row."""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.common.copying import to_device


class CircuitField:
    """
    Storage for (circuit input, circuit output) pairs, 440 bytes per pair for the paper's circuit.

    Wrapped angles are float16 (half a unit in the last place is at most 0.001 rad), indices uint8, bits uint8 and expected
    bits float16.

    Unwritten rows are zeros, which is a valid pair of the paper's circuit: without rotations it gives the bits 0.

    :param ansatz: the circuit
    :param shape: ``(buffer_size, n_envs)``
    :param output_dtype: ``np.uint8`` for bits, ``np.float16`` for expected bits
    """

    def __init__(self, ansatz: Circuit, shape: tuple[int, int], output_dtype: type[np.generic]):
        self.ansatz = ansatz
        self.angles = np.zeros((*shape, ansatz.n_angles), dtype=np.float16)
        self.indices = np.zeros((*shape, ansatz.n_indices), dtype=ansatz.index_dtype)
        self.outputs = np.zeros((*shape, ansatz.n_qubits), dtype=output_dtype)

    @property
    def nbytes(self) -> int:
        """Memory in bytes when every row is written."""
        return self.angles.nbytes + self.indices.nbytes + self.outputs.nbytes

    def store(self, row: int, inputs: th.Tensor, outputs: th.Tensor) -> None:
        """
        Write one row: one pair for every environment.

        :param row: position in the buffer
        :param inputs: circuit inputs, ``(n_envs, n_inputs)``
        :param outputs: bits or expected bits, ``(n_envs, n_qubits)``
        """
        self.angles[row], self.indices[row] = self.ansatz.pack(inputs)
        self.outputs[row] = outputs.cpu().numpy()

    def gather(self, rows: np.ndarray, envs: np.ndarray) -> list[th.Tensor]:
        """
        Read pairs as they are stored.

        :param rows: positions in the buffer, ``(batch,)``
        :param envs: environment of each, ``(batch,)``
        :return: angles, indices and outputs, on the CPU
        """
        return [th.from_numpy(field[rows, envs]) for field in (self.angles, self.indices, self.outputs)]

    def unpack(self, parts: Sequence[th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
        """
        Unpack stored pairs into circuit inputs and outputs.

        :param parts: return value of :meth:`gather`, on any device
        :return: circuit inputs ``(batch, n_inputs)`` and outputs ``(batch, n_qubits)``, float32
        """
        angles, indices, outputs = parts
        return self.ansatz.unpack(angles, indices), outputs.float()

    def load(self, rows: np.ndarray, envs: np.ndarray, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """
        Read pairs.

        :param rows: positions in the buffer, ``(batch,)``
        :param envs: environment of each, ``(batch,)``
        :param device: device of the tensors
        :return: see :meth:`unpack`
        """
        return self.unpack(to_device(self.gather(rows, envs), device))
