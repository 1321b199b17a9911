"""The blocks that the paper puts in the circuit's place to ask what the circuit contributes (its block swap)."""

from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.backends import Measurement
from sb3_quantum.backends.randomness import Stream
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, check_instance
from sb3_quantum.circuits.tracing import is_recorded
from sb3_quantum.layers.extra_state import is_perturbed, pack_state, seed_of, unpack_state
from sb3_quantum.layers.readout import check_readout, read

#: every value of the policy's ``block``: the circuit, and what can stand in its place
BLOCKS = ("pqc", "fc", "rbg", "zeros")


class FCBlock(nn.Module):
    """
    FC: a fully connected linear map in the circuit's place, 220 -> 10 for the paper's sizes.

    :param ansatz: the shape of the circuit it replaces
    """

    #: whether the block looks at the values of its inputs, or only at how many rows there are
    reads_inputs = True

    def __init__(self, ansatz: Circuit):
        super().__init__()
        check_instance("ansatz", ansatz, Circuit)
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

    Its generator takes its seed from torch's, unless :meth:`seed` is called, and is extra state, as the quantum layer's is.

    :param ansatz: the shape of the circuit it replaces
    """

    reads_inputs = False

    def __init__(self, ansatz: Circuit):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)
        self._stream = Stream(int(th.randint(2**62, ())))

    @property
    def generator(self) -> np.random.Generator:
        """Where the bits come from; another generator in every process that is given a copy of the block."""
        return self._stream.generator

    def seed(self, seed: int | None) -> None:
        """
        Start the block's generator anew.

        :param seed: the seed; fresh entropy if ``None``
        """
        self._stream.seed(seed)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``, the latter two of probabilities 1/2
        :param generator: where the bits come from; the block's own generator by default
        :return: ``(batch, n_qubits)``
        """
        half = 0.5 + inputs.new_zeros(inputs.shape[0], self.ansatz.n_qubits)
        bits = None
        if check_readout("readout", readout) == "sample":
            if is_recorded(inputs):
                raise RuntimeError(
                    "random bits of numpy cannot be part of a traced, exported or transformed graph, which would repeat the "
                    'same ones for ever; use the readout "mean" or "majority" for it'
                )
            draws = (generator or self.generator).integers(2, size=tuple(half.shape))
            bits = th.as_tensor(draws, dtype=half.dtype, device=half.device)
        return read(Measurement(bits, half), readout)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: fresh random bits from torch's generator, ``(batch, n_qubits)``, without gradient
        """
        return th.randint(2, (inputs.shape[0], self.ansatz.n_qubits), device=inputs.device).to(inputs.dtype)

    def get_extra_state(self) -> th.Tensor:
        """
        :return: the generator's state, in the form of the quantum layer's
        """
        return pack_state(self._stream.get_state())

    def set_extra_state(self, state: th.Tensor) -> None:
        """
        :param state: what :meth:`get_extra_state` returned
        """
        if is_perturbed(state):
            self._stream.seed(seed_of(state))
        else:
            self._stream.set_state(unpack_state(state))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Files of version 0.1.0 have no such state: the generator stays as it is
        super()._load_from_state_dict({f"{prefix}_extra_state": self.get_extra_state(), **state_dict}, prefix, *args)


class ZerosBlock(nn.Module):
    """
    0L: zeros in the circuit's place, so that everything has to pass through the classical links.

    :param ansatz: the shape of the circuit it replaces
    """

    reads_inputs = False

    def __init__(self, ansatz: Circuit):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: without meaning here: nothing is measured
        :param generator: unused
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(inputs.shape[0], self.ansatz.n_qubits)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: zeros, ``(batch, n_qubits)``
        """
        return inputs.new_zeros(inputs.shape[0], self.ansatz.n_qubits)


def make_block(name: str, ansatz: Circuit) -> "FCBlock | RBGBlock | ZerosBlock":
    """
    Make a classical block from its name.

    :param name: one of :data:`BLOCKS` but ``"pqc"``, which is a :class:`~sb3_quantum.layers.quantum_layer.QuantumLayer`
    :param ansatz: the shape of the circuit it replaces
    :return: a module that maps ``(batch, n_inputs)`` to ``(batch, n_qubits)``
    :raises ValueError: if the name is unknown
    """
    blocks: dict[str, type[FCBlock | RBGBlock | ZerosBlock]] = {"fc": FCBlock, "rbg": RBGBlock, "zeros": ZerosBlock}
    return blocks[check_choice("block", name, blocks)](ansatz)
