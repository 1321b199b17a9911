"""The mean field: every qubit on its own."""

import torch as th

from sb3_quantum.circuits import PaperCircuit, mean_field_bits, mean_field_features
from sb3_quantum.priors.base import PRIOR_MARGIN
from sb3_quantum.priors.cumulants import CumulantPrior


class MeanField(CumulantPrior):
    """
    Expected bits as if the state were a product of single-qubit states after every gate: the first order of the cumulant
    expansion. Exact as long as no qubit meets one that it was already entangled with, directly or by way of others, and good
    while entanglement is weak. A few operations a gate, for any number of qubits.

    The paper's circuit has loops of its own, several times as fast (:mod:`sb3_quantum.circuits.mean_field`).
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
