"""0L of the paper's block swap."""

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.layers.blocks.base import Block


class ZerosBlock(Block):
    """
    0L: zeros in the circuit's place, so that everything must pass through the classical links.

    :param ansatz: the circuit that it replaces
    """

    name = "zeros"
    summary = "zeros, so that everything passes through the links"
    claim = "none"
    reads_inputs = False

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Return zeros.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: ignored: nothing is measured
        :param generator: unused
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(inputs.shape[0], self.n_outputs)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return zeros.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(inputs.shape[0], self.n_outputs)
