"""
Measure the checkpoints of a long run: bytes, seconds, memory when loading. Compare training in memory and with mapped files.

    python benchmarks/checkpoints.py                    # a ring of 1,000,000 transitions: 5 GB of memory, 8 GB of disk
    python benchmarks/checkpoints.py --rows 100000      # in a minute

Shapes are those of Humanoid-v4 (376 observations, 17 actions) with the shipped settings and the paper's circuit; transitions
are random numbers. Bytes are those that the kernel accounts to this process (``write_bytes`` of ``/proc/self/io``).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_quantum import QuantumTD3
from sb3_quantum.common import QuantumReplayBuffer
from sb3_quantum.zoo.checkpoints import check_checkpoint, latest_checkpoint, write_checkpoint

N_ENVS, BETWEEN = 8, 25_000


class HumanoidShapes(gym.Env):
    """Environment with random observations as wide as Humanoid-v4's, which takes no time to step."""

    observation_space = spaces.Box(-np.inf, np.inf, (376,), dtype=np.float64)
    action_space = spaces.Box(-0.4, 0.4, (17,), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.normal(size=376), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.np_random.normal(size=376), 1.0, False, bool(self.np_random.random() < 0.01), {}


def make(rows: int, storage: str) -> QuantumTD3:
    """
    :param rows: transitions of the ring
    :param storage: ``"ram"`` or ``"memmap"``
    :return: a model with Humanoid-v4's shipped settings
    """
    return QuantumTD3(
        "MlpPolicy", DummyVecEnv([HumanoidShapes] * N_ENVS), buffer_size=rows, learning_starts=1000, batch_size=128,
        qf_learning_rate=1e-3, tau=0.02, qtdnn_batch_size=32, seed=0, replay_buffer_kwargs=dict(storage=storage),
        policy_kwargs=dict(critic_layer_norm=True, readout="mean"),
    )  # fmt: skip


def buffer_of(model: QuantumTD3) -> QuantumReplayBuffer:
    """
    :param model: the model
    :return: its replay buffer
    """
    assert isinstance(model.replay_buffer, QuantumReplayBuffer)
    return model.replay_buffer


def add_rows(buffer: QuantumReplayBuffer, transitions: int) -> None:
    """
    Write random rows, as if they had been added one by one.

    :param buffer: the buffer
    :param transitions: number of transitions
    """
    generator = np.random.default_rng(buffer.n_added)
    for row in np.arange(buffer.n_added, buffer.n_added + transitions // N_ENVS) % buffer.buffer_size:
        for name, array in buffer.row_arrays().items():
            if name in ("dones", "timeouts"):
                array[row] = 0
            elif array.dtype == np.uint8:
                array[row] = generator.integers(10, size=array.shape[1:])
            else:
                array[row] = generator.standard_normal(array.shape[1:], dtype=np.float32)
    buffer.n_added += transitions // N_ENVS
    buffer.pos, buffer.full = buffer.n_added % buffer.buffer_size, buffer.n_added >= buffer.buffer_size


def field(path: str, name: str) -> int:
    """
    :param path: a file with lines ``name: number``
    :param name: the line
    :return: the number
    """
    return int(dict(line.split(":") for line in Path(path).read_text().splitlines())[name].split()[0])


def write(folder: Path, rows: int, checkpoints: int) -> dict[str, Any]:
    """
    Fill the ring, then write checkpoints.

    :param folder: the run's folder
    :param rows: transitions of the ring
    :param checkpoints: number of checkpoints after the first
    :return: figures
    """
    model = make(rows, "memmap")
    model.learn(1016)
    buffer = buffer_of(model)
    figures: dict[str, Any] = {"bytes": [], "seconds": [], "disk": []}
    filling = rows // BETWEEN
    for number in range(-filling, checkpoints):
        add_rows(buffer, BETWEEN)
        model.num_timesteps = buffer.n_added * N_ENVS
        before, start = field("/proc/self/io", "write_bytes"), time.perf_counter()
        write_checkpoint(model, folder, "Humanoid-v4")
        if number >= 0:
            figures["seconds"].append(round(time.perf_counter() - start, 2))
            figures["bytes"].append(field("/proc/self/io", "write_bytes") - before)
        figures["disk"].append(sum(path.stat().st_blocks * 512 for path in folder.rglob("*")))
    row = sum(array[0].nbytes for array in buffer.row_arrays().values())
    figures["new_rows"] = BETWEEN // N_ENVS * row
    figures["ring"] = buffer.buffer_size * row
    figures["ratio"] = round((max(figures["bytes"]) - 20e6) / figures["new_rows"], 3)
    # A quarter of the interval of a training: the ring is full, and updates cost what they cost later on
    start = time.perf_counter()
    model.learn(BETWEEN // 4, reset_num_timesteps=False)
    figures["seconds_between"] = round(4 * (time.perf_counter() - start), 1)
    figures["share"] = round(statistics.median(figures["seconds"]) / figures["seconds_between"], 4)
    return figures


def load(folder: Path, rows: int) -> dict[str, Any]:
    """
    Load the newest checkpoint in a new process.

    :param folder: the run's folder
    :param rows: transitions of the ring
    :return: figures
    """
    checkpoint = latest_checkpoint(folder)
    assert checkpoint is not None
    check_checkpoint(checkpoint)
    model = QuantumTD3.load(checkpoint / "model.zip", env=DummyVecEnv([HumanoidShapes] * N_ENVS))
    before, start = field("/proc/self/status", "VmRSS"), time.perf_counter()
    model.load_replay_buffer(checkpoint / "replay_buffer.pkl")
    seconds, after = time.perf_counter() - start, field("/proc/self/status", "VmRSS")
    assert buffer_of(model).size() == rows // N_ENVS
    return {"rss_mb_before": before // 1000, "rss_mb_after": after // 1000, "seconds": round(seconds, 2)}


def compare(rows: int, folder: Path, rounds: int) -> dict[str, Any]:
    """
    Train in memory and with mapped files, in turns.

    :param rows: transitions of the ring, all written
    :param folder: an empty folder
    :param rounds: number of rounds
    :return: figures
    """
    models = {}
    for storage in ("ram", "memmap"):
        models[storage] = make(rows, storage)
        models[storage].learn(1016)
        add_rows(buffer_of(models[storage]), rows)
    models["memmap"].save_replay_buffer(folder / "buffer.pkl")
    models["memmap"].load_replay_buffer(folder / "buffer.pkl")
    seconds: dict[str, list[float]] = {"ram": [], "memmap": []}
    for _ in range(rounds):
        for storage, model in models.items():
            start = time.process_time()
            model.learn(800, reset_num_timesteps=False)
            seconds[storage].append(round(time.process_time() - start, 3))
    ratios = [memmap / ram for ram, memmap in zip(*seconds.values(), strict=True)]
    return {**seconds, "memmap_by_ram": round(statistics.median(ratios), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="transitions of the ring")
    parser.add_argument("--checkpoints", type=int, default=4, help="to be timed, once the ring is full")
    parser.add_argument("--rounds", type=int, default=15, help="of the comparison of training speed")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary folder by default")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load is not None:
        print(json.dumps(load(args.load, args.rows)))
        return
    th.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        results: dict[str, Any] = {"checkpoints": write(Path(name), args.rows, args.checkpoints)}
        command = [sys.executable, __file__, "--load", name, "--rows", str(args.rows)]
        results["loading"] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        results["training"] = compare(min(args.rows, 100_000), Path(name), args.rounds)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
