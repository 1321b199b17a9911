"""RBG of the paper's block swap."""

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.layers.blocks.random_bits import RandomBlock


class RBGBlock(RandomBlock):
    """
    RBG: a random bit generator in the circuit's place. Its bits are uniform and do not depend on the inputs.

    Its generator takes its seed from torch's, unless :meth:`seed` is called, and is extra state, as the quantum layer's is.

    :param ansatz: the circuit that it replaces
    """

    name = "rbg"
    summary = "a random bit generator, which does not depend on the state"
    claim = "none"
    reads_inputs = False

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Draw uniform bits, or return their expectation, for a readout.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``, the latter two of probabilities 1/2
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_qubits)``
        """
        return self.read(0.5 + inputs.new_zeros(inputs.shape[0], self.n_outputs), readout, generator)

    def draw(self, probabilities: th.Tensor, generator: np.random.Generator) -> th.Tensor:
        draws = generator.integers(2, size=tuple(probabilities.shape))
        return th.as_tensor(draws, dtype=probabilities.dtype, device=probabilities.device)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Draw uniform bits.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :return: fresh random bits from torch's generator, ``(batch, n_qubits)``, without gradient
        """
        return th.randint(2, (inputs.shape[0], self.n_outputs), device=inputs.device).to(inputs.dtype)
