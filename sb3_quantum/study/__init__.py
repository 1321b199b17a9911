"""Studies: arms, seeds and comparisons in one file, their cells, and a verdict from the numbers."""

from sb3_quantum.study.cell import Cell, read_cell
from sb3_quantum.study.file import parse_study, read_study
from sb3_quantum.study.models import make_model
from sb3_quantum.study.spec import Arm, Comparison, Study, StudyError

__all__ = ["Arm", "Cell", "Comparison", "Study", "StudyError", "make_model", "parse_study", "read_cell", "read_study"]
