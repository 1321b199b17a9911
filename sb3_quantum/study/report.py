"""Report of a study: verdicts, tables, pictures, and one row per seed."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import write_text
from sb3_quantum.study import figures
from sb3_quantum.study.cell import Cell
from sb3_quantum.study.folder import Found, stated_beforehand
from sb3_quantum.study.packed import found_in
from sb3_quantum.study.page import Page
from sb3_quantum.study.spec import Study, StudyError
from sb3_quantum.study.statistics import (
    BOOTSTRAP_COVERAGE,
    Estimate,
    bootstrapped,
    first_reached,
    iqm,
    mean,
)
from sb3_quantum.study.verdict import Verdict, verdicts

#: columns of ``seeds.csv``
SEED_COLUMNS = (
    "variant", "arm", "seed", "mean_return", "std_over_episodes", "worst", "best", "episodes", "own_mean_return",
    "steps", "updates", "cpu_minutes", "circuits", "information", "taken_over",
)  # fmt: skip


def write_report(study: Study, source: Path, folder: Path) -> Path:
    """
    Write a study's page, pictures and table of seeds.

    :param study: the study
    :param source: its folder, or a packed file
    :param folder: folder of ``index.html``, ``README.md``, ``seeds.csv`` and the pictures
    :return: the page
    :raises StudyError: if there is no complete cell
    """
    found = found_in(study, source)
    groups = _groups(study, found)
    if not any(cells for arms in groups.values() for cells in arms.values()):
        problems = "; ".join(found.sentences()[:3])
        raise StudyError(f"{source} has no complete cell of {study.name}" + (f": {problems}" if problems else ""))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "seeds.csv", seeds_table(groups))
    there = {variant: {arm: cells for arm, cells in arms.items() if cells} for variant, arms in groups.items()}
    there = {variant: arms for variant, arms in there.items() if arms}
    # An arm looks the same in every variant
    short = list(dict.fromkeys(arm.name.removeprefix(f"{arm.variant}-") for arm in study.arms))
    places = {arm.name: short.index(arm.name.removeprefix(f"{arm.variant}-")) for arm in study.arms}
    figures.write(figures.seeds_figure(there, places), folder / "seeds.png")
    figures.write(figures.curves_figure(there, places, hours=False), folder / "curves.png")
    figures.write(figures.curves_figure(there, places, hours=True), folder / "hours.png")
    figures.write(figures.profiles_figure(there, places), folder / "profiles.png")
    forms = source if source.is_dir() else None
    return page(study, found, groups, forms).write(folder)


def _groups(study: Study, found: Found) -> dict[str, dict[str, list[Cell]]]:
    """Group complete cells by variant and arm, including arms without any."""
    groups: dict[str, dict[str, list[Cell]]] = {}
    for arm in study.arms:
        groups.setdefault(arm.variant, {})[arm.name] = found.complete(arm.name)
    return groups


def all_verdicts(study: Study, groups: dict[str, dict[str, list[Cell]]]) -> list[Verdict]:
    """
    Compute the verdict of every comparison.

    :param study: the study
    :param groups: complete cells by variant and arm
    :return: the verdicts; p-values are corrected within each variant
    """
    arms = {name: cells for variant in groups.values() for name, cells in variant.items()}
    variant_of = {arm.name: arm.variant for arm in study.arms}
    found = []
    for variant in groups:
        mine = [each for each in study.comparisons if variant_of[each.tested] == variant]
        found += verdicts([(each, _means(arms[each.tested]), _means(arms[each.against])) for each in mine])
    return found


def _means(cells: list[Cell]) -> np.ndarray:
    return np.array([cell.returns.mean() for cell in cells])


def page(study: Study, found: Found, groups: dict[str, dict[str, list[Cell]]], out: Path | None) -> Page:
    """
    Write the page of a report.

    :param study: the study
    :param found: contents of its folder
    :param groups: complete cells by variant and arm
    :param out: the study's folder; ``None`` for a packed file, which lacks the versions of the study's file
    :return: the page
    """
    report = Page(study.name)
    report.text(study.question)
    report.text(_state(study, found))
    report.items(found.sentences() + _unfinished(found))
    judged = all_verdicts(study, groups)
    if judged:
        report.heading("Verdicts")
        report.items([verdict.sentence for verdict in judged])
        report.table(*_comparison_table(judged, groups, out))
    report.heading("Arms")
    report.picture("seeds.png", "every seed, and the interquartile mean of every arm with its interval")
    for variant, arms in groups.items():
        report.table(*_arm_table(study, variant, arms))
    report.heading("In training")
    report.picture("curves.png", "return against environment steps")
    report.picture("hours.png", "return against CPU hours")
    for variant, arms in groups.items():
        report.table(*_threshold_table(study, variant, arms))
    report.heading("Performance profiles")
    report.picture("profiles.png", "share of episodes with more than a return")
    rows = _ablation_rows(groups)
    if rows[1]:
        report.heading("Trained agents without their block's outputs")
        report.text(_ABLATIONS)
        report.table(*rows)
    report.heading("How it was made")
    report.text(_method(study, groups))
    shipped = f"python -m sb3_quantum.study show {study.name} > {study.name}.yml"
    report.code(
        [shipped, f"python -m sb3_quantum.study run {study.name}.yml", f"python -m sb3_quantum.study report {study.name}.yml"]
    )
    return report


_ABLATIONS = (
    "Returns of the same agents on the same initial states, with the outputs of their block replaced: by outputs "
    "in other states (`shuffled`), zeros, the circuit's closed-form product state (`mean_field`), or the circuit at angles "
    "that do not depend on the state (`fresh_angles`). Means over the seeds, and in brackets the gain with its 95 % interval. "
    "`information` is the information of the single bits about the state, in bits."
)


def _state(study: Study, found: Found) -> str:
    counts = {
        status: sum(cell.status == status for cell in found.cells.values())
        for status in ("complete", "running", "failed", "budget")
    }
    taken = sum(bool(cell.manifest.get("taken_over")) for cell in found.cells.values())
    words = [f"{counts['complete']} of {counted(len(study.cells()), 'cell is', 'cells are')} complete"]
    words += [f"{number} {status}" for status, number in counts.items() if number and status != "complete"]
    if taken:
        words.append(f"{counted(taken, 'is a run', 'are runs')} of an earlier version, taken over")
    where = dict.fromkeys(study.environment_of(arm).id for arm in study.arms)
    return f"{', '.join(where)}. {'; '.join(words)}. Study `{study.hash}`."


def _unfinished(found: Found) -> list[str]:
    sentences = []
    for cell in found.cells.values():
        if cell.status == "failed":
            sentences.append(f"cell {cell.label} failed: {cell.manifest.get('error')}")
        elif cell.status == "budget":
            sentences.append(
                f"cell {cell.label} was ended by a limit of its backend, and is left out: {cell.manifest.get('interruption')}"
            )
    return sentences


def _interval(estimate: Estimate, digits: int = 1) -> str:
    if math.isnan(estimate.value):
        return ""
    if math.isnan(estimate.low):
        return f"{estimate.value:,.{digits}f}"
    return f"{estimate.value:,.{digits}f} [{estimate.low:,.{digits}f}, {estimate.high:,.{digits}f}]"


def _comparison_table(
    judged: list[Verdict], groups: dict[str, dict[str, list[Cell]]], out: Path | None
) -> tuple[list[str], list[list[str]]]:
    arms = {name: cells for variant in groups.values() for name, cells in variant.items()}
    rows = []
    for verdict in judged:
        asked = verdict.comparison
        cells = arms[asked.tested] + arms[asked.against]
        remark = "" if verdict.outcome == "not run" or out is None else stated_beforehand(asked, cells, out)
        more = "" if verdict.more is None else str(verdict.more)
        rows.append(
            [
                asked.claim,
                f"{asked.tested} against {asked.against}",
                _interval(Estimate(*verdict.difference[:3])),
                "" if math.isnan(verdict.p) else f"{verdict.p:.2g}",
                _interval(verdict.improvement, 2),
                f"**{verdict.outcome}**",
                f"{verdict.seeds[0]} and {verdict.seeds[1]}",
                more,
                remark,
            ]
        )
    head = ["claim", "comparison", "difference of IQM", "p, corrected", "probability of improvement", "verdict", "seeds",
            "seeds that would tell", "remark"]  # fmt: skip
    return head, rows


def _arm_table(study: Study, variant: str, arms: dict[str, list[Cell]]) -> tuple[list[str], list[list[str]]]:
    notes = {arm.name: arm.note for arm in study.arms}
    rows = []
    for name, cells in arms.items():
        values = _means(cells)
        if not cells:
            rows.append([name, notes[name], "0", *[""] * 8])
            continue
        minutes = np.array([cell.manifest.get("cpu_minutes") or math.nan for cell in cells])
        updates = np.array([cell.manifest.get("updates") or math.nan for cell in cells])
        own = [np.mean(cell.evaluation["own_returns"]) for cell in cells if "own_returns" in cell.evaluation]
        rows.append(
            [
                name,
                notes[name],
                str(len(cells)),
                _interval(iqm(values)),
                _interval(mean(values)),
                _interval(bootstrapped(values)),
                f"{values.min():,.1f} to {values.max():,.1f}",
                f"{np.mean(own):,.1f}" if own else "",
                _plain(updates.mean()),
                "" if np.isnan(minutes).all() else f"{np.nanmean(minutes) / 60:,.2f}",
                "" if np.isnan(minutes).all() else f"{np.nanmean(updates / minutes / 60):,.1f}",
            ]
        )
    head = [f"arm{f' ({variant})' if variant else ''}", "what it is", "seeds", "IQM", "mean", "IQM, bootstrap",
            "seeds from, to", "mean of the weights that learn", "updates", "CPU hours", "updates/s"]  # fmt: skip
    empty = [i for i, _ in enumerate(head) if i and not any(row[i] for row in rows)]
    keep = [i for i, _ in enumerate(head) if i not in empty]
    return [head[i] for i in keep], [[row[i] for i in keep] for row in rows]


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _threshold_table(study: Study, variant: str, arms: dict[str, list[Cell]]) -> tuple[list[str], list[list[str]]]:
    """Count the seeds that reached a return, and find when the median one did."""
    rows = []
    for name, cells in arms.items():
        cells = [cell for cell in cells if len(cell.curve.get("return", ()))]
        for threshold in study.thresholds if cells else ():
            steps, minutes = (
                np.array([first_reached(cell.curve, threshold, column) for cell in cells])
                for column in ("steps", "cpu_minutes")
            )
            there = np.isfinite(steps)
            median_steps, median_minutes = np.median(steps), np.median(minutes)
            rows.append(
                [
                    name,
                    f"{threshold:g}",
                    f"{there.sum()} of {len(cells)}",
                    f"{median_steps:,.0f}" if np.isfinite(median_steps) else "not reached",
                    f"{median_minutes / 60:,.2f}" if np.isfinite(median_minutes) else "not reached",
                ]
            )
    head = [f"arm{f' ({variant})' if variant else ''}", "return", "seeds that reach it", "steps, median", "CPU hours, median"]
    return head, rows


def _ablation_rows(groups: dict[str, dict[str, list[Cell]]]) -> tuple[list[str], list[list[str]]]:
    names = list(
        dict.fromkeys(
            name
            for arms in groups.values()
            for cells in arms.values()
            for cell in cells
            for name in cell.evaluation.get("ablations", {})
        )
    )
    rows = []
    for arms in groups.values():
        for arm, cells in arms.items():
            cells = [cell for cell in cells if cell.evaluation.get("ablations")]
            if not cells:
                continue
            row = [arm, f"{_means(cells).mean():,.1f}"]
            for name in names:
                values = [
                    np.mean(cell.evaluation["ablations"][name]) for cell in cells if name in cell.evaluation["ablations"]
                ]
                row.append(f"{np.mean(values):,.1f}" if values else "")
            said = [cell.evaluation["information"] for cell in cells if "information" in cell.evaluation]
            rows.append([*row, f"{np.mean(said):.2f}" if said else ""])
    return ["arm", "as trained", *names, "information"], rows


def _ablation(name: str, cells: list[Cell]) -> str:
    """Compute the mean of an ablation's returns, and its difference for every seed."""
    if not cells:
        return ""
    values = np.array([np.mean(cell.evaluation["ablations"][name]) for cell in cells])
    return f"{values.mean():,.1f} ({_interval(mean(values - _means(cells)))})"


