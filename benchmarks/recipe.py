"""
Screen recipes for Humanoid-v4 by the clock: CPU minutes of one thread, evaluations excluded.

An arm is a set of changes to the base in ``recipe.yml``; SB3's TD3 and sb3-contrib's TQC and CrossQ are arms too. A run writes
a row of its CSV at every evaluation (5 episodes, reset seeds of their own), checkpoints when told to, and goes on from its
checkpoint when it is started again.

    python benchmarks/recipe.py --arm crossq --seed 0 --minutes 10
    python benchmarks/recipe.py --arm crossq --seed 0 --minutes 45 --checkpoint 5      # and again after a power cut
    python benchmarks/recipe.py --arm sb3_tqc --seed 0 --minutes 45
    python benchmarks/recipe.py --report
"""

import argparse
import csv
import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import yaml
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.common import returns_of
from sb3_quantum.common.durable import replacing

ENV, EPISODES, FIRST_RESET_SEED = "Humanoid-v4", 5, 20_000
ARMS = Path(__file__).with_name("recipe.yml")
#: where the classes are that an arm's "algo" names
ALGORITHMS = {"td3": ("stable_baselines3", "TD3"), "tqc": ("sb3_contrib", "TQC"), "crossq": ("sb3_contrib", "CrossQ")}
#: more than any run has steps: the clock ends it
STEPS = 10**9
#: "return" and "worst" are of the weights that learn, "average_return" is of those averaged over the training
COLUMNS = ("cpu_minutes", "steps", "updates", "return", "worst", "training_return", "average_return")


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
    Evaluate and checkpoint during a training, and end it after a number of CPU minutes.

    :param path: path of the CSV file; the checkpoint lies beside it
    :param minutes: minutes of CPU time, evaluations excluded
    :param every: minutes between two evaluations
    :param checkpoint: minutes between two checkpoints, none if ``None``
    """

    def __init__(self, path: Path, minutes: float, every: float, checkpoint: float | None):
        super().__init__()
        self.path, self.minutes, self.every, self.checkpoint = path, minutes, every, checkpoint
        self.rows: list[dict[str, float]] = []
        self.saved = 0.0
        self._start, self._outside = 0.0, 0.0

    def _on_training_start(self) -> None:
        self._start = time.process_time()
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

    @property
    def next_evaluation(self) -> float:
        """Minutes at which it is due: a multiple of ``every``, even if earlier rows had another distance."""
        last = self.rows[-1]["cpu_minutes"] if self.rows else 0.0
        # Minutes in the file are rounded to two decimals
        return self.every * (int((last + 0.005) // self.every) + 1)

    def _on_rollout_start(self) -> None:
        if self.elapsed >= self.next_evaluation:
            self.evaluate()

    def evaluate(self) -> None:
        """Add a row to the CSV file, and write the checkpoint if it is time."""
        minutes, start = self.elapsed, time.process_time()
        assert isinstance(self.model, OffPolicyAlgorithm)
        average_return = np.nan
        if getattr(self.model.policy, "actor_average", None) is not None:
            average_return = self._returns().mean()
        with own_weights(self.model):
            returns = self._returns()
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
        """Evaluate on expected bits, or on one sampled bitstring per step if the training acts on it."""
        deterministic = getattr(self.model.policy, "readout", "mean") != "sample"
        return returns_of(self.model, lambda: gym.make(ENV), EPISODES, FIRST_RESET_SEED, deterministic)

    def save(self) -> None:
        """Write model, replay buffer and reward statistics."""
        assert isinstance(self.model, OffPolicyAlgorithm)
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


@contextmanager
def own_weights(model: OffPolicyAlgorithm) -> Iterator[None]:
    """
    Predict with the weights that learn, even if averaged ones are deployed.

    :param model: any model
    """
    if not isinstance(model, QuantumTD3):
        yield
        return
    average, model.policy.actor_average = model.policy.actor_average, None
    try:
        yield
    finally:
        model.policy.actor_average = average


def algorithm_of(settings: dict[str, Any]) -> type[OffPolicyAlgorithm]:
    """
    :param settings: settings of :func:`settings_of`
    :return: the class that the arm trains
    :raises ImportError: if it is sb3-contrib's, and that is not installed
    """
    if "algo" not in settings:
        return QuantumTD3
    module, name = ALGORITHMS[settings["algo"]]
    return getattr(importlib.import_module(module), name)


def make_model(settings: dict[str, Any], seed: int) -> OffPolicyAlgorithm:
    """
    :param settings: settings of :func:`settings_of`
    :param seed: seed of everything
    :return: the model, not trained yet
    """
    settings, algorithm = dict(settings), algorithm_of(settings)
    steps, part = settings.pop("decay_steps", None), settings.pop("decay_to", 0.0)
    for name in ("learning_rate", "qf_learning_rate"):
        if steps is not None and name in settings:
            # Over steps of the run: the progress that remains, which schedules are given, is that of STEPS
            settings[name] = LinearSchedule(settings[name], part * settings[name], steps / STEPS)
    env: VecEnv = make_vec_env(ENV, settings.pop("n_envs"), seed=seed)
    if settings.pop("algo", None) is not None and "action_noise" in settings:
        shape = env.action_space.shape or ()
        settings["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, settings["action_noise"]))
    if settings.pop("normalize_reward", False):
        # Divided by the running deviation of the discounted return, when they are drawn from the replay buffer
        env = VecNormalize(env, norm_obs=False, norm_reward=True, gamma=settings.get("gamma", 0.99))
    return algorithm("MlpPolicy", env, seed=seed, **settings)


def run(path: Path, arm: str, seed: int, minutes: float, every: float, checkpoint: float | None) -> None:
    """
    Train one model, from its checkpoint if there is one.

    :param path: path of the CSV file
    :param arm: a key of ``recipe.yml``
    :param seed: seed of everything
    :param minutes: CPU time
    :param every: minutes between two evaluations
    :param checkpoint: minutes between two checkpoints
    """
    model = make_model(settings_of(arm), seed)
    if checkpoint is not None and path.with_suffix(".zip").exists():
        env: VecEnv | None = model.env
        if isinstance(env, VecNormalize):
            env = VecNormalize.load(str(path.with_suffix(".vecnormalize")), env.venv)
        model = type(model).load(path.with_suffix(".zip"), env=env)
        model.load_replay_buffer(path.with_suffix(".pkl"))
        model.set_random_seed(seed + model.num_timesteps)
    clock = Clock(path, minutes, every, checkpoint)
    first = model.num_timesteps == 0
    model.learn(STEPS - model.num_timesteps, callback=clock, log_interval=STEPS, reset_num_timesteps=first)
    if not clock.rows or clock.rows[-1]["cpu_minutes"] < minutes - every / 2:
        clock.evaluate()
    if checkpoint is not None:
        # What was trained, not what it was at the last checkpoint
        clock.save()


def report(folder: Path) -> None:
    """
    Print a table: the last evaluation of every run, and those at 5 and 10 minutes.

    :param folder: folder of the CSV files
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
