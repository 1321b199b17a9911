"""The trained model in models/ loads, acts, and its figures are those of its card."""

import csv
import json
import textwrap
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from sb3_quantum.study import parse_study
from sb3_quantum.study.cell import update
from sb3_quantum.study.clock import Stop
from sb3_quantum.study.training import run_cell

FOLDER = Path(__file__).parents[1] / "models" / "qtd3-Humanoid-v4"


def test_figures_are_one_set() -> None:
    figures = json.loads((FOLDER / "results.json").read_text())
    card = (FOLDER / "README.md").read_text()
    assert f"**{figures['mean']:,.1f}**" in card and f"{figures['steps']:,} steps" in card
    assert figures["seeds"][str(figures["seed"])] == {"mean": figures["mean"], "cpu_minutes": figures["cpu_minutes"]}
    with (FOLDER / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if float(row["cpu_minutes"]) == figures["cpu_minutes"])
    # The clock is read between two steps of eight environments
    assert figures["steps"] - float(row["steps"]) in (0, 8) and float(row["updates"]) == figures["updates"]


def test_it_walks() -> None:
    """A hundred steps from a reset seed of its own: upright, and forward. An agent that cannot walk has fallen by then."""
    pytest.importorskip("mujoco")
    pytest.importorskip("safetensors")
    from sb3_quantum.hub import load_safe

    model = load_safe(FOLDER, buffer_size=1, device="cpu")
    assert model.num_timesteps == json.loads((FOLDER / "results.json").read_text())["steps"]
    assert model.policy.deployed_actor is model.policy.actor_average
    env = gym.make("Humanoid-v4")
    observation, _ = env.reset(seed=70_000)
    speeds = []
    for _ in range(100):
        observation, _, fallen, _, info = env.step(model.predict(observation, deterministic=True)[0])
        assert not fallen
        speeds.append(info["x_velocity"])
    assert np.mean(speeds) > 0.4


def test_how_it_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of the reward add up to the return, and its tanh is not saturated."""
    pytest.importorskip("mujoco")
    monkeypatch.syspath_prepend(str(FOLDER.parents[1] / "benchmarks"))
    import gait

    from sb3_quantum.hub import load_safe

    model = load_safe(FOLDER, buffer_size=1, device="cpu")
    found = gait.gait(model, "Humanoid-v4", seed=70_000, steps=100)
    assert found["steps"] == 100 and found["velocity"] > 0.4 and 0 < found["at_limits"] < 0.3
    assert found["reward_alive"] == pytest.approx(500)
    assert found["reward_linvel"] == pytest.approx(1.25 * 100 * found["velocity"], rel=1e-6) and found["reward_quadctrl"] < 0


def test_a_cell_becomes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(FOLDER.parents[1] / "benchmarks"))
    import shipped_model

    kwargs = "{n_qubits: 3, n_layers: 2, net_arch: [16, 16], readout: mean, actor_average_tau: 0.1}"
    text = f"""
        name: small
        environment: Pendulum-v1
        budget: {{steps: 40}}
        seeds: [3]
        base: {{learning_starts: 8, batch_size: 8, policy_kwargs: {kwargs}}}
        arms: {{tiny: {{}}}}
        evaluation: {{episodes: 1, points: 2, point_episodes: 1}}
    """
    study = parse_study(textwrap.dedent(text))
    cell = run_cell(study, study.arm("tiny"), 3, tmp_path, Stop())
    assert cell.status == "complete"
    monkeypatch.setattr(shipped_model, "EPISODES_REPLACED", 1)
    arguments = ["shipped_model.py", str(tmp_path / "tiny" / "3")]
    arguments += ["--env", "Pendulum-v1", "--episodes", "2", "--out", str(tmp_path / "out"), "--note", "A small one."]
    monkeypatch.setattr("sys.argv", arguments)
    shipped_model.main()
    figures = json.loads((tmp_path / "out" / "results.json").read_text())
    assert figures["steps"] == 40 and figures["updates"] == 32 and set(figures["replaced"]) == set(shipped_model.REPLACED)
    assert figures["seeds"] == {"3": {"mean": figures["mean"], "cpu_minutes": figures["cpu_minutes"]}}
    assert (tmp_path / "out" / "curve.csv").read_text() == (tmp_path / "tiny" / "3" / "curve.csv").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"**{figures['mean']:,.1f}**" in card and "A small one." in card and "n_qubits: 3" in card
    assert "study run small --arms tiny --seeds 3\n" in card and "logs/studies/small/tiny/3" in card
    update(cell, status="running")
    with pytest.raises(SystemExit):
        shipped_model.main()
    assert "is running" in capsys.readouterr().err
