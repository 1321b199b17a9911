"""What a training hands over to the logger."""

import torch as th
from stable_baselines3.common.logger import Logger


def record_losses(logger: Logger, losses: dict[str, list[th.Tensor]]) -> None:
    """
    Log the means of losses; this waits for the device that they are on.

    :param logger: the logger
    :param losses: log keys and numbers; empty lists are left out
    """
    for key, values in losses.items():
        if values and values[0].is_cpu:
            logger.record(key, sum(value.item() for value in values) / len(values))
        elif values:
            logger.record(key, th.stack(values).mean().item())
