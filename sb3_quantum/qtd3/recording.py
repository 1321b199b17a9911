"""What a training hands over to the logger."""

from dataclasses import asdict

import torch as th
from stable_baselines3.common.logger import Logger

from sb3_quantum.backends import Backend


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


def record_backend(logger: Logger, backend: Backend) -> None:
    """
    Log a backend's counters and statistics.

    :param logger: the logger
    :param backend: the backend
    """
    for name, value in backend.statistics.items():
        logger.record(f"quantum/{name}", value)
    for prefix, usage in (("", backend.usage), ("eval_", backend.eval_usage)):
        for name, value in asdict(usage).items():
            logger.record(f"quantum/{prefix}{name}", value)
