"""Averages of an actor's weights over its training, for the deployed policy. Nothing learns from them."""

import copy
import math

import torch as th
from torch import nn

from sb3_quantum.circuits.checks import check_int
from sb3_quantum.common.updates import soft_update
from sb3_quantum.layers.extra_state import is_perturbed, pack_state, unpack_state
from sb3_quantum.qtd3.networks import QuantumActor
from sb3_quantum.qtd3.walking import modules_of, tensors_of


class WeightAverage(nn.Module):
    """
    Average weights over updates (Polyak-Ruppert averaging).

    This is an exponential moving average whose start is corrected as Adam's moments are. It begins as a plain mean, and never
    contains the weights from before the first update.

    Averaged iterates: Polyak and Juditsky 1992 (https://doi.org/10.1137/0330046); of networks: https://arxiv.org/abs/1803.05407;
    of actors, DDPG's among them: Nikishin et al. 2018, "Improving stability in deep reinforcement learning with weight
    averaging". ``torch.optim.swa_utils.AveragedModel`` would copy the circuit, and does not follow edited networks.

    :param tau: step of the average, in (0, 1]; it looks back over about ``1 / tau`` updates
    """

    def __init__(self, tau: float):
        super().__init__()
        self.tau = tau
        #: number of updates in the average
        self.n_averaged = 0

    def update(self, actor: nn.Module, average: nn.Module) -> None:
        """
        Add an update to the average. Running statistics (of batch normalization) are averaged like the weights.

        :param actor: the current networks
        :param average: networks of the same structure, which are changed in place
        """
        self.n_averaged += 1
        seen = 1.0 if self.tau == 1 else -math.expm1(self.n_averaged * math.log1p(-self.tau))
        (parameters, statistics), (averages, average_statistics) = tensors_of(actor), tensors_of(average)
        soft_update(parameters + statistics, averages + average_statistics, min(1.0, self.tau / seen))

    def get_extra_state(self) -> th.Tensor:
        """
        Return what ``state_dict`` saves of the average.

        :return: the number of updates, in the form of the quantum layer's state
        """
        return pack_state({"n_averaged": self.n_averaged})

    def set_extra_state(self, state: th.Tensor) -> None:
        """
        Restore the number of updates.

        :param state: return value of :meth:`get_extra_state`; if noise was added to it, the number stays unchanged
        :raises RuntimeError: if it is something else
        """
        if is_perturbed(state):
            return
        try:
            self.n_averaged = check_int("n_averaged", unpack_state(state).get("n_averaged"), 0, 2**63)
        except ValueError as error:
            raise RuntimeError(f"the saved state of an average is damaged: {error}") from error


def copy_of(actor: QuantumActor) -> QuantumActor:
    """
    Copy an actor; the copy shares the quantum layer and the normalizer. No random number is drawn.

    :param actor: the actor
    :return: the copy, in evaluation mode and without an optimizer
    """
    # deepcopy does not copy what is mapped to itself
    memo = {id(shared): shared for shared in (actor.normalizer, actor.__dict__.get("block")) if shared is not None}
    memo[id(getattr(actor, "optimizer", None))] = None
    copied = copy.deepcopy(actor, memo)
    copied.set_training_mode(False)
    return copied


def is_alike(actor: nn.Module, other: nn.Module) -> bool:
    """
    Tell whether two networks have the same structure, so that their weights can be averaged.

    :param actor: a network
    :param other: another one
    :return: whether they have the same modules, and parameters of the same shapes
    """
    ours, theirs = modules_of(actor), modules_of(other)
    return len(ours) == len(theirs) and all(
        type(one) is type(two)
        and [_shape(p) for p in one._parameters.values()] == [_shape(p) for p in two._parameters.values()]
        for one, two in zip(ours, theirs, strict=True)
    )


def _shape(parameter: th.Tensor | None) -> th.Size | None:
    return None if parameter is None else parameter.shape
