"""The mean field: independent qubits."""

import torch as th

from sb3_quantum.circuits import PaperCircuit, mean_field_bits, mean_field_features
from sb3_quantum.priors.base import PRIOR_MARGIN
from sb3_quantum.priors.cumulants import CumulantPrior


class MeanField(CumulantPrior):
    """
    Prior in which the state is a product of single-qubit states after every gate: the cumulant expansion to first order.

    It is exact as long as no qubit meets one that it was already entangled with, directly or through others, and good while
    entanglement is weak. It takes a few operations per gate, for any number of qubits.

    The paper's circuit has its own loops, which are several times as fast (:mod:`sb3_quantum.circuits.mean_field`).
    """

    name = "mean_field"
    order = 1

    @property
    def _is_papers(self) -> bool:
        return type(self.circuit) is PaperCircuit and self.circuit.n_cz == 1

    def bits(self, inputs: th.Tensor) -> th.Tensor:
        if self._is_papers:
            return mean_field_bits(self.circuit, inputs)
        return super().bits(inputs)

    def features(self, inputs: th.Tensor) -> th.Tensor:
        if self._is_papers:
            return mean_field_features(self.circuit, inputs, PRIOR_MARGIN)
        return super().features(inputs)
