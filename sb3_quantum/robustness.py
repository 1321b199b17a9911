"""
``python -m sb3_quantum.robustness``: one trained model on several machines.

The model acts on the exact simulator, on shots, on shots with depolarizing noise of growing strength, and on fake chips of
Qiskit, under every readout. Nothing is trained, and initial states are the same everywhere. The command first estimates how
long it will take, and shows a progress bar on a terminal if tqdm is installed.

    python -m sb3_quantum.robustness model.zip --env Pendulum-v1 --plot robustness.png

A model whose block draws bits without a circuit acts under every readout too, without backends.

The agent sees what it saw in training: for a run of the zoo, wrappers, frame stack, keyword arguments and the statistics of
VecNormalize are found beside the model.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_quantum.backends import Backend
from sb3_quantum.circuits.waiting import duration
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common import interquartile_mean, interval, returns_of
from sb3_quantum.common.durable import replacing, write_text
from sb3_quantum.common.evaluation import first_observations
from sb3_quantum.layers import READOUTS
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS
from sb3_quantum.qtd3 import QuantumTD3
from sb3_quantum.zoo.environments import add_environment_arguments, environment_of


def check_comparable(model: QuantumTD3, path: Path) -> bool:
    """
    Check that there is something to compare.

    :param model: the model
    :param path: its file, for the message
    :return: whether there are circuits, which can run on several backends
    :raises ValueError: if there are neither circuits nor random bits
    """
    block = model.policy.block
    if block.backend is None and not block.draws("sample"):
        raise ValueError(
            f"{path} has no circuit: its block is {block.name!r}, so it acts the same on every backend and under every readout"
        )
    return block.backend is not None


def settings(shots: int, levels: list[float], chips: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """
    List the backends to compare.

    :param shots: per circuit, on backends with shots
    :param levels: depolarizing probabilities of every gate
    :param chips: names of Qiskit's fake chips
    :return: backend and its keyword arguments, by label
    """
    return {
        "exact": ("statevector", {}),
        counted(shots, "shot"): ("aer", {"shots": shots}),
        **{f"p = {p:g}": ("aer", {"shots": shots, "noise": {"depolarizing": {"r": p, "cz": p}}}) for p in levels},
        **{chip: ("sampler", {"shots": shots, "sampler": "fake", "chip": chip}) for chip in chips},
    }


#: steps of an episode if the environment has no time limit
_STEPS = 1000


def announce_cost(
    model: QuantumTD3,
    make_env: Callable[[], gym.Env | VecEnv],
    compared: dict[str, Any],
    n_readouts: int,
    episodes: int,
    first_seed: int,
) -> dict[str, Backend | None]:
    """
    Estimate and print how long a comparison will take. Each backend makes two steps of all episodes: the first one also
    compiles, transpiles and sets up, the second one is timed. Episodes may end before their last step.

    :param model: the model; its backend is left at the last one
    :param make_env: makes the environment
    :param compared: see :func:`settings`
    :param n_readouts: number of readouts per backend
    :param episodes: per row
    :param first_seed: reset seed of the first episode
    :return: the backends by label, set up
    """
    observations, steps = first_observations(make_env, episodes, first_seed)
    made, estimated = {}, {}
    for label, (backend, kwargs) in compared.items():
        print(f"setting up {label}", file=sys.stderr, flush=True)
        if backend is not None:
            model.set_backend(backend, kwargs)
        for _ in range(2):
            start = time.perf_counter()
            model.predict(observations, deterministic=False)
        estimated[label] = (time.perf_counter() - start) * (steps or _STEPS) * n_readouts
        made[label] = model.policy.block.backend
    each = ", ".join(f"{label} {duration(seconds)}" for label, seconds in estimated.items())
    length = f"of {counted(steps, 'step')} at most" if steps else f"if they last {_STEPS:,} steps"
    print(f"about {duration(sum(estimated.values()))} for {counted(episodes, 'episode')} {length}: {each}", flush=True)
    return made


def _bar(label: str, total: int | None) -> Any:
    """Make a progress bar for one row, on a terminal and if tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return contextlib.nullcontext()
    return tqdm(total=total, desc=label, unit=" steps", leave=False, disable=None)


