"""
Environment steps per second of QuantumTD3 and of SB3's TD3 in one run, at one update per step and with equal hidden layers.

The algorithms take turns in short pieces, so that a busy machine slows all of them alike; medians over the pieces.

    python benchmarks/training_speed.py                  # Humanoid-v4, one and two threads
    python benchmarks/training_speed.py --quick          # a minute
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_quantum import PAPER, QuantumTD3

BUFFER: dict[str, Any] = dict(buffer_size=20_000, learning_starts=300, batch_size=256, seed=0)

MAKERS: dict[str, Callable[[str], OffPolicyAlgorithm]] = {
    "sb3_td3": lambda env: TD3("MlpPolicy", env, policy_kwargs=dict(net_arch=[256, 256]), **BUFFER),
    "default": lambda env: QuantumTD3("MlpPolicy", env, **BUFFER),
    "paper": lambda env: QuantumTD3("MlpPolicy", env, **{**PAPER, **BUFFER}),
    "zeros": lambda env: QuantumTD3("MlpPolicy", env, policy_kwargs=dict(block="zeros"), **BUFFER),
}


def measure(env: str, threads: int, rounds: int, steps: int) -> dict[str, float]:
    """
    Time every algorithm, taking turns.

    :param env: name of the environment
    :param threads: of torch
    :param rounds: pieces per algorithm
    :param steps: steps of a piece
    :return: median milliseconds per step
    """
    th.set_num_threads(threads)
    models = {name: make(env).learn(350) for name, make in MAKERS.items()}
    pieces: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.learn(steps, reset_num_timesteps=False)
            pieces[name].append((time.perf_counter() - start) / steps * 1e3)
    return {name: float(np.median(values)) for name, values in pieces.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Humanoid-v4")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter pieces, one thread")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    results = {}
    for threads in (1,) if args.quick else (1, 2):
        ms = measure(args.env, threads, rounds=3 if args.quick else 9, steps=40 if args.quick else 100)
        results[threads] = ms
        print(f"{args.env}, {threads} thread{'s' * (threads > 1)}: ms per step, steps per second, ratio to SB3's TD3")
        for name, value in ms.items():
            print(f"  {name:8s} {value:7.1f} {1e3 / value:7.1f} {ms['sb3_td3'] / value:6.2f}", flush=True)
    if args.json is not None:
        last = results[max(results)]
        ratios = {name: last["sb3_td3"] / value for name, value in last.items() if name != "sb3_td3"}
        args.json.write_text(json.dumps({"ratio_vs_sb3_td3": ratios, "ms": results}, indent=1))


if __name__ == "__main__":
    main()
