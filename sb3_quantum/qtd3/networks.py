"""The hybrid actor: PreDNN, circuit, PostDNN, links."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn import functional as F

from sb3_quantum.circuits import Circuit
from sb3_quantum.common.normalization import ObservationNormalizer
from sb3_quantum.layers import QuantumLayer, make_block, make_encoding, mlp, read
from sb3_quantum.qtd3.features import NormalizedFeatures


class ActorStep(NamedTuple):
    """
    One forward pass of the acting policy: the action, and what is recorded of the circuit.

    :param actions: ``(batch, action_dim)``, in [-1, 1]
    :param circuit_inputs: ``(batch, n_inputs)``; ``None`` for blocks other than ``"pqc"``
    :param circuit_outputs: what the qtDNN will be fitted to, ``(batch, n_qubits)``
    :param probe_inputs: probed circuit inputs, if probing is on
    :param probe_outputs: what the circuit gave for them
    """

    actions: th.Tensor
    circuit_inputs: th.Tensor | None = None
    circuit_outputs: th.Tensor | None = None
    probe_inputs: th.Tensor | None = None
    probe_outputs: th.Tensor | None = None


def _whole(tensor: th.Tensor) -> th.Tensor:
    """Out of autocast's half precision, of which numpy does not know every type."""
    return tensor.float() if tensor.dtype in (th.float16, th.bfloat16) else tensor


