import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_quantum import QuantumTD3, robustness
from sb3_quantum.backends import Backend, StatevectorBackend
from sb3_quantum.robustness import check_comparable, evaluate, main, plot, settings
from tests.envs import SMALL
from tests.qtd3.test_train import pendulum
from tests.zoo.helpers import quick_zoo


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


def test_cost_is_announced(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the table, from the second of two steps; a backend is made once, and a bar makes every step of an episode."""
    made, steps, clock = [], [], iter(range(10_000))
    original = QuantumTD3.set_backend

    def set_backend(model: QuantumTD3, backend: str | Backend, kwargs: dict[str, Any] | None = None) -> None:
        made.append(backend)
        original(model, backend, kwargs)

    class Bar(contextlib.nullcontext):
        def __enter__(self) -> "Bar":
            return self

        def update(self) -> None:
            steps.append(1)

    monkeypatch.setattr(QuantumTD3, "set_backend", set_backend)
    monkeypatch.setattr(robustness, "_bar", lambda label, total: Bar())
    monkeypatch.setattr(robustness.time, "perf_counter", lambda: float(next(clock)))
    model = pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2})
    evaluate(
        model, "Pendulum-v1", {"exact": ("statevector", {}), "here": ("sampler", {"sampler": "statevector"})}, ["mean"], 2, 7
    )
    printed = capsys.readouterr()
    first, head, *_ = printed.out.splitlines()
    # A second for one step of 200, by that clock
    assert first == "about 7 minutes for 2 episodes of 200 steps at most: exact 3 minutes, here 3 minutes"
    assert head.startswith("backend") and "setting up here" in printed.err
    assert [backend for backend in made if isinstance(backend, str)] == ["statevector", "sampler"] and len(made) == 4
    assert len(steps) == 400


def test_length_of_episodes_may_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    model = pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2})

    def endless() -> gym.Env:
        env = gym.make("Pendulum-v1").unwrapped
        env.spec = None
        return env

    made = robustness.announce_cost(model, endless, {"exact": ("statevector", {})}, 1, 2, 7)
    assert isinstance(made["exact"], StatevectorBackend)
    assert "if they last 1,000 steps" in capsys.readouterr().out


def test_a_block_that_draws_bits_is_compared_by_readout(capsys: pytest.CaptureFixture[str]) -> None:
    model = pendulum(policy_kwargs={"block": "mean_field"})
    assert check_comparable(pendulum(), Path("model.zip")) and not check_comparable(model, Path("model.zip"))
    rows = evaluate(model, "Pendulum-v1", {"no circuit": (None, {})}, ["sample", "mean"], 1, 7)
    assert len({tuple(row["returns"]) for row in rows}) == 2 and "no circuit" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"model.zip has no circuit: its block is 'fc', so it acts the same on every backend"):
        check_comparable(pendulum(policy_kwargs={"block": "fc"}), Path("model.zip"))


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pendulum(policy_kwargs={"n_qubits": 2, "n_layers": 2}).save("model")
    pendulum(policy_kwargs={"block": "zeros"}).save("classical")
    common = ["--env", "Pendulum-v1", "--episodes", "1", "--shots", "2", "--depolarizing", "0.1", "--readouts", "mean"]
    words = ["sb3_quantum.robustness", "model.zip", *common, "--json", "rows.json", "--plot", "plot.png"]
    quick_zoo(tmp_path, *words)
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


def test_the_agent_sees_what_it_saw_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statistics beside the model are used, a package that registers the environment is imported, and raw numbers refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("far_away.py").write_text(
        "import gymnasium as gym\nfrom tests.envs import CountingEnv\n\n"
        "class FarAway(gym.ObservationWrapper):\n"
        "    def observation(self, observation):\n        return 500 + 100 * observation\n\n"
        "gym.register('FarAway-v0', lambda **kwargs: FarAway(CountingEnv(**kwargs)), max_episode_steps=9)\n"
    )
    importlib.import_module("far_away")
    env = VecNormalize(DummyVecEnv([lambda: gym.make("FarAway-v0", length=3)]), norm_reward=False)
    kwargs = {**SMALL, "normalize_observations": False}
    model = QuantumTD3("MlpPolicy", env, learning_starts=100, buffer_size=60, seed=0, policy_kwargs=kwargs).learn(60)
    model.save("model")
    env.training = False
    expected = []
    for seed in (10_000, 10_001):
        env.seed(seed)
        expected += evaluate_policy(model, env, 1, return_episode_rewards=True, warn=False)[0]  # type: ignore[operator]
    del gym.registry["FarAway-v0"], sys.modules["far_away"]
    arguments = "robustness model.zip --env FarAway-v0 --env-kwargs length:3 --gym-packages far_away --episodes 2 --shots 2"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), "--readouts", "mean", "--depolarizing", "--json", "rows.json"])
    with pytest.raises(SystemExit, match=r"was trained with VecNormalize.*--vecnormalize PATH"):
        main()
    env.save("model_vecnormalize.pkl")
    main()
    rows = json.loads(Path("rows.json").read_text())
    assert rows[0]["returns"] == pytest.approx(expected, abs=0.01)
    for words, message in ((["--env-kwargs", "length"], "takes key:value"), (["--gym-packages", "nowhere"], "nowhere")):
        monkeypatch.setattr(sys, "argv", [*arguments.split(), *words])
        with pytest.raises(SystemExit) as failed:
            main()
        assert message in str(failed.value) + capsys.readouterr().err
    del gym.registry["FarAway-v0"]
