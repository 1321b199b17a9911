import json
import warnings
import zipfile
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, Schedule
from stable_baselines3.common.utils import update_learning_rate

from sb3_quantum.backends import BACKEND_ARGUMENTS, Backend, BackendError, Usage
from sb3_quantum.backends.saved import zip_arguments
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.common.buffers import QuantumReplayBuffer, QuantumReplayBufferSamples
from sb3_quantum.common.finite import check_loss
from sb3_quantum.common.saving import DurableSaves, check_is_zip
from sb3_quantum.common.schedules import make_schedule
from sb3_quantum.common.updates import soft_update
from sb3_quantum.qtd3.arguments import ALGORITHM, ELSEWHERE, SHARED, check_model, checked, unknown_to_load
from sb3_quantum.qtd3.critics import Critic
from sb3_quantum.qtd3.dry_run import check_training, training_usage
from sb3_quantum.qtd3.inputs import CheckedTD3
from sb3_quantum.qtd3.interruption import reason_of, release
from sb3_quantum.qtd3.networks import ActorStep, QuantumActor
from sb3_quantum.qtd3.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, QuantumTD3Policy
from sb3_quantum.qtd3.precision import explain_precision
from sb3_quantum.qtd3.recording import record_losses, record_usage
from sb3_quantum.qtd3.replay import adopt_replay_buffer, fit_to_environments, make_replay_buffer
from sb3_quantum.qtd3.walking import tensors_of, trainable_parameters

SelfQuantumTD3 = TypeVar("SelfQuantumTD3", bound="QuantumTD3")


