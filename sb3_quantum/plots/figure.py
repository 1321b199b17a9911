"""Figures of matplotlib without pyplot, global state or windows."""

from typing import TYPE_CHECKING, Any

from sb3_quantum.plots.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: of a figure in inches: matplotlib's 10 points are 7 where it is printed in a column of 3.3 inches
WIDTH = 4.7
#: dots per inch of a picture of that width, which is about 1,000 pixels wide
DPI = 220


def new_figure(width: float, height: float, **kwargs: Any) -> "Figure":
    """
    Make an empty figure that has no window and need not be closed.

    :param width: width in inches
    :param height: height in inches
    :param kwargs: further arguments of ``matplotlib.figure.Figure``; ``dpi`` is :data:`DPI` by default
    :return: the figure
    :raises ImportError: if matplotlib is missing
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "sb3-quantum[plots]"') from error
    return Figure(figsize=(width, height), **{"dpi": DPI, **kwargs})


def tidy_axes(axes: "Axes", xlabel: str = "", ylabel: str = "") -> None:
    """
    Give axes the look of all pictures here: a light grid, and no frame above and on the right.

    :param axes: axes of any figure
    :param xlabel: below, if any
    :param ylabel: label on the left, if any
    """
    axes.grid(alpha=STYLE["grid.alpha"])
    axes.set_axisbelow(STYLE["axes.axisbelow"])
    axes.spines[["top", "right"]].set_visible(False)
    if xlabel:
        axes.set_xlabel(xlabel)
    if ylabel:
        axes.set_ylabel(ylabel)