class QuantumActor(NormalizedFeatures, BasePolicy):
    """
    The hybrid deep quantum neural network (hDQNN): ``action = PostDNN(block(encoding(PreDNN(obs))), links)``.

    The quantum layer is shared by the actor and the target actor and belongs to the policy; here it is only referred to. Other
    blocks (the paper's block swap) belong to the actor.

    :param observation_space: observation space
    :param action_space: action space
    :param pre_arch: widths of the PreDNN's hidden layers
    :param post_arch: widths of the PostDNN's hidden layers
    :param features_extractor: network to extract features
    :param features_dim: number of features
    :param ansatz: the circuit
    :param n_links: classical links from the PreDNN straight to the PostDNN
    :param block: ``"pqc"``, ``"fc"``, ``"rbg"`` or ``"zeros"``
    :param quantum_layer: the policy's quantum layer, for the block ``"pqc"``
    :param encoding: name of the encoding of the PreDNN's outputs into circuit inputs
    :param encoding_kwargs: its keyword arguments
    :param normalizer: the policy's normalizer of observations
    :param activation_fn: activation function
    :param normalize_images: whether to divide images by 255
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        pre_arch: list[int],
        post_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        ansatz: Circuit,
        n_links: int,
        block: str,
        quantum_layer: QuantumLayer | None,
        encoding: str,
        encoding_kwargs: dict[str, Any] | None = None,
        normalizer: ObservationNormalizer | None = None,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        normalize_images: bool = True,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self._arguments: dict[str, Any] = dict(
            pre_arch=pre_arch,
            post_arch=post_arch,
            features_dim=features_dim,
            ansatz=ansatz,
            n_links=n_links,
            block=block,
            encoding=encoding,
            encoding_kwargs=encoding_kwargs,
            activation_fn=activation_fn,
        )
        self.ansatz = ansatz
        self.n_links = n_links
        self.share_normalizer(normalizer)
        self.pre = mlp(features_dim, ansatz.n_data + n_links, pre_arch, activation_fn)
        self.encoding = make_encoding(encoding, ansatz, encoding_kwargs)
        if quantum_layer is None:
            self.block: Any = make_block(block, ansatz)
        else:
            self.share_quantum_layer(quantum_layer)
        action_dim = get_action_dim(self.action_space)
        self.post = mlp(ansatz.n_qubits + n_links, action_dim, post_arch, activation_fn, squash_output=True)

    def share_quantum_layer(self, quantum_layer: QuantumLayer) -> None:
        """
        Refer to the policy's quantum layer.

        :param quantum_layer: the layer
        """
        # Not registered here: its qtDNN must be in neither this actor's optimizer nor the polyak average
        object.__setattr__(self, "block", quantum_layer)

    def _shared(self) -> dict[str, nn.Module]:
        return {**super()._shared(), **({"qtdnn": self.block.qtdnn} if isinstance(self.block, QuantumLayer) else {})}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # For save(): what the actor only refers to is saved with it
        return dict(
            **super()._get_constructor_parameters(),
            **self._arguments,
            features_extractor=self.features_extractor,
            quantum_layer=self.block if isinstance(self.block, QuantumLayer) else None,
            normalizer=self.normalizer,
        )

    def encode(self, obs: PyTorchObs, normalized: bool = False) -> tuple[th.Tensor, th.Tensor]:
        """
        The PreDNN and the encoding.

        :param obs: observations, ``(batch, ...)``
        :param normalized: whether the policy's normalizer has been applied to them already
        :return: circuit inputs ``(batch, n_inputs)`` and links ``(batch, n_links)``
        """
        features = self.extract_features(obs, self.features_extractor, normalized)
        *hidden_layers, last = self.pre
        if not self.block.reads_inputs and isinstance(last, nn.Linear):
            # What nobody reads need not be computed; its gradient is zero either way
            for layer in hidden_layers:
                features = layer(features)
            n_data = self.ansatz.n_data
            links = F.linear(features, last.weight[n_data:], last.bias[n_data:])
            return links.new_zeros(1, 1).expand(links.shape[0], self.ansatz.n_inputs), links
        outputs = self.pre(features)
        outputs, links = outputs.split([self.ansatz.n_data, self.n_links], dim=1)
        return self.encoding(outputs), links

    def decode(self, outputs: th.Tensor, links: th.Tensor) -> th.Tensor:
        """
        The PostDNN.

        :param outputs: the block's outputs, ``(batch, n_qubits)``
        :param links: ``(batch, n_links)``
        :return: actions in [-1, 1], ``(batch, action_dim)``
        """
        return _whole(self.post(th.cat([outputs, links], dim=1)))

    def surrogate(self, obs: PyTorchObs, normalized: bool = False) -> th.Tensor:
        """
        The surrogate actor of Algorithm 1 (B2, B3): the qtDNN in the circuit's place; no circuit is run.

        :param obs: observations, ``(batch, ...)``
        :param normalized: whether the policy's normalizer has been applied to them already
        :return: differentiable actions in [-1, 1], ``(batch, action_dim)``
        """
        inputs, links = self.encode(obs, normalized)
        return self.decode(self.block.surrogate(inputs), links)

    def forward(self, obs: PyTorchObs, readout: str = "mean", generator: np.random.Generator | None = None) -> th.Tensor:
        """
        The deployed actor, which runs the real circuit. Circuits are counted as evaluation.

        :param obs: observations, ``(batch, ...)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: where the circuit's randomness comes from; the block's own generator by default
        :return: actions in [-1, 1], ``(batch, action_dim)``
        """
        inputs, links = self.encode(obs)
        if isinstance(self.block, QuantumLayer):
            measurement = self.block.measure(inputs, readout == "sample", generator, evaluation=True)
            return self.decode(read(measurement, readout), links)
        return self.decode(self.block(inputs, readout, generator), links)

    def act(self, obs: PyTorchObs, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> ActorStep:
        """
        Step (A) of Algorithm 1: run the circuit once, and keep what went in and what came out.

        :param obs: observations, ``(batch, ...)``
        :param readout: what the PostDNN sees of the measurement
        :param record_bits: whether the sampled bits are recorded, or the expected bits
        :param probe_std: standard deviation of the Gaussian probe on the circuit's angles, in radians; one more circuit per
            observation if positive
        :return: actions and circuit pairs
        """
        inputs, links = self.encode(obs)
        if not isinstance(self.block, QuantumLayer):
            return ActorStep(self.decode(self.block(inputs, readout), links))
        batch = len(inputs)
        probe_inputs = probe_outputs = None
        if probe_std > 0:
            angles, indices = self.ansatz.split(inputs)
            noise = self.block.backend.generator.normal(scale=probe_std, size=tuple(angles.shape))
            probe_inputs = self.ansatz.join(angles + th.as_tensor(noise).to(angles), indices)
        both = inputs if probe_inputs is None else th.cat([inputs, probe_inputs])
        measurement = self.block.measure(both, draw=record_bits or readout == "sample")
        recorded = read(measurement, "sample" if record_bits else "mean")
        if probe_inputs is not None:
            probe_outputs = recorded[batch:]
        actions = self.decode(read(measurement, readout)[:batch], links)
        pairs = [None if part is None else _whole(part) for part in (inputs, recorded[:batch], probe_inputs, probe_outputs)]
        return ActorStep(actions, *pairs)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation)
