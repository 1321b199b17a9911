"""What a block has to do. A block of another kind is one file beside this one, and a line in the registry."""

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

#: what a block may say of the gradient of its surrogate, and how that is said to people; ``check_block`` holds it to it
CLAIMS = {
    "exact": "exact, nothing is fitted",
    "unbiased_linear": "an estimate from the drawn bits, unbiased where the loss is linear in each of them; nothing is fitted",
    "unbiased_quadratic": "an estimate from the drawn bits, unbiased where the loss is quadratic in each of them; nothing is "
    "fitted",
    "fitted": "that of a network which is fitted to recorded outputs; FidelityCallback measures it",
    "biased": "an approximation without a fit",
    "none": "none, nothing in front of the block learns through it",
}


class Pairs(NamedTuple):
    """
    What is recorded of a step.

    :param inputs: of the block, ``(batch, n_inputs)``
    :param outputs: what :meth:`Block.fit` will be given for them, in [0, 1], ``(batch, n_outputs)``
    :param probe_inputs: the same inputs, perturbed, if probing is on
    :param probe_outputs: what the block gave for them
    """

    inputs: th.Tensor
    outputs: th.Tensor
    probe_inputs: th.Tensor | None = None
    probe_outputs: th.Tensor | None = None


class BlockStep(NamedTuple):
    """
    What a block did in a step of the acting policy.

    :param outputs: ``(batch, n_outputs)``
    :param pairs: what is to be recorded; ``None`` for blocks that learn nothing from it
    """

    outputs: th.Tensor
    pairs: Pairs | None = None


class Block(nn.Module, ABC):
    """
    What stands between the two networks of the actor: the quantum layer, or something in its place.

    A subclass has a :attr:`name`, a :attr:`summary` and a :attr:`claim`, and says what :meth:`forward` and :meth:`surrogate`
    are. All else has a default, that of a plain layer which is trained with the actor: its parameters are the actor's, its
    target's follow them, and its state is its ``state_dict``, generators included. A block of your own is named by adding it
    to :data:`~sb3_quantum.layers.BLOCKS`, or given to the policy as a class or an instance.

    :param ansatz: the circuit in whose place it stands
    """

    #: the name under which it is registered
    name: ClassVar[str]
    #: what it is, as the end of the sentence "between the networks stands ..."
    summary: ClassVar[str]
    #: whether its outputs depend on the values of its inputs, or only on how many rows there are
    reads_inputs: ClassVar[bool] = True
    #: where the policy keeps the one block that actor, target and average share, past the actor's optimizer and the soft
    #: updates; ``None`` if every actor has a block of its own
    shared_as: ClassVar[str | None] = None
    #: whether :meth:`act` returns pairs for the replay buffer
    records: ClassVar[bool] = False
    #: whether it is made of the policy's own arguments (circuit, backend, ``qtdnn_...``), and takes none in ``block_kwargs``
    of_policy: ClassVar[bool] = False
    #: what runs its circuits; ``None`` if it runs none
    backend: Backend | None = None
    #: of what :meth:`fit` changes
    optimizer: th.optim.Optimizer | None = None
    #: of the acting policy, for which :meth:`surrogate` stands in training
    readout: str = "sample"

    def __init__(self, ansatz: Circuit):
        super().__init__()
        self.ansatz = check_instance("ansatz", ansatz, Circuit)

    @classmethod
    def for_policy(cls, ansatz: Circuit, settings: Mapping[str, Any], **kwargs: Any) -> "Block":
        """
        How a policy makes the block that its actors share.

        :param ansatz: the policy's circuit
        :param settings: the policy's own: ``readout``, ``gradient``, ``backend``, ``backend_kwargs``, ``qtdnn_arch`` and so on
        :param kwargs: its ``block_kwargs``
        :return: the block
        """
        return cls(ansatz, **kwargs)

    @property
    def n_inputs(self) -> int:
        """Columns of its inputs, those of the circuit: encodings make them."""
        return self.ansatz.n_inputs

    @property
    def n_outputs(self) -> int:
        """Columns of its outputs, one a qubit by default."""
        return self.ansatz.n_qubits

    @property
    @abstractmethod
    def claim(self) -> str:
        """
        What the gradient of :meth:`surrogate` is, a key of :data:`CLAIMS`: the derivative of the expected outputs
        (``"exact"``), an estimate of the gradient of the expected loss, or nothing that could be held against it.
        """

    @property
    def fitted(self) -> bool:
        """Whether :meth:`fit` is to be called in every update."""
        return False

    @property
    def reproducible(self) -> bool:
        """Whether outputs follow from the state of a generator; not so on a chip."""
        return True

    def draws(self, readout: str) -> bool:
        """
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :return: whether such outputs are random
        """
        return False

    @abstractmethod
    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``; without meaning where nothing is measured
        :param generator: where randomness comes from; the block's own generator by default
        :return: ``(batch, n_outputs)``
        """

    @abstractmethod
    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        What stands for the block in updates, where a gradient is needed.

        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :return: ``(batch, n_outputs)``, with the gradient that :attr:`claim` describes
        """

    def act(self, inputs: th.Tensor, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> BlockStep:
        """
        A step of the acting policy in training, step (A) of Algorithm 1.

        :param inputs: what the circuit would get, ``(batch, n_inputs)``, without a gradient
        :param readout: of the outputs
        :param record_bits: whether sampled bits are recorded, or expected bits
        :param probe_std: standard deviation of a Gaussian probe on the angles, in radians, that is recorded too if positive
        :return: outputs, and what is to be recorded
        """
        return BlockStep(self(inputs, readout))

    def run(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        A step of the deployed policy. Nothing is recorded, and what is run counts as evaluation.

        :param inputs: what the circuit would get, ``(batch, n_inputs)``
        :param readout: of the outputs
        :param generator: where randomness comes from; the block's own generator by default
        :return: ``(batch, n_outputs)``
        """
        return self(inputs, readout, generator)

    def fit(
        self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int = 1, batch_size: int | None = None
    ) -> th.Tensor | None:
        """
        Learn from recorded pairs, step (B1) of Algorithm 1. Nothing by default.

        :param inputs: of the pairs, ``(rows, n_inputs)``, wrapped as the replay buffer keeps them
        :param targets: what the block gave for them, ``(rows, n_outputs)``
        :param gradient_steps: tiny-batches to draw
        :param batch_size: rows of a tiny-batch; all of them by default
        :return: a loss to log, if there is one
        """
        return None

    def fitted_logits(self, inputs: th.Tensor) -> th.Tensor:
        """
        What was fitted, for measurements of its quality.

        :param inputs: ``(batch, n_inputs)``
        :return: logits of the expected outputs, ``(batch, n_outputs)``
        """
        return th.logit(self.surrogate(inputs), eps=1e-6)

    def reference_prior(self) -> Prior:
        """
        :return: what is known of the circuit without a fit, for the same measurements: the default prior
        """
        return make_prior("auto", self.ansatz)

    def seed(self, seed: int | None) -> None:
        """
        Start the block's generator anew, if it has one.

        :param seed: the seed; fresh entropy if ``None``
        """
        return None

    def usage(self) -> dict[str, float]:
        """
        :return: counters and other figures to log, by name; none by default
        """
        return {}

    def set_backend(self, backend: str | Backend, backend_kwargs: dict[str, Any] | None = None) -> None:
        """
        Run the circuits elsewhere from now on.

        :param backend: name of a backend, or an instance
        :param backend_kwargs: keyword arguments of the backend
        :raises ValueError: if the block runs none
        """
        raise ValueError(f"there is no circuit to run: the block is {self.name!r}")