def evaluate(
    model: QuantumTD3,
    env: str | Callable[[], gym.Env | VecEnv],
    compared: dict[str, Any],
    readouts: list[str],
    episodes: int,
    first_seed: int,
) -> list[dict[str, Any]]:
    """
    Evaluate a model on every backend under every readout. Prints an estimate of the time, then a table.

    :param model: the model; its backend is left at the last one
    :param env: id of the environment, or a function that makes it, see :func:`~sb3_quantum.common.returns_of`
    :param compared: see :func:`settings`; a backend is ``None`` for a model that has no circuit
    :param readouts: names of readouts
    :param episodes: per row
    :param first_seed: reset seed of the first episode, and seed of the measurements
    :return: one dictionary per row
    """
    make_env = env if callable(env) else lambda: gym.make(env)
    made = announce_cost(model, make_env, compared, len(readouts), episodes, first_seed)
    _, steps = first_observations(make_env, 1, first_seed)
    rows = []
    print(f"{'backend':16} {'readout':9} {'mean':>8} {'std':>7} {'IQM':>8} {'95 % interval':>20} {'circuits':>9} {'s':>6}")
    for label, (backend, kwargs) in compared.items():
        instance = made[label]
        if instance is not None:
            model.set_backend(instance)
        for readout in readouts:
            model.set_random_seed(first_seed)
            model.policy.readout = readout
            start, before = time.perf_counter(), model.policy.block.usage().get("eval_circuits", 0)
            with _bar(f"{label}, {readout}", steps) as bar:
                after_step = None if bar is None else bar.update
                returns = returns_of(model, make_env, episodes, first_seed, deterministic=False, after_step=after_step)
            circuits = model.policy.block.usage().get("eval_circuits", 0) - before
            low, high = interval(returns[None])
            row = {
                "label": label,
                "backend": backend,
                "backend_kwargs": kwargs,
                "readout": readout,
                "returns": [round(float(value), 2) for value in returns],
                "interval": [low, high],
            }
            rows.append(row)
            print(
                f"{label:16} {readout:9} {returns.mean():8.1f} {returns.std():7.1f} {interquartile_mean(returns):8.1f} "
                f"[{low:8.1f}, {high:8.1f}] {circuits:9,d} {time.perf_counter() - start:6.1f}",
                flush=True,
            )
    return rows


def plot(rows: list[dict[str, Any]], path: str | Path) -> None:
    """
    Plot return against noise, one line per readout; backends without a noise level are markers at the sides.

    :param rows: from :func:`evaluate`
    :param path: path of the image
    :raises ImportError: if matplotlib is missing
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    figure = new_figure(max(WIDTH, 0.7 + 0.65 * len(labels)), 3.6, layout="constrained")
    axes = figure.add_subplot()
    readouts = list(dict.fromkeys(row["readout"] for row in rows))
    for shift, readout in enumerate(readouts):
        these = [row for row in rows if row["readout"] == readout]
        middles = np.array([interquartile_mean(np.array(row["returns"])) for row in these])
        bounds = np.array([row["interval"] for row in these])
        places = np.array([labels.index(row["label"]) for row in these]) + 0.12 * (shift - (len(readouts) - 1) / 2)
        errors = np.clip([middles - bounds[:, 0], bounds[:, 1] - middles], 0, None)
        label = f'readout "{readout}"'
        axes.errorbar(places, middles, errors, marker="o", capsize=3, linewidth=1, color=COLOURS[shift], label=label)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    tidy_axes(axes, ylabel="return: interquartile mean\nand its 95 % interval")
    axes.legend(frameon=False)
    with replacing(Path(path)) as partial:
        figure.savefig(partial)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_quantum.robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="zip file of a QuantumTD3 model")
    add_environment_arguments(parser)
    parser.add_argument("--readouts", nargs="+", choices=READOUTS, default=list(READOUTS))
    parser.add_argument("--shots", type=int, default=100, help="per circuit; the readout `sample` sees one of them")
    parser.add_argument("--depolarizing", nargs="*", type=float, default=[0.001, 0.003, 0.01, 0.03], help="of every gate")
    parser.add_argument("--chips", nargs="*", default=[], help="Qiskit's fake chips, such as FakeTorino; slow")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=10_000, help="reset seed of the first episode")
    parser.add_argument("--json", type=Path, help="also write the returns here")
    parser.add_argument("--plot", type=Path, help="also draw them here")
    args = parser.parse_args()
    try:
        model = QuantumTD3.load(args.model, buffer_size=1, backend="statevector", backend_kwargs={})
        compared: dict[str, tuple[str | None, dict[str, Any]]] = {"no circuit": (None, {})}
        if check_comparable(model, args.model):
            compared = {**settings(args.shots, args.depolarizing, args.chips)}
        rows = evaluate(
            model,
            environment_of(model, args.model, args.env, args.env_kwargs, args.gym_packages, args.vecnormalize),
            compared,
            args.readouts,
            args.episodes,
            args.first_seed,
        )
        if args.json is not None:
            write_text(args.json, json.dumps(rows) + "\n")
        if args.plot is not None:
            plot(rows, args.plot)
    except (OSError, ImportError, ValueError, gym.error.Error) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
