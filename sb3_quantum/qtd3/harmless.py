"""Callbacks that only observe: if they fail, the training continues with the same parameters."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from stable_baselines3.common.callbacks import BaseCallback

Method = TypeVar("Method", bound=Callable[..., Any])


class HarmlessCallback(BaseCallback):
    """
    Base class of callbacks that measure, draw or show. After one of its :func:`harmless` methods fails, all of them do nothing
    for the rest of the training.
    """

    _failed = False

    def on_training_start(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """Try again in a new training."""
        self._failed = False
        super().on_training_start(locals_, globals_)


def harmless(method: Method) -> Method:
    """
    Turn failures of a callback's method into one warning; an exception would end the training.

    :param method: method of a :class:`HarmlessCallback`
    :return: the method, which returns ``True`` instead of raising
    """

    @functools.wraps(method)
    def guarded(self: HarmlessCallback, *args: Any) -> Any:
        if not self._failed:
            try:
                return method(self, *args)
            except Exception as error:
                self._failed = True
                warnings.warn(
                    f"{type(self).__name__} failed and is off for the rest of this training, which continues: "
                    f"{type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return True

    return guarded  # type: ignore[return-value]
