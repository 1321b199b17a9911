"""Estimate what a training asks of its backend, before anything is sent."""

import warnings
from typing import TYPE_CHECKING

from sb3_quantum.backends import BudgetError, Usage
from sb3_quantum.circuits.checks import check_number
from sb3_quantum.circuits.wording import counted
from sb3_quantum.layers import FITTED_GRADIENTS, circuits_per_gradient

if TYPE_CHECKING:
    from sb3_quantum.qtd3.qtd3 import QuantumTD3


def training_usage(model: "QuantumTD3", total_timesteps: int, reset_num_timesteps: bool = True) -> Usage:
    """
    Estimate jobs, circuits, shots and chip seconds of ``model.learn(total_timesteps)``, without callbacks.

    Acting is one job per step of all environments together, probes included. With a reference gradient (``"exact"``,
    ``"parameter_shift"``, ``"spsa"``) the updates run circuits as well.

    :param model: the model to train
    :param total_timesteps: environment steps, as for ``learn``
    :param reset_num_timesteps: as for ``learn``
    :return: the estimate, as the backend counts
    :raises ValueError: if ``total_timesteps`` is not a number, or if the updates run circuits and ``train_freq`` is in
        episodes: their number is not known beforehand
    """
    check_number("total_timesteps", total_timesteps)
    backend = model.policy.block.backend
    if backend is None:
        return Usage()
    in_steps = model.train_freq.unit.value == "step"  # type: ignore[union-attr]
    # learn() ends with the rollout in which the total is reached
    rollout_steps = model.train_freq.frequency if in_steps else 1  # type: ignore[union-attr]
    rollouts = -(-total_timesteps // (rollout_steps * model.n_envs))
    pairs = rollouts * rollout_steps * model.n_envs
    draws = model.policy.readout == "sample" or model.fit_targets == "sample"
    shots = int(draws) if backend.exact else backend.shots
    usage = backend.estimate(pairs * (2 if model.acting_probe_std > 0 else 1), shots, rollouts * rollout_steps)
    if model.gradient in FITTED_GRADIENTS:
        return usage

    if not in_steps:
        raise ValueError(
            f"gradient={model.gradient!r} runs circuits in updates; give train_freq in steps, so that their number is known"
        )
    warm_up = model.learning_starts - (0 if reset_num_timesteps else model.num_timesteps)
    training_rollouts = max(rollouts - max(warm_up, 0) // (rollout_steps * model.n_envs), 0)
    updates = training_rollouts * (model.gradient_steps if model.gradient_steps >= 0 else rollout_steps * model.n_envs)
    actor_updates = (model._n_updates + updates) // model.policy_delay - model._n_updates // model.policy_delay
    circuits, jobs = circuits_per_gradient(backend.ansatz, model.gradient, model.batch_size)
    shots = 0 if backend.exact else backend.shots
    usage += backend.estimate((updates + actor_updates) * model.batch_size, shots, updates + actor_updates)
    return usage + backend.estimate(actor_updates * circuits, shots, actor_updates * jobs)


def _is_empty(model: "QuantumTD3") -> bool:
    return model.replay_buffer is not None and model.replay_buffer.size() == 0


def check_training(model: "QuantumTD3", total_timesteps: int, reset_num_timesteps: bool) -> None:
    """
    Refuse probing that would exceed the backend's budget before the training ends. Warn about a training without an update,
    and about a trained model that will act at random first.

    :param model: the model
    :param total_timesteps: as for ``learn``
    :param reset_num_timesteps: as for ``learn``
    :raises ValueError: if ``total_timesteps`` is not a number, or the budget is too small
    """
    check_number("total_timesteps", total_timesteps)
    end = -(-total_timesteps // model.n_envs) * model.n_envs + (0 if reset_num_timesteps else model.num_timesteps)
    if 0 < total_timesteps and end <= model.learning_starts:
        warnings.warn(
            f"no update will be made: the training ends at step {end:,}, and learning_starts={model.learning_starts:,}; train "
            f"for longer, or lower learning_starts",
            stacklevel=4,
        )
    elif model._n_updates > 0 and reset_num_timesteps and model.learning_starts > 0 and _is_empty(model):
        warnings.warn(
            f"this model has made {counted(model._n_updates, 'update')}, and will act at random for learning_starts="
            f"{counted(model.learning_starts, 'step')} first; learn(..., reset_num_timesteps=False) continues with its own "
            "actions",
            stacklevel=4,
        )
    backend = model.policy.block.backend
    if backend is None or model.acting_probe_std == 0:
        return
    try:
        backend.check_budget(model.dry_run(total_timesteps, reset_num_timesteps))
    except BudgetError as error:
        raise ValueError(
            f"probe_std={model.probe_std} runs two circuits per environment step, which exceeds the backend's budget "
            f"({error}); use probe_std=0, fewer steps or a larger budget"
        ) from error
