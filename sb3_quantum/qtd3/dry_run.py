"""What a training will ask of the machine that runs its circuits, before anything is sent."""

from typing import TYPE_CHECKING

from sb3_quantum.backends import BudgetError, Usage
from sb3_quantum.layers import FITTED_GRADIENTS, circuits_per_gradient

if TYPE_CHECKING:
    from sb3_quantum.qtd3.qtd3 import QuantumTD3


def training_usage(model: "QuantumTD3", total_timesteps: int, reset_num_timesteps: bool = True) -> Usage:
    """
    Jobs, circuits, shots and chip seconds of ``model.learn(total_timesteps)``, without those of callbacks. Acting is one job
    per step of all environments together, probes included. With a reference for a gradient (``"exact"``,
    ``"parameter_shift"``, ``"spsa"``) the updates run circuits as well.

    :param model: to be trained
    :param total_timesteps: environment steps, as for ``learn``
    :param reset_num_timesteps: as for ``learn``
    :return: what the backend will count
    :raises ValueError: if the updates run circuits and ``train_freq`` is in episodes: their number is not known beforehand
    """
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
            f"gradient={model.gradient!r} runs circuits in updates; to know their number, give train_freq in steps"
        )
    warm_up = model.learning_starts - (0 if reset_num_timesteps else model.num_timesteps)
    training_rollouts = max(rollouts - max(warm_up, 0) // (rollout_steps * model.n_envs), 0)
    updates = training_rollouts * (model.gradient_steps if model.gradient_steps >= 0 else rollout_steps * model.n_envs)
    actor_updates = (model._n_updates + updates) // model.policy_delay - model._n_updates // model.policy_delay
    circuits, jobs = circuits_per_gradient(backend.ansatz, model.gradient, model.batch_size)
    shots = 0 if backend.exact else backend.shots
    usage += backend.estimate((updates + actor_updates) * model.batch_size, shots, updates + actor_updates)
    return usage + backend.estimate(actor_updates * circuits, shots, actor_updates * jobs)


def check_probes(model: "QuantumTD3", total_timesteps: int, reset_num_timesteps: bool) -> None:
    """
    Refuse probing where the backend's budget would not see the training through.

    :param model: the model
    :param total_timesteps: as for ``learn``
    :param reset_num_timesteps: as for ``learn``
    :raises ValueError: if the budget is too small
    """
    backend = model.policy.block.backend
    if backend is None or model.acting_probe_std == 0:
        return
    try:
        backend.check_budget(model.dry_run(total_timesteps, reset_num_timesteps))
    except BudgetError as error:
        raise ValueError(
            f"probe_std={model.probe_std} runs two circuits per environment step, and that is beyond the backend's budget "
            f"({error}); use probe_std=0, fewer steps or a larger budget"
        ) from error
