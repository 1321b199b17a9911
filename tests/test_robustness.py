import json
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_quantum.robustness import evaluate, plot, settings
from tests.qtd3.test_train import pendulum


def test_settings() -> None:
    compared = settings(50, [0.01], ["FakeTorino"])
    assert list(compared) == ["exact", "50 shots", "p = 0.01", "FakeTorino"]
    assert compared["p = 0.01"] == ("aer", {"shots": 50, "noise": {"depolarizing": {"r": 0.01, "cz": 0.01}}})


def test_same_seeds_same_returns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2})
    compared = settings(4, [0.05], [])
    first, second = (evaluate(model, "Pendulum-v1", compared, ["sample", "mean"], 2, 7) for _ in range(2))
    assert [row["returns"] for row in first] == [row["returns"] for row in second]
    assert len(first) == 6 and len({tuple(row["returns"]) for row in first}) == 6
    assert capsys.readouterr().out.count("       400 ") == 12  # circuits of two episodes of 200 steps
    plot(first, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_command(tmp_path: Path) -> None:
    pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2}).save(tmp_path / "model")
    pendulum(policy_kwargs={"block": "zeros"}).save(tmp_path / "classical")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sb3_quantum.robustness", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)

    common = ["--env", "Pendulum-v1", "--episodes", "1", "--shots", "2", "--depolarizing", "0.1", "--readouts", "mean"]
    done = run("model.zip", *common, "--json", "rows.json", "--plot", "plot.png")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["label"] for row in rows] == ["exact", "2 shots", "p = 0.1"] and (tmp_path / "plot.png").exists()
    for arguments, message in (
        (["classical.zip", *common], "has no circuit"),
        (["missing.zip", *common], "missing.zip"),
        (["model.zip", *common, "--depolarizing", "2"], "2"),
    ):
        failed = run(*arguments)
        assert failed.returncode != 0 and message in failed.stderr and "Traceback" not in failed.stderr, failed.stderr
