"""Return, gradient fidelity and circuits of trainings: reading them, and one figure of several runs."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from sb3_quantum.circuits.checks import fields_checked, keywords_checked
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import line_of, look_of
from sb3_quantum.qtd3.callbacks import FIDELITY_FILE, RENAMED_KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOGGED = ("rollout/ep_rew_mean", "eval/mean_reward", "qtdnn/cosine", "qtdnn/cosine_prior", "quantum/circuits")
#: their names in the files of a run, those of 0.1.0 included
_NAMES = {**{key: key for key in _LOGGED}, **RENAMED_KEYS}


class Curve(NamedTuple):
    """
    A quantity over the course of a training.

    :param steps: environment steps, ``(n,)``, ascending
    :param values: ``(n,)``
    """

    steps: np.ndarray
    values: np.ndarray


@fields_checked
@dataclass
class Run:
    """
    Values that a training recorded; ``None`` for those that it did not.

    :param label: its name
    :param episodes: return of every training episode, at the step of its end
    :param rollouts: mean return of the last training episodes, as SB3 logs it
    :param evaluations: mean return of an evaluation
    :param spread: standard deviation over the episodes of each evaluation, ``(n,)``
    :param cosine: between the qtDNN's and the circuit's gradient
    :param prior: the same cosine for the qtDNN's prior alone
    :param circuits: circuits run so far by the training
    """

    label: str
    episodes: Curve | None = None
    rollouts: Curve | None = None
    evaluations: Curve | None = None
    spread: np.ndarray | None = None
    cosine: Curve | None = None
    prior: Curve | None = None
    circuits: Curve | None = None


@keywords_checked({})
def load_run(folder: str | Path, label: str | None = None) -> Run:
    """
    Read a run from the files in its folder: monitor files, ``evaluations.npz``, ``fidelity.csv`` and ``progress.csv``, and
    TensorBoard files in it or below, which are opened only if returns or logged values are missing. If two files contain the
    same quantity, the one named first here is used.

    :param folder: folder of one run
    :param label: its name; the folder's by default
    :return: the run
    :raises FileNotFoundError: if there is no such folder
    :raises ValueError: if it contains no run, several runs, or files that cannot be read
    :raises ImportError: if its TensorBoard files are needed and tensorboard is missing
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a run is given by its folder")
    run = Run(label or folder.resolve().name)
    run.episodes = _episodes(folder)
    if (folder / "evaluations.npz").is_file():
        run.evaluations, run.spread = _evaluations(folder / "evaluations.npz")
    logged = _table(folder / FIDELITY_FILE, "steps")
    for key, curve in _table(folder / "progress.csv", "time/total_timesteps").items():
        logged.setdefault(key, curve)
    if not logged or run.episodes is None:
        for key, curve in _tensorboard(folder).items():
            logged.setdefault(key, curve)
    run.rollouts = logged.get("rollout/ep_rew_mean")
    run.evaluations = run.evaluations or logged.get("eval/mean_reward")
    run.cosine = logged.get("qtdnn/cosine")
    run.prior = logged.get("qtdnn/cosine_prior")
    run.circuits = logged.get("quantum/circuits")
    if not any((run.episodes, run.rollouts, run.evaluations, run.cosine, run.circuits)):
        below = sorted({path.parent.name for path in folder.glob("*/*monitor.csv")})
        hint = f"; give one of the runs in it: {', '.join(below)}" if below else ""
        raise ValueError(f"{folder} holds no run: no episode in a *.monitor.csv, no evaluations, no logged values{hint}")
    return run


def _episodes(folder: Path) -> Curve | None:
    """
    Read returns from monitor files. The environments of a training step together, so each step counts for all of them.
    Episodes that an interruption cut have steps but no return.
    """
    files = sorted(folder.glob("*monitor.csv"))
    steps, values = [np.zeros(0)], [np.zeros(0)]
    for path in files:
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
            whole = np.array([not row.get("cut") for row in rows], dtype=bool)
            steps.append(len(files) * np.cumsum([int(row["l"]) for row in rows], dtype=float)[whole])
            values.append(np.array([float(row["r"]) for row in rows])[whole])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is not a monitor file of Stable-Baselines3") from error
    together = np.concatenate(steps)
    order = np.argsort(together, kind="stable")
    return Curve(together[order], np.concatenate(values)[order]) if len(together) > 0 else None


