"""Every block of Python in the manual runs, page by page from top to bottom, in fewer steps than it is written for."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import BACKENDS
from sb3_quantum.circuits import CIRCUITS
from sb3_quantum.layers import BLOCKS, ENCODINGS
from sb3_quantum.priors import PRIORS
from sb3_quantum.qtd3.critics import CRITICS

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"(?P<note><!-- not run: [^>]+ -->\n+)?^```python\n(?P<code>.*?)^```", re.S | re.M)
#: steps that a training is cut to: some updates at the default ``learning_starts``
STEPS = 105


def blocks(page: Path) -> list[tuple[str, bool]]:
    """Code, and whether it can be run here: a page says where it cannot, and what lies in logs/ was made by others."""
    found = FENCE.finditer(page.read_text())
    return [(match["code"], not match["note"] and '"logs/' not in match["code"]) for match in found]


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if blocks(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = QuantumTD3.learn

    def learn(model: QuantumTD3, total_timesteps: int, *args: Any, **kwargs: Any) -> QuantumTD3:
        return original(model, min(total_timesteps, STEPS), *args, **kwargs)

    monkeypatch.setattr(QuantumTD3, "learn", learn)
    monkeypatch.setattr(gym.spec("Pendulum-v1"), "max_episode_steps", 20)
    monkeypatch.chdir(tmp_path)
    # Classes of a page are pickled by name
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    with ExitStack() as stack:
        # What a page registers is not there for the tests after it
        for registry in (BACKENDS, BLOCKS, CIRCUITS, CRITICS, ENCODINGS, PRIORS):
            stack.enter_context(patch.dict(registry))
        for number, (code, runs) in enumerate(blocks(page)):
            compiled = compile(code, f"{page.name}, block {number}", "exec")
            if runs:
                exec(compiled, vars(module))  # noqa: S102


def test_few_blocks_are_not_run() -> None:
    """With an account, a cluster or somebody else's files only."""
    left_out = [page.stem for page in PAGES for _, runs in blocks(page) if not runs]
    assert len(PAGES) >= 14 and sorted(left_out) == ["chips", "chips", "hub", "return_per_hour", "studies"]
