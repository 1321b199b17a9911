"""Packed studies: all complete cells in one small file, for publication and for use elsewhere."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import replacing, write_text
from sb3_quantum.study.cell import (
    COLUMNS,
    CURVE,
    EVALUATION,
    Cell,
    DamagedCellError,
    curve_text,
    finish,
    folder_of,
    read_cell,
    update,
)
from sb3_quantum.study.folder import Found, find, keep_form
from sb3_quantum.study.spec import Study, StudyError


def pack(study: Study, out: Path, path: Path) -> int:
    """
    Pack the complete cells of a study.

    :param study: the study
    :param out: the study's folder
    :param path: the packed file, ``.json.gz``
    :return: number of cells in it
    :raises StudyError: if there are none
    """
    found = find(study, out)
    cells = [cell for arm in study.arms for cell in found.complete(arm.name)]
    if not cells:
        raise StudyError(f"{out} has no complete cells of {study.name}")
    rows = [
        {
            "manifest": {key: value for key, value in cell.manifest.items() if key not in ("checksums", "error")},
            "curve": {name: [None if np.isnan(x) else float(x) for x in values] for name, values in cell.curve.items()},
            "evaluation": cell.evaluation,
        }
        for cell in cells
    ]
    # Without a time stamp, so the same cells give the same bytes
    data = gzip.compress(json.dumps(rows, separators=(",", ":")).encode(), mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(data)
    return len(cells)


def unpack(path: Path) -> list[Cell]:
    """
    Read a packed file.

    :param path: the packed file
    :return: its cells
    :raises StudyError: if it is not one
    """
    try:
        rows: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
        cells = []
        for row in rows:
            curve = {
                name: np.array([np.nan if x is None else x for x in values], dtype=float)
                for name, values in row["curve"].items()
            }
            cell = Cell(row["manifest"], curve, row["evaluation"])
            assert cell.status == "complete" and len(cell.returns) > 0 and cell.label
            cells.append(cell)
    # A damaged file may raise anything
    except Exception as error:
        raise StudyError(f"{path} is not a packed study: {type(error).__name__}: {error}") from error
    return cells


def found_in(study: Study, path: Path) -> Found:
    """
    Read a study's folder or a packed file.

    :param study: the study
    :param path: its folder, or a packed file
    :return: its contents
    :raises StudyError: if there is neither
    """
    if path.is_dir():
        return find(study, path)
    if not path.exists():
        raise StudyError(f"{path} does not exist: no cell of {study.name} has been run, or --out names another folder")
    found = Found()
    for cell in unpack(path):
        changes = cell.changes(study)
        if changes:
            found.void.append((cell, changes))
        else:
            found.cells[cell.arm, cell.seed] = cell
    return found


def take(study: Study, out: Path, path: Path) -> list[str]:
    """
    Copy the cells of a packed file into a study's folder. Existing cells stay.

    :param study: the study
    :param out: the study's folder
    :param path: the packed file
    :return: a sentence for every cell that was not copied, and one for all that were
    """
    keep_form(study, out)
    sentences, taken = [], 0
    found = found_in(study, path)
    for cell in found.cells.values():
        if put(out, cell, str(path.name)):
            taken += 1
        else:
            sentences.append(f"{cell.label} is there already")
    return [*sentences, *found.sentences(), f"{counted(taken, 'cell was', 'cells were')} taken over from {path}"]


def put(out: Path, cell: Cell, source: str) -> bool:
    """
    Write a complete cell from elsewhere into a study's folder.

    :param out: the study's folder
    :param cell: the cell
    :param source: its origin, for its manifest
    :return: whether the cell was new
    """
    folder = folder_of(out, cell.arm, cell.seed)
    try:
        read_cell(folder)
        return False
    except DamagedCellError:
        return False
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {name: float(cell.curve[name][i]) for name in COLUMNS if name in cell.curve}
        for i in range(len(cell.curve.get("steps", ())))
    ]
    write_text(folder / CURVE, curve_text(rows))
    write_text(folder / EVALUATION, json.dumps(cell.evaluation) + "\n")
    written = Cell(
        {**cell.manifest, "status": "running", "taken_over": cell.manifest.get("taken_over") or source}, folder=folder
    )
    update(written)
    finish(written, "complete")
    return True
