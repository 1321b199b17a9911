"""Make and load the replay buffer of a ``QuantumTD3``, and fit it to the number of environments."""

from typing import TYPE_CHECKING, Any

from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_quantum.circuits.checks import parameters, unknown_names
from sb3_quantum.common.buffers import QuantumDictReplayBuffer, QuantumNStepReplayBuffer, QuantumReplayBuffer
from sb3_quantum.common.her import QuantumHerReplayBuffer
from sb3_quantum.common.rearranging import rearrange

if TYPE_CHECKING:
    from sb3_quantum.qtd3.qtd3 import QuantumTD3

#: arguments of a replay buffer that the algorithm passes
GIVEN = {
    *("buffer_size", "observation_space", "action_space", "device", "n_envs", "env"),
    *("ansatz", "store_bits", "probes", "optimize_memory_usage"),
}


def choose_replay_buffer_class(
    requested: type[ReplayBuffer] | None, observation_space: spaces.Space, n_steps: int = 1
) -> type[QuantumReplayBuffer]:
    """
    Choose the replay buffer class for a kind of observations, or accept the requested class.

    :param requested: the user's ``replay_buffer_class``
    :param observation_space: observation space
    :param n_steps: steps of the return
    :return: a class with circuit fields
    :raises ValueError: if the requested class has none
    """
    if requested is None:
        if isinstance(observation_space, spaces.Dict):
            assert n_steps == 1, "N-step returns are not supported for Dict observation spaces yet."
            return QuantumDictReplayBuffer
        return QuantumNStepReplayBuffer if n_steps > 1 else QuantumReplayBuffer
    if requested is HerReplayBuffer:
        return QuantumHerReplayBuffer
    if not issubclass(requested, QuantumReplayBuffer):
        raise ValueError(
            f"replay_buffer_class={requested.__name__} has no fields for circuit pairs; accepted are HerReplayBuffer, "
            f"QuantumReplayBuffer, QuantumNStepReplayBuffer, QuantumDictReplayBuffer, QuantumHerReplayBuffer and subclasses "
            f"of the latter four"
        )
    return requested


def make_replay_buffer(model: "QuantumTD3") -> QuantumReplayBuffer:
    """
    Make the replay buffer that the model's arguments ask for, with circuit fields if there is a circuit.

    :param model: the model
    :return: an empty buffer
    :raises ValueError: if ``replay_buffer_kwargs`` contain a name that the buffer does not have, or that the algorithm passes
    """
    buffer_class = choose_replay_buffer_class(model.replay_buffer_class, model.observation_space, model.n_steps)
    kwargs: dict[str, Any] = dict(model.replay_buffer_kwargs)
    known = parameters(buffer_class)
    if known is not None:
        message = unknown_names(kwargs, set(known) - GIVEN, {})
        if message:
            raise ValueError(f"replay_buffer_kwargs of {buffer_class.__name__}: {message}")
    if model.replay_buffer_class is None and model.n_steps > 1:
        kwargs.update(n_steps=model.n_steps, gamma=model.gamma)
    if issubclass(buffer_class, HerReplayBuffer):
        assert model.env is not None, "You must pass an environment when using `HerReplayBuffer`"
        kwargs["env"] = model.env
    return buffer_class(
        model.buffer_size,
        model.observation_space,
        model.action_space,
        device=model.device,
        n_envs=model.n_envs,
        ansatz=model._ansatz(),
        store_bits=model.fit_targets == "sample",
        probes=model.acting_probe_std > 0,
        optimize_memory_usage=model.optimize_memory_usage,
        **kwargs,
    )


def adopt_replay_buffer(model: "QuantumTD3", path: Any) -> None:
    """
    Check a replay buffer that was just loaded, and rearrange it for the model's number of environments.

    :param model: the model, with the buffer
    :param path: its file, for the message
    :raises ValueError: if it has no circuit fields, or those of another circuit
    """
    loaded, ansatz = model.replay_buffer, model._ansatz()
    if not isinstance(loaded, QuantumReplayBuffer) or loaded.ansatz != ansatz:
        theirs = getattr(loaded, "ansatz", None)
        raise ValueError(f"the replay buffer in {path} holds pairs of {theirs}, but the policy's circuit is {ansatz}")
    if ansatz is not None and (loaded.probe is None) != (model.acting_probe_std == 0):
        field, std = "no" if loaded.probe is None else "a", model.acting_probe_std
        raise ValueError(f"the replay buffer in {path} has {field} probe field, which does not fit probe_std={std}")
    if loaded.n_envs != model.n_envs:
        rearrange(loaded, model.n_envs)


def fit_to_environments(model: "QuantumTD3") -> None:
    """
    Fit a saved model to its current number of environments; SB3 changes only ``n_envs``.

    :param model: a new or loaded model during its set-up
    """
    noise = model.action_noise
    if isinstance(noise, VectorizedActionNoise) and noise.n_envs != model.n_envs:
        # The next learn() vectorizes it again
        model.action_noise = noise.base_noise
    obs = model._last_obs
    if obs is not None and len(next(iter(obs.values())) if isinstance(obs, dict) else obs) != model.n_envs:
        model._last_obs = None
