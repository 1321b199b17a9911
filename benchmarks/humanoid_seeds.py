"""
The runs of the shipped recipe for Humanoid-v4: final returns, work per update, curves of all seeds in one figure.

Tables and figure of docs/humanoid.md are made from ``benchmarks/results/humanoid_seeds.json`` and the curves in
``benchmarks/results/humanoid_recipe``, which are older than the study ``humanoid_recipe`` that trains these arms now, and from
the cells of that study.

    python benchmarks/humanoid_seeds.py --work
    python benchmarks/humanoid_seeds.py --page docs/humanoid.md --plot docs/images/humanoid_seeds.png \
        --others docs/images/humanoid_others.png
"""

import argparse
import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import CallbackList
from torch.utils.flop_counter import FlopCounterMode

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS, look_of
from sb3_quantum.study import Cell, make_model, read_study
from sb3_quantum.study.packed import unpack
from sb3_quantum.study.statistics import iqm, mean

RESULTS = Path(__file__).parent / "results"
CURVES, RETURNS = RESULTS / "humanoid_recipe", RESULTS / "humanoid_seeds.json"
CELLS = RESULTS / "studies" / "humanoid_recipe.json.gz"
#: arms with their names in the figure
ARMS = {
    "gamma98": "shipped: discount 0.98",
    "normalized": "discount 0.99, lower rates",
    "gamma98_bit_drawn": "one sampled bitstring, bits drawn in updates",
    "gamma98_bit": "one sampled bitstring, expected bits in updates",
}
#: tables of final returns: name of the place in the page, arm and CPU minutes
COUNTED = {"seeds": ("gamma98", 45.0), "bit seeds": ("gamma98_bit_drawn", 20.0)}
MARKS = (5, 7.5, 10, 12.5, 15, 20, 25, 30, 35, 40, 42.5, 45)
#: the paper's return; that of the TQC agent in rl-zoo3's benchmark.md, after two million steps
PAPER, TQC = 6011, 7239
#: arms of the comparison with others, and their minutes besides the last
OTHERS = {
    "gamma98": "ours",
    "sb3_crossq_small": "CrossQ, sizes as ours",
    "sb3_crossq": "CrossQ, the zoo's",
    "sb3_tqc": "TQC, the zoo's",
    "sb3_td3": "TD3, the zoo's",
}
OTHER_MARKS = (10, 20, 30)
#: steps of averages of the actor's weights, with what they look back over; the first is the deployed one
AVERAGES = {"0.003": "0.003 (shipped), 1,000 updates", "0.001": "0.001, 3,000", "0.0003": "0.0003, 10,000"}


