"""The qtDNN: a small classical network that stands in for the circuit, so that gradients can flow."""

import math
from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_quantum.circuits import Ansatz, wrap_angles

#: what the qtDNN is shown of the circuit's inputs
QTDNN_FEATURES = ("raw", "periodic")


class QtDNN(nn.Module):
    """
    The "quantum tangential" network of the paper (Section 2.2): circuit inputs to the logits of the expected bits.

    Its parameters do not require a gradient outside of a fit, so neither the loss behind the layer nor an optimizer that was
    given all parameters of a model can change them.

    :param ansatz: the shape of the circuit it stands in for
    :param net_arch: widths of the hidden layers; the paper has ``[2048]``
    :param features: ``"raw"`` shows it the wrapped angles and the indices as they are (the paper's reading);
        ``"periodic"`` their cosines and sines, because the circuit is 2-pi periodic in every angle and n_qubits-periodic in
        every CZ index
    :param activation_fn: activation function between the layers
    :raises ValueError: if ``features`` is unknown
    """

    def __init__(
        self,
        ansatz: Ansatz,
        net_arch: Sequence[int] = (512,),
        features: str = "periodic",
        activation_fn: type[nn.Module] = nn.LeakyReLU,
    ):
        super().__init__()
        if features not in QTDNN_FEATURES:
            raise ValueError(f"qtdnn_features={features!r} is unknown, accepted are {', '.join(map(repr, QTDNN_FEATURES))}")
        self.ansatz = ansatz
        self.features = features
        n_features = 2 * ansatz.n_inputs if features == "periodic" else ansatz.n_inputs
        self.net = nn.Sequential(*create_mlp(n_features, ansatz.n_qubits, list(net_arch), activation_fn))
        self.requires_grad_(False)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: circuit inputs, ``(batch, n_inputs)``, wrapped or not
        :return: logits of the expected bits, ``(batch, n_qubits)``
        """
        angles, indices = self.ansatz.split(inputs)
        if self.features == "periodic":
            turns = th.cat([angles, indices * (2 * math.pi / self.ansatz.n_qubits)], dim=1)
            return self.net(th.cat([turns.cos(), turns.sin()], dim=1))
        # Wrapped as in the replay buffer, whose rows it is fitted to
        return self.net(th.cat([wrap_angles(angles), th.remainder(indices, self.ansatz.n_qubits)], dim=1))
