import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.qtd3.callbacks import measure_fidelity
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_train import equal, pendulum, weights

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


class Recorder(BaseCallback):
    """Keeps what was logged under qtdnn/ and quantum/."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        logged = {k: v for k, v in self.logger.name_to_value.items() if k.startswith(("qtdnn/", "quantum/"))}
        if "qtdnn/cosine" in logged:
            self.seen.append(logged)
        return True


@pytest.mark.parametrize("readout", ["sample", "mean", "majority"])
def test_measures_without_moving_the_training(readout: str) -> None:
    """The same weights, generators and counters as without the callback."""
    recorder = Recorder()
    kwargs: dict[str, Any] = {"policy_kwargs": {"readout": readout}, "batch_size": 16}
    watched = pendulum(**kwargs).learn(150, callback=[FidelityCallback(freq=40, n_states=32), recorder])
    assert equal(weights(watched), weights(pendulum(**kwargs).learn(150)))
    assert recorder.seen
    for logged in recorder.seen:
        assert all(np.isfinite(value) for value in logged.values())
        assert -1 <= logged["qtdnn/cosine"] <= 1 and 0 <= logged["quantum/entanglement"] <= 1
        assert 0 <= logged["quantum/entropy"] <= 1 and 0 <= logged["quantum/joint_entropy"] <= 3
        assert (logged["quantum/use_action_resampled"] == 0) == (readout != "sample")


def test_every_key_is_explained() -> None:
    model = pendulum().learn(100)
    callback = FidelityCallback(n_states=16)
    callback.init_callback(model)
    text = DOCS.read_text()
    model._record_training()
    assert {"qtdnn/loss", "quantum/circuits"} <= set(model.logger.name_to_value)
    keys = set(callback.measure()) | {key for key in model.logger.name_to_value if key.startswith(("qtdnn/", "quantum/"))}
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_a_perfect_tangent_is_seen_through_the_prednn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pendulum().learn(100)
    layer = model.policy.quantum_layer
    assert layer is not None
    callback = FidelityCallback(n_states=64)
    callback.init_callback(model)
    monkeypatch.setattr(layer, "surrogate", lambda x: layer.backend.expected_bits(x))
    measured = callback.measure()
    for key in ("cosine", "cosine_random", "cosine_prednn", "norm_ratio"):
        assert measured[f"qtdnn/{key}"] == pytest.approx(1, abs=1e-3), key


def test_an_actor_that_ignores_the_bits_is_seen() -> None:
    model = pendulum(batch_size=32).learn(100)
    callback = FidelityCallback(n_states=64)
    callback.init_callback(model)
    use = {key for key in callback.measure() if "/use_" in key}
    assert len(use) == 6 and any(callback.measure()[key] != 0 for key in use)
    with th.no_grad():
        model.actor.post[0].weight[:, :3] = 0
    measured = callback.measure()
    assert all(measured[key] == 0 for key in use) and measured["qtdnn/surrogate_gap"] == pytest.approx(0, abs=1e-6)


def test_held_out_states_are_not_those_just_fitted() -> None:
    model = pendulum(learning_starts=0, gradient_steps=0).learn(40)
    buffer: Any = model.replay_buffer
    buffer._get_samples(np.arange(30))
    held_out = buffer.sample_held_out(200, np.random.default_rng(0)).cpu().numpy()
    rows = {tuple(row) for row in held_out}
    assert rows <= {tuple(row) for row in buffer.observations[30:40, 0]} and len(rows) == 10
    buffer._get_samples(np.arange(40))
    with pytest.raises(ValueError, match="each of its 40 transitions was in the last mini-batch"):
        buffer.sample_held_out(1, np.random.default_rng(0))


def test_a_young_buffer_is_waited_for() -> None:
    """51 transitions, and mini-batches of 4096 drawn from them: nothing is held out, and training goes on."""
    recorder = Recorder()
    model = pendulum(batch_size=4096).learn(60, callback=[FidelityCallback(freq=1), recorder])
    assert recorder.seen == [] and model.num_timesteps == 60


def test_dictionaries_and_vec_normalize() -> None:
    for policy, env in (
        ("MultiInputPolicy", make_vec_env(CountingEnv, 2, env_kwargs={"dictionary": True})),
        ("MlpPolicy", VecNormalize(make_vec_env(CountingEnv, 2))),
    ):
        model = QuantumTD3(policy, env, learning_starts=20, buffer_size=200, batch_size=16, policy_kwargs=SMALL, seed=0)
        recorder = Recorder()
        model.learn(100, callback=[FidelityCallback(freq=30, n_states=20), recorder])
        assert recorder.seen


def test_a_constant_block_is_not_measured() -> None:
    with pytest.raises(ValueError, match="there is nothing to measure: the block is 'zeros'"):
        pendulum(policy_kwargs={"block": "zeros"}).learn(10, callback=FidelityCallback())


def test_the_shift_estimate_runs_on_the_acting_backend_and_is_counted_as_evaluation() -> None:
    model = pendulum(backend="aer", backend_kwargs={"shots": 1}, learning_starts=10, batch_size=8).learn(40)
    layer = model.policy.quantum_layer
    assert layer is not None
    callback = FidelityCallback(n_states=16, n_shift_states=2, shift_shots=20)
    callback.init_callback(model)
    before, generator = layer.backend.usage.circuits, layer.backend.get_state()["generator"]
    measured = callback.measure()
    assert 0 < measured["qtdnn/cosine_ceiling"] <= 1 and -1 <= measured["qtdnn/cosine_shots"] <= 1
    assert layer.backend.eval_usage.circuits == 2 * 2 * 6 * 3 * 2
    assert layer.backend.usage.circuits == before and layer.backend.get_state()["generator"] == generator
    for key in ("qtdnn/cosine_shots", "qtdnn/cosine_ceiling"):
        assert f"`{key}`" in DOCS.read_text()


@pytest.mark.parametrize("gradient", ["frozen", "noise", "exact"])
def test_controls_are_measured_too(gradient: str) -> None:
    model = pendulum(gradient=gradient).learn(100)
    callback = FidelityCallback(n_states=256)
    callback.init_callback(model)
    measured = callback.measure()
    if gradient == "frozen":
        assert measured["qtdnn/cosine"] == measured["qtdnn/cosine_prednn"] == 0
    elif gradient == "exact":
        assert measured["qtdnn/cosine"] == pytest.approx(1, abs=1e-4)
    else:
        # 256 cosines of standard deviation 1/4 (16 directions): their mean is within 0.1 at a false-alarm rate of 1e-9
        assert abs(measured["qtdnn/cosine"]) < 0.1
    assert measured["qtdnn/cosine_prior"] > 0.9


@pytest.mark.parametrize(
    "prior, n_cz, measured",
    [
        ("auto", 1, "mean_field"),
        ("pair_correlations", 1, "pair_correlations"),
        ("mean_field", 2, "mean_field"),
        ("none", 1, "mean_field"),
        ("none", 2, "pair_correlations"),
    ],
)
def test_the_priors_cosine_is_that_of_the_prior_there_is(
    prior: str, n_cz: int, measured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is none, of the one that the circuit has by default."""
    seen = []

    def spy(layer: Any, inputs: Any, weights: Any, surrogate: Any = None) -> dict[str, float]:
        seen.append(surrogate)
        return {"cosine": float(len(seen)), "norm_ratio": 1.0}

    monkeypatch.setattr("sb3_quantum.qtd3.callbacks.gradient_fidelity", spy)
    model = pendulum(policy_kwargs=dict(n_qubits=4, circuit_kwargs=dict(n_cz=n_cz), qtdnn_prior=prior))
    found = measure_fidelity(model, th.linspace(-1, 1, 24).reshape(8, 3))
    (place,) = [n for n, surrogate in enumerate(seen, 1) if surrogate is not None]
    assert found["qtdnn/cosine_prior"] == place and seen[place - 1].__self__.name == measured


