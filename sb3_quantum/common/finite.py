"""Checks for NaN, infinity and huge numbers: a NaN in the normalizer or the replay buffer would soon reach every parameter."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecNormalize

#: largest observation: differences fit into float32, and squares into float64
OBSERVATION_LIMIT = 1e38
#: largest reward: even after discounting, the squares of its gradients fit into Adam's float32
REWARD_LIMIT = 1e15


def check_array(what: str, array: np.ndarray, limit: float, per_env: bool = True) -> None:
    """
    Refuse an array with NaN, infinity or a number beyond float32. Integers and booleans pass.

    :param what: its name, for the message
    :param array: ``(n_envs, ...)``, or anything if not ``per_env``
    :param limit: largest accepted magnitude
    :param per_env: whether the first axis counts environments
    :raises ValueError: if it has one; the message names environment, place and value
    """
    if array.dtype.kind != "f":
        return
    # The cheapest check: this sum is finite and small only if all terms are
    if float(np.vdot(array, array)) < limit * limit:
        return
    bad = ~(np.abs(array.astype(np.float64)) <= limit)
    if not bad.any():
        return
    place: tuple[int, ...] = tuple(int(i) for i in np.argwhere(bad)[0])
    value = array[place]
    if per_env:
        what, place = f"{what} of environment {place[0]}", place[1:]
    where = f" at index {place[0] if len(place) == 1 else place}" if place else ""
    raise ValueError(
        f"{what} is {value:g}{where}; accepted are finite numbers up to {limit:g}, because networks compute in float32"
    )


def check_observations(what: str, observations: Any, per_env: bool = True) -> None:
    """
    Check observations, those of a dictionary by key, see :func:`check_array`.

    :param what: their name, for the message
    :param observations: an array ``(n_envs, ...)`` or a dictionary of such arrays
    :param per_env: whether the first axis counts environments
    :raises ValueError: if one of them is not finite
    """
    if isinstance(observations, Mapping):
        for key, array in observations.items():
            check_array(f"{what}[{key!r}]", np.asarray(array), OBSERVATION_LIMIT, per_env)
    else:
        check_array(what, np.asarray(observations), OBSERVATION_LIMIT, per_env)


def check_terminal_observations(dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
    """
    Check the last observations of episodes, which are in ``infos``, see :func:`check_observations`.

    :param dones: whether an episode ended, ``(n_envs,)``
    :param infos: infos of every environment
    :raises ValueError: if one of them is not finite
    """
    for env in np.flatnonzero(dones):
        observation = infos[env].get("terminal_observation")
        if observation is not None:
            check_observations(f"terminal observation of environment {env}", observation, per_env=False)


def damaged_statistics(env: VecNormalize | None) -> str:
    """
    Say whether ``VecNormalize``'s statistics are damaged; it sees every number before this check.

    :param env: the wrapper, if there is one
    :return: a clause for a message if its statistics are no longer finite, else an empty text
    """
    if env is None:
        return ""
    parts = list(env.obs_rms.values()) if isinstance(getattr(env, "obs_rms", None), dict) else [getattr(env, "obs_rms", None)]
    parts.append(env.ret_rms)
    if all(np.isfinite(part.mean).all() and np.isfinite(part.var).all() for part in parts if part is not None):
        return ""
    return "; VecNormalize's running statistics contain such a number: load saved statistics or make a new wrapper"


def check_replay_buffer(what: str, buffer: Any) -> None:
    """
    Check all written rows of a replay buffer.

    :param what: its name, for the message
    :param buffer: the buffer, of SB3's kind
    :raises ValueError: if an array of real numbers contains NaN or infinity; the message names it
    """
    rows = buffer.size()
    fields: dict[str, Any] = {}
    for name in ("observations", "next_observations"):
        value = getattr(buffer, name, None)
        fields.update({f"{name}[{key!r}]": v for key, v in value.items()} if isinstance(value, dict) else {name: value})
    fields.update({name: getattr(buffer, name, None) for name in ("actions", "rewards", "dones")})
    for name in ("circuit", "probe"):
        for part in ("angles", "outputs"):
            fields[f"{name}.{part}"] = getattr(getattr(buffer, name, None), part, None)
    for name, array in fields.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            continue
        # In pieces: a memory-mapped buffer may be larger than the memory
        step = max(1, 2**22 // max(1, array[:1].size))
        for start in range(0, rows, step):
            if not np.isfinite(array[start : min(start + step, rows)]).all():
                raise ValueError(f"{what} is damaged: its {name} hold NaN or infinity")


def check_loss(what: str, loss: th.Tensor, update: int, batch: Any) -> None:
    """
    Refuse an update whose loss is not finite, before the optimizer's step. Only on the CPU: fetching the loss would stop any
    other device, and inputs have been checked.

    :param what: name of the loss
    :param loss: one number
    :param update: number of the update, for the message
    :param batch: the mini-batch, a named tuple of tensors
    :raises ValueError: if it is NaN or infinite; the message names the field of the mini-batch that is, or says that training
        has diverged
    """
    if loss.device.type != "cpu" or math.isfinite(loss.item()):
        return
    for name, value in batch._asdict().items():
        for key, tensor in value.items() if isinstance(value, dict) else [(None, value)]:
            if tensor is not None and not bool(th.isfinite(tensor).all()):
                field = name if key is None else f"{name}[{key!r}]"
                raise ValueError(f"the {what} of update {update} is {loss.item():g}: {field} of the mini-batch are not finite")
    raise ValueError(
        f"the {what} of update {update} is {loss.item():g}: training has diverged, its numbers no longer fit into float32; "
        "the update was skipped. Use smaller rewards or learning rates"
    )
