"""
Return per hour on Humanoid-v4: trainings that end when the clock says so, not after a number of steps.

The clock is the CPU time of one thread, evaluations excluded: two runs may then share a machine of two cores, and a pause
costs neither of them anything. Each run writes its curve and its model, and is skipped when they are there already;
``--report`` prints the table and draws the curves, against steps and against hours.

    python benchmarks/wall_clock.py --minutes 10 --arms shipped n_envs_8 ...   # screening
    python benchmarks/wall_clock.py --minutes 45 --seeds 0 1 --arms shipped td3 td3_same zeros
    python benchmarks/wall_clock.py --out benchmarks/results/wall_clock --report     # the published runs
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import yaml
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.common import interquartile_mean, interval, returns_of
from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import new_figure

ENV = "Humanoid-v4"
HYPERPARAMETERS = Path(__file__).parents[1] / "hyperparams" / "qtd3.yml"
#: minutes between two evaluations, their episodes, and those at the end
EVAL_EVERY, EVAL_EPISODES, EPISODES, FIRST_RESET_SEED = 5.0, 20, 100, 10_000
#: shipped settings that SB3's TD3 does not have, or has its own of: the targets' speed goes with the critics' normalization
NOT_SHARED = ("batch_size", "qf_learning_rate", "qtdnn_batch_size", "tau")
#: the zoo's settings for TD3 on this environment
TD3_OWN: dict[str, Any] = dict(
    learning_starts=10_000, learning_rate=1e-3, batch_size=256, policy_kwargs=dict(net_arch=[400, 300])
)


def shipped() -> dict[str, Any]:
    """
    :return: the entry of hyperparams/qtd3.yml, as the zoo would read it
    """
    settings = dict(yaml.safe_load(HYPERPARAMETERS.read_text())[ENV])
    assert settings.pop("noise_type") == "normal" and settings.pop("policy") == "MlpPolicy"
    del settings["n_timesteps"]
    if "policy_kwargs" in settings:
        settings["policy_kwargs"] = eval(settings["policy_kwargs"])
    return settings


def quantum(seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    QuantumTD3 with the shipped settings, or with some of them changed.

    :param seed: of everything
    :param changes: hyperparameters; those of ``policy_kwargs`` beside the shipped ones
    :return: the model, not trained yet
    """
    policy_kwargs = {**shipped().get("policy_kwargs", {}), **changes.pop("policy_kwargs", {})}
    settings = {**shipped(), **changes, "policy_kwargs": policy_kwargs}
    env = make_vec_env(ENV, settings.pop("n_envs", 1), seed=seed)
    return QuantumTD3("MlpPolicy", env, action_noise=settings.pop("noise_std"), seed=seed, **settings)


