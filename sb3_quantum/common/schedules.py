"""Learning rate schedules in the notations of the zoo and SB3."""

import math

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from sb3_quantum.circuits.checks import check_number, shown, yaml_hint

_ACCEPTED = "a number >= 0, a schedule, or 'lin_x' (linear from x to 0) or 'lin_x_y' (from x to y) with x, y >= 0"


class LearningRateSchedule(FloatSchedule):
    """
    SB3's schedule of floats that refuses a negative or infinite learning rate, which would spoil every parameter.

    :param value_schedule: a number, or a function of the progress remaining
    :param name: the argument's name, for the message
    """

    def __init__(self, value_schedule: Schedule | float, name: str = "learning_rate"):
        super().__init__(value_schedule)
        self.name = name

    def __call__(self, progress_remaining: float) -> float:
        value = super().__call__(progress_remaining)
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{self.name} must be a finite number >= 0, its schedule gave {value!r} at {progress_remaining:g}"
            )
        return value


def make_schedule(name: str, value: float | Schedule | str) -> FloatSchedule:
    """
    Make a schedule from a learning rate.

    :param name: the argument's name, for the message
    :param value: a number, a schedule, the zoo's ``"lin_x"`` (linear from x to 0) or ``"lin_x_y"`` (linear from x to y)
    :return: the schedule
    :raises ValueError: if it is none of these
    """
    if isinstance(value, str):
        kind, *ends = value.split("_")
        try:
            assert kind == "lin" and 1 <= len(ends) <= 2
            start, end = (check_number(name, float(text), least=0) for text in (*ends, "0")[:2])
            return LearningRateSchedule(LinearSchedule(start, end, 1.0), name)
        except (AssertionError, ValueError) as error:
            raise ValueError(f"{name} must be {_ACCEPTED}, got {value!r}{yaml_hint(value)}") from error
    if callable(value):
        return LearningRateSchedule(value, name)
    try:
        return LearningRateSchedule(check_number(name, value, least=0), name)
    except ValueError as error:
        raise ValueError(f"{name} must be {_ACCEPTED}, got {shown(value)}") from error
