"""FC of the paper's block swap."""

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.layers.blocks.base import Block


class FCBlock(Block):
    """
    FC: a fully connected linear map in the circuit's place, 220 -> 10 for the paper's sizes.

    :param ansatz: the circuit that it replaces
    """

    name = "fc"
    summary = "a fully connected linear map"
    claim = "exact"

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)
        self.linear = nn.Linear(ansatz.n_inputs, ansatz.n_qubits)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Apply the linear map.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: ignored: nothing is measured
        :param generator: unused
        :return: ``(batch, n_qubits)``
        """
        return self.linear(inputs)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Apply the linear map.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :return: ``(batch, n_qubits)``, the same as :meth:`forward`, which is differentiable
        """
        return self.linear(inputs)
