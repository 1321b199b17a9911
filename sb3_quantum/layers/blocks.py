"""The blocks that the paper puts in the circuit's place to ask what the circuit contributes (its block swap)."""

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.backends import Measurement
from sb3_quantum.circuits import Ansatz
from sb3_quantum.layers.readout import read

#: every value of the policy's ``block``: the circuit, and what can stand in its place
BLOCKS = ("pqc", "fc", "rbg", "zeros")


class FCBlock(nn.Module):
    """
    FC: a fully connected linear map in the circuit's place, 220 -> 10 for the paper's sizes.

    :param ansatz: the shape of the circuit it replaces
    """

    #: whether the block looks at the values of its inputs, or only at how many rows there are
    reads_inputs = True

    def __init__(self, ansatz: Ansatz):
        super().__init__()
        self.linear = nn.Linear(ansatz.n_inputs, ansatz.n_qubits)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: without meaning here: nothing is measured
        :param generator: unused
        :return: ``(batch, n_qubits)``
        """
        return self.linear(inputs)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: the block itself, ``(batch, n_qubits)``: it is differentiable as it is
        """
        return self.linear(inputs)


class RBGBlock(nn.Module):
    """
    RBG: a random bit generator in the circuit's place. Its bits are uniform and know nothing of the inputs.

    :param ansatz: the shape of the circuit it replaces
    """

    reads_inputs = False

    def __init__(self, ansatz: Ansatz):
        super().__init__()
        self.ansatz = ansatz
        self.generator = np.random.default_rng(int(th.randint(2**62, ())))

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``, the latter two of probabilities 1/2
        :param generator: where the bits come from; the block's own generator by default
        :return: ``(batch, n_qubits)``
        """
        half = inputs.new_full((len(inputs), self.ansatz.n_qubits), 0.5)
        bits = None
        if readout == "sample":
            draws = (generator or self.generator).integers(2, size=tuple(half.shape))
            bits = th.as_tensor(draws, dtype=half.dtype, device=half.device)
        return read(Measurement(bits, half), readout)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: fresh random bits from torch's generator, ``(batch, n_qubits)``, without gradient
        """
        return th.randint(2, (len(inputs), self.ansatz.n_qubits), device=inputs.device).to(inputs.dtype)


class ZerosBlock(nn.Module):
    """
    0L: zeros in the circuit's place, so that everything has to pass through the classical links.

    :param ansatz: the shape of the circuit it replaces
    """

    reads_inputs = False

    def __init__(self, ansatz: Ansatz):
        super().__init__()
        self.ansatz = ansatz

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: without meaning here: nothing is measured
        :param generator: unused
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(len(inputs), self.ansatz.n_qubits)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(len(inputs), self.ansatz.n_qubits)


def make_block(name: str, ansatz: Ansatz) -> "FCBlock | RBGBlock | ZerosBlock":
    """
    Make a classical block from its name.

    :param name: one of :data:`BLOCKS` but ``"pqc"``, which is a :class:`~sb3_quantum.layers.quantum_layer.QuantumLayer`
    :param ansatz: the shape of the circuit it replaces
    :return: a module that maps ``(batch, n_inputs)`` to ``(batch, n_qubits)``
    """
    blocks: dict[str, type[FCBlock | RBGBlock | ZerosBlock]] = {"fc": FCBlock, "rbg": RBGBlock, "zeros": ZerosBlock}
    return blocks[name](ansatz)
