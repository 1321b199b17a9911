"""Every example runs, and the README's Python example too."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_supervised_layer_beats_the_frozen_control(seed: int) -> None:
    """Accuracy without any classical link, PreDNN trained against PreDNN frozen: a margin of at least 0.1 at every seed."""
    import supervised

    assert supervised.train(seed, frozen=False) >= supervised.train(seed, frozen=True) + 0.1


def test_both_processes_of_the_dask_cluster_take_part() -> None:
    """The bits of a cluster are those of one process, and nearly those without noise."""
    import dask_cluster

    jobs, same, difference = dask_cluster.run(rows=8, shots=200, max_job_size=1)
    assert len(jobs) == 2 and min(jobs.values()) >= 1 and sum(jobs.values()) == 16
    assert same and 0 < difference < 0.1


def test_python_example_of_the_readme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is written for a minute; here it is stopped after some updates."""
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "example.py"
    assert "learn(8_000" in code
    script.write_text(code.replace("learn(8_000", "learn(700"))
    runpy.run_path(str(script))
