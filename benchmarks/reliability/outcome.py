"""What every part of the reliability checks returns."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """
    :param cases: number of cases tried
    :param failures: one sentence per case that went wrong; none is what we want
    :param figures: what was measured, by name (units in the name: ``peak_mb``, ``seconds``)
    :param skipped: why nothing was tried, e.g. because it takes root
    """

    cases: int = 0
    failures: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None
