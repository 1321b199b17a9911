"""Replay buffers whose rows also contain the circuit's inputs and outputs (the paper's qtDNN-buffer)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples, TensorDict
from stable_baselines3.common.vec_env import VecNormalize
from torch.utils._pytree import tree_flatten, tree_unflatten

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, names_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.circuit_field import CircuitField
from sb3_quantum.common.copying import to_device
from sb3_quantum.common.row_files import RowFiles
from sb3_quantum.common.storage import STORAGES

_CPU = th.device("cpu")
#: names of a buffer's arrays of rows that are written once, when a transition is added
_WRITTEN_ONCE = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts", "circuit", "probe")


class QuantumReplayBufferSamples(NamedTuple):
    """
    SB3's replay samples, with the circuit pairs of the same rows.

    :param circuit_inputs: ``(batch, n_inputs)``, float32, angles wrapped to (-pi, pi], CZ indices rounded and wrapped;
        ``None`` in a buffer without circuit fields
    :param circuit_outputs: bits or expected bits, ``(batch, n_qubits)``, float32
    :param probe_inputs: the probed neighbours of ``circuit_inputs``; ``None`` in a buffer without probe fields
    :param probe_outputs: the circuit's outputs for them
    """

    observations: th.Tensor | TensorDict
    actions: th.Tensor
    next_observations: th.Tensor | TensorDict
    dones: th.Tensor
    rewards: th.Tensor
    discounts: th.Tensor | None = None
    circuit_inputs: th.Tensor | None = None
    circuit_outputs: th.Tensor | None = None
    probe_inputs: th.Tensor | None = None
    probe_outputs: th.Tensor | None = None


class _IndexRecorder:
    """
    Replace ``buffer.actions`` while SB3 gathers a batch, and record which rows and environments it took.

    SB3 draws the environments inside ``_get_samples``; a subclass that drew its own would pair a transition with another one's
    circuit.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.index: tuple[Any, ...] = ()

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        self.index = index
        return self.array[index]


