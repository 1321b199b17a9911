"""What an update asks a GPU to do, counted on torch's meta device (benchmarks/launches.py)."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu

pytest.importorskip("triton")


def test_launches_copies_and_waits_of_an_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """150 launches at most, one copy, and nobody waits for the device."""
    gpu.main(["--quick", "--json", str(tmp_path / "gpu.json")])
    printed, figures = capsys.readouterr().out, json.loads((tmp_path / "gpu.json").read_text())
    counted = figures["counted"]
    assert 750 < counted["qtd3, torch"]["launches"] < 900
    assert counted["qtd3"]["launches"] <= 150
    assert counted["bricks"]["launches"] <= 200 and counted["bricks, torch"]["launches"] > 20_000
    assert counted["qtd3"]["copies"] == 1 and counted["qtd3"]["waits"] == 0 < counted["td3"]["waits"]
    assert {"kernel _features", "kernel _gradient", "kernel _encode"} <= set(counted["qtd3"]["kernels"])
    assert counted["qtd3"]["by_part"].keys() == {"batch", "fit", "critics", "actor", "targets"}
    assert ("There is no GPU here: nothing was measured" in printed) == ("gpu" not in figures)
