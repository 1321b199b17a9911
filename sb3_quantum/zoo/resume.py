"""Runs of the zoo that can be interrupted and continued."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import get_latest_run_id
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_quantum.zoo.checkpoints import latest_checkpoint, restore_generators, write_checkpoint


class CheckpointWriter(BaseCallback):
    """
    Writes a checkpoint every so many steps, and one when the run is asked to stop.

    Ctrl-C or a termination signal ends the training after the current step; a second one at once.

    :param run: the run's folder
    :param env_name: name of the environment, as in the zoo's file names
    :param save_freq: steps between two checkpoints
    """

    def __init__(self, run: Path, env_name: str, save_freq: int):
        super().__init__()
        self.run = run
        self.env_name = env_name
        self.save_freq = save_freq
        self.stopped = False
        self.forced = False
        self._last_save = 0
        self._previous_handlers: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            self.forced = True
            raise KeyboardInterrupt
        print("\nStopping after this step; again to stop at once")
        self.stopped = True

    def _on_training_start(self) -> None:
        self._last_save = self.num_timesteps
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous_handlers[number] = signal.signal(number, self._handle)

    def _on_rollout_start(self) -> None:
        # Between two rollouts: every transition is stored and every update is done
        if self.model.num_timesteps - self._last_save >= self.save_freq:
            self.write()

    def _on_step(self) -> bool:
        return not self.stopped

    def _on_training_end(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}

    def write(self) -> None:
        """Write a checkpoint now."""
        self._last_save = self.model.num_timesteps
        path = write_checkpoint(self.model, self.run, self.env_name)
        if self.model.verbose > 0:
            print(f"Checkpoint at {self.model.num_timesteps} steps: {path}")


class _Continued:
    """
    A model whose ``learn(n)``, which the zoo calls, does not count from 0 again. Nothing is put on the model itself: it would
    be saved with it.
    """

    def __init__(self, model: BaseAlgorithm):
        self.model = model

    def learn(self, total_timesteps: int, **kwargs: Any) -> None:
        self.model.learn(total_timesteps, reset_num_timesteps=False, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class ResumableExperimentManager(ExperimentManager):
    """
    The zoo's experiment manager, which continues the newest run of the same algorithm and environment if that has a
    checkpoint.

    ``n_timesteps`` is then the run's total, counted from its beginning. Monitor files and evaluations are continued too.

    :param args: see ``rl_zoo3.exp_manager.ExperimentManager``
    :param checkpoint_freq: steps between two checkpoints
    :param kwargs: see ``rl_zoo3.exp_manager.ExperimentManager``
    """

    def __init__(self, *args: Any, checkpoint_freq: int = 25_000, **kwargs: Any):
        super().__init__(*args, **kwargs)
        latest = Path(self.log_path) / f"{self.env_name}_{get_latest_run_id(self.log_path, self.env_name)}"
        self.checkpoint = latest_checkpoint(latest)
        if self.checkpoint is not None:
            print(f"Continuing {self.checkpoint}")
            self.save_path = str(latest)
            self.params_path = f"{self.save_path}/{self.env_name}"
            self.trained_agent = str(self.checkpoint / "model.zip")
            self.continue_training = True
        self.writer = CheckpointWriter(Path(self.save_path), self.env_name, checkpoint_freq)

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """
        :param n_envs: number of environments
        :param eval_env: whether they are for evaluation
        :param no_log: whether to write no monitor file
        :return: the environments; their monitor files are continued, not overwritten
        """
        if self.checkpoint is not None:
            self.monitor_kwargs = {**self.monitor_kwargs, "override_existing": False}
        return super().create_envs(n_envs, eval_env, no_log)

    def create_callbacks(self) -> None:
        """The zoo's callbacks and the checkpoints; evaluations so far are kept."""
        super().create_callbacks()
        self.callbacks.append(self.writer)
        evaluations = Path(self.save_path) / "evaluations.npz"
        if self.checkpoint is None or not evaluations.is_file():
            return
        steps = int(self.checkpoint.name.removeprefix("checkpoint-"))
        with np.load(evaluations) as data:
            kept = data["timesteps"] <= steps
            for callback in self.callbacks:
                if isinstance(callback, EvalCallback) and kept.any():
                    callback.evaluations_timesteps = data["timesteps"][kept].tolist()
                    callback.evaluations_results = data["results"][kept].tolist()
                    callback.evaluations_length = data["ep_lengths"][kept].tolist()
                    callback.best_mean_reward = float(data["results"][kept].mean(1).max())

    def learn(self, model: BaseAlgorithm) -> None:
        """
        Train to the total, or until asked to stop, and write a checkpoint in either case.

        :param model: the model, new or loaded from the checkpoint
        """
        total = self.n_timesteps
        if self.checkpoint is None:
            super().learn(model)
        else:
            restore_generators(self.checkpoint)
            self.n_timesteps = total - model.num_timesteps
            if self.n_timesteps <= 0:
                print(f"Nothing left to do: {model.num_timesteps} of {total} steps are done")
                return
            super().learn(_Continued(model))  # type: ignore[arg-type]
        # A forced stop may have come in the middle of an update; the checkpoint before it stands
        if not self.writer.forced:
            self.writer.write()