def _method(study: Study, groups: dict[str, dict[str, list[Cell]]]) -> str:
    ns = sorted({len(cells) for arms in groups.values() for cells in arms.values() if len(cells) > 1})
    known = [n for n in ns if n in BOOTSTRAP_COVERAGE]
    worth = ", ".join(f"{BOOTSTRAP_COVERAGE[n][0]:.0%} with {n} seeds" for n in known)
    at = study.evaluation
    return (
        f"A run counts once, with the mean return of {counted(at.episodes, 'episode')} (reset seeds from {at.first_seed}). "
        "All intervals are 95 %: Student's for trimmed means for the interquartile mean, Student's for the mean, Yuen's for "
        "differences, Newcombe's for the probability of improvement. Holm's correction covers the comparisons of one table of "
        "arms. "
        "In simulations with 3 to 10 seeds, of normal, skewed, heavy-tailed and sometimes failing runs, the interval of the "
        "interquartile mean is right in 92 to 96 % of cases, and two equal arms are told apart in 1 to 6 % of them; "
        "that of the mean is right only if runs do not fail now and then."
        + (f" The bootstrap's, given for comparison, is nominal: it is right in {worth}." if worth else "")
    )


def seeds_table(groups: dict[str, dict[str, list[Cell]]]) -> str:
    """
    Write the table of seeds.

    :param groups: complete cells by variant and arm
    :return: the text of a CSV file with one row per seed
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, SEED_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for variant, arms in groups.items():
        for arm, cells in arms.items():
            for cell in cells:
                own = cell.evaluation.get("own_returns")
                writer.writerow(
                    {
                        "variant": variant,
                        "arm": arm,
                        "seed": cell.seed,
                        "mean_return": round(float(cell.returns.mean()), 3),
                        "std_over_episodes": round(float(cell.returns.std()), 3),
                        "worst": float(cell.returns.min()),
                        "best": float(cell.returns.max()),
                        "episodes": len(cell.returns),
                        "own_mean_return": "" if own is None else round(float(np.mean(own)), 3),
                        **{key: cell.manifest.get(key, "") for key in ("steps", "updates", "cpu_minutes", "taken_over")},
                        "circuits": cell.manifest.get("usage", {}).get("circuits", ""),
                        "information": cell.evaluation.get("information", ""),
                    }
                )
    return file.getvalue()
