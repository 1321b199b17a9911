"""No prior, as for the paper's qtDNN."""

import torch as th

from sb3_quantum.circuits import periodic_features
from sb3_quantum.priors.base import Prior


class NoPrior(Prior):
    """
    Prior without knowledge: the qtDNN is only the fitted network, as in the paper.
    """

    name = "none"

    @property
    def n_logits(self) -> int:
        return 0

    def bits(self, inputs: th.Tensor) -> th.Tensor:
        return inputs.new_full((inputs.shape[0], self.circuit.n_qubits), 0.5)

    def operations(self) -> int:
        return 0

    def logits(self, inputs: th.Tensor) -> th.Tensor:
        return inputs[:, :0]

    def features(self, inputs: th.Tensor) -> th.Tensor:
        return th.cat(periodic_features(self.circuit, inputs), dim=1)
