"""The qtDNN: a small classical network that stands in for the circuit, so that gradients can flow."""

from collections.abc import Callable, Sequence

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, check_factory, check_instance, check_widths, names_checked
from sb3_quantum.layers.mlp import mlp
from sb3_quantum.priors import make_prior

#: features of the circuit's inputs, by name
QTDNN_FEATURES = ("raw", "periodic")


class QtDNN(nn.Module):
    """
    The "quantum tangential" network of the paper (Section 2.2): circuit inputs to the logits of the expected bits.

    With a prior (:mod:`sb3_quantum.priors`) it is the sum of two parts. The first, the logits of the prior's bits, needs no
    fit. The second is a network that learns what the prior lacks: correlations and the device's errors. It also sees the
    prior's logits, and its output starts at zero. Without a prior there is only the network, as in the paper.

    Only the fit changes its parameters. Outside a fit they get no gradient, not even after ``model.requires_grad_(True)``, so
    neither the loss after the layer nor an optimizer over all parameters of a model changes them. They stay in single or
    double precision in a model of half precision.

    :param ansatz: the circuit it stands in for
    :param net_arch: widths of the hidden layers; the paper has ``[2048]``
    :param features: ``"raw"`` shows it the wrapped angles and the indices as they are (the paper's reading);
        ``"periodic"`` their cosines and sines, because the circuit is 2-pi periodic in every angle and n_qubits-periodic in
        every CZ index
    :param activation_fn: activation function between the layers
    :param prior: a key of :data:`~sb3_quantum.priors.PRIORS` (the paper has ``"none"``), or ``"auto"``, see
        :func:`~sb3_quantum.priors.suited_prior`
    :raises ValueError: if ``features`` or ``prior`` is unknown, or the prior does not support the circuit
    """

    @names_checked({})
    def __init__(
        self,
        ansatz: Circuit,
        net_arch: Sequence[int] = (128,),
        features: str = "periodic",
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        prior: str = "auto",
    ):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)
        self.features = check_choice("qtdnn_features", features, QTDNN_FEATURES)
        self.prior = make_prior(prior, ansatz)
        net_arch = check_widths("qtdnn_arch", net_arch)
        activation_fn = check_factory("activation_fn", activation_fn, nn.Module)
        n_features = (2 * ansatz.n_inputs if features == "periodic" else ansatz.n_inputs) + self.prior.n_logits
        self.net = mlp(n_features, ansatz.n_qubits, net_arch, activation_fn)
        if self.prior.n_logits:
            for parameter in self.net[-1].parameters():
                nn.init.zeros_(parameter)
        self.requires_grad_(False)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """
        Predict the circuit's expected bits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, wrapped or not
        :return: logits of the expected bits, ``(batch, n_qubits)``
        """
        features, offset = self.network_inputs(inputs)
        logits = self._frozen_net(features)
        return logits if offset is None else offset + logits

    def _frozen_net(self, values: th.Tensor) -> th.Tensor:
        """Apply ``self.net`` with its parameters as constants."""
        for layer in self.net:
            if type(layer) is nn.Linear:
                weight, bias = layer.weight.detach(), layer.bias.detach()
                values = F.linear(values if values.dtype == weight.dtype else values.to(weight.dtype), weight, bias)
            elif layer._parameters or layer._modules:
                constants = {name: parameter.detach() for name, parameter in layer.named_parameters()}
                values = th.func.functional_call(layer, constants, values)
            else:
                values = layer(values)
        return values

    def net_parameters(self) -> list[nn.Parameter]:
        """
        List the parameters that a fit changes.

        :return: the parameters, in the order of ``parameters()``, which takes several times as long
        """
        if any(layer._modules for layer in self.net):
            return list(self.net.parameters())
        return [parameter for layer in self.net for parameter in layer._parameters.values() if parameter is not None]

    def _apply(self, fn: Callable[[th.Tensor], th.Tensor], recurse: bool = True) -> "QtDNN":
        def keep_precision(tensor: th.Tensor) -> th.Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype in (th.float16, th.bfloat16) else moved

        return super()._apply(keep_precision, recurse)

    def network_inputs(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor | None]:
        """
        Compute the fitted network's features, and the prior's logits to which its output is added.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, wrapped or not
        :return: features ``(batch, n_features)``, and the prior's logits ``(batch, n_qubits)`` if there is a prior
        """
        if self.features == "periodic":
            features = self.prior.features(inputs)
        else:
            features = th.cat([self._wrapped(inputs), self.prior.logits(inputs)], dim=1)
        return features, features[:, -self.prior.n_logits :] if self.prior.n_logits else None

    def _wrapped(self, inputs: th.Tensor) -> th.Tensor:
        """Wrap circuit inputs as the replay buffer does, whose rows the network is fitted to; indices are not rounded."""
        angles, indices = self.ansatz.split(inputs)
        turns = th.floor(indices.detach() / self.ansatz.n_qubits)
        wrapped = self.ansatz.wrap_angles(angles)
        return th.cat([wrapped, th.sub(indices, turns, alpha=self.ansatz.n_qubits)], dim=1)
