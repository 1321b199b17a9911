"""Log a training's losses and counters."""

import torch as th
from stable_baselines3.common.logger import Logger

from sb3_quantum.layers import Block


def record_losses(logger: Logger, losses: dict[str, list[th.Tensor]]) -> None:
    """
    Log the means of losses. This waits for the device that they are on.

    :param logger: the logger
    :param losses: log keys and numbers; empty lists are left out
    """
    for key, values in losses.items():
        if values and values[0].is_cpu:
            logger.record(key, sum(value.item() for value in values) / len(values))
        elif values:
            logger.record(key, th.stack(values).mean().item())


def record_usage(logger: Logger, block: Block) -> None:
    """
    Log the usage of a block's backend. Zeros are left out on an exact simulator, but not elsewhere, where usage is billed.

    :param logger: the logger
    :param block: the policy's block
    """
    exact = block.backend is not None and block.backend.exact
    for name, value in block.usage().items():
        if value or not exact:
            logger.record(f"quantum/{name}", value)
