"""Figures of ``frontier.py``: the map of circuits, and how priors grow with qubits and change with fits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS

#: what a kind of inputs is called above a map
INPUTS = {
    "trained": "10 qubits, before any fit,\nangles spread by 0.5 rad",
    "uniform": "10 qubits, before any fit,\nuniform angles",
}
FAMILIES = {(10, 1): "10 layers, 1 CZ (the paper)", (5, 5): "5 layers, 5 CZ", (10, 5): "10 layers, 5 CZ"}
GROWING = {"paper": "paper, 10 layers", "matching": "matching, 5 layers", "bricks": "bricks, 8 layers"}


def draw_map(rows: list[dict[str, Any]], kind: str, path: Path) -> None:
    """
    Draw four maps for 10 qubits, layers across and CZ gates per layer upwards: cosine of the mean field and pairs before any
    fit; below them, norm of the exact gradient and spread of the expected bits. The paper's circuit is framed.

    :param rows: return value of ``measure_circuit``, over all shapes and seeds; means over the seeds are drawn
    :param kind: kind of inputs, a key of INPUTS
    :param path: path of the picture
    """
    chosen = [row for row in rows if row["qubits"] == 10 and row["inputs"] == kind]
    layers, gates = sorted({row["layers"] for row in chosen}), sorted({row["n_cz"] for row in chosen})
    # What is drawn, and its decimals
    maps: dict[str, tuple[Callable[[dict[str, Any]], float], int]] = {
        "mean field: cosine": (lambda row: row["cosine"]["mean_field"]["0"], 2),
        "pairs: cosine": (lambda row: row["cosine"]["pair_correlations"]["0"], 2),
        "norm of the gradient": (lambda row: row["gradient_norm"], 1),
        "spread of a bit": (lambda row: row["marginal_std"], 2),
    }
    figure = new_figure(WIDTH, 5.2, layout="constrained")
    panels = figure.subplots(2, 2)
    for place, (axes, (title, (value, decimals))) in enumerate(zip(panels.flat, maps.items(), strict=True)):
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
            axes.text(x, y, shown(number, decimals), ha="center", va="center", color=colour)
        if 10 in layers and 1 in gates:
            frame = (layers.index(10) - 0.46, gates.index(1) - 0.46)
            axes.add_patch(_frame(frame))
        axes.set_xticks(range(len(layers)), [str(n) for n in layers])
        axes.set_yticks(range(len(gates)), [str(n) for n in gates])
        axes.set_title(title, loc="left", fontsize="medium")
        axes.label_outer()
    for axes in panels[-1]:
        axes.set_xlabel("layers")
    for axes in panels[:, 0]:
        axes.set_ylabel("CZ gates per layer")
    figure.suptitle(f"{INPUTS[kind]}; framed: the paper's circuit", fontsize="medium")
    figure.savefig(path)


def shown(number: float, decimals: int) -> str:
    """
    Write a number in as few letters as a cell has room for.

    :param number: not negative
    :param decimals: digits after the point
    :return: without a leading zero; a cosine that rounds to one is "1"
    """
    text = f"{number:.{decimals}f}"
    return "1" if text == "1.00" else text.removeprefix("0") if decimals > 1 else text


def _frame(corner: tuple[float, float]) -> Any:
    """Draw a red rectangle around a cell."""
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#D00000", linewidth=2.5)


def draw_growth(growth: list[dict[str, Any]], curves: list[dict[str, Any]], path: Path) -> None:
    """
    Draw three panels: cosine of both priors over qubits, their operations beside those of exact simulation, and the cosine
    over the fits with the best prior and with none.

    :param growth: return value of ``measure_growth``
    :param curves: return value of ``measure_circuit`` with fits
    :param path: path of the picture
    """
    from matplotlib.lines import Line2D

    figure = new_figure(WIDTH, 8, layout="constrained")
    panels = figure.subplot_mosaic([["cosines"], ["costs"], ["fits"]])
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
        (cosines, "cosine before any fit", "qubits"),
        (costs, "operations, 5 layers, matching", "qubits"),
        (fits, "cosine over fits, 10 qubits", "fits"),
    ):
        axes.set_title(title, loc="left", fontsize="medium")
        tidy_axes(axes, label)
    costs.set_yscale("log")
    costs.legend(frameon=False)
    for axes, styles in ((cosines, ("pairs", "mean field")), (fits, ("prior of pairs", "no prior"))):
        axes.set_ylim(-0.05, 1.05)
        kinds = [Line2D([], [], color="0.3", linestyle=("-", "--" if axes is cosines else ":")[n]) for n in range(2)]
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            [*handles, *kinds], [*labels, *styles], frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.24)
        )
    figure.savefig(path)
