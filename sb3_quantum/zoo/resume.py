"""Runs of the zoo that can be interrupted and continued."""

import argparse
import copy
import json
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from sb3_quantum.circuits.wording import counted
from sb3_quantum.zoo import continuation, monitors, runs
from sb3_quantum.zoo.checkpoints import checkpoints, damaged_files, restore_generators
from sb3_quantum.zoo.evaluations import write_beside
from sb3_quantum.zoo.register import ALGO
from sb3_quantum.zoo.writer import CONTINUATION, CheckpointWriter


class _Continued:
    """
    Wrapper of a model whose ``learn(n)``, which the zoo calls, does not count from 0 again. Attributes on the model itself
    would be saved with it.
    """

    def __init__(self, model: BaseAlgorithm):
        self.model = model

    def learn(self, total_timesteps: int, **kwargs: Any) -> None:
        self.model.learn(total_timesteps, reset_num_timesteps=False, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def steps_of(checkpoint: Path) -> int:
    """
    Read the steps of a checkpoint.

    :param checkpoint: a checkpoint's folder
    :return: steps of the training
    """
    return int(checkpoint.name.removeprefix("checkpoint-"))


def damage(checkpoint: Path, damaged: Mapping[str, str], normalizer: str | None) -> str | None:
    """
    Find out why a run cannot continue from a checkpoint. Replay buffer and generators are optional.

    :param checkpoint: the checkpoint's folder
    :param damaged: see :func:`~sb3_quantum.zoo.checkpoints.damaged_files`
    :param normalizer: its file of the ``VecNormalize``, if the run has one
    :return: a sentence that names the file; ``None`` if the run can continue
    """
    names = ["model.zip"] if normalizer is None else ["model.zip", normalizer]
    for name in names:
        if name in damaged:
            return damaged[name]
        # A checkpoint may have no checksums
        path = checkpoint / name
        try:
            if name == "model.zip":
                with zipfile.ZipFile(path) as archive:
                    # A truncated file may end with a file of torch, which is a zip file too
                    broken = archive.testzip() if "data" in archive.namelist() else "it has no data"
                if broken is not None:
                    return f"{path} is damaged: {broken}"
            else:
                pickle.loads(path.read_bytes())
        except FileNotFoundError:
            return f"{path} is missing"
        # Whatever a damaged pickle raises
        except Exception as error:
            return f"{path} is damaged: {error!r}"
    return None


class ResumableExperimentManager(ExperimentManager):
    """
    The zoo's experiment manager, which continues the newest run with the same algorithm, environment, seed and settings. If
    none has a readable checkpoint, it starts a new run and says why.

    ``n_timesteps`` is the run's total from its start. Monitor files and evaluations are continued too.

    :param args: options of the command line; see ``rl_zoo3.exp_manager.ExperimentManager``
    :param arguments: see ``rl_zoo3.exp_manager.ExperimentManager``
    :param checkpoint_freq: steps between two checkpoints
    :param any_seed: whether a run of any seed matches, because none was asked for
    :param kwargs: see ``rl_zoo3.exp_manager.ExperimentManager``
    """

    def __init__(
        self, args: argparse.Namespace, *arguments: Any, checkpoint_freq: int = 25_000, any_seed: bool = False, **kwargs: Any
    ):
        super().__init__(args, *arguments, **kwargs)
        self.checkpoint_freq = checkpoint_freq
        self.any_seed = any_seed
        self.checkpoint: Path | None = None
        self.lock: runs.Lock | None = None
        self.writer: CheckpointWriter | None = None
        self._settings: dict[str, Any] = {}
        self._noted: dict[str, Any] = {}
        self._damaged: dict[str, str] = {}

    @property
    def monitor_kwargs(self) -> dict[str, Any]:
        """Arguments of the monitors, which continue the run's files whatever the zoo sets for its environment."""
        going_on = getattr(self, "checkpoint", None) is not None
        return {**self._monitor_kwargs, "override_existing": False} if going_on else self._monitor_kwargs

    @monitor_kwargs.setter
    def monitor_kwargs(self, kwargs: dict[str, Any]) -> None:
        self._monitor_kwargs = kwargs

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Read the hyperparameters, as the zoo does.

        :return: the hyperparameters, and those to save
        """
        hyperparams, saved_hyperparams = super().read_hyperparameters()
        # The zoo will change dictionaries in them
        self._settings = copy.deepcopy(saved_hyperparams)
        return hyperparams, saved_hyperparams

    def _preprocess_hyperparams(self, hyperparams: dict[str, Any]) -> Any:
        """
        :param hyperparams: the hyperparameters that were read
        :return: see the zoo's; the replay buffer's rows are in files that checkpoints append to
        """
        result = super()._preprocess_hyperparams(hyperparams)
        arguments = result[0]
        if self.algo == ALGO and not self.optimize_hyperparameters and arguments.get("replay_buffer_class") is None:
            arguments["replay_buffer_kwargs"] = {"storage": "memmap", **(arguments.get("replay_buffer_kwargs") or {})}
        return result

    def create_log_folder(self) -> None:
        """Find the run to continue, or make a folder for a new one, and lock it until this process ends."""
        if self.optimize_hyperparameters:
            super().create_log_folder()
            return
        folder = Path(self.log_path)
        folder.mkdir(parents=True, exist_ok=True)
        # If two processes ask for the same run at once, the second finds the first one's
        with runs.choosing(folder):
            if not self._find():
                super().create_log_folder()
                self.lock = runs.Lock(Path(self.save_path))
                self._write_settings()
        self.writer = CheckpointWriter(Path(self.save_path), self.env_name, self.checkpoint_freq)

    def _find(self) -> bool:
        """Choose a run and its checkpoint, if there is one."""
        wanted = runs.identity(self._settings, vars(self.args))
        if self.any_seed:
            del wanted["seed"]
        found = runs.runs(Path(self.log_path), self.env_name)
        reasons = []
        for run, difference in runs.matching(found, self.env_name, wanted):
            if difference is None:
                lock = runs.Lock(run)
                self.checkpoint = self._readable(run)
                if self.checkpoint is not None:
                    self.lock = lock
                    self._continue(run)
                    break
                lock.release()
                difference = "has no checkpoint to continue from"
            reasons.append(f"{run} {difference}")
        # Only the newest ones: a user with a hundred runs knows them
        for reason in reasons[:5]:
            print(f"Not continued: {reason}")
        if self.checkpoint is not None:
            print(f"Continuing {self.checkpoint}")
        elif reasons:
            print(f"New run: {self.save_path}")
        return self.checkpoint is not None

    def _readable(self, run: Path) -> Path | None:
        """Find the newest readable checkpoint."""
        normalizer = f"{self.env_name}/vecnormalize.pkl" if self.normalize else None
        for checkpoint in checkpoints(run):
            self._damaged = damaged_files(checkpoint)
            problem = damage(checkpoint, self._damaged, normalizer)
            if problem is None:
                return checkpoint
            warnings.warn(f"{problem}. The checkpoint before it is tried", stacklevel=2)
        return None

    def _continue(self, run: Path) -> None:
        assert self.checkpoint is not None
        self.save_path = str(run)
        self.params_path = f"{self.save_path}/{self.env_name}"
        self.trained_agent = str(self.checkpoint / "model.zip")
        self.continue_training = True
        self.seed = self.args.seed = runs.read_settings(Path(self.params_path) / "args.yml")["seed"]
        path = self.checkpoint / CONTINUATION
        problem = self._damaged.get(path.name)
        # Checkpoints of version 0.1.0 have none
        if problem is None and path.is_file():
            try:
                self._noted = json.loads(path.read_text())
            except ValueError as error:
                problem = f"{path} is damaged: {error!r}"
        if problem is not None:
            warnings.warn(f"{problem}; episodes in the monitor files are counted instead", stacklevel=2)

    def create_callbacks(self) -> None:
        """Create the zoo's callbacks and the checkpoint writer; earlier evaluations are kept."""
        super().create_callbacks()
        for callback in self.callbacks:
            if isinstance(callback, EvalCallback):
                write_beside(callback)
        if self.writer is not None:
            self.callbacks.append(self.writer)
        if self.checkpoint is not None:
            for callback in self.callbacks:
                if isinstance(callback, EvalCallback | CheckpointCallback):
                    # So that evaluations happen at the same steps as without the interruption
                    callback.n_calls = steps_of(self.checkpoint) // self.n_envs
                if isinstance(callback, EvalCallback):
                    self._continue_evaluations(callback)

    def _continue_evaluations(self, callback: EvalCallback) -> None:
        assert self.checkpoint is not None
        path = Path(self.save_path) / "evaluations.npz"
        steps = steps_of(self.checkpoint)
        try:
            with np.load(path) as data:
                kept = data["timesteps"] <= steps
                timesteps, results, lengths = (data[name][kept].tolist() for name in ("timesteps", "results", "ep_lengths"))
                best = float(data["results"][kept].mean(1).max(initial=-np.inf))
        except FileNotFoundError:
            if steps >= self.eval_freq * self.n_envs:
                warnings.warn(f"{path} is missing; evaluations and the best model start again", stacklevel=2)
        # Whatever a damaged file raises
        except Exception as error:
            aside = path.with_name(path.name + ".damaged")
            path.replace(aside)
            warnings.warn(
                f"{path} is damaged ({error!r}) and now called {aside.name}; evaluations and the best model " f"start again",
                stacklevel=2,
            )
        else:
            callback.evaluations_timesteps = timesteps
            callback.evaluations_results = results
            callback.evaluations_length = lengths
            callback.best_mean_reward = best

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """
        :param n_envs: number of environments
        :param eval_env: whether the environments are for evaluation
        :param no_log: whether to write no monitor file
        :return: the environments; their monitor files are continued, not overwritten
        """
        if self.checkpoint is None or eval_env or no_log:
            return super().create_envs(n_envs, eval_env, no_log)
        # The zoo does so if there are no others
        if "parking-v0" in self.env_name.gym_id and not self._monitor_kwargs:
            self._monitor_kwargs = {"info_keywords": ("is_success",)}
        seconds = monitors.rewind(
            Path(self.save_path),
            self.env_name.gym_id,
            n_envs,
            steps_of(self.checkpoint),
            self._noted.get("monitors", []),
            self._monitor_kwargs.get("info_keywords", ()),
        )
        env = super().create_envs(n_envs, eval_env, no_log)
        monitors.go_on(env, seconds)
        return env

    def _load_pretrained_agent(self, hyperparams: dict[str, Any], env: VecEnv) -> BaseAlgorithm:
        """
        :param hyperparams: arguments of the algorithm
        :param env: environments of the training
        :return: the model, with as much of its replay buffer as can be read
        """
        if self.checkpoint is None:
            return super()._load_pretrained_agent(hyperparams, env)
        print("Loading pretrained agent")
        arguments = {name: value for name, value in hyperparams.items() if name not in ("policy", "policy_kwargs")}
        model = ALGOS[self.algo].load(
            self.trained_agent,
            env=env,
            seed=self.seed,
            tensorboard_log=self.tensorboard_log,
            verbose=self.verbose,
            device=self.device,
            **arguments,
        )
        if isinstance(model, OffPolicyAlgorithm):
            self._load_replay_buffer(model)
        return model

    def _load_replay_buffer(self, model: OffPolicyAlgorithm) -> None:
        assert self.checkpoint is not None
        path = self.checkpoint / "replay_buffer.pkl"
        problem, empty = self._damaged.get(path.name), model.replay_buffer
        if problem is None:
            try:
                print("Loading replay buffer")
                model.load_replay_buffer(path, truncate_last_traj=self.truncate_last_trajectory)
            except FileNotFoundError:
                problem = f"{path} is missing"
            # Whatever a damaged pickle raises
            except Exception as error:
                problem = f"{path} cannot be read: {error!r}"
        if problem is not None:
            model.replay_buffer = empty
            missing = continuation.missing_transitions(model, self.n_timesteps)
            warnings.warn(
                f"{problem}; the run continues with an empty one, and collects {counted(missing, 'transition')} before it "
                "learns",
                stacklevel=2,
            )

    def _write_settings(self) -> None:
        args = OrderedDict(sorted(vars(self.args).items()))
        runs.write_settings(Path(self.params_path), self._settings, args, " ".join(sys.orig_argv))

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        """
        :param saved_hyperparams: unused, as the zoo has changed some of them since they were read
        """
        # A new run has its settings already, and a finished run keeps its own
        if self.checkpoint is not None and steps_of(self.checkpoint) < self.n_timesteps:
            self._write_settings()
        print(f"Log path: {self.save_path}")

    def learn(self, model: BaseAlgorithm) -> None:
        """
        Train to the total, or until asked to stop; either way, write a checkpoint.

        :param model: the model, new or loaded from the checkpoint
        """
        assert self.writer is not None
        try:
            if self.checkpoint is None:
                super().learn(model)
            elif not self._learn_on(model, self.checkpoint):
                return
        finally:
            self.writer.end()
        # A forced stop may come within an update; the previous checkpoint stays
        if not self.writer.forced:
            self.writer.write()

    def _learn_on(self, model: BaseAlgorithm, checkpoint: Path) -> bool:
        """Train the rest of the total, if there is any."""
        total = self.n_timesteps
        if model.num_timesteps >= total:
            print(f"Nothing left to do: {model.num_timesteps:,} of {counted(total, 'step is', 'steps are')} done")
            # Of a larger total than asked for now
            if getattr(model, "interruption", None) is not None:
                setattr(model, "interruption", None)  # noqa: B010
            return False
        try:
            restore_generators(checkpoint)
        # Whatever a damaged pickle raises
        except Exception as error:
            problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error!r})"
            set_random_seed(continuation.seed_of(model))
            warnings.warn(
                f"{checkpoint / 'generators.pkl'} {problem}; random numbers continue from a seed, not from the checkpoint",
                stacklevel=2,
            )
        assert self.writer is not None
        self.writer.ends = continuation.begin_episodes(model, self._noted.get("random_actions"), self._noted.get("ends", ()))
        missing = continuation.missing_transitions(model, total)
        if missing > 0:
            continuation.refill(model, missing)  # type: ignore[arg-type]
        self.n_timesteps = total - model.num_timesteps
        super().learn(_Continued(model))  # type: ignore[arg-type]
        return True

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """
        Save the model as the zoo does, and unlock the run for other processes.

        :param model: the model
        """
        try:
            super().save_trained_model(model)
        finally:
            if self.lock is not None:
                self.lock.release()
