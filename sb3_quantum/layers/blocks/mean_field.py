"""The circuit's mean field as a block: the circuit without correlations between its qubits."""

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.circuits.program import KINDS
from sb3_quantum.circuits.tracing import computable, full_precision, in_graph
from sb3_quantum.layers.blocks.random_bits import RandomBlock
from sb3_quantum.priors import make_prior

#: inputs of the largest circuit whose gates are checked at once
LOOKED_AT = 2**16


class MeanFieldBlock(RandomBlock):
    """
    Replace the circuit by its mean field (:class:`~sb3_quantum.priors.MeanField`).

    The state is treated as a product of single-qubit states after every gate, in closed form: same inputs and number of bits,
    but no entanglement, no simulation and no fit. Where it does as well as the circuit, the circuit is dequantized for that
    task.

    The readout ``"mean"`` returns the product state's expected bits, ``"sample"`` independent bits drawn from them. Updates
    use the expected bits with their own derivative, as they use the qtDNN's for the circuit. The derivative at CZ indices is
    zero.

    :param ansatz: the circuit
    :raises ValueError: if the circuit has a gate without a mean field
    """

    name = "mean_field"
    summary = "the circuit's mean field, a product state in closed form"
    claim = "exact"
    surrogate_is_probability = True

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)
        # Settings from strangers may ask for any number of gates: these are checked when the prior needs them
        steps = ansatz.program.gates if ansatz.n_inputs <= LOOKED_AT else ()
        unknown = sorted({gate.name for gate in steps} - set(KINDS))
        if unknown:
            raise ValueError(
                f"block='mean_field' does not fit {ansatz}: it supports the gates {', '.join(KINDS)}, but the circuit has "
                f"{', '.join(unknown)}"
            )
        self.prior = make_prior("mean_field", ansatz)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Compute or draw the product state's bits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_qubits)``, with the gradient of the expected bits
        :raises ValueError: if the inputs have another shape, or are not finite
        """
        if not in_graph(inputs):
            self.ansatz.check(computable("circuit inputs", inputs))
        return self.read(self.surrogate(inputs), readout, generator)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute the product state's expected bits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: the product state's expected bits, ``(batch, n_qubits)``, in [0, 1]
        """
        whole = computable("circuit inputs", inputs)
        self.ansatz.check_shape(whole)
        with full_precision(whole):
            bits = self.prior.bits(whole)
        return bits if bits.dtype == inputs.dtype else bits.to(inputs.dtype)
