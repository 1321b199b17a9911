"""A cell: one arm with one seed, with its settings and results in one folder."""

import csv
import io
import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.common.durable import write_text
from sb3_quantum.study.spec import Arm, Study, hash_of

#: ``running`` cells were started and may be continued; a limit of their backend ended ``budget`` cells
STATUSES = ("running", "complete", "budget", "failed")
MANIFEST, CURVE, EVALUATION, PROGRESS = "cell.json", "curve.csv", "evaluation.json", "progress.json"
#: columns of a curve. ``return`` and ``worst`` belong to the deployed weights, ``own_return`` to the weights that learn if
#: others are deployed, ``training_return`` to the last 100 training episodes
COLUMNS = ("steps", "updates", "cpu_minutes", "return", "worst", "own_return", "training_return")


class DamagedCellError(RuntimeError):
    """A cell's files are damaged. The message names the file."""


def identity(study: Study, arm: Arm, seed: int) -> dict[str, Any]:
    """
    Return everything that determines a cell's results, as plain data.

    :param study: the study
    :param arm: one of its arms
    :param seed: seed of the cell
    :return: values under the names of a cell's manifest
    """
    everything = {
        "study": study.name,
        "arm": arm.name,
        "seed": seed,
        "environment": asdict(study.environment_of(arm)),
        "settings": arm.settings,
        "budget": asdict(arm.budget),
        "evaluation": asdict(study.evaluation),
    }
    return json.loads(json.dumps(everything))


def differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """
    List how two sets of plain data differ.

    :param theirs: plain data of a cell
    :param ours: plain data of the current study
    :param name: their name, as a prefix
    :return: a clause for every different value, e.g. ``settings.gamma was 0.98 and is 0.99``
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        found = []
        for key in sorted({*theirs, *ours}):
            inner = f"{name}.{key}" if name else key
            if key not in ours:
                found.append(f"{inner} was {json.dumps(theirs[key])} and is not given")
            elif key not in theirs:
                found.append(f"{inner} was not given and is {json.dumps(ours[key])}")
            else:
                found += differences(theirs[key], ours[key], inner)
        return found
    return [] if theirs == ours else [f"{name} was {json.dumps(theirs)} and is {json.dumps(ours)}"]


@dataclass
class Cell:
    """
    A cell of a study: one arm with one seed, as its files describe it.

    :param manifest: contents of ``cell.json``
    :param curve: rows of its evaluations in training, by column
    :param evaluation: contents of ``evaluation.json``; empty before the evaluation
    :param folder: its folder; ``None`` for a cell of a packed file
    """

    manifest: dict[str, Any]
    curve: dict[str, np.ndarray] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def status(self) -> str:
        """One of :data:`STATUSES`."""
        return self.manifest["status"]

    @property
    def arm(self) -> str:
        """The arm's name."""
        return self.manifest["arm"]

    @property
    def seed(self) -> int:
        """The cell's seed."""
        return self.manifest["seed"]

    @property
    def label(self) -> str:
        """The cell's name in messages."""
        return f"{self.arm} seed {self.seed}"

    @property
    def returns(self) -> np.ndarray:
        """Returns of the evaluation's episodes, ``(episodes,)``."""
        return np.array(self.evaluation["returns"], dtype=float)

    def changes(self, study: Study) -> list[str]:
        """
        List what changed in the study since this cell was started.

        :param study: the study in its current form
        :return: a clause for every change
        """
        arm = next((arm for arm in study.arms if arm.name == self.arm), None)
        if arm is None:
            return ["the arm no longer exists"]
        if self.seed not in arm.seeds:
            return [f"seed {self.seed} is no longer one of the arm's"]
        ours = identity(study, arm, self.seed)
        return differences({key: self.manifest.get(key) for key in ours}, ours)


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """
    Return a cell's folder.

    :param out: the study's folder
    :param arm: name of an arm
    :param seed: a seed
    :return: the cell's folder
    """
    return out / arm / str(seed)


def begin(folder: Path, study: Study, arm: Arm, seed: int) -> Cell:
    """
    Write a new cell's manifest.

    :param folder: folder of the cell
    :param study: the study
    :param arm: one of its arms
    :param seed: seed of the cell
    :return: the cell
    """
    manifest = {**identity(study, arm, seed), "study_hash": study.hash, "status": "running", "pieces": 0}
    manifest["hash"] = hash_of(identity(study, arm, seed))
    cell = Cell(manifest, folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    update(cell)
    return cell


def update(cell: Cell, **values: Any) -> None:
    """
    Change a cell's manifest, in memory and on the disk.

    :param cell: the cell
    :param values: by key
    """
    assert cell.folder is not None
    cell.manifest.update(values)
    write_text(cell.folder / MANIFEST, json.dumps(cell.manifest, indent=1) + "\n")


def finish(cell: Cell, status: str, **values: Any) -> None:
    """
    Record the end of a cell with checksums of its files, and remove files that it no longer needs.

    :param cell: the cell
    :param status: ``complete`` or ``budget``
    :param values: further values of the manifest
    """
    assert cell.folder is not None
    update(cell, status=status, checksums=_checksums(cell.folder), **values)
    for path in (*cell.folder.glob("checkpoint-*"), cell.folder / "rows"):
        shutil.rmtree(path, ignore_errors=True)
    (cell.folder / PROGRESS).unlink(missing_ok=True)


def _checksums(folder: Path) -> dict[str, int]:
    return {name: zlib.crc32((folder / name).read_bytes()) for name in (CURVE, EVALUATION) if (folder / name).is_file()}


@keywords_checked({})
def read_cell(folder: str | Path) -> Cell:
    """
    Read a cell from its folder.

    :param folder: folder of a cell
    :return: the cell
    :raises FileNotFoundError: if it was not started
    :raises DamagedCellError: if a file is missing or damaged; the message names it
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        assert manifest["status"] in STATUSES and isinstance(manifest["seed"], int) and isinstance(manifest["arm"], str)
    except FileNotFoundError:
        raise
    # A damaged file may raise anything
    except Exception as error:
        raise DamagedCellError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    cell = Cell(manifest, folder=folder)
    for name, checksum in manifest.get("checksums", {}).items():
        path = folder / name
        try:
            if zlib.crc32(path.read_bytes()) != checksum:
                raise DamagedCellError(f"{path} is damaged: it does not have the checksum that was saved")
        except OSError as error:
            raise DamagedCellError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if (folder / CURVE).is_file():
            cell.curve = read_curve((folder / CURVE).read_text())
        if cell.status == "complete":
            cell.evaluation = json.loads((folder / EVALUATION).read_text())
            assert len(cell.returns) > 0
    except Exception as error:
        raise DamagedCellError(f"{path.parent} is damaged: {type(error).__name__}: {error}") from error
    return cell


def put_aside(folder: Path, word: str) -> Path:
    """
    Rename a cell's folder, so that the cell can restart and nothing is lost.

    :param folder: folder of the cell
    :param word: the reason, ``damaged`` or ``void``
    :return: the new path
    """
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{word}-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """
    Write a curve.

    :param path: the CSV file
    :param rows: rows of an evaluation each
    """
    write_text(path, curve_text(rows))


def curve_text(rows: list[dict[str, float]]) -> str:
    """
    Format a curve as CSV.

    :param rows: one row per evaluation, with the columns of :data:`COLUMNS`
    :return: the text of the CSV file
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def read_curve(text: str) -> dict[str, np.ndarray]:
    """
    Parse a curve.

    :param text: the text of the CSV file
    :return: its columns; missing values are NaN
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in COLUMNS}
