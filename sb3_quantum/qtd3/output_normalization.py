"""Output normalization, which keeps an actor's tanh out of saturation."""

import torch as th
from torch import nn


class OutputNormalization(nn.Module):
    """
    Divide an actor's outputs, before tanh, by their mean absolute value if that is above 1.

    A deterministic policy gradient drives outputs far into tanh's flat ends: actions are -1 or 1, exploration noise is cut off
    on one side, and the gradient that would bring them back vanishes. Source: Wang, Wu, Vuong and Ross, "Striving for
    simplicity and performance in off-policy DRL: output normalization and non-uniform sampling", ICML 2020, arXiv
    1910.02208.
    """

    def forward(self, outputs: th.Tensor) -> th.Tensor:
        """
        Normalize the outputs of every row.

        :param outputs: ``(batch, action_dim)``, before tanh
        :return: the same, with a mean absolute value of at most 1 in every row
        """
        return outputs / outputs.abs().mean(dim=-1, keepdim=True).clamp(min=1.0)
