"""
Evaluate saved models on fixed reset seeds: one row per model, then all of them together.

The i-th episode starts from ``env.reset(seed=first_seed + i)``, so every model and every reader meets the same initial states.

    python benchmarks/evaluate_seeds.py --env Pendulum-v1 logs/qtd3/Pendulum-v1_*/Pendulum-v1.zip
"""

import argparse
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th

from sb3_quantum import QuantumTD3


def returns_of(model: QuantumTD3, env: gym.Env, episodes: int, first_seed: int, deterministic: bool = True) -> np.ndarray:
    """
    Returns of episodes without exploration noise.

    :param model: the model, with a normalizer of its own or none
    :param env: the environment
    :param episodes: how many
    :param first_seed: reset seed of the first
    :param deterministic: whether to act on the policy's ``eval_readout``, or on its ``readout``
    :return: ``(episodes,)``
    """
    returns = np.zeros(episodes)
    for episode in range(episodes):
        obs, _ = env.reset(seed=first_seed + episode)
        done = False
        while not done:
            action, _ = model.predict(obs, deterministic=deterministic)
            obs, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += float(reward)
            done = terminated or truncated
    return returns


def interquartile_mean(values: np.ndarray) -> float:
    """
    :param values: any shape
    :return: the mean of the middle half
    """
    ordered = np.sort(values, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def interval(returns: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """
    Stratified bootstrap of the interquartile mean: models and episodes are both drawn anew.

    :param returns: ``(models, episodes)``
    :param draws: bootstrap draws
    :return: the 95 % interval
    """
    rng = np.random.default_rng(0)
    models, episodes = returns.shape
    values = []
    for _ in range(draws):
        rows = rng.integers(models, size=(models, 1))
        values.append(interquartile_mean(returns[rows, rng.integers(episodes, size=(models, episodes))]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="zip files")
    parser.add_argument("--env", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=10_000)
    parser.add_argument("--stochastic", action="store_true", help="act as in training, on one sampled bitstring by default")
    parser.add_argument("--json", type=Path, help="also write the returns here")
    args = parser.parse_args()
    th.set_num_threads(1)
    env = gym.make(args.env)
    rows = {}
    print(f"{'mean':>8} {'std':>7} {'min':>8} {'max':>8}  model")
    for path in args.models:
        model = QuantumTD3.load(path, buffer_size=1)
        rows[str(path)] = returns_of(model, env, args.episodes, args.first_seed, not args.stochastic)
        row = rows[str(path)]
        print(f"{row.mean():8.1f} {row.std():7.1f} {row.min():8.1f} {row.max():8.1f}  {path}", flush=True)
    returns = np.stack(list(rows.values()))
    low, high = interval(returns)
    print(f"interquartile mean {interquartile_mean(returns):.1f}, 95 % bootstrap interval [{low:.1f}, {high:.1f}]")
    if args.json is not None:
        args.json.write_text(json.dumps({path: row.tolist() for path, row in rows.items()}))


if __name__ == "__main__":
    main()
