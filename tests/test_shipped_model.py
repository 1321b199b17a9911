"""The trained model in models/ loads, acts, and its figures are those of its card."""

import csv
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

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


def test_a_model_becomes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER.parents[1] / "benchmarks"))
    import shipped_model

    from sb3_quantum import QuantumTD3

    kwargs = dict(n_qubits=3, n_layers=2, net_arch=[16, 16], readout="mean", actor_average_tau=0.1)
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=8, batch_size=8, policy_kwargs=kwargs, seed=0).learn(20)
    model.save(tmp_path / "small-0.zip")
    rows = ["cpu_minutes,steps,updates", "1.0,20.0,12.0", "2.0,40.0,32.0"]
    (tmp_path / "small-0.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(shipped_model, "EPISODES_REPLACED", 1)
    arguments = ["shipped_model.py", str(tmp_path / "small-0.zip"), "--curve", str(tmp_path / "small-0.csv"), "--seed", "0"]
    arguments += ["--env", "Pendulum-v1", "--episodes", "2", "--out", str(tmp_path / "out"), "--note", "A small one."]
    monkeypatch.setattr("sys.argv", arguments)
    shipped_model.main()
    figures = json.loads((tmp_path / "out" / "results.json").read_text())
    assert figures["steps"] == 20 and figures["cpu_minutes"] == 1.0 and set(figures["replaced"]) == set(shipped_model.REPLACED)
    assert (tmp_path / "out" / "curve.csv").read_text() == "\n".join(rows) + "\n"  # what came afterwards is not left out
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"**{figures['mean']:,.1f}**" in card and "A small one." in card and "n_qubits: 3" in card
    assert "--arm small --seed 0" in card and "small-0.zip" in card
