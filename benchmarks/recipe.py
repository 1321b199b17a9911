"""
Screen recipes for Humanoid-v4 by the clock: CPU minutes of one thread, evaluations excluded.

An arm is a set of changes to the base in ``recipe.yml``. A run writes a row of its CSV at every evaluation (5 episodes, reset
seeds of their own), checkpoints when told to, and goes on from its checkpoint when it is started again.

    python benchmarks/recipe.py --arm crossq --seed 0 --minutes 10
    python benchmarks/recipe.py --arm crossq --seed 0 --minutes 45 --checkpoint 5      # and again after a power cut
    python benchmarks/recipe.py --report
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import yaml
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.common import returns_of
from sb3_quantum.common.durable import replacing

ENV, EPISODES, FIRST_RESET_SEED = "Humanoid-v4", 5, 20_000
ARMS = Path(__file__).with_name("recipe.yml")
#: "average_return" is of the actor with weights averaged over training, which nothing learns from
COLUMNS = ("cpu_minutes", "steps", "updates", "return", "worst", "training_return", "average_return")
#: how far the average moves in every update
AVERAGE_STEP = 1e-3


def settings_of(arm: str) -> dict[str, Any]:
    """
    :param arm: a key of ``recipe.yml``
    :return: the base's settings with the arm's changes, those of ``policy_kwargs`` one by one
    """
    arms = yaml.safe_load(ARMS.read_text())
    settings: dict[str, Any] = {"policy_kwargs": {}}
    chain = []
    name: str | None = arm
    while name is not None:
        chain.append(dict(arms[name]))
        name = chain[-1].pop("from", None)
    for changes in reversed(chain):
        policy_kwargs = {**settings["policy_kwargs"], **changes.pop("policy_kwargs", {})}
        settings.update(changes, policy_kwargs=policy_kwargs)
    return settings


class Clock(BaseCallback):
    """
    Ends a training after so many CPU minutes, evaluates and checkpoints on the way.

    :param path: of the CSV file; the checkpoint lies beside it
    :param minutes: of CPU time, evaluations excluded
    :param every: minutes between two evaluations
    :param checkpoint: minutes between two checkpoints, none if ``None``
    """

    def __init__(self, path: Path, minutes: float, every: float, checkpoint: float | None):
        super().__init__()
        self.path, self.minutes, self.every, self.checkpoint = path, minutes, every, checkpoint
        self.rows: list[dict[str, float]] = []
        self.saved = 0.0
        self._start, self._outside = 0.0, 0.0
        self._average: list[th.Tensor] = []

    def _on_training_start(self) -> None:
        self._start = time.process_time()
        self._average = [parameter.detach().clone() for parameter in self._actor()]
        if self.path.exists() and self.num_timesteps > 0:
            with self.path.open() as file:
                self.rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
            self.rows = [row for row in self.rows if row["steps"] <= self.num_timesteps]
            self.saved = self.rows[-1]["cpu_minutes"]
            self._start -= self.saved * 60

    @property
    def elapsed(self) -> float:
        """Minutes of training so far."""
        return (time.process_time() - self._start - self._outside) / 60

    def _actor(self) -> list[th.Tensor]:
        assert isinstance(self.model, QuantumTD3)
        return [parameter.data for parameter in self.model.actor.parameters()]

    def _on_rollout_start(self) -> None:
        th._foreach_lerp_(self._average, self._actor(), AVERAGE_STEP)
        if self.elapsed >= self.every * (len(self.rows) + 1):
            self.evaluate()

    def evaluate(self) -> None:
        """Add a row to the CSV file, and write the checkpoint if it is time."""
        minutes, start = self.elapsed, time.process_time()
        assert isinstance(self.model, QuantumTD3)
        returns = self._returns()
        own = [parameter.clone() for parameter in self._actor()]
        th._foreach_copy_(self._actor(), self._average)
        average_return = self._returns().mean()
        th._foreach_copy_(self._actor(), own)
        training = [info["r"] for info in self.model.ep_info_buffer or []]
        progress = (minutes, self.num_timesteps, self.model._n_updates)
        values = (*progress, returns.mean(), returns.min(), np.mean(training or [np.nan]), average_return)
        self.rows.append({name: round(float(value), 2) for name, value in zip(COLUMNS, values, strict=True)})
        print(self.path.stem, self.rows[-1], flush=True)
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        if self.checkpoint is not None and minutes - self.saved >= self.checkpoint:
            self.saved = minutes
            self.save()
        self._outside += time.process_time() - start

    def _returns(self) -> np.ndarray:
        return returns_of(self.model, lambda: gym.make(ENV), EPISODES, FIRST_RESET_SEED)

    def save(self) -> None:
        """Write model, replay buffer and reward statistics."""
        assert isinstance(self.model, QuantumTD3)
        with replacing(self.path.with_suffix(".pkl")) as partial:
            self.model.save_replay_buffer(partial)
        statistics = self.model.get_vec_normalize_env()
        if statistics is not None:
            with replacing(self.path.with_suffix(".vecnormalize")) as partial:
                statistics.save(str(partial))
        with replacing(self.path.with_suffix(".zip")) as partial:
            self.model.save(partial)

    def _on_step(self) -> bool:
        return self.elapsed < self.minutes


def make_model(settings: dict[str, Any], seed: int) -> QuantumTD3:
    """
    :param settings: of :func:`settings_of`
    :param seed: of everything
    :return: the model, not trained yet
    """
    settings = dict(settings)
    env: VecEnv = make_vec_env(ENV, settings.pop("n_envs"), seed=seed)
    if settings.pop("normalize_reward"):
        # Divided by the running deviation of the discounted return, when they are drawn from the replay buffer
        env = VecNormalize(env, norm_obs=False, norm_reward=True, gamma=settings.get("gamma", 0.99))
    return QuantumTD3("MlpPolicy", env, seed=seed, **settings)


def run(path: Path, arm: str, seed: int, minutes: float, every: float, checkpoint: float | None) -> None:
    """
    Train one model, from its checkpoint if there is one.

    :param path: of the CSV file
    :param arm: a key of ``recipe.yml``
    :param seed: of everything
    :param minutes: CPU time
    :param every: minutes between two evaluations
    :param checkpoint: minutes between two checkpoints
    """
    model = make_model(settings_of(arm), seed)
    if checkpoint is not None and path.with_suffix(".zip").exists():
        env: VecEnv | None = model.env
        if isinstance(env, VecNormalize):
            env = VecNormalize.load(str(path.with_suffix(".vecnormalize")), env.venv)
        model = QuantumTD3.load(path.with_suffix(".zip"), env=env)
        model.load_replay_buffer(path.with_suffix(".pkl"))
        model.set_random_seed(seed + model.num_timesteps)
    clock = Clock(path, minutes, every, checkpoint)
    model.learn(10**9, callback=clock, log_interval=10**9, reset_num_timesteps=model.num_timesteps == 0)
    if not clock.rows or clock.rows[-1]["cpu_minutes"] < minutes - every / 2:
        clock.evaluate()


def report(folder: Path) -> None:
    """
    Print a table: the last evaluation of every run, and those at 5 and 10 minutes.

    :param folder: where the CSV files are
    """
    print(
        "| arm | seed | 5 min | 10 min | end: minutes, return | steps/s | updates/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        sep="\n",
    )
    for path in sorted(folder.glob("*.csv")):
        with path.open() as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        arm, _, seed = path.stem.rpartition("-")
        at = [next((f"{row['return']:.0f}" for row in rows if abs(row["cpu_minutes"] - m) < 0.3), "") for m in (5, 10)]
        last, seconds = rows[-1], rows[-1]["cpu_minutes"] * 60
        print(
            f"| {arm} | {seed} | {at[0]} | {at[1]} | {last['cpu_minutes']:.1f}, {last['return']:.0f} "
            f"| {last['steps'] / seconds:.0f} | {last['updates'] / seconds:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "humanoid_recipe")
    parser.add_argument("--arm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10, help="CPU time, evaluations excluded")
    parser.add_argument("--every", type=float, default=1, help="minutes between two evaluations")
    parser.add_argument("--checkpoint", type=float, help="minutes between two checkpoints")
    parser.add_argument("--report", action="store_true", help="print what there is")
    args = parser.parse_args()
    th.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        report(args.out)
        return
    run(args.out / f"{args.arm}-{args.seed}.csv", args.arm, args.seed, args.minutes, args.every, args.checkpoint)


if __name__ == "__main__":
    main()
