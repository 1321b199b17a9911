"""
Evaluate saved models on fixed reset seeds: one row per model, then all of them together.

The i-th episode starts from ``env.reset(seed=first_seed + i)``, so every model and every reader meets the same initial states.

    python benchmarks/evaluate_seeds.py --env Pendulum-v1 logs/qtd3/Pendulum-v1_*/Pendulum-v1.zip
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.common import interquartile_mean, interval, returns_of
from sb3_quantum.common.durable import write_text
from sb3_quantum.zoo.environments import add_environment_arguments, environment_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="zip files")
    add_environment_arguments(parser)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=10_000)
    parser.add_argument("--stochastic", action="store_true", help="act as in training, on one sampled bitstring by default")
    parser.add_argument("--json", type=Path, help="also write the returns here")
    args = parser.parse_args()
    th.set_num_threads(1)
    rows = {}
    print(f"{'mean':>8} {'std':>7} {'min':>8} {'max':>8}  model")
    for path in args.models:
        model = QuantumTD3.load(path, buffer_size=1)
        make_env = environment_of(model, path, args.env, args.env_kwargs, args.gym_packages, args.vecnormalize)
        rows[str(path)] = returns_of(model, make_env, args.episodes, args.first_seed, not args.stochastic)
        row = rows[str(path)]
        print(f"{row.mean():8.1f} {row.std():7.1f} {row.min():8.1f} {row.max():8.1f}  {path}", flush=True)
    returns = np.stack(list(rows.values()))
    low, high = interval(returns)
    print(f"interquartile mean {interquartile_mean(returns):.1f}, 95 % bootstrap interval [{low:.1f}, {high:.1f}]")
    if args.json is not None:
        write_text(args.json, json.dumps({path: row.tolist() for path, row in rows.items()}))


if __name__ == "__main__":
    main()
