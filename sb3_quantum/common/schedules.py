"""Learning rates as the zoo and SB3 write them."""

import math

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from sb3_quantum.circuits.checks import check_number, shown, yaml_hint


class LearningRateSchedule(FloatSchedule):
    """
    SB3's schedule of floats, which never lets a learning rate through that would spoil every parameter.

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
    A learning rate as a schedule.

    :param name: the argument's name, for the message
    :param value: a number, a schedule, or the zoo's ``"lin_x"`` (linear from x to 0)
    :return: the schedule
    :raises ValueError: if it is none of these
    """
    if isinstance(value, str):
        kind, _, start = value.partition("_")
        try:
            assert kind == "lin"
            peak = check_number(name, float(start), least=0)
            return LearningRateSchedule(LinearSchedule(peak, 0.0, 1.0), name)
        except (AssertionError, ValueError) as error:
            hint = yaml_hint(value)
            raise ValueError(f"{name}={value!r} is not a number, a schedule or 'lin_x' with a number x{hint}") from error
    if callable(value):
        return LearningRateSchedule(value, name)
    try:
        return LearningRateSchedule(check_number(name, value, least=0), name)
    except ValueError as error:
        raise ValueError(f"{name}={shown(value)} is not a number >= 0, a schedule or 'lin_x' with a number x") from error
