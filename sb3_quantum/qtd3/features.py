"""Shared parts of actor and critics: normalized features, and networks that are split in the middle."""

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
    """Extract features from normalized observations. The normalizer belongs to the policy; the network only refers to it."""

    normalizer: ObservationNormalizer | None

    def share_normalizer(self, normalizer: ObservationNormalizer | None) -> None:
        """
        Refer to the policy's normalizer.

        :param normalizer: the normalizer; ``None`` leaves observations unchanged
        """
        # Not registered as a submodule: the policy's state_dict and device moves must see it once
        object.__setattr__(self, "normalizer", normalizer)

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor, normalized: bool = False
    ) -> th.Tensor:
        if self.normalizer is not None and not normalized:
            obs = self.normalizer(obs)
        return super().extract_features(obs, features_extractor)

    def _shared(self) -> dict[str, nn.Module]:
        """Return the policy's modules that this network uses, by their names in :meth:`state_dict`."""
        return {} if self.normalizer is None else {"normalizer": self.normalizer}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """
        Return the state, as ``nn.Module`` does. A network that is asked directly, not as a part of the policy, adds the
        policy's modules that it uses: the normalizer, and an actor's qtDNN. Without them it would be another network.
        """
        state = super().state_dict(*args, **kwargs)
        if not args and "destination" not in kwargs:
            prefix, keep_vars = kwargs.get("prefix", ""), kwargs.get("keep_vars", False)
            for name, module in self._shared().items():
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """
        Load what :meth:`state_dict` returned. Modules of the policy change for all of its networks. If a state lacks them, as
        those of version 0.1.0 do, a warning says so.
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
                    f"this state of {type(self).__name__} has no {name}: it belongs to the policy and stays unchanged; "
                    f"policy.state_dict() is complete",
                    stacklevel=2,
                )
        return super().load_state_dict(own, strict, assign)
