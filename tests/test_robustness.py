import json
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_quantum.robustness import evaluate, main, plot, settings
from tests.qtd3.test_train import pendulum


def test_settings() -> None:
    compared = settings(50, [0.01], ["FakeTorino"])
    assert list(compared) == ["exact", "50 shots", "p = 0.01", "FakeTorino"]
    assert compared["p = 0.01"] == ("aer", {"shots": 50, "noise": {"depolarizing": {"r": 0.01, "cz": 0.01}}})


def test_same_seeds_same_returns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2})
    compared = settings(4, [0.05], [])
    del compared["4 shots"]
    first = evaluate(model, "Pendulum-v1", compared, ["mean"], 2, 7)
    second = evaluate(model, "Pendulum-v1", compared, ["mean"], 2, 7)
    third = evaluate(model, "Pendulum-v1", {"exact": compared["exact"]}, ["sample", "mean"], 2, 7)
    assert [row["returns"] for row in first] == [row["returns"] for row in second] and third[1]["returns"] == first[0][
        "returns"
    ]
    assert len({tuple(row["returns"]) for row in [*first, *third]}) == 3
    assert capsys.readouterr().out.count("      400 ") == 6  # circuits of two episodes of 200 steps
    plot(first + third, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2}).save("model")
    pendulum(policy_kwargs={"block": "zeros"}).save("classical")
    common = ["--env", "Pendulum-v1", "--episodes", "1", "--shots", "2", "--depolarizing", "0.1", "--readouts", "mean"]
    command = [
        sys.executable,
        "-m",
        "sb3_quantum.robustness",
        "model.zip",
        *common,
        "--json",
        "rows.json",
        "--plot",
        "plot.png",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(Path("rows.json").read_text())
    assert [row["label"] for row in rows] == ["exact", "2 shots", "p = 0.1"] and Path("plot.png").exists()
    for arguments, message in (
        (["classical.zip", *common], "classical.zip has no circuit"),
        (["missing.zip", *common], "missing.zip"),
        (["model.zip", *common, "--env", "Pendulum-v99"], "Pendulum"),
        (["model.zip", *common, "--shots", "0"], "shots must be an integer >= 1, got 0"),
        (["model.zip", *common, "--depolarizing", "2"], "2"),
    ):
        monkeypatch.setattr(sys, "argv", ["robustness", *arguments])
        with pytest.raises(SystemExit) as failed:
            main()
        assert str(failed.value).startswith("error: ") and message in str(failed.value)
