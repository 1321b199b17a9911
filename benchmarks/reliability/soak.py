"""
A long training that repeats everything: checkpoints, loads, evaluations, measurements, predictions.

Memory, open files and threads are counted after every round. They may grow while caches fill, and must not afterwards.
"""

import gc
import os
import threading
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.reliability.outcome import Outcome
from sb3_quantum import QuantumTD3
from sb3_quantum.qtd3 import FidelityCallback

#: growth that is allowed from the first third of the rounds to the last: of resident memory in MB, of files and of threads
LIMITS = {"mb": 24.0, "files": 0, "threads": 0}


def _usage() -> dict[str, float]:
    """Resident memory in MB, open files and threads of this process (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


class _Rounds(BaseCallback):
    """At the end of every round saves, loads and asks the model, and counts."""

    def __init__(self, every: int, folder: Path):
        super().__init__()
        self.every, self.folder = every, folder
        self.usage: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps < (len(self.usage) + 1) * self.every:
            return
        self.model.save(self.folder / "model.zip")
        self.model.save_replay_buffer(self.folder / "buffer.pkl")  # type: ignore[attr-defined]
        loaded = QuantumTD3.load(self.folder / "model.zip", env=make_vec_env("Pendulum-v1", 2))
        loaded.load_replay_buffer(self.folder / "buffer.pkl")
        observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
        for deterministic in (True, False):
            loaded.predict(observations, deterministic=deterministic)
        assert loaded.env is not None
        loaded.env.close()
        self.usage.append(_usage())


def run(quick: bool, folder: Path) -> Outcome:
    """
    Train 50,000 steps (2,400 in the quick form) on Pendulum-v1 with a circuit of 4 qubits and 3 layers.

    :param quick: whether to run the short form
    :param folder: folder for what is saved
    :return: one case for each kind of resource
    """
    steps, every = (2_400, 200) if quick else (50_000, 2_500)
    model = QuantumTD3(
        "MlpPolicy",
        make_vec_env("Pendulum-v1", 2),
        # Full after the first rounds: what grows afterwards leaks
        buffer_size=min(steps // 6, 4_000),
        learning_starts=100,
        batch_size=64,
        policy_kwargs=dict(n_qubits=4, n_layers=3, net_arch=[64, 64]),
        seed=0,
        device="cpu",
    )
    rounds = _Rounds(every, folder)
    evaluation = EvalCallback(
        make_vec_env("Pendulum-v1"), n_eval_episodes=1, eval_freq=every // 2, log_path=str(folder), verbose=0
    )
    model.learn(steps, callback=CallbackList([rounds, evaluation, FidelityCallback(freq=every, n_states=32)]))
    usage = rounds.usage
    settled, last = usage[len(usage) // 3], usage[-1]
    outcome = Outcome(cases=len(LIMITS))
    for name, limit in LIMITS.items():
        growth = last[name] - settled[name]
        outcome.figures[f"{name}_growth"] = round(growth, 2)
        if growth > limit:
            rows = [round(row[name], 1) for row in usage]
            outcome.failures.append(f"{name} grew from {settled[name]:.1f} to {last[name]:.1f}: {rows}")
    outcome.figures.update(steps=model.num_timesteps, updates=model._n_updates, mb=round(last["mb"], 1))
    return outcome