def _evaluations(path: Path) -> tuple[Curve, np.ndarray]:
    """Read mean and standard deviation of every evaluation, as ``EvalCallback`` writes them."""
    try:
        with np.load(path) as data:
            steps, results = data["timesteps"], data["results"]
    except (EOFError, KeyError, OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is not a file of Stable-Baselines3's EvalCallback") from error
    return Curve(steps.astype(float), results.mean(1)), results.std(1)


def _table(path: Path, steps: str) -> dict[str, Curve]:
    """Read the columns to draw from a CSV file; cells may be empty."""
    if not path.is_file():
        return {}
    curves: dict[str, Curve] = {}
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for written, key in _NAMES.items():
            filled = [(float(row[steps]), float(row[written])) for row in rows if row.get(written) and row[steps]]
            if filled:
                curves.setdefault(key, Curve(*np.array(filled).T))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a table with the column {steps!r}") from error
    return curves


def _tensorboard(folder: Path) -> dict[str, Curve]:
    """Read the logged values to draw from the event files of one run."""
    folders = sorted({path.parent for path in folder.rglob("events.out.tfevents.*")})
    if len(folders) == 0:
        return {}
    if len(folders) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in folders)
        raise ValueError(f"{folder} holds several TensorBoard runs, give one of them: {names}")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError(f'reading {folders[0]} needs tensorboard: pip install "sb3-quantum[zoo]"') from error
    accumulator = EventAccumulator(str(folders[0]), size_guidance={"scalars": 0, "images": 1})
    accumulator.Reload()
    curves = {}
    tags = set(accumulator.Tags()["scalars"])
    for key in _LOGGED:
        # A continued run may have logged a step twice: the later value counts. A continued run of 0.1.0 has two names
        written = [name for name, now in _NAMES.items() if now == key and name in tags]
        values = {event.step: event.value for name in reversed(written) for event in accumulator.Scalars(name)}
        steps = sorted(values)
        if steps:
            curves[key] = Curve(np.array(steps, dtype=float), np.array([values[step] for step in steps]))
    return curves


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """
    Compute the mean of the last ``window`` values, of fewer at the start.

    :param values: ``(n,)``
    :param window: number of values
    :return: ``(n,)``
    """
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


