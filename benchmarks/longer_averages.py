"""
Train an arm of the study ``humanoid_recipe`` and keep longer averages of the actor's weights beside the deployed one.

Nothing learns from an average, so the training is the same as without them. Their returns go into a CSV file, with those of
the deployed average. Minutes are those of the training, as in a study; an interrupted run starts again.

    python benchmarks/longer_averages.py --arm gamma98 --seed 8 --out logs/averages
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed

from sb3_quantum import QuantumTD3
from sb3_quantum.common import returns_of
from sb3_quantum.common.durable import replacing
from sb3_quantum.qtd3.averaging import WeightAverage
from sb3_quantum.qtd3.policies import copy_of
from sb3_quantum.study import make_model, read_study
from sb3_quantum.study.models import maker
from sb3_quantum.study.settings import UNKNOWN_STEPS
from sb3_quantum.study.spec import Evaluation

#: steps of the averages; the arm's own is 0.003
TAUS = (0.001, 0.0003)


class LongerAverages(BaseCallback):
    """
    Keep further averages of the actor's weights, evaluate them, and end the training after a number of CPU minutes.

    :param path: path of the CSV file
    :param make_env: makes an environment
    :param evaluation: episodes and reset seeds
    :param minutes: CPU minutes of the training, without those of this callback
    :param every: minutes between two evaluations
    :param first: minutes before which nothing is evaluated
    """

    def __init__(
        self, path: Path, make_env: Callable[[], gym.Env], evaluation: Evaluation, minutes: float, every: float, first: float
    ):
        super().__init__()
        self.path, self.make_env, self.evaluation = path, make_env, evaluation
        self.minutes, self.every, self._next = minutes, every, max(every, first)
        self.rows: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        assert isinstance(self.model, QuantumTD3)
        policy = self.model.policy
        assert policy.averaging is not None and policy.actor_average is not None
        self.policy, self.deployed, self.tau = policy, policy.actor_average, policy.averaging.tau
        self.averages = {tau: (WeightAverage(tau), copy_of(policy.actor)) for tau in TAUS}
        self._update = policy.update_average
        policy.update_average = self._update_all  # type: ignore[method-assign]
        self._since = time.process_time()

    def _update_all(self) -> None:
        self._update()
        start = time.process_time()
        for average, networks in self.averages.values():
            average.update(self.policy.actor, networks)
        self._since += time.process_time() - start

    @property
    def elapsed(self) -> float:
        """Minutes of the training so far."""
        return (time.process_time() - self._since) / 60

    def _on_rollout_start(self) -> None:
        if self.elapsed >= self._next:
            self._next += self.every
            self.evaluate()

    def evaluate(self) -> None:
        """Add a row with the returns of all averages."""
        assert isinstance(self.model, QuantumTD3)
        start, minutes = time.process_time(), self.elapsed
        row = {"cpu_minutes": round(minutes, 2), "updates": float(self.model._n_updates)}
        for tau, actor in {self.tau: self.deployed, **{tau: pair[1] for tau, pair in self.averages.items()}}.items():
            self.policy.actor_average = actor
            returns = returns_of(self.model, self.make_env, self.evaluation.point_episodes, self.evaluation.point_first_seed)
            row |= {f"return_{tau}": round(float(returns.mean()), 2), f"worst_{tau}": round(float(returns.min()), 2)}
        self.policy.actor_average = self.deployed
        self.rows.append(row)
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.rows)
        self._since += time.process_time() - start

    def _on_step(self) -> bool:
        return self.elapsed < self.minutes

    def _on_training_end(self) -> None:
        if not self.rows or self.rows[-1]["cpu_minutes"] < self.minutes - self.every / 2:
            self.evaluate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", default="gamma98")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--every", type=float, default=2.5, help="minutes between two evaluations")
    parser.add_argument("--first", type=float, default=15, help="minutes before which nothing is evaluated")
    parser.add_argument("--out", type=Path, default=Path("logs/averages"), help="folder of the CSV file")
    args = parser.parse_args()
    th.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    study = read_study("humanoid_recipe")
    arm = study.arm(args.arm)
    environment = study.environment_of(arm)
    set_random_seed(args.seed)
    model = make_model(arm, environment, args.seed)
    path = args.out / f"{args.arm}-{args.seed}.csv"
    callback = LongerAverages(path, maker(environment), study.evaluation, args.minutes, args.every, args.first)
    model.learn(UNKNOWN_STEPS, callback, log_interval=UNKNOWN_STEPS)


if __name__ == "__main__":
    main()
