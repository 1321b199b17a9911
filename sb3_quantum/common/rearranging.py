"""Rearrangement of replay buffers for another number of environments."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_quantum.common.buffers import CircuitField, QuantumReplayBuffer


def rearrange(buffer: QuantumReplayBuffer, n_envs: int) -> None:
    """
    Rearrange the transitions of a replay buffer for another number of environments, in place. All are kept, except fewer than
    ``n_envs`` of the oldest, which would not fill a row.

    Independent transitions stay in the order of time. If transitions depend on their successors (n-step returns,
    ``HerReplayBuffer``, ``optimize_memory_usage``), the environments' sequences are joined end to end and cut into the new
    number of sequences. Nothing is learned across a cut: the trajectory counts as truncated there, or as terminated if the
    buffer cannot tell the two apart.

    :param buffer: the buffer
    :param n_envs: new number of environments
    """
    if isinstance(buffer, (NStepReplayBuffer, HerReplayBuffer)) or buffer.optimize_memory_usage:
        rows, envs, cut = _sequences(buffer, n_envs)
    else:
        rows, envs = _in_order_of_time(buffer, n_envs)
        cut = None
    size = max(buffer.buffer_size * buffer.n_envs // n_envs, 1)
    for holder, name in list(_row_arrays(buffer)):
        old = holder[name]
        holder[name] = np.zeros((size, n_envs, *old.shape[2:]), dtype=old.dtype)
        holder[name][: len(rows)] = old[rows, envs]
    buffer.buffer_size, buffer.n_envs = size, n_envs
    buffer.pos, buffer.full = len(rows) % size, len(rows) == size
    # Files of the former rows are no longer valid
    buffer.n_added, buffer.row_files = len(rows), None
    buffer._last_batch = (np.empty(0, dtype=int), np.empty(0, dtype=int))
    if cut is not None:
        _truncate(buffer, cut)
    if isinstance(buffer, HerReplayBuffer):
        _find_episodes(buffer, len(rows))


def _row_arrays(buffer: QuantumReplayBuffer) -> Iterator[tuple[dict[str, Any], str]]:
    """List every array of ``(buffer_size, n_envs, ...)``, as a dictionary and the key in it."""
    holders = [vars(buffer)]
    for value in vars(buffer).values():
        if isinstance(value, dict):
            holders.append(value)
        elif isinstance(value, CircuitField):
            holders.append(vars(value))
    for holder in holders:
        for name, value in holder.items():
            if isinstance(value, np.ndarray) and value.shape[:2] == (buffer.buffer_size, buffer.n_envs):
                yield holder, name


def _chronological(buffer: QuantumReplayBuffer) -> np.ndarray:
    """Return the positions of the written rows, oldest first."""
    if not buffer.full:
        return np.arange(buffer.pos)
    rows = np.roll(np.arange(buffer.buffer_size), -buffer.pos)
    # The newest next observation has overwritten the oldest observation
    return rows[1:] if buffer.optimize_memory_usage else rows


def _in_order_of_time(buffer: QuantumReplayBuffer, n_envs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sources of the transitions: rows and environments, both ``(new rows, n_envs)``."""
    rows, envs = np.meshgrid(_chronological(buffer), np.arange(buffer.n_envs), indexing="ij")
    keep = slice(rows.size % n_envs, None)
    return rows.reshape(-1)[keep].reshape(-1, n_envs), envs.reshape(-1)[keep].reshape(-1, n_envs)


def _sequences(buffer: QuantumReplayBuffer, n_envs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sources with the environments joined end to end, and where sequences are cut, ``(new rows, n_envs)``."""
    written = _chronological(buffer)
    rows = [written] * buffer.n_envs
    if isinstance(buffer, HerReplayBuffer):
        rows = [written[_belongs_to_an_episode(buffer, written, env)] for env in range(buffer.n_envs)]
    last = np.zeros(sum(map(len, rows)), dtype=bool)
    last[np.cumsum([len(part) for part in rows if len(part)], dtype=int) - 1] = True
    envs = np.repeat(np.arange(buffer.n_envs), [len(part) for part in rows])
    keep = slice(len(envs) % n_envs, None)
    # Each environment's transitions are a column
    parts = [part[keep].reshape(n_envs, -1).T for part in (np.concatenate(rows), envs, last)]
    if len(parts[2]):
        parts[2][-1] = True
    return parts[0], parts[1], parts[2]


def _belongs_to_an_episode(buffer: HerReplayBuffer, written: np.ndarray, env: int) -> np.ndarray:
    """
    Tell which transitions belong to a finished episode or the current one; remains of a partly overwritten episode do not
    count.
    """
    running = (buffer.pos - buffer._current_ep_start[env]) % buffer.buffer_size
    return (buffer.ep_length[written, env] > 0) | (np.arange(len(written)) >= len(written) - running)


def _truncate(buffer: QuantumReplayBuffer, cut: np.ndarray) -> None:
    """End the trajectories at the cuts, unless they end there anyway."""
    rows, envs = np.nonzero(cut & (buffer.dones[: len(cut)] == 0))
    if isinstance(buffer, NStepReplayBuffer) or buffer.handle_timeout_termination:
        buffer.timeouts[rows, envs] = True
    if isinstance(buffer, HerReplayBuffer) or not buffer.handle_timeout_termination:
        buffer.dones[rows, envs] = True


def _find_episodes(buffer: HerReplayBuffer, n_rows: int) -> None:
    """Find the episodes' starts and lengths from their ends."""
    for env in range(buffer.n_envs):
        ends = np.flatnonzero(buffer.dones[:n_rows, env]) + 1
        lengths = np.diff(ends, prepend=0)
        buffer.ep_start[:n_rows, env] = np.repeat(ends - lengths, lengths)
        buffer.ep_length[:n_rows, env] = np.repeat(lengths, lengths)
    buffer._current_ep_start = np.full(buffer.n_envs, buffer.pos, dtype=np.int64)
