"""The clock of a training: budget, curve, checkpoints, and requests to stop."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_quantum.study.cell import CURVE, PROGRESS, curve_text, read_curve, write_curve
from sb3_quantum.study.spec import Budget, Evaluation
from sb3_quantum.zoo.checkpoints import write_checkpoint
from sb3_quantum.zoo.continuation import generator_state

#: file of a checkpoint with the clock and the state of the run beside the model
CLOCK = "clock.json"
#: seconds between two checks of the outside world
LOOK = 2.0


class Stopped(Exception):
    """The cell was asked to stop; its progress is on the disk."""


class Stop:
    """
    Requests to stop a cell: Ctrl-C, a termination signal, or the end of the process that started it.

    Outside :attr:`training`, where nothing is lost, a signal stops at once. A second signal always does.

    :param parent: process that the cell must not outlive, or ``None``
    """

    def __init__(self, parent: int | None = None):
        self.asked = False
        self.training = False
        self._parent = parent
        self._previous: dict[int, Any] = {}
        self._last_look = time.monotonic()

    def __enter__(self) -> "Stop":
        # Only the main thread may have signal handlers
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self.training:
            raise KeyboardInterrupt

    @property
    def has_parent(self) -> bool:
        """Whether there is a process that the cell must not outlive."""
        return self._parent is not None

    def look(self) -> bool:
        """
        Tell whether to stop; now and then this asks the operating system.
        """
        if self._parent is not None and time.monotonic() - self._last_look > LOOK:
            self._last_look = time.monotonic()
            self.asked = self.asked or os.getppid() != self._parent
        return self.asked


class Clock(BaseCallback):
    """
    Callback that ends a training with its budget, and evaluates and writes checkpoints on the way.

    CPU minutes are those of this process without evaluations and checkpoints, so pauses and other processes do not count.

    :param folder: the cell's folder
    :param budget: the training's budget
    :param evaluation: the study's evaluation
    :param evaluate: returns a point of the curve: ``return``, ``worst``, ``own_return``
    :param stop: whether to stop
    :param checkpoint_seconds: seconds between two checkpoints
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        evaluation: Evaluation,
        evaluate: Callable[[OffPolicyAlgorithm], dict[str, float]],
        stop: Stop,
        checkpoint_seconds: float,
    ):
        super().__init__()
        self.folder, self.budget, self.evaluation = folder, budget, evaluation
        self.evaluate, self.stop, self.checkpoint_seconds = evaluate, stop, checkpoint_seconds
        self.rows: list[dict[str, float]] = []
        #: rows of the replay buffer that the next row does not follow, from ``begin_episodes``
        self.ends: list[int] = []
        self._minutes = 0.0
        self._since: float | None = None
        self._last_checkpoint = self._last_progress = time.monotonic()

    def go_on(self, checkpoint: Path) -> dict[str, Any]:
        """
        Continue clock and curve from a checkpoint.

        :param checkpoint: folder of the checkpoint
        :return: the saved state of the run's random actions and replay buffer
        """
        noted = json.loads((checkpoint / CLOCK).read_text())
        self._minutes = noted["cpu_minutes"]
        columns = read_curve((checkpoint / CURVE).read_text())
        whole = ("steps", "updates")
        self.rows = [
            {name: (int if name in whole else float)(values[i]) for name, values in columns.items()}
            for i in range(len(columns["steps"]))
        ]
        return noted

    @property
    def minutes(self) -> float:
        """CPU minutes of training so far."""
        return self._minutes + (0.0 if self._since is None else (time.process_time() - self._since) / 60)

    @property
    def done(self) -> float:
        """Share of the budget spent so far."""
        spent = {"steps": self.model.num_timesteps, "updates": self.model._n_updates, "cpu_minutes": self.minutes}
        return spent[self.budget.unit] / self.budget.amount

    def _pause(self) -> None:
        self._minutes, self._since = self.minutes, None

    def _on_training_start(self) -> None:
        self._since = time.process_time()
        self.stop.training = True

    def _on_rollout_start(self) -> None:
        # Between two rollouts every transition is stored and every update is done; ending a training within a rollout would
        # drop its updates
        if self.stop.look():
            raise Stopped
        if self.done < 1 and self.done * self.evaluation.points >= len(self.rows) + 1:
            self.add_point()
        if time.monotonic() - self._last_checkpoint > self.checkpoint_seconds:
            self.write_checkpoint()

    def _on_step(self) -> bool:
        if time.monotonic() - self._last_progress > LOOK:
            self._last_progress = time.monotonic()
            self.note("training")
        # ``learn`` itself counts steps
        return self.budget.unit == "steps" or self.done < 1

    def _on_training_end(self) -> None:
        self.end()

    def end(self) -> None:
        """Stop the clock, also if ``learn`` did not end normally."""
        self._pause()
        self.stop.training = False

    def add_point(self) -> None:
        """Evaluate, with the clock stopped, and add a row to the curve."""
        running = self._since is not None
        self._pause()
        assert isinstance(self.model, OffPolicyAlgorithm)
        training = [info["r"] for info in self.model.ep_info_buffer or []]
        point = {
            "steps": self.model.num_timesteps,
            "updates": self.model._n_updates,
            "cpu_minutes": round(self.minutes, 4),
            **self.evaluate(self.model),
            "training_return": round(float(np.mean(training)), 2) if training else float("nan"),
        }
        self.rows.append(point)
        write_curve(self.folder / CURVE, self.rows)
        if running:
            self._since = time.process_time()

    def write_checkpoint(self) -> None:
        """Write model, replay buffer, normalizer, generators, clock and curve, with the clock stopped."""
        running = self._since is not None
        self._pause()
        noted = {"cpu_minutes": self.minutes, "random_actions": generator_state(self.model), "ends": self.ends}
        texts = {CLOCK: json.dumps(noted) + "\n", CURVE: curve_text(self.rows)}
        write_checkpoint(self.model, self.folder, "normalizer", texts)
        self._last_checkpoint = time.monotonic()
        if running:
            self._since = time.process_time()

    def note(self, phase: str) -> None:
        """
        Publish the cell's progress. Nothing depends on it, so the file is not synchronized.

        :param phase: ``training`` or ``evaluating``
        """
        path = self.folder / PROGRESS
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with suppress(OSError):
            partial.write_text(json.dumps({"phase": phase, "done": min(self.done, 1.0), "cpu_minutes": self.minutes}))
            partial.replace(path)