def candidate(seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    QuantumTD3 as it was shipped when candidates were first compared: four environments, one learning rate, plain critics, slow
    targets.

    :param seed: of everything
    :param changes: hyperparameters
    :return: the model, not trained yet
    """
    plain = {"critic_layer_norm": False, **changes.pop("policy_kwargs", {})}
    return normalized(seed, **{"n_envs": 4, "qf_learning_rate": None, "policy_kwargs": plain, **changes})


def normalized(seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    QuantumTD3 as shipped but for its slow targets, its batches of 256 and of 128 for the qtDNN, and the sampled bitstring it
    acts on: what the second candidates differ from.

    :param seed: of everything
    :param changes: hyperparameters
    :return: the model, not trained yet
    """
    policy_kwargs = {"readout": "sample", **changes.pop("policy_kwargs", {})}
    settings = {"tau": 0.005, "batch_size": 256, "qtdnn_batch_size": 128, "policy_kwargs": policy_kwargs}
    return quantum(seed, **{**settings, **changes})


def mean(seed: int, **changes: Any) -> OffPolicyAlgorithm:
    """
    QuantumTD3 as shipped, in batches of 256: what the third candidates differ from.

    :param seed: of everything
    :param changes: hyperparameters
    :return: the model, not trained yet
    """
    return quantum(seed, **{"batch_size": 256, **changes})


def td3(seed: int, same: bool, **changes: Any) -> OffPolicyAlgorithm:
    """
    SB3's TD3, with the zoo's settings for it, or with normalized observations and the shipped environments, updates, learning
    rate and noise of QuantumTD3. Batches are of 256, SB3's default, in either case.

    :param seed: of everything
    :param same: the latter
    :param changes: hyperparameters
    :return: the model, not trained yet
    """
    settings = {**TD3_OWN, "noise_std": 0.1}
    if same:
        settings = {**shipped(), "policy_kwargs": dict(net_arch=[256, 256])}
        for name in NOT_SHARED:
            settings.pop(name, None)
    settings.update(changes)
    env = make_vec_env(ENV, settings.pop("n_envs", 1), seed=seed)
    n_actions = env.action_space.shape[0]  # type: ignore[index]
    noise = NormalActionNoise(np.zeros(n_actions), np.full(n_actions, settings.pop("noise_std")))
    if same:
        env = VecNormalize(env, norm_reward=False)
    return TD3("MlpPolicy", env, action_noise=noise, seed=seed, **settings)


ARMS: dict[str, Callable[[int], OffPolicyAlgorithm]] = {
    "shipped": quantum,
    "td3": partial(td3, same=False),
    "td3_same": partial(td3, same=True),
    # The shipped targets too, for which it has no normalized critics; and the shipped batches
    "td3_tau": partial(td3, same=True, tau=0.02),
    "td3_batch_128": partial(td3, same=True, batch_size=128),
    "zeros": partial(quantum, policy_kwargs=dict(block="zeros")),
    # Candidates, and what came of them: one thing changed at a time
    "n_envs_1": partial(candidate, n_envs=1),
    "n_envs_2": partial(candidate, n_envs=2),
    "n_envs_4": candidate,
    "n_envs_8": partial(candidate, n_envs=8),
    "n_envs_16": partial(candidate, n_envs=16),
    "batch_128": partial(candidate, batch_size=128),
    "batch_512": partial(candidate, batch_size=512),
    "lr_1e-3": partial(candidate, learning_rate=1e-3),
    "lr_1e-4": partial(candidate, learning_rate=1e-4),
    "n_envs_8_lr_1e-3": partial(candidate, n_envs=8, learning_rate=1e-3),
    "readout_mean": partial(candidate, policy_kwargs=dict(readout="mean")),
    "n_steps_3": partial(candidate, n_steps=3),
    "raw_observations": partial(candidate, policy_kwargs=dict(normalize_observations=False)),
    # Critics with layer normalization and a learning rate of 0.001
    "norm": normalized,
    "norm_lr_1e-3": partial(normalized, learning_rate=1e-3),
    "norm_readout_mean": partial(normalized, policy_kwargs=dict(readout="mean")),
    "norm_n_steps_3": partial(normalized, n_steps=3, tau=0.01),
    "norm_tau_0.02": partial(normalized, tau=0.02),
    # Quick targets and expected bits
    "mean": mean,
    "mean_delay_1": partial(mean, policy_delay=1, tau=0.01),
    "mean_zeros": partial(mean, policy_kwargs=dict(block="zeros")),
}


class Clock(BaseCallback):
    """
    Ends the training after so many minutes of CPU time, and evaluates in between, with the clock stopped.

    :param minutes: of training
    """

    def __init__(self, minutes: float):
        super().__init__()
        self.minutes = minutes
        self.curve: list[dict[str, float]] = []
        self._evaluating = 0.0

    def _on_training_start(self) -> None:
        self._start = time.process_time()

    @property
    def elapsed(self) -> float:
        """Minutes of training so far."""
        return (time.process_time() - self._start - self._evaluating) / 60

    def _on_rollout_start(self) -> None:
        if self.elapsed >= EVAL_EVERY * (len(self.curve) + 1):
            self.evaluate()

    def evaluate(self) -> None:
        """Add a point to the curve."""
        minutes, start = self.elapsed, time.process_time()
        assert isinstance(self.model, OffPolicyAlgorithm)
        returns = returns_of(self.model, lambda: gym.make(ENV), EVAL_EPISODES, FIRST_RESET_SEED)
        training = [info["r"] for info in self.model.ep_info_buffer or []]
        point = {
            "minutes": round(minutes, 2),
            "steps": self.num_timesteps,
            "updates": self.model._n_updates,
            "return": round(float(returns.mean()), 1),
            "training_return": round(float(np.mean(training)), 1) if training else float("nan"),
        }
        self.curve.append(point)
        print("  ", point, flush=True)
        self._evaluating += time.process_time() - start

    def _on_step(self) -> bool:
        return self.elapsed < self.minutes


def run(folder: Path, arm: str, minutes: float, seed: int) -> None:
    """
    Train and evaluate one model, unless that was done before.

    :param folder: where the model and the figures go
    :param arm: a key of ARMS
    :param minutes: of CPU time
    :param seed: of everything
    """
    path = folder / f"{minutes:g}min-{arm}-{seed}.json"
    if path.exists():
        return
    print(path.stem, flush=True)
    clock, model = Clock(minutes), ARMS[arm](seed)
    model.learn(10**9, callback=clock, log_interval=10**9)
    returns = returns_of(model, lambda: gym.make(ENV), EPISODES, FIRST_RESET_SEED)
    model.save(path.with_suffix(".zip"))
    figures = {
        "arm": arm,
        "seed": seed,
        "minutes": minutes,
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "curve": clock.curve,
        "returns": [round(float(value), 1) for value in returns],
    }
    write_text(path, json.dumps(figures) + "\n")
    print(f"   end: {returns.mean():.1f} +- {returns.std():.1f} after {model.num_timesteps} steps", flush=True)


def report(folder: Path, plot: Path | None) -> None:
    """
    Print a table of what there is, and draw the curves of the longest runs.

    :param folder: where the figures are
    :param plot: where the picture goes
    """
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for minutes in sorted({figures["minutes"] for figures in runs}):
        print(f"\n{minutes:g} minutes of one core: IQM over seeds and {EPISODES} episodes, 95 % interval; mean of each seed")
        arms: dict[str, list[dict[str, Any]]] = {}
        for figures in runs:
            if figures["minutes"] == minutes:
                arms.setdefault(figures["arm"], []).append(figures)
        for arm, group in sorted(arms.items(), key=lambda item: -np.mean([figures["returns"] for figures in item[1]])):
            returns = np.array([figures["returns"] for figures in group])
            low, high = interval(returns)
            speed = np.mean([figures["steps"] for figures in group]) / minutes / 60
            means = "  ".join(f"{figures['seed']}: {np.mean(figures['returns']):6.1f}" for figures in group)
            print(f"  {arm:17s} {interquartile_mean(returns):7.1f} [{low:6.1f}, {high:6.1f}]  {speed:5.0f} steps/s   {means}")
    if plot is not None:
        longest = max(figures["minutes"] for figures in runs)
        draw([figures for figures in runs if figures["minutes"] == longest], plot)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """
    Curves against steps and against hours, one colour per arm and one kind of line per seed.

    :param runs: the runs' figures
    :param path: where the picture goes
    """
    names = {
        "shipped": "qtd3",
        "td3": "TD3, the zoo's settings",
        "td3_same": "TD3, qtd3's environments and updates",
        "zeros": "zeros block",
        "mean": "qtd3, batches of 256",
        "norm_tau_0.02": "qtd3, batches of 256, one bitstring",
        "mean_zeros": "zeros block, batches of 256",
    }
    figure = new_figure(10, 5, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    finals: dict[str, list[float]] = {}
    for run_figures in runs:
        finals.setdefault(run_figures["arm"], []).append(float(np.mean(run_figures["returns"])))
    arms = sorted(finals, key=lambda arm: -np.mean(finals[arm]))
    seeds = sorted({run_figures["seed"] for run_figures in runs})
    for run_figures in sorted(runs, key=lambda each: (arms.index(each["arm"]), each["seed"])):
        arm, seed = run_figures["arm"], run_figures["seed"]
        colour, line = f"C{arms.index(arm)}", ("-", "--", ":", "-.")[seeds.index(seed) % 4]
        first = seed == min(each["seed"] for each in runs if each["arm"] == arm)
        # At the end there are more episodes than an evaluation in between has
        points = [point for point in run_figures["curve"] if point["minutes"] < run_figures["minutes"]]
        points.append({**run_figures, "return": float(np.mean(run_figures["returns"]))})
        values = [point["return"] for point in points]
        for axis, places in zip(
            axes,
            ([point["steps"] / 1000 for point in points], [point["minutes"] / 60 for point in points]),
            strict=True,
        ):
            axis.plot(places, values, line, color=colour, label=names.get(arm, arm) if first else None)
    axes[0].set_xlabel("thousand steps")
    axes[1].set_xlabel("hours of one core")
    axes[0].set_ylabel(f"return ({EVAL_EPISODES} episodes, {EPISODES} at the end)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("logs/wall_clock"), help="folder of models and figures")
    parser.add_argument("--minutes", type=float, default=45, help="CPU time of each training")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["shipped", "td3", "td3_same", "zeros"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--report", action="store_true", help="print what there is")
    parser.add_argument("--plot", type=Path, help="with --report: draw the longest runs' curves")
    args = parser.parse_args()
    th.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        report(args.out, args.plot)
        return
    for seed in args.seeds:
        for arm in args.arms:
            run(args.out, arm, args.minutes, seed)


if __name__ == "__main__":
    main()
