"""Durable files of evaluations."""

import os
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback, EvalCallback

from sb3_quantum.common.durable import sync


class _Publisher(BaseCallback):
    """Replace the older file by the new one after every evaluation."""

    def __init__(self, written: Path, published: Path):
        super().__init__()
        self.written = written
        self.published = published

    def _on_step(self) -> bool:
        sync(self.written)
        os.replace(self.written, self.published)
        sync(self.published.parent)
        return True


def write_beside(callback: EvalCallback) -> None:
    """
    Let an ``EvalCallback`` write evaluations beside the older file and rename them, instead of overwriting it.

    :param callback: the callback, before the training
    """
    if callback.log_path is None or callback.callback is not None:
        return
    published = Path(f"{callback.log_path}.npz")
    written = published.with_name(f".{published.stem}.partial.npz")
    callback.log_path = str(written.with_suffix(""))
    callback.callback = _Publisher(written, published)
