"""What actor and critics have in common: normalized features, and networks that are split in the middle."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_quantum.common.normalization import ObservationNormalizer


def split_arch(net_arch: Sequence[int]) -> tuple[list[int], list[int]]:
    """
    Split a network's hidden layers in the middle; an odd one goes to the first part.

    :param net_arch: widths of the hidden layers
    :return: those before and those after the split
    """
    middle = (len(net_arch) + 1) // 2
    return list(net_arch[:middle]), list(net_arch[middle:])


class NormalizedFeatures(BaseModel):
    """Feature extraction from normalized observations; the normalizer belongs to the policy and is only referred to."""

    normalizer: ObservationNormalizer | None

    def share_normalizer(self, normalizer: ObservationNormalizer | None) -> None:
        """
        Refer to the policy's normalizer.

        :param normalizer: the normalizer, or ``None`` for observations as they are
        """
        # Past nn.Module's registration: the policy's state_dict and device moves must see it once
        object.__setattr__(self, "normalizer", normalizer)

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor, normalized: bool = False
    ) -> th.Tensor:
        if self.normalizer is not None and not normalized:
            obs = self.normalizer(obs)
        return super().extract_features(obs, features_extractor)

    def _shared(self) -> dict[str, nn.Module]:
        """What this network works with and the policy owns, by the name that it has in :meth:`state_dict`."""
        return {} if self.normalizer is None else {"normalizer": self.normalizer}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """
        As ``nn.Module``'s. Asked by itself, and not as a part of the policy, a network adds what it works with and the policy
        owns: the normalizer, and an actor's qtDNN. Without them it would be another network.
        """
        state = super().state_dict(*args, **kwargs)
        if not args and "destination" not in kwargs:
            prefix, keep_vars = kwargs.get("prefix", ""), kwargs.get("keep_vars", False)
            for name, module in self._shared().items():
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """
        The inverse of :meth:`state_dict`. What it loads of the policy is the policy's from then on, and changes for all of its
        networks. A warning says so where a state lacks it, as those of version 0.1.0 do.
        """
        own = OrderedDict(state_dict)
        if hasattr(state_dict, "_metadata"):
            own._metadata = state_dict._metadata  # type: ignore[attr-defined]
        for name, module in self._shared().items():
            keys = [key for key in own if key.startswith(f"{name}.")]
            part = {key.removeprefix(f"{name}."): own.pop(key) for key in keys}
            if part:
                module.load_state_dict(part, strict, assign)
            elif module.state_dict():
                warnings.warn(
                    f"this state of {type(self).__name__} has no {name}: that belongs to the policy, and stays as it is here; "
                    f"policy.state_dict() is whole",
                    stacklevel=2,
                )
        return super().load_state_dict(own, strict, assign)
