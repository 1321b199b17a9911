"""Chip time of a training, by gradient method and chip."""

from typing import TYPE_CHECKING

from sb3_quantum.circuits import COUNTED_GRADIENTS, ChipTimes, Circuit, TrainingPlan, training_seconds
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: marks of the time axis, in seconds
_TICKS = {
    "1 ms": 1e-3,
    "1 s": 1.0,
    "1 min": 60.0,
    "1 h": 3600.0,
    "1 day": 86_400.0,
    "1 month": 2_629_800.0,
    "1 year": 31_557_600.0,
    "100 years": 3_155_760_000.0,
    "10,000 years": 315_576_000_000.0,
}
#: one shape a method, so that the figure can be read without colours
_MARKERS = ("o", "s", "^", "D", "X")


@keywords_checked({})
def cost_figure(ansatz: Circuit, plan: TrainingPlan, chips: dict[str, ChipTimes]) -> "Figure":
    """
    Draw the chip time of a training: a row for every chip, a mark for every gradient method, on a logarithmic axis.

    :param ansatz: the circuit
    :param plan: how much is trained
    :param chips: times by the chip's name
    :return: the figure
    :raises ImportError: if matplotlib is missing
    """
    figure = new_figure(WIDTH, 1.6 + 0.34 * len(chips), layout="constrained")
    axes = figure.subplots()
    drawn = []
    for place, (method, colour, marker) in enumerate(zip(COUNTED_GRADIENTS, COLOURS, _MARKERS, strict=False)):
        seconds = [training_seconds(ansatz, method, plan, times) for times in chips.values()]
        label = "paper's count" if method == "paper" else method.replace("_", " ")
        # Not on one line, because two methods may cost nearly the same
        heights = [row + 0.11 * (place - 2) for row in range(len(chips))]
        axes.plot(seconds, heights, marker, markersize=7, color=colour, label=label)
        drawn += [value for value in seconds if value > 0]
    axes.set_xscale("log")
    axes.minorticks_off()
    low, high = min(drawn) / 4, max(drawn) * 4
    # The outermost marks are beside the data; between them, names may be as close as 1 s and 1 min
    ticks = {name: value for name, value in _TICKS.items() if low <= value <= high}
    axes.set_xticks(list(ticks.values()), list(ticks), rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(low, high)
    axes.set_yticks(range(len(chips)), list(chips))
    axes.set_ylim(len(chips) - 0.5, -0.5)
    tidy_axes(axes, "chip time of a training")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