def curve(run: str) -> dict[float, dict[str, float]]:
    """
    :param run: arm and seed, as in the file's name
    :return: rows by their minutes, which are rounded to the distance of the evaluations
    """
    with (CURVES / run.rpartition("-")[0] / f"{run}.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return {round(row["cpu_minutes"] / 2.5) * 2.5: row for row in rows}


def runs(arm: str) -> list[str]:
    """
    :param arm: an arm of the study ``humanoid_recipe``
    :return: its runs, in the order of their seeds
    """
    return sorted((path.stem for path in (CURVES / arm).glob(f"{arm}-*.csv")), key=lambda run: int(run.rpartition("-")[2]))


def work(arm: str) -> dict[str, float]:
    """
    Count the operations of matrix products, the exact simulator's among them. Compiled loops are not counted.

    :param arm: an arm of the study ``humanoid_recipe``
    :return: floating point operations of an update, a mean over one period of the actor's, and of choosing an action
    """
    study, steps = read_study("humanoid_recipe"), 200
    settings = study.arm(arm)
    model = make_model(settings, study.environment_of(settings), seed=0, learning_starts=steps, buffer_size=1000)
    assert isinstance(model, QuantumTD3)
    model.learn(steps)
    model._setup_learn(steps, CallbackList([]))
    assert model.env is not None
    observation = model.env.reset()
    assert isinstance(observation, np.ndarray)
    counts = []
    for part in (lambda: model.train(model.policy_delay, model.batch_size), lambda: model.predict(observation)):
        with FlopCounterMode(display=False) as counter:
            part()
        counts.append(counter.get_total_flops())
    return {"update": counts[0] / model.policy_delay, "action": counts[1] / model.n_envs}


def seeds_table(known: dict[str, Any], wanted: str, wanted_minutes: float) -> str:
    """
    :param known: what is in the file
    :param wanted: an arm
    :param wanted_minutes: CPU time of the trainings
    :return: a row for each counted run, with the standard error over its episodes; below them the means over seeds
    """
    lines = [
        "| seed | return | worst | steps | updates | teraFLOP |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    means = []
    for run, row in known["runs"].items():
        arm, _, seed = run.rpartition("-")
        returns, minutes = np.array(row["returns"]), row["cpu_minutes"]
        if arm != wanted or minutes != wanted_minutes:
            continue
        total = row["updates"] * known["work"]["update"] + row["steps"] * known["work"]["action"]
        means.append(returns.mean())
        error = returns.std(ddof=1) / len(returns) ** 0.5
        lines.append(
            f"| {seed} | {returns.mean():,.1f} +- {error:.1f} | {returns.min():,.0f} "
            f"| {row['steps']:,} | {row['updates']:,} | {total / 1e12:.0f} |"
        )
    middle, average = iqm(np.array(means)), mean(np.array(means))
    lines += [
        "",
        f"Over {len(means)} seeds the mean is **{average.value:,.0f}** [{average.low:,.0f}, {average.high:,.0f}], "
        f"the interquartile mean {middle.value:,.0f} [{middle.low:,.0f}, {middle.high:,.0f}].",
    ]
    return "\n".join(lines)


def curves_table(arm: str) -> str:
    """
    :param arm: one of ARMS
    :return: a column for each seed, with the averaged weights' return at some minutes
    """
    curves = {run.rpartition("-")[2]: curve(run) for run in runs(arm)}
    lines = [
        f"| `{arm}`, minute | " + " | ".join(f"seed {seed}" for seed in curves) + " |",
        "| --- " * (len(curves) + 1) + "|",
    ]
    marks = [mark for mark in MARKS if any(mark in rows for rows in curves.values())]
    for mark in marks:
        cells = [f"{rows[mark]['average_return']:,.0f}" if mark in rows else "" for rows in curves.values()]
        lines.append(f"| {mark:g} | " + " | ".join(cells) + " |")
    last = [f"{rows[marks[-1]]['return']:,.0f}" if marks[-1] in rows else "" for rows in curves.values()]
    lines.append(f"| {marks[-1]:g}, the actor itself | " + " | ".join(last) + " |")
    return "\n".join(lines)


def averages_table() -> str:
    """
    :return: for each average of ``longer_averages.py`` and each seed, from minute 15 on, the largest fall of the return from
        one evaluation to the next, and the last return
    """
    paths = sorted((CURVES / "averages").glob("*.csv"), key=lambda path: int(path.stem.rpartition("-")[2]))
    seeds = [path.stem.rpartition("-")[2] for path in paths]
    lines = [
        "| step, looks back over | " + " | ".join(f"seed {seed}: largest fall, last" for seed in seeds) + " |",
        "| --- " * (len(seeds) + 1) + "|",
    ]
    for tau, name in AVERAGES.items():
        cells = []
        for path in paths:
            with path.open() as file:
                rows = list(csv.DictReader(file))
            deployed = curve(path.stem)
            returns = [
                (
                    float(row[f"return_{tau}"])
                    if f"return_{tau}" in row
                    else deployed[round(float(row["cpu_minutes"]) / 2.5) * 2.5]["average_return"]
                )
                for row in rows
            ]
            fall = max(0.0, *(before - after for before, after in itertools.pairwise(returns)))
            cells.append(f"{fall:,.0f}, {returns[-1]:,.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cells_with_others() -> list[Cell]:
    """
    :return: runs on the machine where others ran too, in the order of OTHERS
    """
    return sorted(unpack(CELLS), key=lambda cell: (list(OTHERS).index(cell.arm), cell.seed))


def others_table() -> str:
    """
    :return: a row for each run on the machine where others ran too: returns in training, the last over a hundred episodes
    """
    lines = [
        f"| agent, minute | {' | '.join(map(str, OTHER_MARKS))} | 45 | worst | updates |",
        "| --- " * (len(OTHER_MARKS) + 4) + "|",
    ]
    for cell in cells_with_others():
        minutes = cell.curve["cpu_minutes"]
        marked = [f"{cell.curve['return'][np.abs(minutes - mark).argmin()]:,.0f}" for mark in OTHER_MARKS]
        returns = cell.returns
        lines.append(
            f"| {OTHERS[cell.arm]}, seed {cell.seed} | {' | '.join(marked)} | **{returns.mean():,.0f}** "
            f"| {returns.min():,.0f} | {cell.manifest['updates']:,} |"
        )
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """
    :return: what stands in docs/humanoid.md, by the name of its place
    """
    known = json.loads(RETURNS.read_text())
    finals = {place: seeds_table(known, *which) for place, which in COUNTED.items()}
    return {**finals, **{arm: curves_table(arm) for arm in ARMS}, "averages": averages_table(), "others": others_table()}


def fill(page: str) -> str:
    """
    :param page: Markdown with a comment before and after each table
    :return: the same with today's tables
    :raises ValueError: if a table has no place in it
    """
    for name, table in tables().items():
        head, _, rest = page.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"<!-- end of {name} -->")
        if not end:
            raise ValueError(f"the page has no place for the table {name!r}: two comments, {name} and end of {name}")
        page = f"{head}<!-- {name} -->\n{table}\n{end}{tail}"
    return page


#: a line of a figure: minutes, returns, its look and its name in the legend
Line = tuple[list[float], list[float], dict[str, Any], str | None]


def lines_of_seeds() -> Iterator[Line]:
    """
    :return: the averaged weights' return over CPU minutes, a line for each seed of ARMS
    """
    for place, (arm, name) in enumerate(ARMS.items()):
        names = runs(arm)
        for index, run in enumerate(names):
            rows = {minute: row["average_return"] for minute, row in curve(run).items() if minute <= 45}
            label = f"{name} ({counted(len(names), 'seed')})" if index == 0 else None
            yield list(rows), list(rows.values()), {"color": COLOURS[place], "alpha": 0.85}, label


def lines_of_others() -> Iterator[Line]:
    """
    :return: the deployed weights' return over CPU minutes, a line for each run on the machine where others ran too
    """
    for cell in cells_with_others():
        look = look_of(list(OTHERS).index(cell.arm))
        yield (
            cell.curve["cpu_minutes"].tolist(),
            cell.curve["return"].tolist(),
            look,
            f"{OTHERS[cell.arm]}, seed {cell.seed}",
        )


def draw(path: Path, lines: Iterable[Line], label: str) -> None:
    """
    Draw returns over CPU minutes.

    :param path: path of the picture
    :param lines: its lines
    :param label: name of the returns
    """
    figure = new_figure(WIDTH, 4, layout="constrained")
    axes = figure.subplots()
    for minutes, returns, look, name in lines:
        axes.plot(minutes, returns, linewidth=1.4, label=name, **look)
    for value, style, name in ((TQC, ":", "TQC of rl-zoo3, 2 M steps: 7,239"), (PAPER, "--", "the paper: 6,011")):
        axes.axhline(value, color="#333333", linewidth=1.3, linestyle=style, label=name)
    tidy_axes(axes, "CPU minutes of one thread", label)
    axes.set_xlim(0, 45.5)
    axes.set_ylim(0, 8700)
    figure.legend(loc="outside upper center", frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="store_true", help="count the operations of an update")
    parser.add_argument("--page", type=Path, help="write the tables into this page")
    parser.add_argument("--plot", type=Path, help="draw the curves here")
    parser.add_argument("--others", type=Path, help="draw the curves of the runs beside other algorithms here")
    args = parser.parse_args()
    th.set_num_threads(1)
    if args.work:
        known: dict[str, Any] = json.loads(RETURNS.read_text())
        # The arm on bitstrings has the same
        known["work"] = work("gamma98")
        print(known["work"])
        write_text(RETURNS, json.dumps(known) + "\n")
    if args.page is not None:
        write_text(args.page, fill(args.page.read_text()))
    if args.plot is not None:
        draw(args.plot, lines_of_seeds(), "return on Humanoid-v4,\naveraged weights")
    if args.others is not None:
        draw(args.others, lines_of_others(), "return on Humanoid-v4")


if __name__ == "__main__":
    main()
