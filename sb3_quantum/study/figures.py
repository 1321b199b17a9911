"""Figures of a study: learning curves, every seed, and performance profiles."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_quantum.common.durable import replacing
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import line_of, points_of
from sb3_quantum.study.cell import Cell
from sb3_quantum.study.statistics import iqm, profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: an arm and its complete cells
Groups = dict[str, list[Cell]]


def _legend_height(variants: dict[str, Groups]) -> float:
    """Inches that the legend of the variant with the most arms takes, in two columns."""
    return 0.1 * max(len(groups) for groups in variants.values()) + 0.1


def _legend_below(axes: "Axes") -> None:
    """Name the lines below the axes, where no line is hidden."""
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.2))


def write(figure: "Figure", path: Path) -> None:
    """
    Write a figure on white, which is readable on paper and on a dark page.

    :param figure: the figure
    :param path: the PNG file
    """
    with replacing(path) as partial:
        figure.savefig(partial, facecolor="white")


def seeds_figure(variants: dict[str, Groups], places: dict[str, int]) -> "Figure":
    """
    Draw every run as a dot, and the interquartile mean of each arm with its interval.

    :param variants: arms of every variant
    :param places: in the order of colours, by arm
    :return: the figure
    """
    heights = [max(len(groups), 1) for groups in variants.values()]
    figure = new_figure(WIDTH, 0.7 + 0.32 * sum(heights) + 0.5 * len(heights), layout="constrained")
    panels = figure.subplots(len(variants), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (variant, groups) in zip(panels, variants.items(), strict=True):
        for row, (arm, cells) in enumerate(groups.items()):
            values = np.array([cell.returns.mean() for cell in cells])
            look = points_of(places[arm])
            axes.plot(values, np.full(len(values), row) + 0.18, "o", markersize=4, alpha=0.6, **look)
            middle, low, high = iqm(values)
            errors = [[middle - low], [high - middle]] if np.isfinite(low) else None
            axes.errorbar(middle, row, xerr=errors, marker="D", capsize=3, **look)
        axes.set_yticks(range(len(groups)), [arm.removeprefix(f"{variant}-") for arm in groups])
        axes.invert_yaxis()
        axes.set_title(variant, loc="left", fontsize="medium")
        tidy_axes(axes)
        _clip(axes, groups)
    panels[-1].set_xlabel("return: runs (dots), interquartile mean\nand its 95 % interval (diamonds)")
    return figure


def _clip(axes: "Axes", groups: Groups) -> None:
    """Limit the axis, because intervals of two or three seeds may be far wider than the data."""
    values = np.array([cell.returns.mean() for cells in groups.values() for cell in cells])
    if len(values):
        margin = 0.25 * max(np.ptp(values), 1e-9)
        axes.set_xlim(values.min() - margin, values.max() + margin)


def curves_figure(variants: dict[str, Groups], places: dict[str, int], hours: bool) -> "Figure":
    """
    Draw the return in training: the mean over an arm's seeds, and their range.

    :param variants: arms of every variant
    :param places: in the order of colours, by arm
    :param hours: whether to draw against CPU hours instead of environment steps
    :return: the figure
    """
    figure = new_figure(WIDTH, (2.9 + _legend_height(variants)) * len(variants), layout="constrained")
    panels = figure.subplots(len(variants), 1, squeeze=False)[:, 0]
    column, scale = ("cpu_minutes", 60.0) if hours else ("steps", 1000.0)
    for axes, (variant, groups) in zip(panels, variants.items(), strict=True):
        for arm, cells in groups.items():
            curves = [
                cell.curve for cell in cells if len(cell.curve.get("return", ())) and np.isfinite(cell.curve[column]).all()
            ]
            if not curves:
                continue
            end = min(float(curve[column][-1]) for curve in curves)
            start = max(float(curve[column][0]) for curve in curves)
            along = np.linspace(min(start, end), end, 60)
            values = np.stack([np.interp(along, curve[column], curve["return"]) for curve in curves])
            axes.plot(along / scale, values.mean(0), label=arm, **line_of(places[arm]))
            axes.fill_between(
                along / scale, values.min(0), values.max(0), color=line_of(places[arm])["color"], alpha=0.12, linewidth=0
            )
        axes.set_title(variant, loc="left", fontsize="medium")
        tidy_axes(axes, "CPU hours of one core" if hours else "thousand environment steps", "return")
        if axes.lines:
            _legend_below(axes)
        else:
            axes.text(0.5, 0.5, "no curves", transform=axes.transAxes, ha="center", color="0.4")
    return figure


def profiles_figure(variants: dict[str, Groups], places: dict[str, int]) -> "Figure":
    """
    Draw performance profiles: the share of episodes above a return, with a band for the seeds.

    :param variants: arms of every variant
    :param places: in the order of colours, by arm
    :return: the figure
    """
    figure = new_figure(WIDTH, (2.9 + _legend_height(variants)) * len(variants), layout="constrained")
    panels = figure.subplots(len(variants), 1, squeeze=False)[:, 0]
    for axes, (variant, groups) in zip(panels, variants.items(), strict=True):
        every = np.concatenate([cell.returns for cells in groups.values() for cell in cells] or [np.zeros(1)])
        thresholds = np.linspace(every.min(), every.max(), 200)
        for arm, cells in groups.items():
            if cells:
                share, low, high = profile([cell.returns for cell in cells], thresholds)
                axes.plot(thresholds, share, label=arm, **line_of(places[arm]))
                axes.fill_between(thresholds, low, high, color=line_of(places[arm])["color"], alpha=0.12, linewidth=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_title(variant, loc="left", fontsize="medium")
        tidy_axes(axes, "return", "share of episodes with more")
        if axes.lines:
            _legend_below(axes)
    return figure
