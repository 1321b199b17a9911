"""The circuit's mean field as the layer: what is left of it without correlations between the qubits."""

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.circuits.program import KINDS
from sb3_quantum.circuits.tracing import computable, full_precision, in_graph
from sb3_quantum.layers.blocks.random_bits import RandomBlock
from sb3_quantum.priors import make_prior

#: inputs of a circuit whose gates are looked at before they are needed
LOOKED_AT = 2**16


class MeanFieldBlock(RandomBlock):
    """
    The circuit as if its state were a product of single-qubit states after every gate
    (:class:`~sb3_quantum.priors.MeanField`), in closed form and in the circuit's place: same inputs, same number of bits, no
    entanglement, no simulation, no fit. Where it does as well as the circuit, the circuit is dequantized for that task.

    The readout ``"mean"`` is the product state's expected bits, ``"sample"`` draws independent bits from them. In updates the
    expected bits stand for both, with their own derivative, as the qtDNN's do for the circuit. CZ indices have none.

    :param ansatz: the circuit
    :raises ValueError: if the circuit has gates whose mean field is not known
    """

    name = "mean_field"
    summary = "the circuit's mean field, a product state in closed form"
    claim = "exact"

    @names_checked({})
    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)
        # Settings of strangers may ask for any number of gates: those are looked at when the prior needs them
        steps = ansatz.program.gates if ansatz.n_inputs <= LOOKED_AT else ()
        unknown = sorted({gate.name for gate in steps} - set(KINDS))
        if unknown:
            raise ValueError(
                f"block='mean_field' does not fit {ansatz}: it knows the gates {', '.join(KINDS)}, but the circuit has "
                f"{', '.join(unknown)}"
            )
        self.prior = make_prior("mean_field", ansatz)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: where the bits come from; the block's own generator by default
        :return: ``(batch, n_qubits)``, with the gradient of the expected bits
        :raises ValueError: if the inputs have another shape, or are not finite
        """
        if not in_graph(inputs):
            self.ansatz.check(computable("circuit inputs", inputs))
        return self.read(self.surrogate(inputs), readout, generator)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: the product state's expected bits, ``(batch, n_qubits)``, in [0, 1]
        """
        whole = computable("circuit inputs", inputs)
        self.ansatz.check_shape(whole)
        with full_precision(whole):
            bits = self.prior.bits(whole)
        return bits if bits.dtype == inputs.dtype else bits.to(inputs.dtype)
