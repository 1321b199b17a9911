"""A replay buffer is rearranged for another number of environments, and what belongs together stays together."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.common import (
    QuantumDictReplayBuffer,
    QuantumHerReplayBuffer,
    QuantumNStepReplayBuffer,
    QuantumReplayBuffer,
)
from sb3_quantum.common.rearranging import rearrange

ANSATZ = PaperCircuit(2, 1)
NUMBER = spaces.Box(-np.inf, np.inf, (1,), dtype=np.float32)
CHANGES = [(3, 1), (1, 3), (3, 2), (2, 5)]
#: transitions per environment; 12 rows are room for 36 of 3 environments
STEPS = {"young": 7, "wrapped": 17}
#: every environment's episodes are of another length
LENGTH = 4


class Env:
    """As much of a vectorized environment as ``HerReplayBuffer`` asks for."""

    def env_method(self, name: str, achieved: np.ndarray, desired: np.ndarray, *_: Any, **__: Any) -> list[np.ndarray]:
        assert name == "compute_reward"
        return [-np.abs(achieved - desired)[:, 0]]


def number(step: Any, env: Any) -> Any:
    """A transition's number: its observation, its reward, its action and its angle are made of it."""
    return 100.0 * env + step


def filled(kind: str, n_envs: int, steps: int) -> QuantumReplayBuffer:
    kwargs: dict[str, Any] = dict(n_envs=n_envs, ansatz=ANSATZ, probes=True, device="cpu")
    size = 12 * n_envs
    if kind == "her":
        space = spaces.Dict({key: NUMBER for key in ("observation", "achieved_goal", "desired_goal")})
        buffer: Any = QuantumHerReplayBuffer(size, space, NUMBER, env=Env(), **kwargs)  # type: ignore[arg-type]
    elif kind == "dict":
        buffer = QuantumDictReplayBuffer(size, spaces.Dict({"a": NUMBER, "b": NUMBER}), NUMBER, **kwargs)
    elif kind == "n_step":
        buffer = QuantumNStepReplayBuffer(size, NUMBER, NUMBER, n_steps=3, gamma=1.0, **kwargs)
    else:
        memory = dict(optimize_memory_usage=True, handle_timeout_termination=False) if kind == "memory" else {}
        buffer = QuantumReplayBuffer(size, NUMBER, NUMBER, **kwargs, **memory)
    for step in range(steps):
        ids = np.array([number(step, env) for env in range(n_envs)])[:, None]
        obs, next_obs = ids, ids + 1
        if kind in ("dict", "her"):
            keys = list(buffer.observation_space.spaces)
            obs, next_obs = ({key: array for key in keys} for array in (obs, next_obs))
        done = np.array([(step + 1) % (LENGTH + env) == 0 for env in range(n_envs)])
        row = buffer.pos
        buffer.add(obs, next_obs, ids, ids[:, 0], done, [{}] * n_envs)
        inputs = th.zeros(n_envs, ANSATZ.n_inputs)
        inputs[:, 0] = th.as_tensor(ids[:, 0]) / 1000
        buffer.store_circuits(row, inputs, inputs[:, :2], -inputs, -inputs[:, :2])
    return buffer


def everything(buffer: QuantumReplayBuffer) -> Any:
    """Samples of every row and environment that may be drawn, with the rows."""
    rows = np.arange(buffer.size())
    if buffer.optimize_memory_usage and buffer.full:
        rows = rows[rows != buffer.pos]
    batches = []
    for env in range(buffer.n_envs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "randint", lambda low, high=None, size=None, env=env: np.full(size, env))
            batches.append(buffer._get_samples(rows))
    return batches


def flat(values: th.Tensor | dict[str, th.Tensor]) -> np.ndarray:
    if isinstance(values, dict):
        arrays = [value.numpy()[:, 0] for value in values.values()]
        assert all((array == arrays[0]).all() for array in arrays)
        return arrays[0]
    return values.numpy()[:, 0]


