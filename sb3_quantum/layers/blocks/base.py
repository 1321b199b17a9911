"""The contract of blocks. A new block is one file beside this one, and a line in the registry."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.backends import Backend
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_instance
from sb3_quantum.priors import Prior, make_prior

#: what a block may claim about the gradient of its surrogate, and the text for it; ``check_block`` tests the claim
CLAIMS = {
    "exact": "exact, nothing is fitted",
    "unbiased_linear": "an estimate from the drawn bits, unbiased where the loss is linear in each of them; nothing is fitted",
    "unbiased_quadratic": "an estimate from the drawn bits, unbiased where the loss is quadratic in each of them; nothing is "
    "fitted",
    "fitted": "that of a network which is fitted to recorded outputs; FidelityCallback measures it",
    "biased": "an approximation without a fit",
    "none": "none, nothing before the block learns through it",
}


class Pairs(NamedTuple):
    """
    Circuit pairs that a step records.

    :param inputs: inputs of the block, ``(batch, n_inputs)``
    :param outputs: targets for :meth:`Block.fit`, in [0, 1], ``(batch, n_outputs)``
    :param probe_inputs: the same inputs, perturbed, if probing is on
    :param probe_outputs: the block's outputs for them
    """

    inputs: th.Tensor
    outputs: th.Tensor
    probe_inputs: th.Tensor | None = None
    probe_outputs: th.Tensor | None = None


class BlockStep(NamedTuple):
    """
    Result of a block in a step of the acting policy.

    :param outputs: ``(batch, n_outputs)``
    :param pairs: pairs to record; ``None`` for blocks that do not learn from them
    """

    outputs: th.Tensor
    pairs: Pairs | None = None


class Block(nn.Module, ABC):
    """
    Base class of the module between the actor's two networks: the quantum layer, or a replacement.

    A subclass has a :attr:`name`, a :attr:`summary` and a :attr:`claim`, and implements :meth:`forward` and :meth:`surrogate`.
    Everything else defaults to a plain layer that is trained with the actor: its parameters are the actor's, the target's
    follow them, and its state is its ``state_dict``, generators included. Pass your own block to the policy as a class or an
    instance, or by name after adding it to :data:`~sb3_quantum.layers.BLOCKS`.

    :param ansatz: the circuit that it replaces
    """

    #: the name under which it is registered
    name: ClassVar[str]
    #: a description that ends the sentence "between the networks stands ..."
    summary: ClassVar[str]
    #: whether its outputs depend on the values of its inputs, not only on the number of rows
    reads_inputs: ClassVar[bool] = True
    #: the policy's attribute for a block that actor, target and average share, outside the actor's optimizer and the soft
    #: updates; ``None`` if every actor has its own block
    shared_as: ClassVar[str | None] = None
    #: whether :meth:`act` returns pairs for the replay buffer
    records: ClassVar[bool] = False
    #: whether it is built from the policy's own arguments (circuit, backend, ``qtdnn_...``) and takes no ``block_kwargs``
    of_policy: ClassVar[bool] = False
    #: whether :meth:`surrogate` returns probabilities of reading 1, from which an actor may draw bits
    surrogate_is_probability: ClassVar[bool] = False
    #: the backend of its circuits; ``None`` if it runs none
    backend: Backend | None = None
    #: the optimizer of :meth:`fit`
    optimizer: th.optim.Optimizer | None = None
    #: the acting policy's readout, which :meth:`surrogate` replaces in training
    readout: str = "sample"

    def __init__(self, ansatz: Circuit):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)

    @classmethod
    def for_policy(cls, ansatz: Circuit, settings: Mapping[str, Any], **kwargs: Any) -> "Block":
        """
        Make the block that a policy's actors share.

        :param ansatz: the policy's circuit
        :param settings: the policy's arguments: ``readout``, ``gradient``, ``backend``, ``backend_kwargs``, ``qtdnn_arch`` and
            so on
        :param kwargs: its ``block_kwargs``
        :return: the block
        """
        return cls(ansatz, **kwargs)

    @property
    def n_inputs(self) -> int:
        """Number of inputs, the circuit's, which encodings produce."""
        return self.ansatz.n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of outputs, one per qubit by default."""
        return self.ansatz.n_qubits

    @property
    @abstractmethod
    def claim(self) -> str:
        """
        The claim about the gradient of :meth:`surrogate`, a key of :data:`CLAIMS`: the derivative of the expected outputs
        (``"exact"``), an estimate of the gradient of the expected loss, or nothing that could be tested.
        """

    @property
    def fitted(self) -> bool:
        """Whether every update calls :meth:`fit`."""
        return False

    @property
    def reproducible(self) -> bool:
        """Whether a generator's state determines the outputs; on a chip it does not."""
        return True

    def draws(self, readout: str) -> bool:
        """
        Tell whether a readout is random.

        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :return: whether the outputs are random
        """
        return False

    @abstractmethod
    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Compute the outputs that act.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``; ignored if nothing is measured
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_outputs)``
        """

    @abstractmethod
    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute the outputs in updates, where a gradient is needed.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :return: ``(batch, n_outputs)``, with the gradient that :attr:`claim` describes
        """

    def act(self, inputs: th.Tensor, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> BlockStep:
        """
        Act in training, step (A) of Algorithm 1.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``, without a gradient
        :param readout: readout of the outputs
        :param record_bits: whether to record sampled bits, or expected bits
        :param probe_std: standard deviation of a Gaussian probe on the angles, in radians, that is recorded too if positive
        :return: outputs, and pairs to record
        """
        return BlockStep(self(inputs, readout))

    def run(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Act as the deployed policy. Nothing is recorded, and circuits count as evaluation.

        :param inputs: the circuit's inputs, ``(batch, n_inputs)``
        :param readout: readout of the outputs
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_outputs)``
        """
        return self(inputs, readout, generator)

    def fit(
        self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int = 1, batch_size: int | None = None
    ) -> th.Tensor | None:
        """
        Fit to recorded pairs, step (B1) of Algorithm 1. Does nothing by default.

        :param inputs: the pairs' inputs, ``(rows, n_inputs)``, wrapped as in the replay buffer
        :param targets: the block's outputs for them, ``(rows, n_outputs)``
        :param gradient_steps: tiny-batches to draw
        :param batch_size: rows of a tiny-batch; all of them by default
        :return: a loss to log, if there is one
        """
        return None

    def fitted_logits(self, inputs: th.Tensor) -> th.Tensor:
        """
        Evaluate the fitted network, for measurements of its quality.

        :param inputs: ``(batch, n_inputs)``
        :return: logits of the expected outputs, ``(batch, n_outputs)``
        """
        return th.logit(self.surrogate(inputs), eps=1e-6)

    def reference_prior(self) -> Prior:
        """
        Return the circuit's default prior, for the same measurements.

        :return: the prior
        """
        return make_prior("auto", self.ansatz)

    def seed(self, seed: int | None) -> None:
        """
        Restart the block's generator, if it has one.

        :param seed: the seed; fresh entropy if ``None``
        """
        return None

    def usage(self) -> dict[str, float]:
        """
        Return counters and other numbers to log.

        :return: numbers by name; none by default
        """
        return {}

    def set_backend(self, backend: str | Backend, backend_kwargs: dict[str, Any] | None = None) -> None:
        """
        Run the circuits on another backend from now on.

        :param backend: name of a backend, or an instance
        :param backend_kwargs: keyword arguments of the backend
        :raises ValueError: if the block runs none
        """
        raise ValueError(f"the block {self.name!r} runs no circuit, so it has no backend to set")
