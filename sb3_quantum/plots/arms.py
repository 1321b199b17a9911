"""Curves of arms: runs with different seeds as one curve with an interval."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.runs import Curve, Run, running_mean
from sb3_quantum.plots.style import line_of, look_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: points along the steps at which seeds are averaged
_N_POINTS = 200


def return_curve(run: Run, window: int) -> Curve | None:
    """
    Return a run's return from its best source.

    :param run: the run
    :param window: training episodes that are averaged over
    :return: mean of the last training episodes, or the logged mean, or evaluations; ``None`` if there are none
    """
    if run.episodes is not None:
        return Curve(run.episodes.steps, running_mean(run.episodes.values, window))
    return run.rollouts or run.evaluations


def mean_and_interval(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Compute the mean over curves, with linear interpolation, over the steps that all of them have. The interval is Student's,
    95 %, pointwise, with the curve (the seed) as the unit.

    :param curves: one or more curves
    :return: steps, mean, lower and upper end, ``(n,)`` each; without an interval (NaN) for one curve
    """
    first, last = max(curve.steps[0] for curve in curves), min(curve.steps[-1] for curve in curves)
    steps = np.linspace(first, max(first, last), _N_POINTS)
    values = np.stack([np.interp(steps, *curve) for curve in curves])
    mean = values.mean(0)
    if len(curves) < 2:
        nothing = np.full_like(mean, np.nan)
        return steps, mean, nothing, nothing
    from scipy.stats import t

    half = t.ppf(0.975, len(curves) - 1) * values.std(0, ddof=1) / np.sqrt(len(curves))
    return steps, mean, mean - half, mean + half


@keywords_checked({})
def arms_figure(arms: dict[str, list[Run]], window: int = 20, title: str = "") -> "Figure":
    """
    Draw arms side by side: the mean over an arm's runs as a thick line, its interval as a band, and every run as a thin line.
    Panels without data are left out.

    :param arms: runs by the arm's name
    :param window: training episodes that the return is averaged over
    :param title: above the figure
    :return: the figure
    :raises ImportError: if matplotlib is missing
    :raises ValueError: if no run has anything to draw
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    panels = {
        f"return (mean of {counted(window, 'episode')})": {
            arm: [curve for run in runs if (curve := return_curve(run, window)) is not None] for arm, runs in arms.items()
        },
        "cosine of the qtDNN's\nand the circuit's gradient": {
            arm: [run.cosine for run in runs if run.cosine is not None] for arm, runs in arms.items()
        },
    }
    panels = {label: curves for label, curves in panels.items() if any(curves.values())}
    if not panels:
        raise ValueError("these runs have neither returns nor cosines")
    figure = new_figure(WIDTH, 0.6 + 2.3 * len(panels), layout="constrained")
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, curves) in zip(column, panels.items(), strict=True):
        for place, these in enumerate(curves.values()):
            if these:
                _draw(axes, these, line_of(place))
        axes.set_ylabel(label)
        if label.startswith("cosine"):
            # As in the figure of runs: an interval may extend beyond the range of a cosine
            low = min(float(curve.values.min()) for these in curves.values() for curve in these)
            axes.set_ylim(min(low - 0.05, -0.05), 1.05)
        tidy_axes(axes)
    column[-1].set_xlabel("environment steps")
    column[-1].set_xlim(left=0)
    column[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    column[-1].xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    handles = [Line2D([], [], linewidth=2, **look_of(place)) for place in range(len(arms))]
    names = [f"{arm} ({counted(len(runs), 'run')})" for arm, runs in arms.items()]
    columns = max(1, min(len(arms), 48 // (max(map(len, names)) + 8)))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, title=title or None)
    return figure


def _draw(axes: "Axes", curves: list[Curve], look: dict[str, Any]) -> None:
    """Draw one arm."""
    color = look["color"]
    steps, mean, low, high = mean_and_interval(curves)
    for curve in curves:
        axes.plot(*curve, color=color, linewidth=0.7, alpha=0.35)
    axes.plot(steps, mean, linewidth=2, **look)
    if np.isfinite(low).all():
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
