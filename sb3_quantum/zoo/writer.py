"""Callback that writes checkpoints of a run of the zoo."""

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_quantum.circuits.wording import counted
from sb3_quantum.zoo.checkpoints import write_checkpoint
from sb3_quantum.zoo.continuation import generator_state
from sb3_quantum.zoo.monitors import positions

#: file of a checkpoint with the state of the run beside the model
CONTINUATION = "continuation.json"


class CheckpointWriter(BaseCallback):
    """
    Write a checkpoint every ``save_freq`` steps, and when the run is asked to stop.

    Ctrl-C or a termination signal ends the training after the current step; a second one ends it at once.

    :param run: the run's folder
    :param env_name: name of the environment, as in the zoo's file names
    :param save_freq: steps between two checkpoints
    """

    def __init__(self, run: Path, env_name: str, save_freq: int):
        super().__init__()
        self.run = run
        self.env_name = env_name
        self.save_freq = save_freq
        #: rows of the replay buffer that the next row does not follow, from
        #: :func:`~sb3_quantum.zoo.continuation.begin_episodes`
        self.ends: list[int] = []
        self.stopped = False
        self.forced = False
        self._last_save = 0
        self._previous_handlers: dict[int, Any] = {}
        self._last_noted: str | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            self.forced = True
            raise KeyboardInterrupt
        print("\nStopping after this step; again to stop at once")
        self.stopped = True

    def _on_training_start(self) -> None:
        self._last_save = self.num_timesteps
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous_handlers[number] = signal.signal(number, self._handle)
        self._last_noted = None

    def _on_rollout_start(self) -> None:
        # Between two rollouts: every transition is stored and every update is done
        if self.model.num_timesteps - self._last_save >= self.save_freq:
            self.write()

    def _on_step(self) -> bool:
        return not self.stopped

    def _on_training_end(self) -> None:
        # The zoo closes the environments before the last checkpoint; their processes then do not answer
        if self._last_noted is None:
            self._last_noted = self._note()
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}

    def end(self) -> None:
        """End the callback if ``learn`` did not."""
        if self._previous_handlers:
            self.on_training_end()

    def write(self) -> None:
        """Write a checkpoint now."""
        self._last_save = self.model.num_timesteps
        texts = {CONTINUATION: self._last_noted or self._note()}
        path = write_checkpoint(self.model, self.run, self.env_name, texts)
        if self.model.verbose > 0:
            print(f"Checkpoint at {counted(self.model.num_timesteps, 'step')}: {path}")

    def _note(self) -> str:
        """Return the state of the run beside the model."""
        assert self.model.env is not None
        try:
            monitors = positions(self.model.env, self.run)
        # The environments' processes were killed
        except (EOFError, OSError):
            monitors = []
        noted = {"monitors": monitors, "random_actions": generator_state(self.model), "ends": self.ends}
        return json.dumps(noted, indent=1) + "\n"
