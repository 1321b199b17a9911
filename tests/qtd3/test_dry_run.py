"""The dry run against the counters of a real run."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import Usage
from tests.qtd3.test_train import pendulum

SMALL = {"n_qubits": 2, "n_layers": 2}


@pytest.mark.parametrize(
    "steps, kwargs",
    [
        (50, {}),
        (50, {"probe_std": 0.1}),
        (53, {"train_freq": 5}),
        (40, {"train_freq": (1, "episode")}),
        (40, {"policy_kwargs": {**SMALL, "readout": "mean"}}),
        (40, {"policy_kwargs": {**SMALL, "readout": "mean"}, "fit_targets": "sample"}),
        (20, {"backend": "aer", "backend_kwargs": {"shots": 3}, "probe_std": 0.1}),
        (60, {"gradient": "exact", "learning_starts": 20}),
        (60, {"gradient": "spsa", "learning_starts": 20, "policy_delay": 3}),
        (60, {"gradient": "parameter_shift", "learning_starts": 20, "gradient_steps": 2, "train_freq": 4}),
        (24, {"gradient": "spsa", "learning_starts": 10, "backend": "aer", "backend_kwargs": {"shots": 2}}),
    ],
)
def test_dry_run_is_what_a_run_counts(steps: int, kwargs: dict[str, Any]) -> None:
    model = pendulum(**{"policy_kwargs": SMALL, "batch_size": 8, **kwargs})
    plan = model.dry_run(steps)
    assert model.policy.quantum_layer.backend.usage == Usage()
    usage = model.learn(steps).policy.quantum_layer.backend.usage
    if kwargs.get("train_freq") == (1, "episode"):  # the last episode is finished
        assert plan.circuits == steps and usage.circuits == 200
        return
    assert (plan.circuits, plan.shots, plan.jobs) == (usage.circuits, usage.shots, usage.jobs)
    assert plan.chip_seconds == pytest.approx(usage.chip_seconds)
    expected = Usage(**vars(usage)) + model.dry_run(steps, reset_num_timesteps=False)
    model.learn(steps, reset_num_timesteps=False)
    assert (expected.circuits, expected.shots, expected.jobs) == (usage.circuits, usage.shots, usage.jobs)


def test_unknown_number_of_updates() -> None:
    with pytest.raises(ValueError, match="give train_freq in steps"):
        pendulum(gradient="spsa", policy_kwargs=SMALL, train_freq=(1, "episode")).dry_run(100)


def test_no_circuit_no_usage() -> None:
    assert pendulum(policy_kwargs={"block": "zeros"}).dry_run(100) == Usage()


@pytest.mark.parametrize("steps, warned", [(20, True), (21, False)])
def test_a_training_without_updates_says_so(steps: int, warned: bool) -> None:
    model = pendulum(learning_starts=20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(steps)
    messages = [str(warning.message) for warning in caught if "no update will be made" in str(warning.message)]
    assert bool(messages) == warned == (model._n_updates == 0)
    assert all("ends at step 20" in message and "learning_starts=20" in message for message in messages)


def test_a_loaded_model_that_acts_at_random_says_so(tmp_path: Path) -> None:
    pendulum(learning_starts=5).learn(10).save(tmp_path / "model")
    model = QuantumTD3.load(tmp_path / "model", env=gym.make("Pendulum-v1"))
    with pytest.warns(UserWarning, match="made 5 updates, and will act at random for learning_starts=5 steps"):
        model.learn(6)
    model = QuantumTD3.load(tmp_path / "model", env=gym.make("Pendulum-v1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.learn(6, reset_num_timesteps=False)
        # What has a buffer of its own is the same training
        model.learn(6)