@pytest.mark.parametrize("age", STEPS)
@pytest.mark.parametrize("old, new", CHANGES)
@pytest.mark.parametrize("kind", ["plain", "dict", "n_step", "memory"])
def test_transitions_stay_whole(kind: str, old: int, new: int, age: str) -> None:
    steps = STEPS[age]
    buffer = filled(kind, old, steps)
    # With optimize_memory_usage, a full buffer has lost the oldest observation
    first = max(0, steps - buffer.buffer_size + (kind == "memory"))
    rearrange(buffer, new)
    known = {number(step, env) for env in range(old) for step in range(first, steps)}
    found = []
    for batch in everything(buffer):
        ids = flat(batch.observations)
        found.extend(ids)
        envs, step = np.divmod(ids, 100)
        np.testing.assert_array_equal(flat(batch.actions), ids)
        np.testing.assert_allclose(batch.circuit_inputs[:, 0], ids / 1000, atol=2e-3)
        np.testing.assert_array_equal(batch.circuit_outputs[:, 0], batch.circuit_inputs[:, 0])
        np.testing.assert_array_equal(batch.probe_inputs[:, 0], -batch.circuit_inputs[:, 0])
        ahead = flat(batch.next_observations) - ids
        dones, rewards = flat(batch.dones), flat(batch.rewards)
        if kind == "n_step":
            # The sum of as many rewards of the same episode as the next observation is ahead
            assert set(ahead) <= {1, 2, 3}
            np.testing.assert_array_equal(rewards, ahead * ids + ahead * (ahead - 1) / 2)
            assert ((step + ahead - 1) // (LENGTH + envs) == step // (LENGTH + envs)).all()
            np.testing.assert_array_equal(dones, (step + ahead) % (LENGTH + envs) == 0)
        elif kind == "memory":
            # What is not terminal, nor taken for it at a cut, has the next observation that it had
            assert (ahead[dones == 0] == 1).all()
            assert ((step + 1) % (LENGTH + envs) == 0)[dones == 0].sum() == 0
        else:
            assert (ahead == 1).all()
            np.testing.assert_array_equal(rewards, ids)
            np.testing.assert_array_equal(dones, (step + 1) % (LENGTH + envs) == 0)
    assert len(set(found)) == len(found) and set(found) <= known
    # Less than a row is lost; and with optimize_memory_usage, a full buffer never samples the row at its position
    lost = len(known) - len(found) - (new if kind == "memory" and buffer.full else 0)
    assert 0 <= lost < new
    if kind in ("plain", "dict"):
        rows = buffer.observations if kind == "plain" else buffer.observations["a"]  # type: ignore[call-overload]
        order = np.roll(rows[: buffer.size()], -buffer.pos if buffer.full else 0, axis=0).reshape(-1) % 100
        assert (np.diff(order) >= 0).all()


@pytest.mark.parametrize("age", STEPS)
@pytest.mark.parametrize("old, new", CHANGES)
def test_goals_come_from_the_same_episode(old: int, new: int, age: str) -> None:
    buffer = filled("her", old, STEPS[age])
    assert isinstance(buffer, HerReplayBuffer)
    rearrange(buffer, new)
    np.random.seed(0)
    batch = buffer.sample(500)
    ids = batch.observations["observation"].numpy()[:, 0]
    goals = batch.observations["desired_goal"].numpy()[:, 0]
    envs, step = np.divmod(ids, 100)
    np.testing.assert_allclose(batch.circuit_inputs[:, 0], ids / 1000, atol=2e-3)
    virtual = goals != ids
    episodes = [number // (LENGTH + envs) for number in (step, np.mod(goals - 1, 100))]
    assert virtual.any() and (goals // 100 == envs).all()
    assert (episodes[0] == episodes[1])[virtual].all() and (goals > ids)[virtual].all()
    # It goes on as it would have
    for turn in range(30):
        array = np.zeros((new, 1))
        obs = {key: array for key in ("observation", "achieved_goal", "desired_goal")}
        buffer.add(obs, obs, array, array[:, 0], np.array([turn % 3 == 2] * new), [{}] * new)
    buffer.sample(50)


def test_an_empty_buffer() -> None:
    for kind in ("plain", "n_step", "her"):
        buffer = filled(kind, 3, 0)
        rearrange(buffer, 2)
        assert (buffer.size(), buffer.buffer_size, buffer.n_envs) == (0, 18, 2)
