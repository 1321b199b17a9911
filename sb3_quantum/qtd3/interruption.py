"""Trainings that end early: the reason, and the release of what callbacks hold."""

import warnings
from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback, ProgressBarCallback

from sb3_quantum.backends import BackendError
from sb3_quantum.circuits.wording import counted


def reason_of(num_timesteps: int, total_timesteps: int, error: BaseException) -> str:
    """
    Describe where a training ended, and why.

    :param num_timesteps: steps done
    :param total_timesteps: steps asked for
    :param error: the error that ended it
    :return: one sentence
    """
    why = str(error) if isinstance(error, BackendError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"training ends at {num_timesteps:,} of {counted(total_timesteps, 'step')}: {why}"


def walk(callback: BaseCallback) -> Iterator[BaseCallback]:
    """
    Yield a callback and those that it calls.

    :param callback: a training's callback; inside callbacks, ``self.locals["callback"]`` is all of them together
    :return: an iterator over the callbacks
    """
    yield callback
    if isinstance(callback, CallbackList):
        for child in callback.callbacks:
            yield from walk(child)
    elif isinstance(callback, EventCallback) and callback.callback is not None:
        yield from walk(callback.callback)


def release(callback: BaseCallback) -> None:
    """
    End progress bars and this package's callbacks, which hold a terminal or signal handlers. SB3 ends no callback after an
    error, and other callbacks may not expect it.

    :param callback: all callbacks of the training
    """
    for node in walk(callback):
        ours = any(base.__module__.startswith("sb3_quantum.") for base in type(node).__mro__)
        if ours or isinstance(node, ProgressBarCallback):
            try:
                node.on_training_end()
            except Exception as error:  # of a callback that was not started; the others come first
                warnings.warn(f"{type(node).__name__} could not be ended: {error!r}", stacklevel=3)
