"""Progress of a study, and its expected end."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from sb3_quantum.circuits.wording import counted
from sb3_quantum.study.cell import PROGRESS, Cell, folder_of

#: an arm's name and a seed
Key = tuple[str, int]


def part_done(folder: Path) -> float:
    """
    Return the share of a cell's training that is done.

    :param folder: folder of a running cell
    :return: the share that the cell reports
    """
    try:
        return float(json.loads((folder / PROGRESS).read_text())["done"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def duration(minutes: float) -> str:
    """
    Format a duration.

    :param minutes: the duration in minutes
    :return: the duration in words
    """
    if minutes < 1:
        return f"{max(minutes, 0) * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


class Progress:
    """
    Progress line, printed whenever a cell starts or ends, and at intervals.

    :param out: the study's folder
    :param complete: cells that are complete already
    :param waiting: cells that will run
    :param workers: number of parallel workers
    :param every: seconds between two lines when nothing changes
    """

    def __init__(self, out: Path, complete: Iterable[Cell], waiting: Iterable[Key], workers: int, every: float = 30.0):
        self.out, self.workers, self.every = out, workers, every
        self.waiting = list(waiting)
        #: for every running cell, when it started here and how much of it was done then
        self.running: dict[Key, tuple[float, float]] = {}
        self._minutes: dict[str, list[float]] = {}
        self.n_done = self.n_failed = 0
        for cell in complete:
            self.n_done += 1
            self._learn(cell)
        self._total = self.n_done + len(self.waiting)
        self._last = 0.0

    def _learn(self, cell: Cell) -> None:
        if cell.manifest.get("wall_minutes"):
            self._minutes.setdefault(cell.arm, []).append(cell.manifest["wall_minutes"])

    def begin(self, key: Key) -> None:
        """
        Record the start of a cell.

        :param key: the cell's key
        """
        self.waiting.remove(key)
        self.running[key] = (time.monotonic(), part_done(folder_of(self.out, *key)))
        self.show()

    def end(self, key: Key, cell: Cell | None) -> None:
        """
        Record the end of a cell.

        :param key: the cell's key
        :param cell: the cell; ``None`` if there is none
        """
        self.running.pop(key, None)
        self.n_done += 1
        if cell is None or cell.status == "failed":
            self.n_failed += 1
        else:
            self._learn(cell)
        self.show()

    def _pace(self) -> dict[str, float]:
        """Estimate the minutes of a whole cell for every arm with data."""
        pace = {arm: sum(minutes) / len(minutes) for arm, minutes in self._minutes.items()}
        for (arm, seed), (began, before) in self.running.items():
            part = part_done(folder_of(self.out, arm, seed)) - before
            if arm not in pace and part > 0.01:
                pace[arm] = (time.monotonic() - began) / 60 / part
        return pace

    def minutes_left(self) -> float | None:
        """
        Estimate the remaining time.

        :return: minutes, from the cells so far; ``None`` without data
        """
        pace = self._pace()
        if not pace:
            return None
        other = sum(pace.values()) / len(pace)
        left = sum(pace.get(arm, other) for arm, _ in self.waiting)
        for arm, seed in self.running:
            left += pace.get(arm, other) * (1 - part_done(folder_of(self.out, arm, seed)))
        return left / max(1, min(self.workers, len(self.waiting) + len(self.running)))

    def show(self) -> None:
        """Print the line."""
        self._last = time.monotonic()
        minutes = self.minutes_left()
        parts = [f"{self.n_done} of {counted(self._total, 'cell')}"]
        if self.n_failed:
            parts.append(f"{self.n_failed} failed")
        running = [f"{arm} {seed} {part_done(folder_of(self.out, arm, seed)):.0%}" for arm, seed in self.running]
        if running:
            parts.append("running: " + ", ".join(running[:8]) + (", ..." if len(running) > 8 else ""))
        if (self.waiting or self.running) and minutes is not None:
            parts.append(f"about {duration(minutes)} left")
        print("; ".join(parts), flush=True)

    def tick(self) -> None:
        """Print the line if some time has passed."""
        if time.monotonic() - self._last > self.every:
            self.show()
