"""Critics by name."""

import inspect
from typing import Any

from sb3_quantum.circuits.checks import meant
from sb3_quantum.qtd3.critics.base import Critic
from sb3_quantum.qtd3.critics.categorical import CategoricalCritic
from sb3_quantum.qtd3.critics.crossq import CrossQCritic
from sb3_quantum.qtd3.critics.twin import TwinCritic

#: what ``policy_kwargs=dict(critic=...)`` accepts
CRITICS: dict[str, type[Critic]] = {"twin": TwinCritic, "crossq": CrossQCritic, "categorical": CategoricalCritic}

#: arguments that the policy sets by its own arguments, or a critic passes to its parent
_NOT_ACCEPTED = {
    *inspect.signature(Critic.__init__).parameters, "critic_arch", "features_dim", "activation_fn", "n_critics", "n_outputs",
    "kwargs",
}  # fmt: skip


def check_critic(name: str, kwargs: dict[str, Any] | None, layer_norm: bool = False) -> type[Critic]:
    """
    Check a critic's name and arguments before anything is built.

    :param name: the policy's ``critic``
    :param kwargs: its ``critic_kwargs``
    :param layer_norm: its ``critic_layer_norm``
    :return: the critic's class
    :raises ValueError: if the name is unknown, or the critic does not have one of the arguments
    """
    if name not in CRITICS:
        raise ValueError(f"critic={name!r} is unknown, accepted are {', '.join(map(repr, CRITICS))}{meant([name], CRITICS)}")
    parameters = [inspect.signature(cls.__init__).parameters for cls in CRITICS[name].__mro__ if issubclass(cls, Critic)]
    accepted = sorted(set().union(*parameters) - _NOT_ACCEPTED)
    unknown = sorted((kwargs or {}).keys() - set(accepted))
    if unknown:
        names = ", ".join(map(repr, accepted))
        raise ValueError(
            f"critic_kwargs has {', '.join(map(repr, unknown))}, accepted for critic={name!r} are {names}"
            f"{meant(unknown, accepted)}"
        )
    if layer_norm and "layer_norm" not in accepted:
        raise ValueError(f'critic_layer_norm=True is for critic="twin", and critic={name!r} has a normalization of its own')
    return CRITICS[name]


__all__ = ["CRITICS", "CategoricalCritic", "Critic", "CrossQCritic", "TwinCritic", "check_critic"]
