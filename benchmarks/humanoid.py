"""
Train on Humanoid-v4 with the shipped wall-clock settings, in as many pieces as it takes, and say what came of it.

Stop it whenever you like (Ctrl-C, a termination signal, a power cut) and start it again: the zoo's run is continued from its
last checkpoint, which holds agent, optimizers, replay buffer, normalizer, step count and random generators. At the end 100
episodes are evaluated, and ``log.txt``, ``curve.png``, ``results.json`` and the agent lie in the folder.

    make humanoid                     # 2,000,000 steps, into logs/humanoid
    make humanoid STEPS=100000
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from sb3_quantum import QuantumTD3, __version__
from sb3_quantum.common import interquartile_mean, interval, returns_of
from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import new_figure
from sb3_quantum.zoo.environments import environment_of

FIRST_RESET_SEED = 10_000
#: how rl_zoo3 says where a run is, whether it is a new one or continued
RUN_LABEL = "Log path: "


def train(args: argparse.Namespace) -> tuple[int, Path | None]:
    """
    Run the zoo's training, or what is left of it; what it prints is added to ``log.txt``.

    :param args: of the command line
    :return: the training's exit status, and the run's folder if it came as far as that
    """
    run = None
    command = [
        sys.executable, "-m", "sb3_quantum.train", "--algo", "qtd3", "--env", args.env, "--seed", str(args.seed),
        "-n", str(args.steps), "-f", str(args.folder), "--eval-freq", str(args.eval_freq), "--eval-episodes", "10",
        "--resume", "--checkpoint-freq", str(args.checkpoint_freq), *args.zoo,
    ]  # fmt: skip
    start = time.perf_counter()
    with (args.folder / "log.txt").open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # A signal is for the training, which writes a checkpoint; Ctrl-C reaches it without our help
        signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            log.write(line)
            log.flush()
            if line.startswith(RUN_LABEL):
                run = Path(line.removeprefix(RUN_LABEL).strip())
        status = child.wait()
        log.write(f"exit status {status} after {(time.perf_counter() - start) / 60:.1f} minutes\n")
    return status, run


def steps_done(run: Path) -> int:
    """
    :param run: the run's folder
    :return: steps in its checkpoint
    """
    return max((int(path.name.removeprefix("checkpoint-")) for path in run.glob("checkpoint-*[0-9]")), default=0)


def evaluate(args: argparse.Namespace, run: Path) -> dict[str, Any]:
    """
    Evaluate the agent, and write ``results.json`` and ``curve.png``.

    :param args: of the command line
    :param run: the run's folder
    :return: what is in ``results.json``
    """
    agent = run / f"{args.env}.zip"
    model = QuantumTD3.load(agent, buffer_size=1)
    returns = returns_of(model, environment_of(model, agent, args.env), args.episodes, FIRST_RESET_SEED)
    low, high = interval(returns[None])
    curve = []
    if (run / "evaluations.npz").is_file():
        with np.load(run / "evaluations.npz") as data:
            curve = [[int(n), round(float(row.mean()), 1)] for n, row in zip(data["timesteps"], data["results"], strict=True)]
    results = {
        "env": args.env,
        "steps": steps_done(run),
        "updates": model._n_updates,
        "seed": args.seed,
        "agent": str(agent.relative_to(args.folder)),
        "episodes": args.episodes,
        "mean": round(float(returns.mean()), 1),
        "std": round(float(returns.std()), 1),
        "min": round(float(returns.min()), 1),
        "max": round(float(returns.max()), 1),
        "interquartile_mean": round(interquartile_mean(returns), 1),
        "interval_95": [round(low, 1), round(high, 1)],
        "curve": curve,
        "versions": {"sb3_quantum": __version__, "torch": th.__version__},
        "date": date.today().isoformat(),
    }
    write_text(args.folder / "results.json", json.dumps(results, indent=1) + "\n")
    draw(curve, args.folder / "curve.png")
    return results


def draw(curve: list[list[float]], path: Path) -> None:
    """
    :param curve: steps and mean return of every evaluation in training
    :param path: where the picture goes
    """
    figure = new_figure(6, 3.5, layout="constrained")
    axis = figure.subplots()
    axis.plot([steps / 1000 for steps, _ in curve], [value for _, value in curve])
    axis.set_xlabel("thousand steps")
    axis.set_ylabel("return (10 episodes)")
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Humanoid-v4")
    parser.add_argument("--steps", type=int, default=2_000_000, help="of the whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("logs/humanoid"))
    parser.add_argument("--checkpoint-freq", type=int, default=25_000)
    parser.add_argument("--eval-freq", type=int, default=25_000)
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation at the end")
    args, zoo = parser.parse_known_args()
    args.zoo = zoo  # options of rl_zoo3.train
    args.folder.mkdir(parents=True, exist_ok=True)
    status, run = train(args)
    if run is None:
        sys.exit(status or 1)
    done = steps_done(run)
    if status != 0 or done < args.steps:
        print(f"{done} of {args.steps} steps are done; the same command goes on from there")
        sys.exit(status or 1)
    results = evaluate(args, run)
    print(f"{results['mean']} +- {results['std']} over {args.episodes} episodes; everything is in {args.folder}")


if __name__ == "__main__":
    main()