class QuantumReplayBuffer(ReplayBuffer):
    """
    SB3's replay buffer with fields for the circuit's inputs and outputs.

    Float64 observations are stored as float32, in which the networks compute; other types are unchanged.

    Pickles contain the rows written so far, not the empty rest. With ``storage="memmap"``, ``model.save_replay_buffer(path)``
    writes a small pickle and puts the rows into files beside it, ``<path>.rows``. Saving again to the same path appends new
    rows, and loading maps the files. New rows are in memory with either storage.

    :param buffer_size: max number of transitions
    :param observation_space: observation space
    :param action_space: action space
    :param device: torch device of the samples
    :param n_envs: number of parallel environments
    :param ansatz: the circuit's shape; no circuit fields if ``None`` (blocks that record no pairs)
    :param store_bits: whether the outputs are bits (uint8) or expected bits (float16)
    :param probes: whether there are fields for a probe pair beside the acting pair
    :param storage: ``"ram"``, or ``"memmap"`` for rows in separate files. A row that you change after it was saved is not
        saved again
    :param kwargs: further arguments of SB3's buffer
    """

    #: files of the rows, if they were saved or loaded with ``storage="memmap"``
    row_files: RowFiles | None = None

    @names_checked({})
    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        n_envs: int = 1,
        ansatz: Circuit | None = None,
        store_bits: bool = False,
        probes: bool = False,
        storage: str = "ram",
        **kwargs: Any,
    ):
        storage = check_choice("storage", storage, STORAGES)
        super().__init__(buffer_size, _as_float32(observation_space), action_space, device=device, n_envs=n_envs, **kwargs)
        self.observation_space = observation_space
        self.ansatz = ansatz
        self.storage = storage
        self.n_added = 0
        self._last_batch: tuple[np.ndarray, np.ndarray] = (np.empty(0, dtype=int), np.empty(0, dtype=int))
        shape, dtype = (self.buffer_size, n_envs), np.uint8 if store_bits else np.float16
        self.circuit = None if ansatz is None else CircuitField(ansatz, shape, dtype)
        self.probe = CircuitField(ansatz, shape, dtype) if ansatz is not None and probes else None

    def add(self, *args: Any, **kwargs: Any) -> None:
        """
        Add one transition for every environment; see SB3's ``ReplayBuffer.add``.

        :param args: see there
        :param kwargs: likewise
        """
        super().add(*args, **kwargs)
        self.n_added += 1

    def reset(self) -> None:
        """Drop all transitions."""
        super().reset()
        self.n_added, self.row_files = 0, None

    def row_arrays(self) -> dict[str, np.ndarray]:
        """
        Return the arrays of rows, ``(buffer_size, n_envs, ...)``, that are written once, when a transition is added; further
        arrays of a subclass are not included.
        """
        return {name: array for name, array in _named_arrays(self.__dict__) if name.split("/")[0] in _WRITTEN_ONCE}

    def store_circuits(
        self,
        row: int,
        inputs: th.Tensor,
        outputs: th.Tensor,
        probe_inputs: th.Tensor | None = None,
        probe_outputs: th.Tensor | None = None,
    ) -> None:
        """
        Write the circuit pairs of the transitions in one row.

        :param row: position in the buffer (``pos`` before the transitions were added)
        :param inputs: circuit inputs while acting, ``(n_envs, n_inputs)``
        :param outputs: the circuit's outputs, ``(n_envs, n_qubits)``
        :param probe_inputs: probed circuit inputs, if there are probe fields
        :param probe_outputs: the circuit's outputs for them
        """
        assert self.circuit is not None, "this buffer has no circuit fields"
        self.circuit.store(row, inputs, outputs)
        if self.probe is not None:
            assert probe_inputs is not None and probe_outputs is not None
            self.probe.store(row, probe_inputs, probe_outputs)

    def sample_recent_pairs(self, n_recent: int, n_pairs: int) -> tuple[th.Tensor, th.Tensor]:
        """
        Draw circuit pairs from the newest transitions, with replacement; probe pairs too if there are any.

        :param n_recent: number of newest transitions to draw from, fewer if the buffer contains fewer
        :param n_pairs: transitions to draw
        :return: circuit inputs ``(n, n_inputs)`` and outputs ``(n, n_qubits)``, n twice ``n_pairs`` with probes
        """
        assert self.circuit is not None, "this buffer has no circuit fields"
        newest = min(-(-n_recent // self.n_envs), self.size())
        rows = (self.pos - 1 - np.random.randint(newest, size=n_pairs)) % self.buffer_size
        envs = np.random.randint(self.n_envs, size=n_pairs)
        pairs = [field.load(rows, envs, self.device) for field in (self.circuit, self.probe) if field is not None]
        inputs, outputs = zip(*pairs, strict=True)
        return th.cat(inputs), th.cat(outputs)

    def held_out(self) -> np.ndarray:
        """
        Return row and environment of every transition that was not in the last mini-batch, ``(n, 2)``.
        """
        free = np.ones((self.size(), self.n_envs), dtype=bool)
        free[self._last_batch] = False
        return np.argwhere(free)

    def sample_held_out(
        self, n_states: int, generator: np.random.Generator, env: VecNormalize | None = None
    ) -> th.Tensor | TensorDict:
        """
        Sample observations that were not in the last mini-batch, for measurements; global generators stay unchanged.

        :param n_states: number of observations, drawn with replacement
        :param generator: source of randomness
        :param env: normalizes the observations if given
        :return: observations, ``(n_states, ...)``
        :raises ValueError: if every row was in the last mini-batch
        """
        free = self.held_out()
        if len(free) == 0:
            raise ValueError(
                f"the buffer has no held-out row: each of its {counted(self.size() * self.n_envs, 'transition')} was in the "
                "last mini-batch"
            )
        rows, envs = free[generator.integers(len(free), size=n_states)].T
        if isinstance(self.observations, dict):
            gathered: Any = {key: array[rows, envs] for key, array in self.observations.items()}
            return {key: self.to_torch(array) for key, array in self._normalize_obs(gathered, env).items()}  # type: ignore[union-attr]
        return self.to_torch(self._normalize_obs(self.observations[rows, envs], env))  # type: ignore[arg-type]

    def to_torch(self, array: np.ndarray, copy: bool = False) -> th.Tensor:
        """
        Convert a numpy array to a PyTorch tensor. Unlike SB3's method it does not copy by default: gathered rows are a copy
        already.

        :param array: the array
        :param copy: whether to copy the data
        :return: a tensor on the buffer's device
        """
        return super().to_torch(array, copy)

    @contextmanager
    def _on_cpu(self) -> Iterator[None]:
        """Let SB3 gather rows on the CPU, so that one copy can bring all of them to another device."""
        device, self.device = self.device, _CPU
        try:
            yield
        finally:
            self.device = device

    def _get_samples(  # type: ignore[override]
        self, batch_inds: np.ndarray, env: VecNormalize | None = None
    ) -> QuantumReplayBufferSamples:
        recorder = _IndexRecorder(self.actions)
        self.actions = recorder  # type: ignore[assignment]
        try:
            with self._on_cpu():
                samples: ReplayBufferSamples | DictReplayBufferSamples = super()._get_samples(batch_inds, env)
        finally:
            self.actions = recorder.array
        rows, envs = recorder.index[:2]
        return self._with_circuits(samples, rows, envs)

    def _with_circuits(
        self, samples: ReplayBufferSamples | DictReplayBufferSamples, rows: np.ndarray, envs: np.ndarray
    ) -> QuantumReplayBufferSamples:
        """
        Add the circuit pairs of the same transitions to SB3's samples, and copy everything to the buffer's device.

        :param samples: SB3's samples, on the CPU
        :param rows: position in the buffer of each, ``(batch,)``
        :param envs: environment of each, ``(batch,)``
        :return: the samples
        """
        self._last_batch = (rows, envs)
        fields = [field for field in (self.circuit, self.probe) if field is not None]
        # Discounts are SB3's last field, and only present for n-step returns
        parts: list[Any] = [[part for part in samples if part is not None], *(field.gather(rows, envs) for field in fields)]
        if self.device.type != "cpu":
            tensors, structure = tree_flatten(parts)
            parts = tree_unflatten(to_device(tensors, self.device), structure)
        pairs = [tensor for field, of_field in zip(fields, parts[1:], strict=True) for tensor in field.unpack(of_field)]
        return QuantumReplayBufferSamples(*parts[0], **dict(zip(QuantumReplayBufferSamples._fields[6:], pairs, strict=False)))

    def __getstate__(self) -> dict[str, Any]:
        # One more row than written: with optimize_memory_usage it contains the last transition's next observation
        used = self.buffer_size if self.full else self.pos + 1
        files = self.row_files
        referring = files is not None and files.referring

        def cut(name: str, array: np.ndarray) -> np.ndarray:
            in_files = referring and name.split("/")[0] in _WRITTEN_ONCE
            return array[: 0 if in_files else used].view(np.ndarray)

        state = _map_rows(self.__dict__, cut)
        state.pop("row_files", None)
        state["_last_batch"] = (np.empty(0, dtype=int), np.empty(0, dtype=int))
        if referring:
            assert files is not None
            state["_row_files"] = files.reference(self.row_arrays())
            # The next row may contain the last transition's next observation
            state["_next_row"] = {name: array[self.pos].copy() for name, array in self.row_arrays().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        reference, next_row = state.pop("_row_files", None), state.pop("_next_row", {})
        mapped: dict[str, np.ndarray] = {}
        if reference is not None:
            self.row_files = RowFiles.referred_to(reference)
            arrays = {name: array for name, array in _named_arrays(state) if name in next_row}
            mapped = self.row_files.map(arrays, reference["changed"])
            for name, row in next_row.items():
                mapped[name][state["pos"]] = row

        def fill(name: str, array: np.ndarray) -> np.ndarray:
            if name in mapped:
                return mapped[name]
            if len(array) == state["buffer_size"]:
                return array
            rows = np.zeros((state["buffer_size"], *array.shape[1:]), dtype=array.dtype)
            rows[: len(array)] = array
            return rows

        # Pickles of version 0.1.0 have neither field
        self.__dict__.update({"storage": "ram", "n_added": state["pos"] + state["full"] * state["buffer_size"]})
        self.__dict__.update(_map_rows(state, fill))


class QuantumNStepReplayBuffer(QuantumReplayBuffer, NStepReplayBuffer):  # type: ignore[misc]
    """
    Replay buffer for n-step returns. The circuit pair is that of the first step, whose action is learned from.

    :param args: see :class:`QuantumReplayBuffer`
    :param n_steps: number of steps to accumulate rewards for
    :param gamma: discount factor
    :param kwargs: see :class:`QuantumReplayBuffer`
    """


class QuantumDictReplayBuffer(QuantumReplayBuffer, DictReplayBuffer):  # type: ignore[misc]
    """
    Replay buffer for dictionary observations.

    :param args: see :class:`QuantumReplayBuffer`
    :param kwargs: see :class:`QuantumReplayBuffer`
    """


def _as_float32(space: spaces.Space) -> spaces.Space:
    """Return the space with float32 in place of float64."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _as_float32(subspace) for key, subspace in space.spaces.items()})
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space


def _map_rows(state: dict[str, Any], function: Callable[[str, np.ndarray], np.ndarray], prefix: str = "") -> dict[str, Any]:
    """Apply a function to every array of rows in a buffer's state, also inside dictionaries and circuit fields, by name."""
    mapped = dict(state)
    for key, value in state.items():
        name = prefix + key
        if isinstance(value, np.ndarray):
            mapped[key] = function(name, value)
        elif name in ("observations", "next_observations"):
            mapped[key] = {part: function(f"{name}/{part}", array) for part, array in value.items()}
        elif isinstance(value, CircuitField):
            mapped[key] = CircuitField.__new__(CircuitField)
            mapped[key].__dict__.update(_map_rows(value.__dict__, function, f"{name}/"))
    return mapped


def _named_arrays(state: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Return the arrays that :func:`_map_rows` visits."""
    found: list[tuple[str, np.ndarray]] = []

    def note(name: str, array: np.ndarray) -> np.ndarray:
        found.append((name, array))
        return array

    _map_rows(state, note)
    return found
