"""The hybrid actor: PreDNN, circuit, PostDNN and links."""

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
from sb3_quantum.layers import BLOCKS, Block, make_block, make_encoding, mlp
from sb3_quantum.layers.readout import draw_bits
from sb3_quantum.qtd3.features import NormalizedFeatures
from sb3_quantum.qtd3.output_normalization import OutputNormalization


class ActorStep(NamedTuple):
    """
    Result of a forward pass of the acting policy: actions, and circuit pairs to record.

    :param actions: ``(batch, action_dim)``, in [-1, 1]
    :param circuit_inputs: ``(batch, n_inputs)``; ``None`` if the block records none
    :param circuit_outputs: targets of the qtDNN's fit, ``(batch, n_qubits)``
    :param probe_inputs: probed circuit inputs, if probing is on
    :param probe_outputs: the circuit's outputs for them
    """

    actions: th.Tensor
    circuit_inputs: th.Tensor | None = None
    circuit_outputs: th.Tensor | None = None
    probe_inputs: th.Tensor | None = None
    probe_outputs: th.Tensor | None = None


def _whole(tensor: th.Tensor) -> th.Tensor:
    """Cast autocast's half precision to single precision; numpy does not support all of its types."""
    return tensor.float() if tensor.dtype in (th.float16, th.bfloat16) else tensor


