"""Callbacks that only look at a training: whatever goes wrong in them, it goes on, and its parameters are the same."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from stable_baselines3.common.callbacks import BaseCallback

Method = TypeVar("Method", bound=Callable[..., Any])


class HarmlessCallback(BaseCallback):
    """
    Base class of callbacks that measure, draw or show. Those of its methods that are :func:`harmless` do nothing more in a
    training after one of them has failed.
    """

    _failed = False

    def on_training_start(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """A new training is a new attempt."""
        self._failed = False
        super().on_training_start(locals_, globals_)


def harmless(method: Method) -> Method:
    """
    Turn failures of a callback into one warning. What it would have raised in a training would have ended it.

    :param method: of a :class:`HarmlessCallback`
    :return: the same, which raises nothing and then returns ``True``
    """

    @functools.wraps(method)
    def guarded(self: HarmlessCallback, *args: Any) -> Any:
        if not self._failed:
            try:
                return method(self, *args)
            except Exception as error:
                self._failed = True
                warnings.warn(
                    f"{type(self).__name__} failed and does nothing more in this training, which goes on: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return True

    return guarded  # type: ignore[return-value]
