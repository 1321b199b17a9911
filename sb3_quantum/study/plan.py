"""Estimate the cost of a study before it starts."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

from sb3_quantum.circuits.checks import check_int
from sb3_quantum.circuits.wording import counted
from sb3_quantum.study.agents import acts_deterministically
from sb3_quantum.study.folder import find
from sb3_quantum.study.models import check_arms, make_model, maker, total_steps
from sb3_quantum.study.progress import duration
from sb3_quantum.study.settings import n_envs_of, steps_for
from sb3_quantum.study.spec import Arm, Environment, Study

#: rollouts to time before and after learning starts, and rows to predict
ROLLOUTS, ROWS = 30, 20
#: steps of an episode if the environment has no time limit
EPISODE = 1000


@dataclass
class Cost:
    """
    Cost of one cell of an arm.

    :param arm: the arm
    :param left: number of cells that have to run
    :param minutes: minutes of one cell, evaluations included
    :param source: source of the estimate
    """

    arm: Arm
    left: int
    minutes: float
    source: str


class _Rollouts(BaseCallback):
    """Callback that records the start times of rollouts."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[int, int, float]] = []

    def _on_rollout_start(self) -> None:
        self.times.append((self.model.num_timesteps, self.model._n_updates, time.process_time()))

    def _on_step(self) -> bool:
        return True


def costs(study: Study, out: Path) -> list[Cost]:
    """
    Estimate the cost of every arm.

    :param study: the study
    :param out: the study's folder, which need not exist
    :return: one cost per arm, from its complete cells, or else from a few updates
    """
    found = find(study, out)
    ended = [key for key, cell in found.cells.items() if cell.status in ("complete", "budget")]
    result = []
    for arm in study.arms:
        left = sum((arm.name, seed) not in ended for seed in arm.seeds)
        minutes = [
            cell.manifest["wall_minutes"]
            for cell in found.complete(arm.name)
            if cell.manifest.get("wall_minutes") and not cell.manifest.get("taken_over")
        ]
        if minutes:
            result.append(Cost(arm, left, float(np.mean(minutes)), counted(len(minutes), "complete cell")))
        elif left:
            result.append(Cost(arm, left, measure(study, arm), "a few updates"))
        else:
            result.append(Cost(arm, 0, 0.0, "nothing to do"))
    return result


def measure(study: Study, arm: Arm) -> float:
    """
    Time a few rollouts of an arm without updates and with them, and a few predictions.

    :param study: the study
    :param arm: one of its arms
    :return: minutes of a whole cell on one thread of this machine, if all evaluation episodes last until their time limit
    """
    evaluation = study.evaluation
    model = make_model(arm, study.environment_of(arm), 0, learning_starts=0, buffer_size=10_000)
    if arm.budget.unit == "cpu_minutes":
        training = arm.budget.amount
    else:
        training = _training_minutes(study, arm, model)
    episodes = evaluation.episodes * (2 + len(evaluation.ablations)) + 2 * evaluation.points * evaluation.point_episodes
    return training + episodes * _episode_seconds(study.environment_of(arm), model, evaluation) / 60


def _training_minutes(study: Study, arm: Arm, small: OffPolicyAlgorithm) -> float:
    """Estimate the minutes of a training from the medians of a few rollouts before and after learning starts."""
    frequency = small.train_freq
    by_steps = frequency.unit is TrainFrequencyUnit.STEP  # type: ignore[union-attr]
    rollout = n_envs_of(arm.settings) * (frequency.frequency if by_steps else EPISODE // 5)  # type: ignore[union-attr]
    n, warm = (ROLLOUTS, 5) if by_steps else (3, 1)
    starts = rollout * (math.ceil(check_int("batch_size", small.batch_size) / rollout) + n)
    model, watch = make_model(arm, study.environment_of(arm), 0, learning_starts=starts, buffer_size=10_000), _Rollouts()
    model.learn(starts + rollout * (n + warm), watch, log_interval=10**9)
    without = [time for steps, updates, time in watch.times if steps > starts - rollout * n and updates == 0]
    updating = [(updates, time) for _, updates, time in watch.times if updates > 0][warm:]
    per_step = float(np.median(np.diff(without))) / rollout
    each = float(np.diff([updates for updates, _ in updating]).mean()) if len(updating) > 1 else 1.0
    with_updates = float(np.median(np.diff([time for _, time in updating]))) if len(updating) > 1 else rollout * per_step
    per_update = max(0.0, with_updates - rollout * per_step) / max(each, 1.0)
    return _training_seconds(arm, per_step, per_update, each / rollout) / 60


def _training_seconds(arm: Arm, per_step: float, per_update: float, updates_per_step: float) -> float:
    steps = total_steps(arm.settings, arm.budget)
    if arm.budget.unit == "updates":
        updates = arm.budget.amount
        steps = steps_for(arm.settings, int(updates)) if steps is None else steps
        return (steps or updates / updates_per_step) * per_step + updates * per_update
    assert steps is not None
    starts = arm.settings.get("learning_starts", 100)
    return steps * per_step + max(0, steps - starts) * updates_per_step * per_update


def _episode_seconds(environment: Environment, model: object, evaluation: object) -> float:
    """Estimate the seconds of one episode among several in parallel."""
    make_env = maker(environment)
    env = make_env()
    steps = getattr(env.spec, "max_episode_steps", None) or EPISODE
    observation, _ = env.reset(seed=0)
    batch = (
        {key: np.stack([part] * ROWS) for key, part in observation.items()}
        if isinstance(observation, dict)
        else np.stack([observation] * ROWS)
    )
    deterministic = acts_deterministically(model, evaluation)  # type: ignore[arg-type]
    start = time.process_time()
    for _ in range(ROWS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    stepped = (time.process_time() - start) / ROWS
    model.predict(batch, deterministic=deterministic)  # type: ignore[attr-defined]
    start = time.process_time()
    for _ in range(5):
        model.predict(batch, deterministic=deterministic)  # type: ignore[attr-defined]
    predicted = (time.process_time() - start) / 5 / ROWS
    env.close()
    return float(steps * (stepped + predicted))


def print_plan(study: Study, out: Path, workers: int) -> None:
    """
    Print the cost of a study.

    :param study: the study
    :param out: the study's folder
    :param workers: number of parallel processes
    """
    threads = th.get_num_threads()
    th.set_num_threads(1)
    try:
        check_arms(study, list(study.arms))
        found = costs(study, out)
    finally:
        th.set_num_threads(threads)
    print(f"{'arm':28s} {'cells left':>10s} {'each':>8s} {'together':>9s}  known from")
    for cost in found:
        together = duration(cost.left * cost.minutes)
        print(f"{cost.arm.name:28s} {cost.left:10d} {duration(cost.minutes):>8s} {together:>9s}  {cost.source}")
    minutes = sum(cost.left * cost.minutes for cost in found)
    cells = sum(cost.left for cost in found)
    # A schedule cannot be shorter than its longest cell
    longest = max((cost.minutes for cost in found if cost.left), default=0.0)
    wall = max(minutes / workers, longest)
    print(
        f"{counted(cells, 'cell')}, {minutes / 60:.1f} core hours; about {wall / 60:.1f} hours with "
        f"{counted(workers, 'worker')}"
    )