class QuantumActor(NormalizedFeatures, BasePolicy):
    """
    The hybrid deep quantum neural network (hDQNN): ``action = PostDNN(block(encoding(PreDNN(obs))), links)``.

    A block that all actors share, such as the quantum layer, belongs to the policy, and the actor only refers to it. Other
    blocks belong to the actor.

    :param observation_space: observation space
    :param action_space: action space
    :param pre_arch: widths of the PreDNN's hidden layers
    :param post_arch: widths of the PostDNN's hidden layers
    :param features_extractor: network to extract features
    :param features_dim: number of features
    :param ansatz: the circuit
    :param n_links: classical links from the PreDNN directly to the PostDNN
    :param block: a key of :data:`~sb3_quantum.layers.BLOCKS`, a subclass of :class:`~sb3_quantum.layers.Block`, or an instance
    :param quantum_layer: the policy's block, if all actors share it
    :param encoding: name of the encoding of the PreDNN's outputs into circuit inputs
    :param encoding_kwargs: its keyword arguments
    :param normalizer: the policy's normalizer of observations
    :param activation_fn: activation function
    :param normalize_images: whether to divide images by 255
    :param block_kwargs: keyword arguments of the block
    :param readout: readout of the acting policy
    :param output_normalization: whether outputs are normalized before tanh
    :param surrogate_readout: what the PostDNN sees in updates: the surrogate's expected bits (``"mean"``), or bits drawn
        from them (``"sample"``)
    :raises ValueError: if ``output_normalization`` is asked for with a single action, or ``surrogate_readout="sample"`` with a
        block that has no expected bits, or for a policy that acts on another readout
    """

    block: Block

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
        block: str | type[Block] | Block,
        quantum_layer: Block | None,
        encoding: str,
        encoding_kwargs: dict[str, Any] | None = None,
        normalizer: ObservationNormalizer | None = None,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        normalize_images: bool = True,
        block_kwargs: dict[str, Any] | None = None,
        readout: str = "sample",
        output_normalization: bool = False,
        surrogate_readout: str = "mean",
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
            block_kwargs=block_kwargs,
            readout=readout,
            output_normalization=output_normalization,
            surrogate_readout=surrogate_readout,
        )
        self.ansatz = ansatz
        self.n_links = n_links
        self.surrogate_readout = surrogate_readout
        self.share_normalizer(normalizer)
        self.pre = mlp(features_dim, ansatz.n_data + n_links, pre_arch, activation_fn)
        self.encoding = make_encoding(encoding, ansatz, encoding_kwargs)
        if quantum_layer is None:
            self.block = make_block(block, ansatz, block_kwargs, readout)
        else:
            self.share_block(quantum_layer)
        if surrogate_readout == "sample":
            self._check_surrogate_readout(readout)
        action_dim = get_action_dim(self.action_space)
        self.post = mlp(self.block.n_outputs + n_links, action_dim, post_arch, activation_fn, squash_output=True)
        if output_normalization:
            if action_dim < 2:
                raise ValueError(
                    "output_normalization needs at least two actions: one alone would never exceed tanh(1) = 0.76 of its range"
                )
            # Neither module has parameters, so the names of the parameters before them stay the same
            self.post.insert(len(self.post) - 1, OutputNormalization())

    def _check_surrogate_readout(self, readout: str) -> None:
        if readout != "sample":
            raise ValueError(
                f"surrogate_readout='sample' is for a policy that acts on bits, readout='sample', got readout={readout!r}"
            )
        if not self.block.surrogate_is_probability:
            having = ", ".join(repr(name) for name, block in BLOCKS.items() if block.surrogate_is_probability)
            raise ValueError(
                "surrogate_readout='sample' draws bits from expected bits, which the surrogates of these blocks have: "
                f"{having}; got block={self.block.name!r}"
            )

    def share_block(self, block: Block) -> None:
        """
        Refer to the block that belongs to the policy.

        :param block: the block
        """
        # Not registered as a submodule: fitted parameters must be in neither the actor's optimizer nor the Polyak average
        object.__setattr__(self, "block", block)

    @property
    def _shared_block(self) -> Block | None:
        return self.__dict__.get("block")

    def _shared(self) -> dict[str, nn.Module]:
        # With the networks of a shared block, such as the qtDNN, but without its generator and counters
        block = self._shared_block
        return {**super()._shared(), **({} if block is None else dict(block.named_children()))}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # For save(): modules to which the actor refers are saved with it
        return dict(
            **super()._get_constructor_parameters(),
            **self._arguments,
            features_extractor=self.features_extractor,
            quantum_layer=self._shared_block,
            normalizer=self.normalizer,
        )

    def encode(self, obs: PyTorchObs, normalized: bool = False) -> tuple[th.Tensor, th.Tensor]:
        """
        Apply the PreDNN and the encoding.

        :param obs: observations, ``(batch, ...)``
        :param normalized: whether the policy's normalizer has been applied to them already
        :return: circuit inputs ``(batch, n_inputs)`` and links ``(batch, n_links)``
        """
        features = self.extract_features(obs, self.features_extractor, normalized)
        *hidden_layers, last = self.pre
        if not self.block.reads_inputs and isinstance(last, nn.Linear):
            # The block ignores its inputs: skip them, their gradient is zero anyway
            for layer in hidden_layers:
                features = layer(features)
            n_data = self.ansatz.n_data
            links = F.linear(features, last.weight[n_data:], last.bias[n_data:])
            return links.new_zeros(1, 1).expand(links.shape[0], self.ansatz.n_inputs), links
        outputs = self.pre(features)  # (batch, n_data + n_links)
        outputs, links = outputs.split([self.ansatz.n_data, self.n_links], dim=1)  # (batch, n_data), (batch, n_links)
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
        Evaluate the surrogate actor of Algorithm 1 (B2, B3), with the block's surrogate, such as the qtDNN, in the circuit's
        place.

        :param obs: observations, ``(batch, ...)``
        :param normalized: whether the policy's normalizer has been applied to them already
        :return: differentiable actions in [-1, 1], ``(batch, action_dim)``
        """
        inputs, links = self.encode(obs, normalized)
        outputs = self.block.surrogate(inputs)
        if self.surrogate_readout == "sample":
            outputs = draw_bits(outputs)
        return self.decode(outputs, links)

    def forward(self, obs: PyTorchObs, readout: str = "mean", generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Evaluate the deployed actor, which runs the real circuit. Circuits count as evaluation.

        :param obs: observations, ``(batch, ...)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: source of randomness; the block's own generator by default
        :return: actions in [-1, 1], ``(batch, action_dim)``
        """
        inputs, links = self.encode(obs)
        return self.decode(self.block.run(inputs, readout, generator), links)

    def act(self, obs: PyTorchObs, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> ActorStep:
        """
        Act, step (A) of Algorithm 1: run the block once, and return its inputs and outputs if it records pairs.

        :param obs: observations, ``(batch, ...)``
        :param readout: readout that the PostDNN sees
        :param record_bits: whether to record the sampled bits, or the expected bits
        :param probe_std: standard deviation of the Gaussian probe on the circuit's angles, in radians; one more circuit per
            observation if positive
        :return: actions and circuit pairs
        """
        inputs, links = self.encode(obs)
        outputs, pairs = self.block.act(inputs, readout, record_bits, probe_std)
        actions = self.decode(outputs, links)
        return ActorStep(actions, *(() if pairs is None else [None if part is None else _whole(part) for part in pairs]))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation)
