"""Storage for pairs of circuit input and output, row by row."""

import numpy as np
import torch as th

from sb3_quantum.circuits import Ansatz


class CircuitField:
    """
    Storage for (circuit input, circuit output) pairs, 440 bytes a pair for the paper's circuit: wrapped angles in float16
    (half a unit in the last place is 0.001 rad at most), CZ indices in uint8, outputs in uint8 if they are bits and in float16
    if they are expected bits.

    Unwritten rows are all zeros, which is a true pair: without any rotation the circuit gives the bits 0.

    :param ansatz: the circuit's shape
    :param shape: ``(buffer_size, n_envs)``
    :param output_dtype: ``np.uint8`` for bits, ``np.float16`` for expected bits
    """

    def __init__(self, ansatz: Ansatz, shape: tuple[int, int], output_dtype: type[np.generic]):
        self.ansatz = ansatz
        self.angles = np.zeros((*shape, ansatz.n_angles), dtype=np.float16)
        self.indices = np.zeros((*shape, ansatz.n_indices), dtype=np.uint8)
        self.outputs = np.zeros((*shape, ansatz.n_qubits), dtype=output_dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of memory used when every row is written."""
        return self.angles.nbytes + self.indices.nbytes + self.outputs.nbytes

    def store(self, row: int, inputs: th.Tensor, outputs: th.Tensor) -> None:
        """
        Write one row, that is one pair for every environment.

        :param row: position in the buffer
        :param inputs: circuit inputs, ``(n_envs, n_inputs)``
        :param outputs: bits or expected bits, ``(n_envs, n_qubits)``
        """
        # In numpy: a handful of numbers, for which torch's operations take several times as long
        layers = inputs.cpu().numpy().reshape(len(inputs), self.ansatz.n_layers, self.ansatz.layer_width)
        angles, indices = layers[:, :, :-2], layers[:, :, -2:]
        turns = np.ceil(angles / (2 * np.pi) - 0.5)
        self.angles[row] = np.clip(angles - 2 * np.pi * turns, -np.pi, np.pi).reshape(len(inputs), -1)
        self.indices[row] = np.mod(np.rint(indices), self.ansatz.n_qubits).reshape(len(inputs), -1)
        self.outputs[row] = outputs.cpu().numpy()

    def load(self, rows: np.ndarray, envs: np.ndarray, device: th.device) -> tuple[th.Tensor, th.Tensor]:
        """
        Read pairs.

        :param rows: positions in the buffer, ``(batch,)``
        :param envs: environment of each, ``(batch,)``
        :param device: where the tensors go
        :return: circuit inputs ``(batch, n_inputs)`` and outputs ``(batch, n_qubits)``, float32
        """
        angles, indices, outputs = (
            th.as_tensor(field[rows, envs], device=device) for field in (self.angles, self.indices, self.outputs)
        )
        inputs = th.empty(len(rows), self.ansatz.n_layers, self.ansatz.layer_width, device=device)
        inputs[:, :, :-2] = angles.view(len(rows), self.ansatz.n_layers, -1)
        inputs[:, :, -2:] = indices.view(len(rows), self.ansatz.n_layers, 2)
        return inputs.flatten(1), outputs.float()
