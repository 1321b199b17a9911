"""The dry run against the counters of a real run."""

from typing import Any

import pytest

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
