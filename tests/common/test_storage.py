"""Replay buffers whose rows are saved to files of their own."""

import copy
import io
import pickle
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.save_util import load_from_pkl

from sb3_quantum import QuantumTD3
from sb3_quantum.common import QuantumDictReplayBuffer, QuantumNStepReplayBuffer, QuantumReplayBuffer
from sb3_quantum.common.row_files import RowFiles
from sb3_quantum.common.saving import save_buffer
from sb3_quantum.common.storage import StorageError
from tests.common.test_buffers import ACTION, fill, make
from tests.envs import SMALL, CountingEnv

KINDS: list[Any] = [
    (QuantumReplayBuffer, {}),
    (QuantumReplayBuffer, {"optimize_memory_usage": True, "handle_timeout_termination": False}),
    (QuantumNStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
    (QuantumDictReplayBuffer, {}),
]


def load(path: Path) -> QuantumReplayBuffer:
    with RowFiles.beside(path.resolve().parent):
        return load_from_pkl(path)


def same(one: QuantumReplayBuffer, other: QuantumReplayBuffer) -> None:
    """Every row is the same, and so is what is drawn."""
    assert (one.pos, one.full, one.n_added) == (other.pos, other.full, other.n_added)
    arrays, others = one.row_arrays(), other.row_arrays()
    assert arrays.keys() == others.keys() and len(arrays) >= 11
    # With the row that may hold a next observation; the rest is not written yet
    rows = slice(one.size() + 1)
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype and np.array_equal(array[rows], others[name][rows]), name
    if one.size() > 0:
        batches = []
        for buffer in (one, other):
            np.random.seed(3)
            batches.append(buffer.sample(20))
        assert th.equal(batches[0].actions, batches[1].actions) and th.equal(batches[0].dones, batches[1].dones)
        assert th.equal(batches[0].circuit_inputs, batches[1].circuit_inputs)


@pytest.mark.parametrize("buffer_class, kwargs", KINDS)
def test_every_save_of_a_ring_is_loaded(
    buffer_class: type[QuantumReplayBuffer], kwargs: dict[str, Any], tmp_path: Path
) -> None:
    """
    Twenty rows of three environments go round several times, in pieces shorter and longer than the ring. Every save is what
    was in memory, the one before it is still readable, whether the buffer goes on itself or was loaded, and only new rows are
    written.
    """
    kept = make(buffer_class, storage="memmap", **kwargs)
    rows, saves = tmp_path / "rows", []
    for number, new in enumerate((0, 1, 6, 13, 5, 9, 8, 7, 7, 45, 3, 20, 20, 1)):
        fill(kept, new)
        path = tmp_path / f"{number}.pkl"
        save_buffer(kept, path, folder=rows)
        assert kept.row_files is not None and kept.row_files.saved is not None
        pieces = kept.row_files.saved.segments
        if number > 0 and saves:
            pieces = tuple(piece for piece in pieces if piece not in saves[-1][1])
        assert sum(piece.stop - piece.start for piece in pieces) == min(new, 20)
        saves.append((path, kept.row_files.saved.segments, copy.deepcopy(kept)))
        kept.row_files.give_back()
        for saved, _, memory in saves[-2:]:
            loaded = load(saved)
            same(loaded, memory)
        if number % 3 == 2:
            kept = loaded
    assert len(list(rows.iterdir())) == 1 and len(list(next(rows.iterdir()).iterdir())) <= 3


def test_continued_from_an_older_save(tmp_path: Path) -> None:
    """The rows of the newer one are overwritten; if it is read after all, that is noticed."""
    buffer = make(QuantumReplayBuffer, storage="memmap")
    for name, new in (("old", 12), ("new", 5)):
        fill(buffer, new)
        save_buffer(buffer, tmp_path / f"{name}.pkl", folder=tmp_path / "rows")
    continued = load(tmp_path / "old.pkl")
    for buffer in (continued, load(tmp_path / "old.pkl")):
        fill(buffer, 1)
        buffer.rewards[12] = 77
        fill(buffer, 3)
    save_buffer(continued, tmp_path / "other.pkl", folder=tmp_path / "rows")
    same(load(tmp_path / "other.pkl"), continued)
    with pytest.raises(StorageError, match="checksum"):
        load(tmp_path / "new.pkl")
    same(load(tmp_path / "old.pkl"), load(tmp_path / "old.pkl"))


def test_a_last_row_that_is_changed_later(tmp_path: Path) -> None:
    """If a new training does not continue an episode, SB3 marks its end after the row was saved."""
    buffer = make(QuantumReplayBuffer, storage="memmap")
    path, rows = tmp_path / "buffer.pkl", tmp_path / "rows"
    for number in range(7):
        fill(buffer, 6)
        save_buffer(buffer, path, folder=rows)
        if number % 2 == 0:
            buffer = load(path)
        if number != 3:
            buffer.dones[buffer.pos - 1] = True
        fill(buffer, 2)
        save_buffer(buffer, path, folder=rows)
        same(load(path), buffer)
        assert buffer.row_files is not None and 1 <= len(buffer.row_files.changed) <= 3


def test_saved_again_to_the_same_path(tmp_path: Path) -> None:
    """By the same buffer the new rows are added; by another one everything is new and the old files go. Folders can move."""
    path = tmp_path / "a" / "buffer.pkl"
    one, other = make(QuantumReplayBuffer, storage="memmap"), make(QuantumDictReplayBuffer, storage="memmap")
    (path.with_name("buffer.pkl.rows") / "mine").mkdir(parents=True)
    for buffer in (one, one, other):
        fill(buffer, 9)
        save_buffer(buffer, path)
        (tmp_path / "a").rename(tmp_path / "b")
        same(load(tmp_path / "b" / "buffer.pkl"), buffer)
        (tmp_path / "b").rename(tmp_path / "a")
    assert len(list(path.with_name("buffer.pkl.rows").iterdir())) == 2
    # Its files were taken away: all rows are written again
    shutil.rmtree(path.with_name("buffer.pkl.rows"))
    fill(other, 2)
    save_buffer(other, path)
    same(load(path), other)
    # Copies and pickles of one's own hold the rows themselves
    file = io.BytesIO()
    save_buffer(other, file)
    file.seek(0)
    for again in (pickle.loads(pickle.dumps(load(path))), copy.deepcopy(load(path)), pickle.load(file)):
        same(again, other)
    with pytest.raises(StorageError, match=r"buffer.pkl.rows.*load_replay_buffer"):
        pickle.loads(path.read_bytes())
    other.reset()
    fill(other, 3)
    save_buffer(other, path)
    assert load(path).size() == 3


@pytest.mark.parametrize("array", ["observations", "circuit%2Fangles", "dones"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "longer", "flipped", "folder"])
def test_damaged_files_are_named(array: str, damage: str, tmp_path: Path) -> None:
    buffer = make(QuantumReplayBuffer, storage="memmap")
    fill(buffer, 27)
    save_buffer(buffer, tmp_path / "buffer.pkl")
    path = next((tmp_path / "buffer.pkl.rows").glob(f"*/1/{array}.rows"))
    data = bytearray(path.read_bytes())
    if damage in ("missing", "folder"):
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(data[:-1])
    elif damage == "longer":
        path.write_bytes(data + b"0")
    else:
        data[3] ^= 4
        path.write_bytes(data)
    if damage == "folder":
        path.mkdir()
    with pytest.raises(StorageError, match=f"{path.parent.name}/{array}.rows"):
        load(tmp_path / "buffer.pkl")


def test_a_full_disk(tmp_path: Path) -> None:
    """The earlier save is unchanged, and the next one is complete."""
    buffer = make(QuantumReplayBuffer, storage="memmap")
    fill(buffer, 15)
    save_buffer(buffer, tmp_path / "buffer.pkl")
    before = load(tmp_path / "buffer.pkl")
    fill(buffer, 15)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"/0/observations.rows: File too large"):
            save_buffer(buffer, tmp_path / "buffer.pkl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    same(load(tmp_path / "buffer.pkl"), before)
    save_buffer(buffer, tmp_path / "buffer.pkl")
    same(load(tmp_path / "buffer.pkl"), buffer)


def test_loading_takes_no_memory(tmp_path: Path) -> None:
    """60 MB of rows are mapped, not read into memory, and what is then written to them does not reach the files."""
    obs = spaces.Box(-np.inf, np.inf, (2000,), dtype=np.float32)
    buffer = QuantumReplayBuffer(5000, obs, ACTION, "cpu", storage="memmap")
    buffer.observations[:] = 1
    buffer.pos, buffer.full = 4000, False
    save_buffer(buffer, tmp_path / "buffer.pkl")
    del buffer

    def resident() -> float:
        # Of the process itself; what is mapped from files counts extra and can be dropped at any time
        fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return float(fields["VmRSS"].split()[0]) / 1e3

    before = resident()
    loaded = load(tmp_path / "buffer.pkl")
    assert resident() - before < 20
    loaded.observations[:2] = 5
    assert load(tmp_path / "buffer.pkl").observations[:2].max() == 1


@pytest.mark.parametrize("dictionary, n_steps", [(False, 1), (False, 3), (True, 1)])
def test_models_train_alike_with_either_storage(dictionary: bool, n_steps: int, tmp_path: Path) -> None:
    """In memory or in files, also in the middle of it saved and loaded, with a buffer that goes round."""
    weights = []
    for storage in ("ram", "memmap"):
        model = QuantumTD3(
            "MultiInputPolicy" if dictionary else "MlpPolicy", CountingEnv(dictionary), learning_starts=10, batch_size=8,
            seed=1, buffer_size=30, n_steps=n_steps, replay_buffer_kwargs=dict(storage=storage), policy_kwargs=SMALL,
        )  # fmt: skip
        for steps in (25, 20):
            model.learn(steps, reset_num_timesteps=False)
            path = tmp_path / storage / "buffer"
            model.save_replay_buffer(path)
            model.load_replay_buffer(str(path))
        buffer = model.replay_buffer
        assert isinstance(buffer, QuantumReplayBuffer) and buffer.storage == storage and buffer.full
        assert isinstance(buffer.actions, np.memmap) == (storage == "memmap")
        model.learn(20, reset_num_timesteps=False)
        weights.append(th.cat([parameter.detach().ravel() for parameter in model.policy.parameters()]))
    assert th.equal(*weights)


def test_the_storage_is_checked() -> None:
    with pytest.raises(ValueError, match="storage='disk' is unknown, accepted are 'ram', 'memmap'"):
        make(QuantumReplayBuffer, storage="disk")


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        (ReplayBuffer, {}),
        (ReplayBuffer, {"optimize_memory_usage": True, "handle_timeout_termination": False}),
        (NStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
        (DictReplayBuffer, {}),
    ],
)
def test_of_sb3s_buffers_only_what_was_written_is_saved(
    kind: type[ReplayBuffer], kwargs: dict[str, Any], tmp_path: Path
) -> None:
    """A study's checkpoint of SB3's TD3 on Humanoid-v4 had 6 GB after 300 steps."""
    box = spaces.Box(-1, 1, (50,))
    space: spaces.Space = spaces.Dict(obs=box) if kind is DictReplayBuffer else box
    buffer = kind(2_000, space, ACTION, "cpu", n_envs=2, **kwargs)
    n_rows = buffer.buffer_size
    random = np.random.default_rng(0)

    def observation() -> Any:
        row = random.normal(size=(2, 50)).astype(np.float32)
        return {"obs": row} if kind is DictReplayBuffer else row

    for part, until in (("few", 30), ("nearly all", n_rows - 1), ("all", n_rows), ("around", n_rows + 10)):
        while buffer.pos + buffer.full * n_rows < until:
            actions = random.uniform(-1, 1, size=(2, *ACTION.shape)).astype(np.float32)
            rewards, dones = random.normal(size=2), random.random(2) < 0.1
            buffer.add(observation(), observation(), actions, rewards, dones, [{}, {}])
        path = tmp_path / f"{part}.pkl"
        save_buffer(buffer, path)
        again = load_from_pkl(path)
        assert type(again) is kind and vars(again).keys() == vars(buffer).keys()
        for name, value in vars(buffer).items():
            np.testing.assert_equal(vars(again)[name], value)
        batches = []
        for each in (buffer, again):
            np.random.seed(3)
            batches.append(each.sample(20))
        assert th.equal(batches[0].actions, batches[1].actions) and th.equal(batches[0].rewards, batches[1].rewards)
        again.add(observation(), observation(), actions, rewards, dones, [{}, {}])
        assert (again.pos, again.full) == ((buffer.pos + 1) % n_rows, buffer.full or buffer.pos + 1 == n_rows)
    sizes = [(tmp_path / f"{part}.pkl").stat().st_size for part in ("few", "all")]
    assert sizes[0] < 0.05 * sizes[1]
