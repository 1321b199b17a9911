"""Base class of blocks that draw bits: a seeded and saved generator, and readouts of independent bits."""

from typing import Any

import numpy as np
import torch as th

from sb3_quantum.backends import Measurement
from sb3_quantum.backends.randomness import Stream
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_int
from sb3_quantum.circuits.tracing import is_recorded
from sb3_quantum.layers.blocks.base import Block
from sb3_quantum.layers.extra_state import is_perturbed, pack_state, seed_of, unpack_state
from sb3_quantum.layers.readout import check_readout, read


class RandomBlock(Block):
    """
    Base class of blocks that draw independent bits from probabilities.

    Its generator takes its seed from torch's, unless :meth:`seed` is called, and is extra state, as the quantum layer's is.

    :param ansatz: the circuit in whose place it stands
    """

    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz)
        self._stream = Stream(int(th.randint(2**62, ())))

    @property
    def generator(self) -> np.random.Generator:
        """The generator of the bits; a copy in another process gets another generator."""
        return self._stream.generator

    def seed(self, seed: int | None) -> None:
        """
        Restart the block's generator.

        :param seed: the seed; fresh entropy if ``None``
        """
        self._stream.seed(None if seed is None else check_int("seed", seed, least=0))

    def draws(self, readout: str) -> bool:
        return readout == "sample"

    def read(self, probabilities: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        """
        Apply a readout to probabilities. Drawn and rounded bits have the gradient of their probabilities (straight through).

        :param probabilities: probabilities of reading 1, ``(batch, n_outputs)``
        :param readout: ``"sample"``, ``"majority"`` or ``"mean"``
        :param generator: source of randomness; the block's own generator by default
        :return: ``(batch, n_outputs)``
        """
        bits = None
        if check_readout("readout", readout) == "sample":
            if is_recorded(probabilities):
                raise RuntimeError(
                    "random bits of numpy cannot be part of a traced, exported or transformed graph, which would repeat the "
                    'same ones for ever; use the readout "mean" or "majority" for it'
                )
            bits = self.draw(probabilities.detach(), generator or self.generator)
        outputs = read(Measurement(bits, probabilities), readout)
        return straight_through(outputs, probabilities)

    def draw(self, probabilities: th.Tensor, generator: np.random.Generator) -> th.Tensor:
        """
        Draw bits.

        :param probabilities: probabilities of reading 1, ``(batch, n_outputs)``
        :param generator: source of randomness
        :return: zeros and ones like them
        """
        uniform = th.as_tensor(generator.random(tuple(probabilities.shape)), device=probabilities.device)
        return (uniform < probabilities).to(probabilities.dtype)

    def get_extra_state(self) -> th.Tensor:
        """
        Return what ``state_dict`` saves of the generator.

        :return: the generator's state, in the form of the quantum layer's
        """
        return pack_state(self._stream.get_state())

    def set_extra_state(self, state: th.Tensor) -> None:
        """
        Restore the generator.

        :param state: return value of :meth:`get_extra_state`
        """
        if state.is_meta:  # networks on the meta device have shapes only
            return
        if is_perturbed(state):
            self._stream.seed(seed_of(state))
        else:
            self._stream.set_state(unpack_state(state))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Files of version 0.1.0 have no such state: the generator stays unchanged
        super()._load_from_state_dict({f"{prefix}_extra_state": self.get_extra_state(), **state_dict}, prefix, *args)


def straight_through(outputs: th.Tensor, probabilities: th.Tensor) -> th.Tensor:
    """
    Give outputs the gradient of their probabilities.

    Source: Bengio, Leonard and Courville 2013, https://arxiv.org/abs/1308.3432, in the form that includes the derivative of
    the sigmoid.

    :param outputs: bits, or the probabilities themselves
    :param probabilities: probabilities of reading 1, of the same shape
    :return: the outputs; unchanged without a gradient
    """
    if outputs is probabilities or not probabilities.requires_grad:
        return outputs
    return outputs + (probabilities - probabilities.detach())  # adds exactly zero
