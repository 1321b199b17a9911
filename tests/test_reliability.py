"""The quick forms of ``make reliability``; docs/reliability.md has the last figures of the full ones."""

import pytest

from benchmarks.reliability.__main__ import PARTS, run_part


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.slow] * (part == "soak")) for part in PARTS])
def test_quick_form(part: str):
    outcome, _ = run_part(part, quick=True)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.cases > 0 and outcome.failures == []
