"""What a training hands over to the logger."""

import torch as th
from stable_baselines3.common.logger import Logger

from sb3_quantum.layers import Block


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


def record_usage(logger: Logger, block: Block) -> None:
    """
    Log what a block's backend was asked for. On an exact simulator, what was not asked for is left out; elsewhere a zero is
    worth a line, because what is counted is billed.

    :param logger: the logger
    :param block: of the policy
    """
    exact = block.backend is not None and block.backend.exact
    for name, value in block.usage().items():
        if value or not exact:
            logger.record(f"quantum/{name}", value)