def test_measures_states_without_a_replay_buffer() -> None:
    """States met in an evaluation are enough, on a loaded model too; the callback's own measurement is the same function's."""
    model = pendulum(buffer_size=300).learn(100)
    callback = FidelityCallback(n_states=16)
    assert callback.latest == {}
    callback.init_callback(model)
    measured = callback.measure()
    assert callback.latest == measured
    observations = model.replay_buffer.sample_held_out(16, np.random.default_rng(100))  # type: ignore[union-attr]
    model.replay_buffer = None
    before = copy.deepcopy(weights(model))
    assert measure_fidelity(model, observations, seed=100) == measured
    assert measure_fidelity(model, observations, seed=1)["qtdnn/surrogate_gap"] != measured["qtdnn/surrogate_gap"]
    assert equal(weights(model), before)
    with pytest.raises(ValueError, match="there is nothing to measure: the block is 'zeros'"):
        measure_fidelity(pendulum(policy_kwargs={"block": "zeros"}), observations)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["dummy", "normalized", "subprocesses"])
def test_measurements_are_kept_beside_the_runs_other_files(tmp_path: Path, kind: str) -> None:
    subprocesses = kind == "subprocesses"
    env: Any = make_vec_env(CountingEnv, 2, monitor_dir=str(tmp_path), vec_env_cls=SubprocVecEnv if subprocesses else None)
    if kind == "normalized":
        env = VecNormalize(env)
    kwargs: dict[str, Any] = dict(learning_starts=20, buffer_size=200, batch_size=16, policy_kwargs=SMALL, seed=0)
    model = QuantumTD3("MlpPolicy", env, **kwargs)
    fidelity = FidelityCallback(freq=30, n_states=20)
    # Open files of other processes cannot be asked for, and an evaluation's folder is the run's too
    evaluation = EvalCallback(make_vec_env(CountingEnv), log_path=str(tmp_path), eval_freq=1000, verbose=0)
    model.learn(100, callback=[fidelity, evaluation] if subprocesses else fidelity)
    path = tmp_path / "fidelity.csv"
    rows = rows_of(path)
    assert [int(row["steps"]) for row in rows] == [30, 60, 90] == [int(row["quantum/circuits"]) for row in rows]
    assert {key: float(rows[-1][key]) for key in fidelity.latest} == fidelity.latest

    # As after a kill: what was measured past the checkpoint is measured again, and a line may be torn
    path.write_text(path.read_text().replace("cosine_prior", "cosine_mean_field") + "70,70,0.5")  # the name of 0.1.0
    model.num_timesteps = 70
    model.learn(40, callback=[fidelity, evaluation] if subprocesses else fidelity, reset_num_timesteps=False)
    again = rows_of(path)
    assert [int(row["steps"]) for row in again] == [30, 60, 100] and again[:2] == rows[:2]
    # Further columns do not shift those that are there
    fidelity.n_shift_states = 1
    model.learn(40, callback=[fidelity, evaluation] if subprocesses else fidelity, reset_num_timesteps=False)
    assert list(rows_of(path)[-1]) == list(rows[0]) and float(rows_of(path)[-1]["quantum/entropy"]) <= 1
    # A new run in the same folder begins a new file
    model.learn(40, callback=[fidelity, evaluation] if subprocesses else fidelity)
    assert [int(row["steps"]) for row in rows_of(path)] == [30]
    env.close()


def test_nothing_is_written_for_a_training_that_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fidelity = FidelityCallback(freq=30, n_states=8)
    pendulum(learning_starts=20, batch_size=8).learn(60, callback=fidelity)
    assert fidelity.latest and list(tmp_path.iterdir()) == []


def test_a_misspelt_argument_is_named_with_what_was_meant() -> None:
    with pytest.raises(TypeError, match=r"FidelityCallback: 'n_state' is unknown, did you mean 'n_states'\?"):
        FidelityCallback(n_state=3)  # type: ignore[call-arg]
