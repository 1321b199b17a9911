"""Trainings that end before they should: why they do, and what is given back then."""

import warnings
from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback, ProgressBarCallback

from sb3_quantum.backends import BackendError


def reason_of(num_timesteps: int, total_timesteps: int, error: BaseException) -> str:
    """
    Where a training ends, and why.

    :param num_timesteps: steps done
    :param total_timesteps: steps asked for
    :param error: what ended it
    :return: one sentence
    """
    why = str(error) if isinstance(error, BackendError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"training ends at {num_timesteps} of {total_timesteps} steps: {why}"


def walk(callback: BaseCallback) -> Iterator[BaseCallback]:
    """
    A callback and those that it calls.

    :param callback: of a training; in ``learn``'s callbacks, ``self.locals["callback"]`` is all of them together
    :return: all of them, one by one
    """
    yield callback
    if isinstance(callback, CallbackList):
        for child in callback.callbacks:
            yield from walk(child)
    elif isinstance(callback, EventCallback) and callback.callback is not None:
        yield from walk(callback.callback)


def release(callback: BaseCallback) -> None:
    """
    End progress bars and this package's own callbacks, which hold a terminal or signal handlers. SB3 ends no callback after an
    error, and what other people's do at the end of a training may not be right then.

    :param callback: all callbacks of the training
    """
    for node in walk(callback):
        ours = any(base.__module__.startswith("sb3_quantum.") for base in type(node).__mro__)
        if ours or isinstance(node, ProgressBarCallback):
            try:
                node.on_training_end()
            except Exception as error:  # of one that has not been started; the others come first
                warnings.warn(f"{type(node).__name__} could not be ended: {error!r}", stacklevel=3)
