"""
Where the milliseconds of a training go: QuantumTD3 with its default settings, with PAPER's and with each block of the block
swap, SB3's TD3 and SBX's, with equal hidden layers and one update per environment step; and 0.1.0's settings for Humanoid-v4.

All of them take turns in short pieces, so that a busy machine slows all alike; medians over the pieces. Every phase is timed
without the phases inside of it. SBX's TD3 is timed as a whole, because it is compiled as a whole; it always uses all cores,
and is left out unless ``pip install sbx-rl`` was run.

    python benchmarks/training_speed.py --json benchmarks/results/training_speed.json --plot docs/images/training_speed.png
    python benchmarks/training_speed.py --data benchmarks/results/training_speed.json --plot docs/images/training_speed.png
    python benchmarks/training_speed.py --profile benchmarks/results/training_profile.txt
    python benchmarks/training_speed.py --compile        # the zeros block with its updates under torch.compile, beside itself
    python benchmarks/training_speed.py --quick          # within a minute: two threads, and what has a figure to reach
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS
from sb3_quantum.study import make_model, read_study

ENV = "Humanoid-v4"
WARM_UP = 300
#: what --quick times
QUICK = ("sb3_td3", "default", "paper", "zeros", "wall_clock")
COMMON: dict[str, Any] = dict(buffer_size=20_000, learning_starts=WARM_UP, batch_size=256, seed=0)
#: in the order of Algorithm 1
PHASES = ("act", "circuit", "env", "store", "sample", "qtdnn fit", "critics", "actor", "soft update", "update", "rest")
#: what has a colour in the picture, of which phases
DRAWN = {
    "acting, circuit included": ("act", "circuit"),
    "environment": ("env",),
    "replay buffer": ("store", "sample"),
    "qtDNN fit": ("qtdnn fit",),
    "whole update (SB3, SBX)": ("update",),
    "critics": ("critics",),
    "actor": ("actor",),
    "rest": ("soft update", "rest"),
}
#: what a model is called in the picture, if not by its name
NAMES = {"sb3_td3": "SB3's TD3", "sbx_td3": "SBX's TD3", "paper": "PAPER", "wall_clock": "0.1.0, Humanoid"}
NAMES |= {block: f"{block} block" for block in ("fc", "rbg", "zeros")}


def shipped() -> OffPolicyAlgorithm:
    """
    :return: 0.1.0's settings for this environment, as the study wall_clock has them
    """
    study = read_study("wall_clock")
    return make_model(study.arm("shipped"), study.environment, 0, buffer_size=20_000, learning_starts=WARM_UP)


def sbx_td3() -> OffPolicyAlgorithm:
    """
    :return: SBX's TD3; jax compiles on its first updates
    """
    import sbx

    return sbx.TD3("MlpPolicy", ENV, policy_kwargs=dict(net_arch=[256, 256]), **COMMON)


MAKERS: dict[str, Callable[[], OffPolicyAlgorithm]] = {
    "sb3_td3": lambda: TD3("MlpPolicy", ENV, policy_kwargs=dict(net_arch=[256, 256]), **COMMON),
    "sbx_td3": sbx_td3,
    "default": lambda: QuantumTD3("MlpPolicy", ENV, **COMMON),
    "paper": lambda: QuantumTD3("MlpPolicy", ENV, **{**PAPER, **COMMON}),
    "fc": lambda: QuantumTD3("MlpPolicy", ENV, policy_kwargs=dict(block="fc"), **COMMON),
    "rbg": lambda: QuantumTD3("MlpPolicy", ENV, policy_kwargs=dict(block="rbg"), **COMMON),
    "zeros": lambda: QuantumTD3("MlpPolicy", ENV, policy_kwargs=dict(block="zeros"), **COMMON),
    "wall_clock": shipped,
}


def compiled_zeros() -> OffPolicyAlgorithm:
    """
    :return: the zeros block, whose updates hold nothing but torch operations, under torch.compile; it needs a C++ compiler
    """
    model = MAKERS["zeros"]()
    for name in ("_update_critics", "_update_actor"):
        setattr(model, name, th.compile(getattr(model, name)))
    return model


class Stopwatch:
    """
    Times the phases of a model's steps and updates, each without those inside of it.

    :param model: whose methods are wrapped
    """

    def __init__(self, model: OffPolicyAlgorithm):
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0
        assert model.env is not None and model.replay_buffer is not None
        for owner, name, phase in (
            (model, "_sample_action", "act"),
            (model.env, "step", "env"),
            (model, "_store_transition", "store"),
            (model.replay_buffer, "sample", "sample"),
            (model, "_sample_batch", "sample"),
            (model, "_fit_qtdnn", "qtdnn fit"),
            (model, "_update_critics", "critics"),
            (model, "_update_actor", "actor"),
            (model, "_update_targets", "soft update"),
            (model, "train", "rest" if isinstance(model, QuantumTD3) else "update"),
        ):
            if hasattr(owner, name):
                setattr(owner, name, self._timed(getattr(owner, name), phase))
        layer = getattr(model.policy, "quantum_layer", None)
        if layer is not None:
            layer.backend.measure = self._timed(layer.backend.measure, "circuit")

    def _timed(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            outside, self._inside = self._inside, 0.0
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                self.seconds[phase] += elapsed - self._inside
                self._inside = outside + elapsed

        return timed


def make_all(makers: dict[str, Callable[[], OffPolicyAlgorithm]]) -> tuple[dict[str, OffPolicyAlgorithm], list[str]]:
    """
    :param makers: values of MAKERS
    :return: every model, with its buffer filled and everything compiled; and the names of those whose package is missing
    """
    models, missing = {}, []
    for name, maker in makers.items():
        try:
            models[name] = maker().learn(WARM_UP + 60)
        except ModuleNotFoundError:
            missing.append(name)
    return models, missing


def measure(
    models: dict[str, OffPolicyAlgorithm], watches: dict[str, Stopwatch], threads: int, rounds: int, steps: int
) -> dict[str, dict[str, float]]:
    """
    Time every model, taking turns.

    :param models: by name
    :param watches: a stopwatch for each of them
    :param threads: number of threads of torch
    :param rounds: pieces per model
    :param steps: environment steps of a piece
    :return: median milliseconds per environment step, by model and phase; "total" is the whole
    """
    th.set_num_threads(threads)
    pieces: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for round_ in range(rounds + 1):
        for name, model in models.items():
            seconds, before = watches[name].seconds, model.num_timesteps
            seconds.clear()
            start = time.perf_counter()
            model.learn(steps, reset_num_timesteps=False)
            total = time.perf_counter() - start
            seconds["rest"] += total - sum(seconds.values())
            done = model.num_timesteps - before
            if round_ > 0:  # the first one warms the caches up
                pieces[name].append({phase: value / done * 1e3 for phase, value in {**seconds, "total": total}.items()})
    names = (*PHASES, "total")
    return {
        name: {phase: float(np.median([piece.get(phase, 0.0) for piece in rows])) for phase in names if phase in rows[0]}
        for name, rows in pieces.items()
    }


def ratios(ms: dict[str, dict[str, float]]) -> dict[str, float]:
    """
    :param ms: milliseconds that :func:`measure` returned
    :return: steps per second of every model, divided by those of SB3's TD3
    """
    return {name: ms["sb3_td3"]["total"] / row["total"] for name, row in ms.items() if name != "sb3_td3"}


def print_table(ms: dict[str, dict[str, float]], threads: int) -> None:
    """
    :param ms: milliseconds that :func:`measure` returned
    :param threads: number of threads of torch
    """
    print(f"\n{ENV}, {threads} thread{'s' * (threads > 1)}: milliseconds per environment step")
    print(f"{'':11s}" + "".join(f"{phase:>12s}" for phase in PHASES) + f"{'total':>9s}{'steps/s':>9s}{'ratio':>7s}")
    found = {"sb3_td3": 1.0, **ratios(ms)}
    for name, row in ms.items():
        cells = "".join(f"{row[phase]:12.2f}" if phase in row else f"{'':12s}" for phase in PHASES)
        print(f"{name:11s}{cells}{row['total']:9.2f}{1e3 / row['total']:9.1f}{found[name]:7.2f}", flush=True)


def draw(results: dict[int, dict[str, dict[str, float]]], path: Path) -> None:
    """
    Draw one bar per model, one colour per group of phases, one panel per number of threads.

    :param results: results of :func:`measure`, by threads
    :param path: path of the file to write
    """
    figure = new_figure(WIDTH, 1.2 + 2.3 * len(results), layout="constrained")
    panels = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    for axes, (threads, ms) in zip(panels, results.items(), strict=True):
        left = np.zeros(len(ms))
        for (label, phases), colour in zip(DRAWN.items(), [*COLOURS, "#999999"], strict=True):
            widths = np.array([sum(row.get(phase, 0.0) for phase in phases) for row in ms.values()])
            axes.barh([NAMES.get(name, name) for name in ms], widths, left=left, color=colour, label=label)
            left += widths
        axes.set_title(f"{threads} thread{'s' * (threads > 1)}", loc="left", fontsize="medium")
        axes.invert_yaxis()
        tidy_axes(axes, "ms per environment step")
        axes.grid(visible=False, axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(path)


def profile(path: Path) -> None:
    """
    Write torch's profile of the default settings' updates.

    :param path: path of the file to write
    """
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    th.set_num_threads(1)
    model = MAKERS["default"]().learn(WARM_UP + 60)
    with torch_profile(activities=[ProfilerActivity.CPU]) as profiler:
        model.train(100, 256)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    lines = [f"100 updates of the default settings at one thread: {total / 1e5:.1f} ms per update, by time of its own"]
    for event in events[:30]:
        share = event.self_cpu_time_total / total
        lines.append(
            f"{event.self_cpu_time_total / 1e5:7.3f} ms {share:6.1%} {event.count / 100:6.1f} times  {event.key[:70]}"
        )
    write_text(path, "\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer models, and fewer and shorter pieces, at two threads only")
    parser.add_argument("--compile", action="store_true", help="what torch.compile brings, and nothing else")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--data", type=Path, help="measure nothing, read this file of a full run")
    parser.add_argument("--plot", type=Path, help="also draw them here")
    parser.add_argument("--profile", type=Path, help="nothing but a profile of the updates, written here")
    args = parser.parse_args()
    if args.profile is not None:
        profile(args.profile)
        return
    if args.data is not None:
        if args.plot is not None:
            found = json.loads(args.data.read_text())["by_threads"]
            draw({int(threads): part["ms"] for threads, part in found.items()}, args.plot)
        return
    makers = {name: MAKERS[name] for name in QUICK} if args.quick else MAKERS
    if args.compile:
        makers = {name: MAKERS[name] for name in ("sb3_td3", "zeros")} | {"compiled": compiled_zeros}
    models, missing = make_all(makers)
    for name in missing:
        print(f"{name} is left out: its package is not installed")
    watches = {name: Stopwatch(model) for name, model in models.items()}
    rounds, steps = (5, 40) if args.quick else (9, 100)
    results = {}
    for threads in (2,) if args.quick else (1, 2):
        results[threads] = measure(models, watches, threads, rounds, steps)
        print_table(results[threads], threads)
    if args.json is not None:
        figures = {
            "ratio_vs_sb3_td3": ratios(results[2]),
            "ms": results[2],
            "by_threads": {n: {"ratio_vs_sb3_td3": ratios(ms), "ms": ms} for n, ms in results.items()},
            "missing_peers": missing,
        }
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if args.plot is not None:
        draw(results, args.plot)


if __name__ == "__main__":
    main()
