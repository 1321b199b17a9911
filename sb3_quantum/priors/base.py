"""The contract of priors: what the qtDNN knows about a circuit before its first fit."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch as th

from sb3_quantum.circuits import periodic_features

if TYPE_CHECKING:
    from sb3_quantum.circuits import Circuit

#: distance of the bits from 0 and 1, where their logits are infinite
PRIOR_MARGIN = 1e-4


class Prior(ABC):
    """
    Base class of priors: approximations of a circuit's expected bits that need no fit.

    A prior is a differentiable function of the circuit's inputs, without parameters. The qtDNN sees its logits and adds to
    them.

    Your own prior is one file: a subclass with a :attr:`name`, :meth:`bits` and :meth:`operations`, and a line in
    :data:`~sb3_quantum.priors.PRIORS`, so that files can name it.

    :param circuit: the circuit to approximate
    :raises ValueError: if it does not support the circuit; the message says why
    """

    #: the name under which it is registered
    name: ClassVar[str]

    def __init__(self, circuit: "Circuit"):
        reason = self.supports(circuit)
        if reason is not None:
            raise ValueError(f"qtdnn_prior={self.name!r} does not fit {circuit}: {reason}")
        self.circuit = circuit

    @classmethod
    def supports(cls, circuit: "Circuit") -> str | None:
        """
        Tell whether the prior supports a circuit. It is called before anything is built, also for settings from strangers, so
        its time and memory must not grow with them.

        :param circuit: the circuit
        :return: ``None`` if it does; otherwise the reason, as the end of a sentence
        """
        return None

    @property
    def n_logits(self) -> int:
        """Columns of :meth:`logits`: one per qubit, or 0 without a prior."""
        return self.circuit.n_qubits

    @abstractmethod
    def bits(self, inputs: th.Tensor) -> th.Tensor:
        """
        Approximate the expected bits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, wrapped or not
        :return: expected bits, ``(batch, n_qubits)``, in [0, 1], differentiable in the angles
        """

    @abstractmethod
    def operations(self) -> int:
        """
        Estimate the multiply-adds for the bits of one circuit.
        """

    def logits(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute the logits of the approximate bits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: logits of the bits, ``(batch, n_logits)``
        """
        return th.logit(self.bits(inputs), eps=PRIOR_MARGIN)

    def features(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute the features of the qtDNN's network.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: cosines and sines of angles and indices, ``n_inputs`` columns each, followed by those of :meth:`logits`
        """
        return th.cat([*periodic_features(self.circuit, inputs), self.logits(inputs)], dim=1)
