"""
Power cuts: a training writes to a file system of its own, whose image is copied at random moments as it is on the disk.

What the kernel still holds back for the mounted ext4 is not in the copy, as it would not be on a disk without power. The copy
is mounted, ext4 recovers its journal, and the newest checkpoint in it must have its checksums and load with every row of its
replay buffer. It takes root and loop devices; mounts are undone in any case.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch as th

from benchmarks.reliability.kills import POLICY, forked, load_newest
from benchmarks.reliability.outcome import Outcome
from sb3_quantum import QuantumTD3
from sb3_quantum.zoo.checkpoints import latest_checkpoint, write_checkpoint

#: steps between two checkpoints, and rows of the ring
CHECKPOINT_FREQ, BUFFER_SIZE = 20, 150


def _command(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise OSError(f"{words[0]} says: {(done.stderr or done.stdout).strip()}")


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """
    Mount an image, and unmount it at the end, whatever happens.

    :param image: the file with the file system
    :param folder: the mount point
    :raises OSError: if it cannot be, e.g. because this is not root
    """
    folder.mkdir(exist_ok=True)
    _command("mount", "-o", "loop", image, folder)
    try:
        yield
    finally:
        # A process that was just killed may still be letting go of it
        for attempt in range(20):
            try:
                _command("umount", folder)
                break
            except OSError:
                if attempt == 19:
                    _command("umount", "-l", folder)
                time.sleep(0.1)


def train(run: Path) -> None:
    """
    Train and write checkpoints until killed.

    :param run: the run's folder
    """
    model = QuantumTD3(
        "MlpPolicy", "Pendulum-v1", learning_starts=20, batch_size=8, buffer_size=BUFFER_SIZE, policy_kwargs=POLICY,
        replay_buffer_kwargs=dict(storage="memmap"),
    )  # fmt: skip
    while True:
        model.learn(CHECKPOINT_FREQ, reset_num_timesteps=False)
        write_checkpoint(model, run, "Pendulum-v1")
        # From here on a power cut must not take it. On a file system that is not cut
        (run.parent.parent / "announced").write_text(str(model.num_timesteps))


def announced(folder: Path) -> int:
    """
    :param folder: where the training announces its checkpoints
    :return: steps of the last one
    """
    path = folder / "announced"
    text = path.read_text() if path.is_file() else ""
    return int(text or 0)


def run(quick: bool, folder: Path) -> Outcome:
    """
    :param quick: whether there are two power cuts, not 20
    :param folder: an empty folder
    :return: what came of it
    """
    cuts = 2 if quick else 20
    image, disk = folder / "image", folder / "disk"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return Outcome(skipped="mounting takes root")
    try:
        with image.open("wb") as file:
            file.truncate(64 << 20)
        _command("mkfs.ext4", "-q", "-F", image)
        with mounted(image, disk):
            pass
    except OSError as error:
        return Outcome(skipped=f"no loop-mounted ext4 here: {error}")
    outcome = Outcome(cases=cuts)
    generator = random.Random(0)
    th.set_num_threads(1)
    QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=20, batch_size=8, policy_kwargs=POLICY).learn(25)
    newest = []
    with mounted(image, disk):
        (disk / "run").mkdir()
        child = forked(lambda: train(disk / "run"), folder / "log.txt")
        try:
            deadline = time.monotonic() + 60
            while announced(folder) == 0 and time.monotonic() < deadline:
                time.sleep(0.05)
            for number in range(cuts):
                time.sleep(generator.uniform(0.05, 1.0 if quick else 8.0))
                sure = announced(folder)
                copy, recovered = folder / "copy", folder / "recovered"
                # The copy takes a moment, in which a disk without power would not change
                os.kill(child, signal.SIGSTOP)
                shutil.copyfile(image, copy)
                os.kill(child, signal.SIGCONT)
                try:
                    with mounted(copy, recovered):
                        model = load_newest(recovered / "run")
                        steps = model.num_timesteps
                        # The mapping keeps the file system busy
                        del model
                    newest.append(steps)
                    if steps < sure:
                        outcome.failures.append(
                            f"cut {number + 1}: the newest checkpoint has {steps} steps, {sure} were announced"
                        )
                except Exception as error:
                    outcome.failures.append(f"cut {number + 1}, after {sure} steps: {error!r}")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        last = latest_checkpoint(disk / "run")
    outcome.figures = {"steps_recovered": newest, "last_checkpoint": None if last is None else last.name}
    return outcome
