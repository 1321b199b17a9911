"""A study's folder: its cells, which of them are void, and the version of the file under which each was started."""

from dataclasses import dataclass, field
from pathlib import Path

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import write_text
from sb3_quantum.study.cell import Cell, DamagedCellError, folder_of, put_aside, read_cell
from sb3_quantum.study.file import parse_study
from sb3_quantum.study.spec import Arm, Comparison, Study, StudyError
from sb3_quantum.zoo.runs import Lock, RunLockedError

#: folder of the file's versions under which cells were started, ``<hash>.yml``
FORMS = "forms"


@dataclass
class Found:
    """
    Contents of a study's folder.

    :param cells: cells of the current study, by arm and seed
    :param void: cells that were started with other settings, and the differences
    :param damaged: a sentence for each damaged cell
    """

    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    void: list[tuple[Cell, list[str]]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def complete(self, arm: str) -> list[Cell]:
        """
        Return the complete cells of an arm.

        :param arm: an arm's name
        :return: the cells by seed
        """
        mine = [cell for (name, _), cell in self.cells.items() if name == arm and cell.status == "complete"]
        return sorted(mine, key=lambda cell: cell.seed)

    def sentences(self) -> list[str]:
        """
        Describe void and damaged cells.

        :return: a sentence for each, with the reason
        """
        void = [f"cell {cell.label} is void: {'; '.join(changes[:3])}" for cell, changes in self.void]
        return void + self.damaged


def find(study: Study, out: Path) -> Found:
    """
    Read a study's folder.

    :param study: the study in its current form
    :param out: the study's folder
    :return: its contents
    """
    found = Found()
    for path in sorted(out.glob("*/*/cell.json")):
        if not path.parent.name.isdigit():
            # Put aside
            continue
        try:
            cell = read_cell(path.parent)
        except DamagedCellError as error:
            found.damaged.append(str(error))
            continue
        changes = cell.changes(study)
        if changes:
            found.void.append((cell, changes))
        else:
            found.cells[cell.arm, cell.seed] = cell
    return found


def keep_form(study: Study, out: Path) -> Path:
    """
    Keep a copy of the current file beside the cells.

    :param study: the study
    :param out: the study's folder
    :return: the copy
    :raises StudyError: if the folder is another study's
    """
    folder = out / FORMS
    path = folder / f"{study.hash}.yml"
    whole = False
    for other in sorted(folder.glob("*.yml")):
        form = read_form(other)
        if form is not None and form.name != study.name:
            raise StudyError(f"{out} holds the study {form.name!r}, not {study.name!r}; --out names another folder")
        whole = whole or (form is not None and other == path)
    if not whole:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, study.text)
    return path


def read_form(path: Path) -> Study | None:
    """
    Read a version of a study's file.

    :param path: the file
    :return: the study as it was then; ``None`` if the file is missing or damaged
    """
    try:
        form = parse_study(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError, StudyError):
        return None
    return form if form.hash == path.stem else None


def check_void(study: Study, out: Path, cells: list[tuple[Arm, int]], renew: bool) -> None:
    """
    Refuse to run cells that are void, unless they are to be put aside. Void cells that are not asked for stay where they are,
    and are named.

    :param study: the study in its current form
    :param out: the study's folder
    :param cells: arm and seed of the cells that are asked for
    :param renew: whether to put void cells aside, so that they restart
    :raises StudyError: if a cell is void, or one that is to be put aside is in training; the message names it and the reason
    """
    asked = {(arm.name, seed) for arm, seed in cells}
    # Cells of removed arms and seeds do not matter
    planned = {(arm.name, seed) for arm, seed in study.cells()}
    everything = [(cell, changes) for cell, changes in find(study, out).void if (cell.arm, cell.seed) in planned]
    void = [(cell, changes) for cell, changes in everything if (cell.arm, cell.seed) in asked]
    others = [(cell, changes) for cell, changes in everything if (cell.arm, cell.seed) not in asked]
    if void and not renew:
        raise StudyError(
            f"the study was changed after it had started, and {_which(void)}. Undo the change, name another folder (--out), "
            "or put the void cells aside and start them again (--renew)"
        )
    for cell, _ in void:
        folder = folder_of(out, cell.arm, cell.seed)
        try:
            lock = Lock(folder)
        except RunLockedError as error:
            raise StudyError(f"cell {cell.label} is void, but {str(error).partition(';')[0]}: end it first") from error
        print(f"cell {cell.label} is void and now {put_aside(folder, 'void')}", flush=True)
        lock.release()
    if others:
        print(f"the study was changed after it had started, and {_which(others)}; not asked for, so left alone", flush=True)


def _which(void: list[tuple[Cell, list[str]]]) -> str:
    """Name void cells, with the first one's reason."""
    names = ", ".join(cell.label for cell, _ in void[:6]) + (f" and {len(void) - 6} more" if len(void) > 6 else "")
    return f"{counted(len(void), 'cell of it is', 'cells of it are')} void: {names} ({void[0][1][0]})"


def stated_beforehand(comparison: Comparison, cells: list[Cell], out: Path | None) -> str:
    """
    Tell whether a comparison was in the file when its cells were started.

    :param comparison: a comparison of the current study
    :param cells: cells of its two arms
    :param out: the study's folder
    :return: empty if it was, otherwise a remark for the report
    """
    if any(cell.manifest.get("taken_over") for cell in cells):
        return "some of its runs are older than this file"
    for form in sorted({cell.manifest["study_hash"] for cell in cells}):
        known = None if out is None else read_form(out / FORMS / f"{form}.yml")
        if known is None:
            return "the file under which its cells were started no longer exists"
        if (comparison.tested, comparison.against) not in [(each.tested, each.against) for each in known.comparisons]:
            return "it was added after some of its cells were started"
    return ""
