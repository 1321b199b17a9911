"""Figures of ``frontier.py``: the map of circuits, and how priors grow with qubits and change with fits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sb3_quantum.plots.figure import new_figure, tidy_axes
from sb3_quantum.plots.runs import COLOURS

#: what a kind of inputs is called above a map
INPUTS = {
    "trained": "10 qubits, before any fit, angles spread by 0.5 rad",
    "uniform": "10 qubits, before any fit, uniform angles",
}
FAMILIES = {(10, 1): "10 layers, 1 CZ (the paper)", (5, 5): "5 layers, 5 CZ", (10, 5): "10 layers, 5 CZ"}
GROWING = {"paper": "paper, 10 layers", "matching": "matching, 5 layers", "bricks": "bricks, 8 layers"}


def draw_map(rows: list[dict[str, Any]], kind: str, path: Path) -> None:
    """
    Draw four maps for 10 qubits, layers across and CZ gates per layer upwards: cosine of the mean field and pairs before any
    fit; below them, norm of the exact gradient and spread of the expected bits. The paper's circuit is framed.

    :param rows: what ``measure_circuit`` returned, over all shapes and seeds; means over the seeds are drawn
    :param kind: of inputs, a key of INPUTS
    :param path: of the picture
    """
    chosen = [row for row in rows if row["qubits"] == 10 and row["inputs"] == kind]
    layers, gates = sorted({row["layers"] for row in chosen}), sorted({row["n_cz"] for row in chosen})
    maps: dict[str, Callable[[dict[str, Any]], float]] = {
        "Mean field: cosine": lambda row: row["cosine"]["mean_field"]["0"],
        "Pair correlations: cosine": lambda row: row["cosine"]["pair_correlations"]["0"],
        "Norm of the exact gradient": lambda row: row["gradient_norm"],
        "Spread of an expected bit": lambda row: row["marginal_std"],
    }
    figure = new_figure(7, 6.2, layout="constrained")
    panels = figure.subplots(2, 2)
    for place, (axes, (title, value)) in enumerate(zip(panels.flat, maps.items(), strict=True)):
        grid = np.array(
            [
                [np.mean([value(row) for row in chosen if (row["layers"], row["n_cz"]) == (n, c)] or [np.nan]) for n in layers]
                for c in gates
            ]
        )
        high = 1.0 if place < 2 else float(np.nanmax(grid))
        axes.imshow(grid, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=high)
        for (y, x), number in np.ndenumerate(grid):
            colour = "white" if number < 0.5 * high else "black"
            axes.text(x, y, f"{number:.2f}", ha="center", va="center", color=colour, fontsize=10)
        if 10 in layers and 1 in gates:
            frame = (layers.index(10) - 0.46, gates.index(1) - 0.46)
            axes.add_patch(_frame(frame))
        axes.set_xticks(range(len(layers)), [str(n) for n in layers])
        axes.set_yticks(range(len(gates)), [str(n) for n in gates])
        axes.set_title(title, fontsize=11)
        axes.label_outer()
    for axes in panels[-1]:
        axes.set_xlabel("layers")
    for axes in panels[:, 0]:
        axes.set_ylabel("CZ gates per layer")
    figure.suptitle(f"{INPUTS[kind]}. Framed: the paper's circuit", fontsize=11)
    figure.savefig(path, dpi=150)


def _frame(corner: tuple[float, float]) -> Any:
    """Draw a red rectangle around a cell."""
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#D00000", linewidth=2.5)


def draw_growth(growth: list[dict[str, Any]], curves: list[dict[str, Any]], path: Path) -> None:
    """
    Draw three panels: cosine of both priors over qubits, their operations beside those of exact simulation, and the cosine
    over the fits with the best prior and with none.

    :param growth: what ``measure_growth`` returned
    :param curves: what ``measure_circuit`` returned with fits
    :param path: of the picture
    """
    from matplotlib.lines import Line2D

    figure = new_figure(7, 6.4, layout="constrained")
    panels = figure.subplot_mosaic([["cosines", "cosines"], ["costs", "fits"]])
    cosines, costs, fits = (panels[name] for name in ("cosines", "costs", "fits"))
    for colour, (name, label) in zip(COLOURS, GROWING.items(), strict=False):
        rows = sorted((row for row in growth if row["circuit"] == name), key=lambda row: row["qubits"])
        qubits = [row["qubits"] for row in rows]
        cosines.plot(qubits, [row["pair_correlations"] for row in rows], "o-", color=colour, label=label)
        cosines.plot(qubits, [row["mean_field"] for row in rows], "o--", color=colour, alpha=0.6)
    rows = sorted((row for row in growth if row["circuit"] == "matching"), key=lambda row: row["qubits"])
    qubits = [row["qubits"] for row in rows]
    # A rotation takes about two complex multiplications an amplitude: both components, half a gradient's way
    exact = [4.0 * row["layers"] * n * 2.0**n for n, row in zip(qubits, rows, strict=True)]
    costs.plot(qubits, exact, "o-", color="black", label="exact state")
    costs.plot(qubits, [row["pair_correlations_operations"] for row in rows], "o-", color=COLOURS[1], label="pairs")
    costs.plot(qubits, [row["mean_field_operations"] for row in rows], "o--", color=COLOURS[1], label="mean field")
    drawn = [row for row in curves if (row["layers"], row["n_cz"]) in FAMILIES and row["inputs"] == "trained"]
    steps = sorted({int(step) for row in drawn for step in row["cosine"]["none"]})
    fits.set_xticks(range(len(steps)), [f"{step:,}" for step in steps])
    for row in drawn:
        shape = (row["layers"], row["n_cz"])
        colour = COLOURS[list(FAMILIES).index(shape)]
        for prior, style, label in (
            ("pair_correlations", "o-", FAMILIES[shape]),
            ("none", "o:", "_"),
        ):  # "_": not in the legend
            curve = row["cosine"][prior]
            fits.plot([steps.index(int(step)) for step in curve], list(curve.values()), style, color=colour, label=label)
    for axes, title, label in (
        (cosines, "Cosine before any fit", "qubits"),
        (costs, "Operations, 5 layers, matching", "qubits"),
        (fits, "Cosine over fits, 10 qubits", "fits"),
    ):
        axes.set_title(title, fontsize=11)
        tidy_axes(axes, label)
    costs.set_yscale("log")
    costs.legend(fontsize=9, frameon=False)
    for axes, styles in ((cosines, ("pairs", "mean field")), (fits, ("prior of pairs", "no prior"))):
        axes.set_ylim(-0.05, 1.05)
        kinds = [Line2D([], [], color="0.3", linestyle=("-", "--" if axes is cosines else ":")[n]) for n in range(2)]
        handles, labels = axes.get_legend_handles_labels()
        place: dict[str, Any] = dict(loc="lower center", ncols=2) if axes is cosines else dict(loc="center right")
        axes.legend([*handles, *kinds], [*labels, *styles], fontsize=8, framealpha=0.85, **place)
    figure.savefig(path, dpi=150)
