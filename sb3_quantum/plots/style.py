"""The style of all pictures here: colours, dashes and markers, and the same for figures of your own."""

from typing import Any

#: Okabe and Ito's colour-blind safe colours, without yellow, which is hard to see on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
#: dashes; every pass through the colours takes the next
STYLES = ("-", "--", "-.")
#: markers of lines from the second pass through the colours on. Their number and that of the dashes have no common divisor
MARKERS = ("s", "^", "D", "v", "P")
#: fillings of points; every pass through the colours takes the next
FILLINGS = ("full", "none", "left", "bottom", "right", "top")

#: for ``matplotlib.pyplot.style.use``: figures of your own look as those of this package
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def look_of(place: int) -> dict[str, Any]:
    """
    Choose the look of a line. The first 112 lines of a figure differ.

    :param place: number of the run or arm in the figure
    :return: its colour, dashes and, from the eighth line on, a marker
    """
    turn, colour = divmod(place, len(COLOURS))
    look: dict[str, Any] = {"color": COLOURS[colour], "linestyle": STYLES[turn % len(STYLES)]}
    return look if turn == 0 else {**look, "marker": MARKERS[(turn - 1) % len(MARKERS)], "markersize": 4}


def line_of(place: int) -> dict[str, Any]:
    """
    Choose the look of a line of many points, with no more than about ten markers.

    :param place: number of the run or arm in the figure
    :return: as :func:`look_of`
    """
    look = look_of(place)
    return {**look, "markevery": 0.1} if "marker" in look else look


def points_of(place: int) -> dict[str, Any]:
    """
    Choose the look of points, whatever their shape. Those of the first 42 arms differ.

    :param place: number of the arm in the figure
    :return: their colour and filling
    """
    turn, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "fillstyle": FILLINGS[turn % len(FILLINGS)]}
