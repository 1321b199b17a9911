"""Every picture of the manual can be read where it is printed in a column of 3.3 inches, or seen on a phone."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from matplotlib.figure import Figure
from matplotlib.text import Text

from sb3_quantum.circuits import CHIPS, PaperCircuit, TrainingPlan
from sb3_quantum.plots import Curve, Run, arms_figure, circuit_figure, cost_figure, runs_figure
from sb3_quantum.robustness import plot as plot_robustness
from sb3_quantum.study import figures

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
COLUMN, LEAST = 3.3, 7.0


def smallest_in_a_column(figure: Figure) -> float:
    """Points of the smallest text when the figure is as wide as a column."""
    # Labels of ticks are made when they are asked for
    for axes in figure.axes:
        axes.get_xticklabels(), axes.get_yticklabels()
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert len(sizes) > 3
    return min(sizes) * COLUMN / figure.get_figwidth()


def a_run(label: str) -> Run:
    steps = np.arange(1, 9) * 1000.0
    curve = Curve(steps, np.linspace(0, 1, 8))
    return Run(label, episodes=curve, evaluations=curve, cosine=curve, prior=curve, circuits=curve)


CIRCUIT = PaperCircuit(4, 3)
DRAWN: dict[str, Callable[[], Figure]] = {
    "runs": lambda: runs_figure([a_run("qtd3"), a_run("td3")]),
    "arms": lambda: arms_figure({"qtd3": [a_run("0"), a_run("1")], "td3": [a_run("0")]}, title="A title"),
    "circuit": lambda: circuit_figure(CIRCUIT, th.zeros(CIRCUIT.n_inputs), "A title", layers_per_row=2),
    "cost": lambda: cost_figure(PaperCircuit(10, 10), TrainingPlan(), CHIPS),
}


@pytest.mark.parametrize("name", DRAWN)
def test_of_the_package(name: str) -> None:
    assert smallest_in_a_column(DRAWN[name]()) >= LEAST


def test_of_a_study() -> None:
    returns = np.array([1.0, 2.0])
    curve = {"steps": returns, "cpu_minutes": returns, "return": returns}
    cell = SimpleNamespace(returns=returns, curve=curve)
    variants, places = {"mean": {"pqc": [cell, cell], "zeros": [cell, cell]}}, {"pqc": 0, "zeros": 1}
    for figure in (
        figures.seeds_figure(variants, places),
        figures.curves_figure(variants, places, hours=True),
        figures.profiles_figure(variants, places),
    ):
        assert smallest_in_a_column(figure) >= LEAST


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that were saved, instead of their files: drawing them would take most of the time."""
    found: list[Figure] = []

    def savefig(figure: Figure, path: Path, **_: Any) -> None:
        found.append(figure)
        Path(path).touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


def test_of_robustness(saved: list[Figure], tmp_path: Path) -> None:
    rows = [dict(label=label, readout="mean", returns=[1.0, 2.0], interval=[1.0, 2.0]) for label in ("exact", "p = 0.01")]
    plot_robustness(rows, tmp_path / "robustness.png")
    assert smallest_in_a_column(saved[0]) >= LEAST


@pytest.mark.parametrize("name", ["training_speed", "tangent_fidelity", "simulators", "frontier", "humanoid_seeds"])
def test_of_the_benchmarks(name: str, saved: list[Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn from the stored results, with the command that stands beside the picture."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module(name)
    data = [] if name == "humanoid_seeds" else ["--data", str(RESULTS / f"{name}.json")]
    place = tmp_path if name == "frontier" else tmp_path / "picture.png"
    others = ["--others", str(tmp_path / "others.png")] if name == "humanoid_seeds" else []
    monkeypatch.setattr(sys, "argv", [name, *data, "--plot", str(place), *others])
    module.main()
    assert len(saved) == {"frontier": 3, "humanoid_seeds": 2}.get(name, 1)
    assert all(smallest_in_a_column(figure) >= LEAST for figure in saved)
