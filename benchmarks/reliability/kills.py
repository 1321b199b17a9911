"""
SIGKILL at random moments: of a training that is continued each time, and of ``QuantumTD3.save`` over an older file.

Training is the command of ``make train``, with a small circuit and a checkpoint every 40 steps. After every kill the newest
checkpoint must have its checksums, load with every row of its replay buffer, and not be older than after the kill before;
at the end the run is continued to its total. Children are forked from a process that has imported everything.
"""

import functools
import importlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch as th

from benchmarks.reliability.outcome import Outcome
from sb3_quantum import QuantumTD3, train
from sb3_quantum.common import QuantumReplayBuffer
from sb3_quantum.zoo import register
from sb3_quantum.zoo.checkpoints import check_checkpoint, latest_checkpoint

POLICY = dict(n_qubits=3, n_layers=2, n_links=2, qtdnn_arch=[16], net_arch=[16, 16])
#: transitions that the buffer holds, so that it goes round
BUFFER_SIZE = 300


def train_on(folder: Path, steps: int) -> None:
    """
    Begin or continue the training, in this process.

    :param folder: the zoo's log folder
    :param steps: the run's total
    """
    words = ",".join(f"{name}={value}" for name, value in POLICY.items())
    sys.argv = [
        "train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", str(steps), "-f", str(folder), "--resume",
        "--checkpoint-freq", "40", "--eval-freq", "120", "--eval-episodes", "1", "-params", "learning_starts:20",
        f"buffer_size:{BUFFER_SIZE}", "batch_size:8", "replay_buffer_kwargs:dict(storage='memmap')",
        f"policy_kwargs:dict({words})".replace(" ", ""),
    ]  # fmt: skip
    train.main()


def forked(work: Callable[[], None], log: Path) -> int:
    """
    :param work: the function to run in a process of its own
    :param log: where it prints
    :return: its number
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def killed(work: Callable[[], None], seconds: float, log: Path, ready: Callable[[], bool] | None = None) -> bool:
    """
    :param work: the function to run in a process of its own
    :param seconds: when it is killed
    :param log: where it prints
    :param ready: the seconds begin when this says so, or the process ends; at once by default
    :return: whether it was killed, not ended by itself
    """
    child = forked(work, log)
    deadline = time.monotonic() + 60
    while ready is not None and not ready() and time.monotonic() < deadline and not _ended(child):
        time.sleep(0.005)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _ended(child: int) -> bool:
    """Tell whether a process has ended, without waiting for it."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def load_newest(run: Path) -> QuantumTD3:
    """
    Load a run's newest checkpoint as the zoo does, and look at every row of its replay buffer.

    :param run: the run's folder
    :return: the model
    :raises AssertionError: if a row is not what came after the row before
    """
    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None, f"{run} has no checkpoint"
    check_checkpoint(checkpoint)
    model = QuantumTD3.load(checkpoint / "model.zip")
    model.load_replay_buffer(checkpoint / "replay_buffer.pkl")
    buffer = model.replay_buffer
    assert isinstance(buffer, QuantumReplayBuffer)
    # Every step is in there, but for one that a signal may have ended; nobody sends one here
    assert buffer.n_added == model.num_timesteps, f"{buffer.n_added} rows were added in {model.num_timesteps} steps"
    order = (buffer.pos - buffer.size() + np.arange(buffer.size())) % buffer.buffer_size
    follows = (buffer.next_observations[order[:-1], 0] == buffer.observations[order[1:], 0]).all(1)
    # A continued run begins with a fresh episode
    ends = buffer.dones[order[:-1], 0].astype(bool)
    speeds = np.abs(buffer.observations[order[1:], 0, 2])
    strays = int((~follows & ~ends & (speeds > 1)).sum())
    assert strays == 0, f"{strays} rows are neither what came next nor the beginning of an episode"
    assert buffer.circuit is not None and (np.abs(buffer.observations[order, 0]).max(1) > 0).all()
    return model


def save_again_and_again(path: Path) -> None:
    """
    Save a model over itself, with a step more each time.

    :param path: the model's file
    """
    model = QuantumTD3.load(path)
    while True:
        model.num_timesteps += 1
        model.save(path)


def run(quick: bool, folder: Path) -> Outcome:
    """
    :param quick: whether to kill six times, not 240 times
    :param folder: an empty folder
    :return: what came of it
    """
    trainings, saves = (4, 2) if quick else (200, 40)
    outcome = Outcome(cases=trainings + saves)
    generator = random.Random(0)
    th.set_num_threads(1)
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=20, batch_size=8, buffer_size=50, policy_kwargs=POLICY)
    # Imports and compiles what the children need
    model.learn(25)
    register()
    importlib.import_module("rl_zoo3.train")
    importlib.import_module("sb3_quantum.zoo.resume")
    log = folder / "log.txt"
    zoo, training = folder / "logs", folder / "logs" / "qtd3" / "Pendulum-v1_1"
    start = time.perf_counter()
    os.waitpid(forked(lambda: train_on(zoo, 80), log), 0)
    loading = time.perf_counter() - start
    steps, kept = 0, 0
    for number in range(trainings):
        # One in four at any moment, while it loads too; the others from when it writes its first checkpoint
        begun = functools.partial(
            lambda before: set(training.glob("checkpoint-*")) != before, set(training.glob("checkpoint-*"))
        )
        early = number % 4 == 3
        seconds, ready = generator.uniform(0.0, loading if early else 0.5), None if early else begun
        if not killed(lambda: train_on(zoo, 1_000_000), seconds, log, ready):
            outcome.failures.append(f"training {number + 1} ended by itself: {log.read_text()[-500:]}")
            break
        try:
            after = load_newest(training).num_timesteps
            assert after >= steps, f"steps went back from {steps} to {after}"
            kept += after > steps
            steps = after
        except Exception as error:
            outcome.failures.append(f"training {number + 1}, killed after {seconds:.2f} s: {error!r}")
    total = steps + 60
    _, status = os.waitpid(forked(lambda: train_on(zoo, total), log), 0)
    runs = [path.name for path in (zoo / "qtd3").iterdir() if path.is_dir()]
    if status != 0 or runs != [training.name] or load_newest(training).num_timesteps != total:
        outcome.failures.append(f"the run does not end at {total} steps (runs: {runs}): {log.read_text()[-500:]}")

    path = folder / "model.zip"
    model.save(path)
    saved = model.num_timesteps
    for number in range(saves):
        begun = functools.partial(lambda inode: path.stat().st_ino != inode, path.stat().st_ino)
        killed(lambda: save_again_and_again(path), generator.uniform(0.0, 0.1), log, begun)
        try:
            after = QuantumTD3.load(path).num_timesteps
            assert after >= saved, f"an older model than before: {after} steps, not {saved}"
            saved = after
        except Exception as error:
            outcome.failures.append(f"save {number + 1}: {error!r}")
    outcome.figures = {"kills_after_a_new_checkpoint": kept, "steps": total, "saves": saved - model.num_timesteps}
    return outcome
