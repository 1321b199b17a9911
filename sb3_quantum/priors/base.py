"""What the qtDNN knows of a circuit before its first fit: the contract."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch as th

from sb3_quantum.circuits import periodic_features

if TYPE_CHECKING:
    from sb3_quantum.circuits import Circuit

#: bits are kept this far from 0 and 1, where their logits are infinite
PRIOR_MARGIN = 1e-4


class Prior(ABC):
    """
    An approximation of a circuit's expected bits that needs no fit: a differentiable function of the circuit's inputs, without
    parameters. The qtDNN adds to its logits, and is shown them.

    A prior of your own is one file: a subclass with a :attr:`name`, :meth:`bits` and :meth:`operations`, and a line in
    :data:`~sb3_quantum.priors.PRIORS`, so that files can name it.

    :param circuit: that it approximates
    :raises ValueError: if it does not know such circuits; the message names the reason
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
        Answered before anything is made, for settings of strangers too: it may not take time or memory that grows with them.

        :param circuit: that it may be asked to approximate
        :return: why it cannot, as the end of a sentence, or ``None`` if it can
        """
        return None

    @property
    def n_logits(self) -> int:
        """Columns of :meth:`logits`: one a qubit, or none if there is nothing to add to."""
        return self.circuit.n_qubits

    @abstractmethod
    def bits(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: circuit inputs, ``(batch, n_inputs)``, wrapped or not
        :return: expected bits, ``(batch, n_qubits)``, in [0, 1], differentiable in the angles
        """

    @abstractmethod
    def operations(self) -> int:
        """
        :return: multiplications with an addition that the bits of one circuit take, about
        """

    def logits(self, inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: logits of the bits, ``(batch, n_logits)``
        """
        return th.logit(self.bits(inputs), eps=PRIOR_MARGIN)

    def features(self, inputs: th.Tensor) -> th.Tensor:
        """
        What a network that learns the circuit is shown.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: cosines and sines of angles and indices, ``n_inputs`` columns each, and behind them those of :meth:`logits`
        """
        return th.cat([*periodic_features(self.circuit, inputs), self.logits(inputs)], dim=1)
