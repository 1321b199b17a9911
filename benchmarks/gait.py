"""
Show how a trained Humanoid gets its return: velocity, parts of the reward, and the share of actions at their limits.

One episode per model, deterministic, with the averaged weights where there are any.

    python benchmarks/gait.py models/qtd3-Humanoid-v4
"""

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.film import load

#: a share of its range from which on an action counts as being at its limit
LIMIT = 0.95
#: parts of the reward, as MuJoCo's environments name them
PARTS = ("reward_linvel", "reward_quadctrl", "reward_alive")


def gait(model: QuantumTD3, env_id: str, seed: int, steps: int = 1000) -> dict[str, float]:
    """
    :param model: a trained model
    :param env_id: a walking environment of MuJoCo
    :param seed: reset seed
    :param steps: maximum number of steps
    :return: steps, mean velocity in m/s, sums of the reward's parts, and the share of actions at their limits
    """
    env = gym.make(env_id)
    assert isinstance(env.action_space, gym.spaces.Box)
    high = env.action_space.high
    observation, _ = env.reset(seed=seed)
    velocities: list[float] = []
    actions: list[np.ndarray] = []
    ended = False
    sums = dict.fromkeys(PARTS, 0.0)
    while not ended and len(actions) < steps:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        velocities.append(info["x_velocity"])
        actions.append(np.abs(action) / high)
        for part in PARTS:
            sums[part] += float(info.get(part, 0.0))
    limits = float((np.array(actions) > LIMIT).mean())
    return {"steps": len(actions), "velocity": float(np.mean(velocities)), **sums, "at_limits": limits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="zip files, or folders of the pickle-free form")
    parser.add_argument("--env", default="Humanoid-v4")
    parser.add_argument("--seed", type=int, default=1, help="reset seed of the episode")
    args = parser.parse_args()
    th.set_num_threads(1)
    for path in args.models:
        found = gait(load(path), args.env, args.seed)
        print(path, {key: round(value, 3) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
