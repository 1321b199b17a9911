"""
Import runs that are older than ``python -m sb3_quantum.study``, as cells of the studies that replaced their scripts.

Settings, seeds, budgets and evaluation (100 episodes on the same reset seeds) are the studies'; what was not measured then,
such as ablations, is not there. They are of other machines, on which the same seed learns something else: floating point
numbers are rounded differently, and trainings amplify it.

    python benchmarks/earlier_runs.py pendulum_links_cut pendulum_circuits wall_clock wall_clock_candidates humanoid_recipe
    python -m sb3_quantum.study report wall_clock
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sb3_quantum.study import Arm, Cell, Study, read_study
from sb3_quantum.study.cell import COLUMNS, identity
from sb3_quantum.study.folder import keep_form
from sb3_quantum.study.packed import put

RESULTS = Path(__file__).parent / "results"
#: files of every study
FILES = {
    "pendulum_links_cut": ("links_cut/*-[0-9].json", "links_cut_dense/*-[0-9].json"),
    "pendulum_circuits": (
        "links_cut/mean-default-[0-9].json",
        "links_cut_dense/*-[0-9].json",
        "links_cut_wide/*-[0-9].json",
    ),
    "wall_clock": ("wall_clock/45min-*.json",),
    "wall_clock_candidates": ("wall_clock/xeon/10min-*.json",),
    "humanoid_recipe": ("humanoid_seeds.json",),
}
#: columns of the curves in ``humanoid_recipe``, where ``return`` was that of the weights that learn
RECIPE_COLUMNS = {"return": "average_return", "own_return": "return", "worst": ""}
#: what arms were called in ``links_cut.py``, by folder
LINKS_CUT = {
    "links_cut": {"default": "pqc"},
    "links_cut_dense": {"default": "dense", "no_entanglement": "n_cz0", "frozen": "dense_frozen"},
    "links_cut_wide": {"default": "wide"},
}


def arm_of(path: Path, figures: dict[str, Any]) -> str:
    """
    :param path: path of a run's figures
    :param figures: its contents
    :return: the arm's name today
    """
    arm = figures["arm"]
    if "readout" in figures:
        return LINKS_CUT[path.parent.name].get(arm, arm)
    return arm.replace(".", "_").replace("-", "_")


def curve_of(figures: dict[str, Any]) -> dict[str, np.ndarray]:
    """
    :param figures: figures of a run
    :return: its curve, with the evaluation at the end; empty if there is none
    """
    if "curve" not in figures:
        return {}
    end = {**figures, "return": float(np.mean(figures["returns"]))}
    points = [point for point in figures["curve"] if point["minutes"] < figures["minutes"]] + [end]
    names = {"cpu_minutes": "minutes"}
    return {
        column: np.array([point.get(names.get(column, column), np.nan) for point in points], dtype=float) for column in COLUMNS
    }


def cells(study: Study) -> Iterator[Cell]:
    """
    :param study: one of :data:`FILES`
    :return: its earlier runs
    """
    if study.name == "humanoid_recipe":
        yield from recipe_cells(study)
        return
    for pattern in FILES.get(study.name, ()):
        for path in sorted(RESULTS.glob(pattern)):
            figures = json.loads(path.read_text())
            name = arm_of(path, figures)
            names = (name, f"{figures.get('readout')}-{name}")
            # A run may be of an arm that another study has
            for arm in [arm for arm in study.arms if arm.name in names]:
                yield cell_of(study, arm, path, figures)


def recipe_cells(study: Study) -> Iterator[Cell]:
    """
    :param study: ``humanoid_recipe``
    :return: its runs that were evaluated at their end
    """
    path = RESULTS / "humanoid_seeds.json"
    for run, figures in json.loads(path.read_text())["runs"].items():
        name, _, seed = run.rpartition("-")
        with (RESULTS / "humanoid_recipe" / name / f"{run}.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if float(row["updates"]) <= figures["updates"]]
        curve = {column: [row.get(RECIPE_COLUMNS.get(column, column)) or "nan" for row in rows] for column in COLUMNS}
        found = {**figures, "seed": int(seed), "minutes": figures["cpu_minutes"]}
        cell = cell_of(study, study.arm(name), path, found)
        cell.curve = {column: np.array(values, dtype=float) for column, values in curve.items()}
        yield cell


def cell_of(study: Study, arm: Arm, path: Path, figures: dict[str, Any]) -> Cell:
    """
    :param study: one of :data:`FILES`
    :param arm: arm of the run
    :param path: path of the run's figures
    :param figures: its contents
    :return: the run as a cell
    """
    manifest = {
        **identity(study, arm, figures["seed"]),
        "study_hash": study.hash,
        "status": "complete",
        "trained": True,
        "taken_over": str(path.relative_to(RESULTS)),
        **{key: figures[key] for key in ("steps", "updates")},
        "cpu_minutes": figures.get("minutes"),
    }
    return Cell(manifest, curve_of(figures), {"returns": figures["returns"], "first_seed": study.evaluation.first_seed})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", choices=list(FILES), help="whose earlier runs are taken over")
    parser.add_argument("--out", type=Path, default=Path("logs/studies"), help="folder of the studies' folders")
    args = parser.parse_args()
    for name in args.studies:
        study = read_study(name)
        keep_form(study, args.out / name)
        taken = [put(args.out / name, cell, "") for cell in cells(study)]
        print(f"{name}: {sum(taken)} of {len(taken)} runs were taken over")


if __name__ == "__main__":
    main()
