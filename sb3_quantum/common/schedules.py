"""Learning rates as the zoo and SB3 write them."""

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule


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
            return FloatSchedule(LinearSchedule(float(start), 0.0, 1.0))
        except (AssertionError, ValueError) as error:
            raise ValueError(f"{name}={value!r} is not a number, a schedule or 'lin_x' with a number x") from error
    if not callable(value) and not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value!r} is not a number, a schedule or 'lin_x' with a number x")
    return FloatSchedule(value)
