"""A classical stochastic binary layer."""

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, names_checked
from sb3_quantum.layers.blocks.random_bits import RandomBlock, straight_through

#: how gradients pass drawn bits, and what that may claim
ESTIMATORS = {"straight_through": "unbiased_linear", "zgr": "unbiased_quadratic"}


class BernoulliBlock(RandomBlock):
    """
    Draw independent bits whose logits are a linear map of the inputs: as wide and as random as the circuit, as trainable as
    FC, and classical.

    With the readout ``"sample"`` updates see drawn bits too (from torch's generator). A gradient g at the bits b with
    probabilities p becomes, at the logits, g times

    * ``"straight_through"``: ``p (1 - p)``, Bengio, Leonard and Courville 2013, https://arxiv.org/abs/1308.3432, in the form
      that includes the derivative of the sigmoid. Unbiased for a loss that is linear in each bit.
    * ``"zgr"``: ``|b - p| / 2``, the mean of that and of DARN's estimator ``(b - p)^2``, Shekhovtsov 2023, "Cold analysis of
      Rao-Blackwellized straight-through Gumbel-softmax gradient estimator", PMLR 202:30931. Unbiased for a loss that is
      quadratic in each bit.

    Estimators that are unbiased for any loss (REINFORCE with baselines) need several draws and the loss of every row. These
    two need only the critic's gradient, so they work with any critic.

    With the other readouts, updates see the probabilities, whose derivative is exact for ``"mean"``.

    :param ansatz: the circuit that it replaces
    :param estimator: ``"straight_through"`` or ``"zgr"``
    :raises ValueError: if the estimator is unknown
    """

    name = "bernoulli"
    summary = "a classical layer of random bits, independent ones with trained probabilities"

    @names_checked({})
    def __init__(self, ansatz: Circuit, estimator: str = "straight_through"):
        super().__init__(ansatz)
        self.estimator = check_choice("estimator", estimator, ESTIMATORS)
        self.linear = nn.Linear(ansatz.n_inputs, ansatz.n_qubits)

    @property
    def claim(self) -> str:
        return ESTIMATORS[self.estimator] if self.readout == "sample" else "exact"

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Draw bits, or return probabilities, for a readout.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_qubits)``; drawn bits have the gradient of the estimator, rounded ones that of their probabilities
        """
        logits = self.linear(inputs)
        probabilities = th.sigmoid(logits)
        if readout != "sample":
            return self.read(probabilities, readout, generator)
        return self._estimated(self.read(probabilities.detach(), readout, generator), probabilities, logits)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Draw bits, or return probabilities, with a gradient.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :return: bits drawn from torch's generator, with the gradient of the estimator; probabilities if the policy acts on
            another readout than ``"sample"``; ``(batch, n_qubits)``
        """
        logits = self.linear(inputs)
        probabilities = th.sigmoid(logits)
        if self.readout != "sample":
            return probabilities
        return self._estimated(th.bernoulli(probabilities.detach()), probabilities, logits)

    def _estimated(self, bits: th.Tensor, probabilities: th.Tensor, logits: th.Tensor) -> th.Tensor:
        """Bits with the gradient of the estimator."""
        if self.estimator == "straight_through" or not logits.requires_grad:
            return straight_through(bits, probabilities)
        slope = (bits - probabilities.detach()).abs() / 2
        return bits + slope * (logits - logits.detach())  # adds exactly zero

    def extra_repr(self) -> str:
        return f"estimator={self.estimator!r}"
