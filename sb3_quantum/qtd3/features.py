"""What actor and critics have in common: normalized features, and networks that are split in the middle."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs

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