class QuantumTD3(DurableSaves, CheckedTD3):
    """
    Twin Delayed DDPG (TD3) with a hybrid deep quantum neural network as its actor (Algorithm 1 of the paper).

    Paper: https://arxiv.org/abs/2503.09119

    A parametrized quantum circuit sits between two classical networks of the actor. Its sampled bits cannot be differentiated,
    so the qtDNN, which every update refits, replaces it wherever a gradient is needed. The circuit acts; ``train()`` does not
    run it.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate of the actor; a number, a function of the current progress remaining (from 1 to 0), or
        the zoo's ``"lin_x"`` (to 0) or ``"lin_x_y"`` (to y)
    :param buffer_size: size of the replay buffer
    :param learning_starts: how many steps of the model to collect transitions for before learning starts
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1)
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment during the rollout.
    :param action_noise: the exploration noise; a number is the standard deviation of Gaussian noise on actions that are
        scaled to [-1, 1], a list has one for every action
    :param replay_buffer_class: Replay buffer class to use: ``HerReplayBuffer``, or a subclass of ``QuantumReplayBuffer``.
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation. ``storage="memmap"`` saves its
        rows to files that are appended to and mapped.
    :param optimize_memory_usage: Enable a memory efficient variant of the replay buffer
    :param n_steps: When n_step > 1, uses n-step return when updating the Q-value network.
    :param policy_delay: Policy and target networks will only be updated once every policy_delay steps
    :param target_policy_noise: Standard deviation of Gaussian noise added to target policy (smoothing noise)
    :param target_noise_clip: Limit for absolute value of target policy smoothing noise.
    :param qf_learning_rate: learning rate of the critics, ``learning_rate`` by default
    :param qtdnn_learning_rate: learning rate of the qtDNN
    :param qtdnn_gradient_steps: tiny-batches per update in the qtDNN's fit (N_qt in the paper)
    :param qtdnn_batch_size: rows of a tiny-batch, drawn from the mini-batch (and its probes) with replacement
    :param qtdnn_recent_pairs: draw the tiny-batches from this many newest circuit pairs instead of the mini-batch
    :param fit_targets: targets of the qtDNN's fit: ``"auto"`` (expected bits from the run that acts: exact on a simulator, a
        shot average on a chip), ``"exact"`` (refused if the backend is not exact) or ``"sample"`` (the sampled bits, the
        paper)
    :param probe_std: standard deviation in radians of a Gaussian probe on the circuit's angles. If positive, each environment
        step runs a second circuit at a probed input, and the qtDNN is fitted to both: pairs on the policy's own manifold
        cannot teach slopes across it. The paper has no probes.
    :param backend: name of the backend that runs the circuits, or an instance
    :param backend_kwargs: keyword arguments of the backend
    :param gradient: how an update differentiates the quantum layer: ``"qtdnn"`` (the paper); a reference without a qtDNN:
        ``"exact"`` (autograd through the simulator), ``"parameter_shift"`` or ``"spsa"``, which run the circuit in
        ``train()``, for next actions too; or a control, see ``QuantumLayer``: ``"noise"`` or ``"frozen"``
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation, see ``QuantumTD3Policy``
    :param verbose: Verbosity level: 0 for no output, 1 for info messages, 2 for debug messages
    :param seed: Seed for the pseudo random generators, the backend's too
    :param device: Device (cpu, cuda, ...) on which the code should be run.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :raises ValueError: if an argument is not one of those accepted
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: QuantumTD3Policy
    actor: QuantumActor  # type: ignore[assignment]
    actor_target: QuantumActor  # type: ignore[assignment]
    critic: Critic
    critic_target: Critic
    #: whether the policy was trained on observations of a ``VecNormalize``, whose statistics are not in a model file
    observations_normalized: bool | None = None

    @checked(ALGORITHM, ELSEWHERE)
    def __init__(
        self,
        policy: str | type[QuantumTD3Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule | str = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | float | list[float] | None = 0.1,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        policy_delay: int = 2,
        target_policy_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        qf_learning_rate: float | Schedule | str | None = None,
        qtdnn_learning_rate: float | Schedule | str = 3e-3,
        qtdnn_gradient_steps: int = 1,
        qtdnn_batch_size: int = 128,
        qtdnn_recent_pairs: int | None = None,
        fit_targets: str = "auto",
        probe_std: float = 0.0,
        backend: str | Backend = "statevector",
        backend_kwargs: dict[str, Any] | None = None,
        gradient: str = "qtdnn",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,  # type: ignore[arg-type]
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise=action_noise,  # type: ignore[arg-type]
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_delay=policy_delay,
            target_policy_noise=target_policy_noise,
            target_noise_clip=target_noise_clip,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.qf_learning_rate = qf_learning_rate
        self.qtdnn_learning_rate = qtdnn_learning_rate
        self.qtdnn_gradient_steps = qtdnn_gradient_steps
        self.qtdnn_batch_size = qtdnn_batch_size
        self.qtdnn_recent_pairs = qtdnn_recent_pairs
        self.fit_targets = fit_targets
        self.probe_std = probe_std
        self.backend = backend
        self.backend_kwargs = backend_kwargs
        self.gradient = gradient
        self._step: ActorStep | None = None
        #: a sentence on why the last training ended early; ``None`` if it ended normally
        self.interruption: str | None = None
        self._losses: dict[str, list[th.Tensor]] = {}
        self._callback: BaseCallback | None = None

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        fit_to_environments(self)
        check_model(self)
        # SB3 would choose a class without circuit fields and save its choice in the model file
        buffer_class = self.replay_buffer_class
        buffer = self.replay_buffer
        # SB3 makes a buffer only if there is none; ours is made after the policy, which knows its circuit
        self.replay_buffer = ReplayBuffer.__new__(ReplayBuffer) if buffer is None else buffer
        # The backend is an argument of the algorithm, so that a file can load onto another one, but the policy needs it
        policy_kwargs = self.policy_kwargs
        self.policy_kwargs = {**policy_kwargs, **{name: getattr(self, name) for name in SHARED}}
        try:
            super()._setup_model()
        finally:
            self.policy_kwargs, self.replay_buffer_class, self.replay_buffer = policy_kwargs, buffer_class, buffer
        if buffer is None:
            self.replay_buffer = make_replay_buffer(self)

        backend = self.policy.block.backend
        if self.fit_targets == "exact" and backend is not None and not backend.exact:
            raise ValueError(f'fit_targets="exact" needs an exact backend, and {backend.name!r} is not; use "auto"')
        self._keep_plain_spec()

    def _keep_plain_spec(self) -> None:
        """Keep plain data in place of objects such as clients among the backend's keyword arguments, for saving."""
        backend = self.policy.block.backend
        if isinstance(self.backend, str) and backend is not None:
            self.backend_kwargs = backend.kwargs

    @property
    def acting_probe_std(self) -> float:
        """``probe_std``, or 0 if the block is not fitted: probes serve only the fit of the qtDNN."""
        return self.probe_std if self.policy.block.fitted else 0.0

    def _ansatz(self) -> Circuit | None:
        """Return the circuit whose pairs are recorded; ``None`` for blocks that record none."""
        return self.policy.ansatz if self.policy.block.records else None

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = make_schedule("learning_rate", self.learning_rate)
        # A model file of 0.1.0 has the critics' schedule under the name of the property
        self.__dict__.pop("qf_lr_schedule", None)
        self._qf_lr_schedule: Schedule | None = None
        if self.qf_learning_rate is not None:
            self._qf_lr_schedule = make_schedule("qf_learning_rate", self.qf_learning_rate)
        self.qtdnn_lr_schedule = make_schedule("qtdnn_learning_rate", self.qtdnn_learning_rate)

    @property
    def qf_lr_schedule(self) -> Schedule:
        """Learning rate schedule of the critics: ``lr_schedule``, also after that is replaced, unless they have their own."""
        return self.lr_schedule if self._qf_lr_schedule is None else self._qf_lr_schedule

    @qf_lr_schedule.setter
    def qf_lr_schedule(self, schedule: Schedule) -> None:
        self._qf_lr_schedule = schedule

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Set the seed of the pseudo-random generators (python, numpy, pytorch, gym, action_space, and the backend's).

        :param seed: the seed; nothing happens if ``None``
        """
        super().set_random_seed(seed)
        # In _setup_model there is no policy yet; its generators then take their seeds from torch's
        if seed is not None and hasattr(self, "policy"):
            self.policy.seed_circuits(seed)

    @keywords_checked({name: "it belongs into backend_kwargs" for name in BACKEND_ARGUMENTS})
    def set_backend(self, backend: str | Backend, backend_kwargs: dict[str, Any] | None = None) -> None:
        """
        Run the circuits on another backend from now on.

        :param backend: name of a backend, or an instance
        :param backend_kwargs: keyword arguments of the backend
        :raises ValueError: if the backend is unknown, does not fit the circuit, or the policy has none
        """
        self.policy.block.set_backend(backend, backend_kwargs)
        self.backend, self.backend_kwargs = backend, backend_kwargs
        self._keep_plain_spec()

    @classmethod
    def load(cls: type[SelfQuantumTD3], path: Any, *args: Any, **kwargs: Any) -> SelfQuantumTD3:
        """
        Load the model from a zip-file.

        ``backend`` and ``backend_kwargs`` choose a backend other than the file's; with ``backend`` alone it has its own
        defaults, not the file's keyword arguments. Without them, nothing outside this machine is contacted, whatever the file
        names: no scheduler's address, no IBM account.

        :param path: path to the file (or a file-like) where to load the agent from
        :param args: see ``TD3.load``
        :param kwargs: likewise, and arguments of the constructor to change
        :return: new model with loaded parameters
        :raises ValueError: if the file is of another algorithm
        :raises IsADirectoryError: if it is a folder, such as a model without pickle
        :raises TypeError: if there is no such argument
        """
        check_is_zip(path)
        file = open_path(path, "r", suffix="zip")
        with zipfile.ZipFile(file) as archive:
            saved = json.loads(archive.read("data")) if "data" in archive.namelist() else {}
        if file is not path:
            file.close()
        if "qtdnn_learning_rate" not in saved:
            raise ValueError(f"{path} is not a model of QuantumTD3, but of another algorithm")
        if message := unknown_to_load(cls, super().load, kwargs, saved):
            raise TypeError(f"{cls.__name__}.load: {message}")
        return super().load(path, *args, **zip_arguments(path, saved, args, kwargs))

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer from a pickle file. A buffer of another number of environments is rearranged, see
        :func:`~sb3_quantum.common.rearranging.rearrange`.

        :param path: path to the pickled replay buffer
        :param truncate_last_traj: for ``HerReplayBuffer`` only, see TD3's
        :raises ValueError: if it has no circuit fields, or those of another circuit
        :raises StorageError: if its rows are in separate files, and one of them is missing or damaged
        """
        previous = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        try:
            adopt_replay_buffer(self, path)
        except ValueError:
            self.replay_buffer = previous
            raise

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Act, step (A) of Algorithm 1: one forward pass gives action and circuit pair, which warm-up actions record too.

        :param learning_starts: number of steps before learning for the warm-up phase
        :param action_noise: action noise that will be used for exploration
        :param n_envs: number of environments
        :return: action to take in the environment and scaled action that will be stored in the replay buffer
        """
        assert self._last_obs is not None, "self._last_obs was not set"
        obs, _ = self.policy.obs_to_tensor(self._last_obs)
        if self.policy.normalizer is not None:
            self.policy.normalizer.update(obs)
        with th.no_grad():
            # Kept here, not on the actor: callbacks may call the actor before the transition is stored
            self._step = self.actor.act(obs, self.policy.readout, self.fit_targets == "sample", self.acting_probe_std)
        if self.num_timesteps < learning_starts:
            scaled_action = self.policy.scale_action(np.array([self.action_space.sample() for _ in range(n_envs)]))
        else:
            scaled_action = self._step.actions.cpu().numpy().reshape(n_envs, *self.action_space.shape)  # type: ignore[misc]
        if action_noise is not None:
            noise = action_noise() if self.action_space.shape else action_noise().reshape(-1)  # (1,) of a scalar
            scaled_action = np.clip(scaled_action + noise, -1, 1)
        return self.policy.unscale_action(scaled_action), scaled_action

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        row = replay_buffer.pos
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        assert isinstance(replay_buffer, QuantumReplayBuffer) and self._step is not None
        step = self._step
        if step.circuit_inputs is not None and step.circuit_outputs is not None:
            replay_buffer.store_circuits(row, step.circuit_inputs, step.circuit_outputs, step.probe_inputs, step.probe_outputs)

    def _update_learning_rates(self) -> None:
        """Set the three learning rates for the current progress, and log them."""
        progress = self._current_progress_remaining
        self._update_learning_rate(self.actor.optimizer)
        update_learning_rate(self.critic.optimizer, self.qf_lr_schedule(progress))
        self.logger.record("train/qf_learning_rate", self.qf_lr_schedule(progress))
        optimizer = self.policy.block.optimizer
        if optimizer is not None:
            update_learning_rate(optimizer, self.qtdnn_lr_schedule(progress))
            self.logger.record("qtdnn/learning_rate", self.qtdnn_lr_schedule(progress))

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        # Switch to train mode (this affects batch norm / dropout)
        self.policy.set_training_mode(True)
        self._update_learning_rates()

        losses: dict[str, list[th.Tensor]] = {"train/critic_loss": [], "train/actor_loss": [], "qtdnn/loss": []}
        error: BackendError | None = None
        try:
            for _ in range(gradient_steps):
                self._n_updates += 1
                replay_data = self._sample_batch(batch_size)
                if self.policy.block.fitted:
                    loss = self._fit_qtdnn(replay_data)  # (B1)
                    losses["qtdnn/loss"] += [] if loss is None else [loss]
                losses["train/critic_loss"].append(self._update_critics(replay_data))  # (B2)
                if self._n_updates % self.policy_delay == 0:
                    losses["train/actor_loss"].append(self._update_actor(replay_data))  # (B3)
                    self._update_targets()  # (B4)
        except BackendError as caught:  # only reference gradients run circuits here
            error = caught
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if all(loss.is_cpu for loss in losses["train/critic_loss"][:1]):
            record_losses(self.logger, losses)
        else:  # fetching losses here would stop a GPU in every update
            self._losses.update({key: values for key, values in losses.items() if values})
        if error is not None:
            self._interrupt(error)

    def _sample_batch(self, batch_size: int) -> QuantumReplayBufferSamples:
        """
        Sample a mini-batch and normalize its observations once for all networks.

        :param batch_size: rows
        :return: the mini-batch
        """
        replay_data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
        assert isinstance(replay_data, QuantumReplayBufferSamples)
        normalizer = self.policy.normalizer
        if normalizer is None:
            return replay_data
        observations, next_observations = replay_data.observations, replay_data.next_observations
        return replay_data._replace(observations=normalizer(observations), next_observations=normalizer(next_observations))

    def _fit_qtdnn(self, replay_data: QuantumReplayBufferSamples) -> th.Tensor | None:
        """
        Step (B1) of Algorithm 1: fit the qtDNN to tiny-batches of the mini-batch's circuit pairs, or of the newest pairs.

        :param replay_data: the mini-batch
        :return: mean loss in nats per qubit; other blocks may return another loss, or ``None``
        """
        assert replay_data.circuit_inputs is not None and replay_data.circuit_outputs is not None
        inputs, targets = replay_data.circuit_inputs, replay_data.circuit_outputs  # (batch, n_inputs), (batch, n_qubits)
        if self.qtdnn_recent_pairs is not None:
            n_pairs = self.qtdnn_gradient_steps * self.qtdnn_batch_size
            inputs, targets = self.replay_buffer.sample_recent_pairs(self.qtdnn_recent_pairs, n_pairs)  # type: ignore[union-attr]
        elif replay_data.probe_inputs is not None and replay_data.probe_outputs is not None:
            inputs, targets = th.cat([inputs, replay_data.probe_inputs]), th.cat([targets, replay_data.probe_outputs])
        return self.policy.block.fit(inputs, targets, self.qtdnn_gradient_steps, self.qtdnn_batch_size)

    def _update_critics(self, replay_data: QuantumReplayBufferSamples) -> th.Tensor:
        """
        Step (B2) of Algorithm 1: update the critics, with next actions from the surrogate target actor.

        :param replay_data: the mini-batch, its observations normalized
        :return: the loss, summed over the critics
        """
        # For n-step replay, discount factor is gamma**n_steps (when no early termination)
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        with th.no_grad():
            noise = th.randn_like(replay_data.actions) * self.target_policy_noise
            noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
            next_actions = self.actor_target.surrogate(replay_data.next_observations, normalized=True)
            next_actions = (next_actions + noise).clamp(-1, 1)  # (batch, action_dim)
        critic_loss = self.critic.loss(replay_data, next_actions, discounts, self.critic_target)
        check_loss("critics' loss", critic_loss, self._n_updates, replay_data)
        self.critic.optimizer.zero_grad()
        if critic_loss.requires_grad:  # not if every parameter is frozen
            critic_loss.backward()
        self.critic.optimizer.step()
        return critic_loss.detach()

    def _update_actor(self, replay_data: QuantumReplayBufferSamples) -> th.Tensor:
        """
        Step (B3) of Algorithm 1: update the actor through the frozen qtDNN and the frozen critic.

        :param replay_data: the mini-batch, its observations normalized
        :return: minus the mean Q-value
        """
        actions = self.actor.surrogate(replay_data.observations, normalized=True)
        actor_loss = -self.critic.q1_forward(replay_data.observations, actions, normalized=True).mean()
        check_loss("actor's loss", actor_loss, self._n_updates, replay_data)
        optimizer = self.actor.optimizer
        optimizer.zero_grad()
        # Without ``inputs``, backward would also compute the critic's gradients, which nothing uses
        inputs = trainable_parameters(self.actor, optimizer)
        if inputs and actor_loss.requires_grad:
            actor_loss.backward(inputs=inputs)
        optimizer.step()
        return actor_loss.detach()

    def _update_targets(self) -> None:
        """
        Step (B4) of Algorithm 1: update the targets. The policy's qtDNN and normalizer are not averaged.
        """
        critics = [(self.critic, self.critic_target)] if self.critic.has_target else []
        networks, targets = zip(*critics, (self.actor, self.actor_target), strict=True)
        parameters, statistics = tensors_of(*networks)
        target_parameters, target_statistics = tensors_of(*targets)
        soft_update(parameters, target_parameters, self.tau)
        # Copy running stats, see GH issue #996
        soft_update(statistics, target_statistics, 1.0)
        self.policy.update_average()

    def _record_training(self) -> None:
        """Log the losses that are still on the device, and the block's counters."""
        record_losses(self.logger, self._losses)
        self._losses = {}
        record_usage(self.logger, self.policy.block)

    def dump_logs(self) -> None:
        """Write log data."""
        self._record_training()
        super().dump_logs()

    @keywords_checked({})
    def learn(
        self: SelfQuantumTD3,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "QuantumTD3",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfQuantumTD3:
        check_training(self, total_timesteps, reset_num_timesteps)
        try:
            return super().learn(
                total_timesteps=total_timesteps,
                callback=callback,
                log_interval=log_interval,
                tb_log_name=tb_log_name,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
            )
        except BaseException as error:
            if self._callback is not None:
                release(self._callback)
            if not isinstance(error, BackendError):
                self.interruption = reason_of(self.num_timesteps, self._total_timesteps, error)
                explain_precision(self.policy, error)
                raise
            self._interrupt(error)  # from a callback's start or end; other errors are caught where they are raised
            return self
        finally:
            self._callback = None

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        self.interruption = None
        return super()._setup_learn(*args, **kwargs)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        """Learn as TD3 does, with a progress bar that also shows return, gradient fidelity and circuits."""
        from sb3_quantum.qtd3.progress import with_progress  # which imports this module

        self.observations_normalized = self._vec_normalize_env is not None and self._vec_normalize_env.norm_obs
        self._callback = super()._init_callback(with_progress(self, callback, progress_bar))
        return self._callback

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """Collect experiences. A spent budget or a lost job ends the training as a callback can, so the model can be saved."""
        try:
            if self.interruption is None:
                return super().collect_rollouts(*args, **kwargs)
        except BackendError as error:
            self._interrupt(error)
        return RolloutReturn(0, 0, continue_training=False)

    def _interrupt(self, error: BackendError) -> None:
        """Record why the training ends: on the model, with which it is saved, and in the log."""
        self.interruption = reason_of(self.num_timesteps, self._total_timesteps, error)
        warnings.warn(self.interruption, stacklevel=3)
        self.logger.record("train/interruption", self.interruption, exclude="tensorboard")
        if self.ep_info_buffer is not None:
            self.dump_logs()

    @keywords_checked({})
    def dry_run(self, total_timesteps: int, reset_num_timesteps: bool = True) -> Usage:
        """
        Estimate the jobs, circuits, shots and chip seconds that :meth:`learn` will use, without callbacks. Nothing is run.

        :param total_timesteps: as for :meth:`learn`
        :param reset_num_timesteps: as for :meth:`learn`
        :return: the estimate; compare with ``policy.quantum_layer.backend.usage`` afterwards
        """
        return training_usage(self, total_timesteps, reset_num_timesteps)

    def _excluded_save_params(self) -> list[str]:
        return super()._excluded_save_params() + [  # noqa: RUF005
            "_step",
            "_losses",
            "_callback",
        ]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        if self.policy.block.optimizer is not None:
            state_dicts = [*state_dicts, f"policy.{self.policy.block_path}.optimizer"]
        return state_dicts, variables
