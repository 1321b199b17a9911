"""
Monitor files of continued runs, which read as if the run had not been interrupted.

A checkpoint records the position in the files. A continuation removes later rows, adds a row with ``True`` in the column
``cut`` for the episode that the interruption cut, and continues ``t`` from the checkpoint. So lengths add up to the steps of
the training, and times rise. ``t`` does not include pauses.
"""

import csv
import io
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import replacing

#: column that marks episodes cut by an interruption
CUT = "cut"


@dataclass
class Position:
    """
    Position in an environment's monitor file.

    :param rows: episodes in the file
    :param t: seconds of training
    :param r: rewards of the episode so far
    :param l: steps of the episode so far
    """

    rows: int
    t: float
    r: float
    l: int  # noqa: E741


def monitor_file(run: Path, index: int) -> Path:
    """
    Return an environment's monitor file.

    :param run: the run's folder
    :param index: index of the environment
    :return: its monitor file
    """
    return run / f"{index}.{Monitor.EXT}"


def positions(env: VecEnv, run: Path) -> list[dict[str, Any]]:
    """
    Record the positions in the monitor files, for a checkpoint.

    :param env: environments of the training, each in a ``Monitor``
    :param run: the run's folder
    :return: a :class:`Position` for every environment, as plain data
    """
    now = time.time()
    noted = []
    for index, (start, rewards) in enumerate(zip(env.get_attr("t_start"), env.get_attr("rewards"), strict=True)):
        rows = len(_lines(monitor_file(run, index))[2:])
        noted.append(asdict(Position(rows, round(now - start, 6), round(sum(rewards), 6), len(rewards))))
    return noted


def _lines(path: Path) -> list[str]:
    """Read the lines of a file; none if it does not exist."""
    return path.read_text(errors="replace").splitlines(keepends=True) if path.is_file() else []


def _read(path: Path, n_rows: int | None) -> tuple[dict[str, Any], list[str], list[list[str]], str | None]:
    """Read header, column names and rows of a monitor file, and find what is wrong with it."""
    header: dict[str, Any] = {}
    names: list[str] = []
    rows: list[list[str]] = []
    if not path.is_file():
        return header, names, rows, "is missing"
    lines = _lines(path)
    problem = None if n_rows is None or n_rows <= len(lines) - 2 else "ends before the checkpoint"
    try:
        header = json.loads(lines[0].removeprefix("#"))
        float(header["t_start"])
        names = next(csv.reader(lines[1:2]))
        if names[:3] != ["r", "l", "t"]:
            raise ValueError
    except (LookupError, StopIteration, TypeError, ValueError, csv.Error):
        return {}, [], rows, "has no header"
    for line in lines[2:][:n_rows]:
        try:
            row = next(csv.reader([line]))
            float(row[0]), int(row[1]), float(row[2])
            if not line.endswith("\n") or len(row) > len(names):
                raise ValueError
        except (LookupError, StopIteration, ValueError, csv.Error):  # csv.Error: a NUL, before Python 3.11
            problem = "has damaged rows"
        else:
            rows.append(row)
    return header, names, rows, problem


def rewind(
    run: Path, env_id: str, n_envs: int, steps: int, noted: Sequence[dict[str, Any]], extra_keys: Sequence[str]
) -> list[float]:
    """
    Rewind the monitor files to a checkpoint, and mark the episodes that were cut there. Unreadable parts are left out, with a
    warning that names the file.

    :param run: the run's folder
    :param env_id: for the header of a file that has none
    :param n_envs: number of environments
    :param steps: steps of all environments together at the checkpoint
    :param noted: the positions of :func:`positions`; if empty, the rows are counted
    :param extra_keys: columns after ``r,l,t`` of a file that has no header
    :return: seconds of training at the checkpoint, of every environment
    """
    seconds = []
    for index in range(n_envs):
        path = monitor_file(run, index)
        position = Position(**noted[index]) if index < len(noted) else None
        header, names, rows, problem = _read(path, None if position is None else position.rows)
        if problem is not None:
            warnings.warn(
                f"{path} {problem}: {counted(len(rows), 'episode of it is', 'episodes of it are')} kept", stacklevel=2
            )
        if position is None:
            done, kept = 0, []
            for row in rows:
                done += int(row[1])
                if done <= steps // n_envs:
                    kept.append(row)
            rows = kept
            position = Position(0, max((float(row[2]) for row in rows), default=0.0), 0.0, 0)
        header = header or {"t_start": time.time() - position.t, "env_id": env_id}
        names = names or ["r", "l", "t", *extra_keys]
        if position.l > 0:
            if CUT not in names:
                names = [*names, CUT]
            values = {"r": position.r, "l": position.l, "t": position.t, CUT: True}
            rows.append([str(values.get(name, "")) for name in names])
        text = io.StringIO()
        text.write(f"#{json.dumps(header)}\n")
        csv.writer(text, lineterminator="\n").writerows([names, *rows])
        with replacing(path) as partial:
            partial.write_text(text.getvalue())
        seconds.append(position.t)
    return seconds


def go_on(env: VecEnv, seconds: Sequence[float]) -> None:
    """
    Let ``t`` of further rows continue from the checkpoint.

    :param env: environments of the training, each in a ``Monitor``
    :param seconds: return value of :func:`rewind`
    """
    now = time.time()
    for index, second in enumerate(seconds):
        # Not set_attr, which would set it on the outermost wrapper
        env.env_method("set_wrapper_attr", "t_start", now - second, indices=[index])
