"""However many arms a figure has, no two of them look alike."""

from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch as th
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.plots import STYLE, Curve, Run, arms_figure, circuit_figure, runs_figure
from sb3_quantum.plots.style import COLOURS, look_of, points_of
from sb3_quantum.study import figures

NAMES = [f"arm{n}" for n in range(2 * len(COLOURS) + 2)]


def looks(lines: list[Any]) -> list[tuple[Any, ...]]:
    return [(to_hex(x.get_color()), x.get_linestyle(), x.get_marker(), x.get_fillstyle()) for x in lines]


def all_differ(found: list[tuple[Any, ...]], n: int) -> bool:
    return len(found) == n and len(set(found)) == n


def panels(figure: Any) -> list[Axes]:
    return [axes for axes in figure.axes if axes.has_data()]


def test_as_many_as_stated() -> None:
    assert len({tuple(sorted(look_of(place).items())) for place in range(112)}) == 112
    assert len({tuple(sorted(points_of(place).items())) for place in range(42)}) == 42
    # The first pass through the colours, which most figures have, is as plain as it was
    assert all("marker" not in look_of(place) and points_of(place)["fillstyle"] == "full" for place in range(len(COLOURS)))


def test_of_a_study() -> None:
    returns = np.array([1.0, 2.0, 3.0])
    cell = SimpleNamespace(returns=returns, curve={"steps": returns, "cpu_minutes": returns, "return": returns})
    variants = {"mean": {name: [cell] * 3 for name in NAMES}}
    places = {name: place for place, name in enumerate(NAMES)}
    for figure in (figures.curves_figure(variants, places, hours=False), figures.profiles_figure(variants, places)):
        (axes,) = panels(figure)
        assert all_differ(looks(axes.lines), len(NAMES))
    (axes,) = panels(figures.seeds_figure(variants, places))
    for shape in ("o", "D"):
        assert all_differ([look for look in looks(axes.lines) if look[2] == shape], len(NAMES))


@pytest.mark.parametrize("kind", ["episodes", "evaluations", "cosine", "circuits"])
def test_of_runs(kind: str) -> None:
    curve = Curve(np.arange(1.0, 9.0), np.linspace(0, 1, 8))
    figure = runs_figure([Run(name, **{kind: curve}) for name in NAMES])
    drawn = [looks(axes.lines) for axes in panels(figure)]
    # Training episodes are points and their mean a line: each kind by itself
    for alone in [drawn[0][::2], drawn[0][1::2]] if kind == "episodes" else drawn:
        assert all_differ(alone, len(NAMES))
    assert all_differ(looks(figure.legends[0].get_lines()), len(NAMES))


def test_of_arms() -> None:
    curve = Curve(np.arange(1.0, 9.0), np.linspace(0, 1, 8))
    figure = arms_figure({name: [Run(name, episodes=curve)] for name in NAMES})
    means = [line for line in figure.axes[0].lines if line.get_linewidth() == 2]
    assert all_differ(looks(means), len(NAMES))
    assert all_differ(looks(figure.legends[0].get_lines()), len(NAMES))


def test_for_figures_of_your_own() -> None:
    import matplotlib.pyplot as plt

    with plt.style.context(STYLE):
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)
        figure, axes = plt.subplots()
        plt.close(figure)
    assert not axes.spines["top"].get_visible() and axes.get_axisbelow() is True


@pytest.mark.filterwarnings("error")
def test_the_style_leaves_the_package_figures_as_they_are() -> None:
    import matplotlib.pyplot as plt

    circuit = PaperCircuit(3, 2)
    plain = circuit_figure(circuit, th.zeros(circuit.n_inputs))
    with plt.style.context(STYLE):
        styled = circuit_figure(circuit, th.zeros(circuit.n_inputs))
        styled.canvas.draw()
    assert styled.get_size_inches().tolist() == plain.get_size_inches().tolist()
