"""
Make the long tables of the manual: CSV files in docs/tables, from the benchmarks' files in benchmarks/results. The pages
keep the rows that a reader needs, and link the rest.

    python benchmarks/manual_tables.py                          # all of them
    python benchmarks/manual_tables.py frontier_map scaling     # some
"""

import argparse
import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from earlier_runs import RESULTS, cells

from sb3_quantum.common.durable import write_text
from sb3_quantum.study import Cell, read_study
from sb3_quantum.study.packed import unpack
from sb3_quantum.study.report import seeds_table

FOLDER = Path(__file__).parents[1] / "docs" / "tables"
Row = dict[str, Any]


def load(name: str) -> Any:
    """
    :param name: name of a benchmark
    :return: what it wrote
    """
    return json.loads((RESULTS / f"{name}.json").read_text())


def shown(value: Any) -> Any:
    """
    :param value: value of a cell
    :return: the same, floats with five significant digits
    """
    return float(f"{value:.5g}") if isinstance(value, float) else value


def text_of(rows: Iterable[Row]) -> str:
    """
    :param rows: at least one; columns are their keys, in the order in which they first come
    :return: a CSV file
    """
    rows = list(rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: shown(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def fidelity_training() -> str:
    """
    :return: every measurement of the trainings on Humanoid-v4
    """
    return text_of({"run": name, **row} for name, rows in load("tangent_fidelity")["live_runs"].items() for row in rows)


def fidelity_offline() -> str:
    """
    :return: every recipe's figures after its fits, a row for each point of its curve
    """
    offline = load("tangent_fidelity")["offline"]
    return text_of(
        {"states": states, "recipe": recipe, **{f"curve_{key}": value for key, value in point.items()}}
        | {key: value for key, value in part.items() if key != "curve"}
        for states in ("random", "trained")
        for recipe, part in offline[states].items()
        for point in part["curve"]
    )


def frontier_map() -> str:
    """
    :return: cosines before any fit, a row for each circuit, kind of inputs and seed
    """
    return text_of(
        {key: value for key, value in row.items() if key != "cosine"}
        | {f"cosine_{prior}": cosines["0"] for prior, cosines in row["cosine"].items()}
        for row in load("frontier")["map"]
    )


def frontier_growth() -> str:
    """
    :return: cosine and cost of the priors, a row for each kind of circuit and width
    """
    return text_of(load("frontier")["growth"])


def frontier_fits() -> str:
    """
    :return: cosines over fits, a row for each circuit, prior and number of fits
    """
    return text_of(
        {key: row[key] for key in ("qubits", "layers", "n_cz", "inputs", "seed")}
        | {"prior": prior, "fits": int(fits), "cosine": cosine}
        for row in load("frontier")["curves"]
        for prior, curve in row["cosine"].items()
        for fits, cosine in curve.items()
    )


def training_speed() -> str:
    """
    :return: milliseconds of every phase, a row for each number of threads and model
    """
    return text_of(
        {"threads": int(threads), "model": model}
        | {"speed relative to sb3_td3": part["ratio_vs_sb3_td3"].get(model, 1.0), "total (ms)": row["total"]}
        | {f"{phase} (ms)": value for phase, value in row.items()}
        for threads, part in load("training_speed")["by_threads"].items()
        for model, row in part["ms"].items()
    )


def scaling() -> str:
    """
    :return: milliseconds of an update and of acting, a row for each size
    """
    return text_of(
        {"axis": axis, "size": int(size), "update_ms": row["update"], "act_ms": row["act"]}
        for axis, sizes in load("scaling")["axes"].items()
        for size, row in sizes.items()
    )


def simulators() -> str:
    """
    :return: microseconds per circuit, a row for each size and form of a simulator
    """
    rows = []
    for row in load("simulators")["forms"]:
        n_qubits, batch = map(int, row["size"].split(","))
        gates = "in common" if row["shared_cz"] else "of every circuit"
        times = {"median_us": row["us"], "median_us_prebuilt": row["prebuilt_us"], "best_us": row["best_us"]}
        rows.append(
            {"qubits": n_qubits, "batch": batch, "cz_gates": gates, "engine": row["engine"], "form": row["form"], **times}
        )
    return text_of(rows)


def wall_clock_curves() -> str:
    """
    :return: the runs of the study wall_clock, a row for each evaluation
    """
    files = sorted((RESULTS / "wall_clock").glob("45min-*.json"))
    return text_of(
        {"arm": run["arm"], "seed": run["seed"], **point}
        for run in (json.loads(file.read_text()) for file in files)
        for point in run["curve"]
    )


def runs_of(name: str) -> str:
    """
    :param name: name of a study
    :return: its runs in this repository, a row for each seed, as in the study's report
    """
    study = read_study(name)
    packed = RESULTS / "studies" / f"{name}.json.gz"
    known: dict[tuple[str, int], Cell] = {}
    # Where there are two of a run, the older one is in the pages
    for cell in [*(unpack(packed) if packed.exists() else ()), *cells(study)]:
        known[cell.arm, cell.seed] = cell
    groups: dict[str, dict[str, list[Cell]]] = {}
    for arm in study.arms:
        mine = sorted((cell for (of, _), cell in known.items() if of == arm.name), key=lambda cell: cell.seed)
        groups.setdefault(arm.variant, {})[arm.name] = mine
    return seeds_table(groups)


TABLES: dict[str, Callable[[], str]] = {
    "tangent_fidelity_training": fidelity_training,
    "tangent_fidelity_offline": fidelity_offline,
    "frontier_map": frontier_map,
    "frontier_growth": frontier_growth,
    "frontier_fits": frontier_fits,
    "training_speed": training_speed,
    "scaling": scaling,
    "simulators": simulators,
    "wall_clock_curves": wall_clock_curves,
    "pendulum_links_cut": lambda: runs_of("pendulum_links_cut"),
    "pendulum_circuits": lambda: runs_of("pendulum_circuits"),
    "humanoid_recipe": lambda: runs_of("humanoid_recipe"),
    "humanoid_links": lambda: runs_of("humanoid_links"),
    "humanoid_links_cut": lambda: runs_of("humanoid_links_cut"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; all by default")
    args = parser.parse_args()
    unknown = sorted(set(args.tables) - set(TABLES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(TABLES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in args.tables or TABLES:
        path = FOLDER / f"{name}.csv"
        write_text(path, TABLES[name]())
        print(path)


if __name__ == "__main__":
    main()
