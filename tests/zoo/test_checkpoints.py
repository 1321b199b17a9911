"""When data reaches the disk, and which damage is detected."""

import os
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.common.storage import StorageError
from sb3_quantum.zoo.checkpoints import check_checkpoint, write_checkpoint
from sb3_quantum.zoo.evaluations import write_beside
from tests.envs import SMALL, CountingEnv


@pytest.fixture(scope="module")
def trained() -> QuantumTD3:
    env = VecNormalize(DummyVecEnv([CountingEnv, CountingEnv]))
    return QuantumTD3(
        "MlpPolicy", env, learning_starts=10, batch_size=8, buffer_size=60, policy_kwargs=SMALL, seed=0,
        replay_buffer_kwargs=dict(storage="memmap"),
    )  # fmt: skip


@pytest.fixture
def model(trained: QuantumTD3) -> QuantumTD3:
    return trained.learn(10, reset_num_timesteps=False)


def test_everything_is_on_the_disk_before_the_older_one_is_removed(
    model: QuantumTD3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every file and every folder, the contents were asked to the disk after they were last changed."""
    older = write_checkpoint(model, tmp_path, "Counting")
    synced: dict[int, int] = {}
    removed: list[dict[int, int]] = []
    fsync, rmtree = os.fsync, __import__("shutil").rmtree

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        state = os.fstat(descriptor)
        synced[state.st_ino] = state.st_mtime_ns

    def removing(path: Any, *args: Any, **kwargs: Any) -> None:
        if Path(path) == older:
            removed.append(dict(synced))
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr("shutil.rmtree", removing)
    model.learn(10, reset_num_timesteps=False)
    newer = write_checkpoint(model, tmp_path, "Counting")
    (before,) = removed
    rows = max((tmp_path / "rows").glob("*/*"), key=lambda path: int(path.name))
    for path in (newer, *newer.rglob("*"), *rows.iterdir()):
        assert before[path.stat().st_ino] == path.stat().st_mtime_ns, path
    assert {tmp_path.stat().st_ino, rows.stat().st_ino, rows.parent.stat().st_ino} <= before.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == [newer.name, "rows"]


def test_damage_is_noticed(model: QuantumTD3, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(model, tmp_path, "Counting", {"more.json": "{}"})
    check_checkpoint(checkpoint)
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        data = path.read_bytes()
        for damaged in (b"", data[:-1], bytes([data[0] ^ 1]) + data[1:], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(StorageError, match=path.name):
                check_checkpoint(checkpoint)
        path.write_bytes(data)
    # One that is damaged is written anew, an intact one is left alone
    (checkpoint / "model.zip").write_bytes(b"")
    assert write_checkpoint(model, tmp_path, "Counting") == checkpoint
    check_checkpoint(checkpoint)
    changed = checkpoint.stat().st_ino
    assert write_checkpoint(model, tmp_path, "Counting").stat().st_ino == changed
    # Of version 0.1.0, which wrote none of it
    generators = pickle.loads((checkpoint / "generators.pkl").read_bytes())
    del generators["checksums"]
    (checkpoint / "generators.pkl").write_bytes(pickle.dumps(generators))
    (checkpoint / "more.json").unlink(missing_ok=True)
    check_checkpoint(checkpoint)


@pytest.mark.parametrize("limit", [10, 5_000, 30_000])
def test_a_full_disk_costs_no_checkpoint(model: QuantumTD3, tmp_path: Path, limit: int) -> None:
    """If the disk fills up anywhere in a checkpoint, the one before remains, and no half-written file takes up space."""
    older = write_checkpoint(model, tmp_path, "Counting")
    model.learn(10, reset_num_timesteps=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"checkpoint-{model.num_timesteps} could not be written"):
            write_checkpoint(model, tmp_path, "Counting")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == [older.name, "rows"]
    check_checkpoint(older)
    other = QuantumTD3.load(older / "model.zip")
    other.load_replay_buffer(older / "replay_buffer.pkl")
    assert other.replay_buffer is not None and other.replay_buffer.size() > 0
    write_checkpoint(model, tmp_path, "Counting")


def test_a_failed_save_leaves_the_old_model(model: QuantumTD3, tmp_path: Path) -> None:
    """Also behind a link, without a suffix, and beside a folder of that name."""
    path = tmp_path / "model.zip"
    model.save(tmp_path / "model")
    before = path.read_bytes()
    (tmp_path / "link.zip").symlink_to(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("model", "model.zip", "link.zip", "link"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        try:
            with pytest.raises((OSError, RuntimeError)):
                model.save(str(tmp_path / name))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    model.learn(10, reset_num_timesteps=False).save(tmp_path / "link")
    assert (tmp_path / "link.zip").is_symlink() and QuantumTD3.load(path).num_timesteps == model.num_timesteps
    (tmp_path / "folder.zip").mkdir()
    with pytest.warns(UserWarning, match="is a folder"):
        model.save(tmp_path / "folder")
    assert (tmp_path / "folder.zip_2").is_file()
    with (tmp_path / "open.zip").open("wb") as file:
        model.save(file)
    assert QuantumTD3.load(tmp_path / "open.zip").num_timesteps == model.num_timesteps
    model.save("/dev/null")
    model.save(tmp_path / ("long" * 60 + ".zip"))


def test_an_evaluation_that_is_cut_leaves_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``EvalCallback`` writes all evaluations so far every time."""
    callback = EvalCallback(DummyVecEnv([CountingEnv]), eval_freq=5, n_eval_episodes=1, log_path=str(tmp_path), verbose=0)
    write_beside(callback)
    model = TD3("MlpPolicy", CountingEnv(), learning_starts=100, buffer_size=10, policy_kwargs=dict(net_arch=[4]))
    model.learn(10, callback)
    path = tmp_path / "evaluations.npz"
    before = path.read_bytes()
    assert np.load(path)["timesteps"].tolist() == [5, 10] and list(tmp_path.iterdir()) == [path]

    def cut(name: str, **arrays: Any) -> None:
        Path(f"{name}.npz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", cut)
    with pytest.raises(KeyboardInterrupt):
        model.learn(10, callback)
    assert path.read_bytes() == before