@keywords_checked({})
def runs_figure(runs: list[Run], window: int = 20, title: str = "") -> "Figure":
    """
    Draw runs side by side: return, cosine of the gradients and circuits against environment steps, one colour per run. A run
    is left out of panels for which it has no data, and a panel for which no run has any is left out.

    :param runs: one or more runs
    :param window: training episodes that the return is averaged over
    :param title: above the figure
    :return: the figure
    :raises ImportError: if matplotlib is missing
    :raises ValueError: if there is no run
    """
    if not runs:
        raise ValueError("runs must contain at least one run, got none")
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    wanted = {
        "cosines": any(run.cosine is not None or run.prior is not None for run in runs),
        "circuits": any(run.circuits is not None for run in runs),
    }
    with_returns = any(run.episodes or run.rollouts or run.evaluations for run in runs)
    names = [name for name, has_data in {"returns": with_returns or not any(wanted.values()), **wanted}.items() if has_data]
    heights = [4 if name == "returns" else 3 for name in names]
    figure = new_figure(WIDTH, 0.6 * sum(heights) + 0.5, layout="constrained")
    panels = dict(
        zip(names, figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0], strict=True)
    )
    shown: defaultdict[Any, dict[str, dict[str, Any]]] = defaultdict(dict)
    for place, run in enumerate(runs):
        look = line_of(place)
        if "returns" in panels:
            shown["returns"].update(_draw_returns(panels["returns"], run, window, look))
        if "cosines" in panels:
            shown["cosines"].update(_draw_cosines(panels["cosines"], run, look))
        if run.circuits is not None:
            # Runs with the same settings run the same circuits: later lines are thinner, so that all are visible
            later = sum(other.circuits is not None for other in runs[place + 1 :])
            width = 1.5 + 1.5 * min(later, 4)
            panels["circuits"].plot(*run.circuits, linewidth=width, **look)
    if "returns" in panels:
        panels["returns"].set_ylabel("return of an episode")
    if "cosines" in panels:
        cosines = panels["cosines"]
        cosines.set_ylabel("cosine of the qtDNN's\nand the circuit's gradient")
        low = min((float(line.get_ydata().min()) for line in cosines.lines if len(line.get_ydata()) > 0), default=0.0)
        cosines.set_ylim(min(low - 0.05, -0.05), 1.05)
    if "circuits" in panels:
        panels["circuits"].set_ylabel("circuits run in training")
        panels["circuits"].set_ylim(bottom=0)
        panels["circuits"].yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    last = panels[names[-1]]
    last.set_xlabel("environment steps")
    last.set_xlim(left=0)
    last.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    last.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    for name, axes in panels.items():
        tidy_axes(axes)
        if not axes.has_data():
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color="0.4")
        # A grey legend explains the kinds of lines once; colours above the figure identify the runs
        kinds = [Line2D([], [], label=label, **{"color": "0.35", **kind}) for label, kind in shown[name].items()]
        if kinds:
            axes.legend(handles=kinds, framealpha=0.85)
    handles = [Line2D([], [], linewidth=2, **look_of(place)) for place in range(len(runs))]
    figure.legend(handles, [run.label for run in runs], loc="outside upper center", ncols=_columns(runs), title=title or None)
    return figure


def _draw_returns(axes: "Axes", run: Run, window: int, look: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Draw a run's returns; returns the kinds of lines used, for the legend."""
    shown: dict[str, dict[str, Any]] = {}
    if run.episodes is not None:
        steps, values = run.episodes
        dots = {"linestyle": "none", "marker": ".", "markersize": 6, "alpha": 0.45}
        shape = {"marker": look.get("marker", "."), "markevery": None}
        axes.plot(steps, values, **{**look, **dots, **shape}, markeredgewidth=0)
        axes.plot(steps, running_mean(values, window), linewidth=1.8, **look)
        shown["training episode"] = dots
        shown[f"mean of the last {window}"] = {"linewidth": 1.8}
    elif run.rollouts is not None:
        axes.plot(*run.rollouts, linewidth=1.8, **look)
        shown["mean of the last episodes, as logged"] = {"linewidth": 1.8}
    if run.evaluations is not None:
        marks = {"linestyle": "none", "marker": "o", "markersize": 5, "markerfacecolor": "white"}
        shape = {"marker": look.get("marker", "o"), "markevery": None}
        axes.errorbar(*run.evaluations, yerr=run.spread, capsize=3, elinewidth=1, **{**look, **marks, **shape})
        shown["evaluation" if run.spread is None else "evaluation, mean and standard deviation"] = marks
    return shown


def _draw_cosines(axes: "Axes", run: Run, look: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Draw a run's cosines; returns the kinds of lines used, for the legend."""
    shown: dict[str, dict[str, Any]] = {}
    if run.prior is not None:
        kind = {"linestyle": ":", "linewidth": 1.2}
        axes.plot(*run.prior, **{**look, **kind})
        shown["prior alone, without a fit"] = kind
    if run.cosine is not None:
        axes.plot(*run.cosine, linewidth=1.5, **{"marker": _marker(run.cosine), "markersize": 3, **look})
        shown["qtDNN"] = {"linewidth": 1.5}
    return shown


def _marker(curve: Curve) -> str:
    """Choose markers for a few measurements, and a line for many."""
    return "o" if len(curve.steps) <= 50 else ""


def _columns(runs: list[Run]) -> int:
    """Number of the legend's columns that fit the figure's width."""
    return max(1, min(len(runs), 48 // (max(len(run.label) for run in runs) + 8)))
