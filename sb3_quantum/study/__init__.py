"""Studies: arms, seeds and comparisons in one file, run cell by cell, with verdicts from the results."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_quantum.study.cell import Cell, read_cell
    from sb3_quantum.study.file import parse_study, read_study
    from sb3_quantum.study.models import make_model
    from sb3_quantum.study.spec import Arm, Comparison, Study, StudyError

# Imported on first use: a cluster's workers need none of it
_HOMES = {
    "Arm": "spec",
    "Cell": "cell",
    "Comparison": "spec",
    "Study": "spec",
    "StudyError": "spec",
    "make_model": "models",
    "parse_study": "file",
    "read_cell": "cell",
    "read_study": "file",
}

__all__ = ["Arm", "Cell", "Comparison", "Study", "StudyError", "make_model", "parse_study", "read_cell", "read_study"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"sb3_quantum.study.{_HOMES[name]}"), name)
