"""The cost model against the paper's figures, the counters of real runs, and the snapshots that chips' figures come from."""

import importlib.util
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import (
    CHIPS,
    COUNTED_GRADIENTS,
    ChipTimes,
    PaperCircuit,
    TrainingPlan,
    gradient_circuits,
    gradient_seconds,
    job_seconds,
    shot_seconds,
    training_runs,
    training_seconds,
)
from sb3_quantum.cost import YEAR, duration, main
from sb3_quantum.layers.gradients import circuits_per_gradient, parameter_shift, spsa
from sb3_quantum.plots import cost_figure
from tests.qtd3.test_train import pendulum

PAPER_CIRCUIT, PAPER_CHIP = PaperCircuit(10, 10), CHIPS["paper"]


def test_paper_figures() -> None:
    """Half a microsecond a shot, 281.6 s as the paper counts, 76.8 s as is right, and the years of 2,000,000 updates."""
    assert shot_seconds(PAPER_CIRCUIT, PAPER_CHIP) == pytest.approx(0.5e-6)
    paper = gradient_seconds(PAPER_CIRCUIT, "paper", 256, 1000, PAPER_CHIP)
    right = gradient_seconds(PAPER_CIRCUIT, "parameter_shift", 256, 1000, PAPER_CHIP)
    assert (paper, right) == (pytest.approx(281.6), pytest.approx(76.8))
    assert 2_000_000 * paper / YEAR == pytest.approx(17.85, abs=0.01)
    assert 1_000_000 * paper / YEAR == pytest.approx(8.92, abs=0.01)


def test_right_count_follows_from_the_shift_rule() -> None:
    """One circuit per term of the rule: no term for a CZ index, no factor for the outputs."""
    columns, _, _ = PAPER_CIRCUIT.shift_rule()
    assert gradient_circuits(PAPER_CIRCUIT, "parameter_shift", 1) == len(columns) == 600
    assert gradient_circuits(PAPER_CIRCUIT, "paper", 1) == 220 * 10
    runs = np.bincount(columns, minlength=PAPER_CIRCUIT.n_inputs).reshape(10, 22)
    assert runs.tolist() == [[2, 4] * 10 + [0, 0]] * 10


@pytest.mark.parametrize("method, gradient", [("parameter_shift", parameter_shift), ("spsa", spsa)])
@pytest.mark.parametrize("n_qubits, n_layers, batch", [(1, 1, 1), (2, 3, 4), (3, 2, 2)])
def test_count_is_what_a_gradient_runs(
    method: str, gradient: Callable[..., th.Tensor], n_qubits: int, n_layers: int, batch: int
) -> None:
    ansatz = PaperCircuit(n_qubits, n_layers)
    backend = StatevectorBackend(ansatz, seed=0)
    gradient(backend, th.randn(batch, ansatz.n_inputs), th.ones(batch, n_qubits))
    circuits = gradient_circuits(ansatz, method, batch)
    assert backend.usage.circuits == circuits == circuits_per_gradient(ansatz, method, batch)[0]


def test_spsa_directions() -> None:
    ansatz = PaperCircuit(2, 2)
    backend = StatevectorBackend(ansatz, seed=0)
    spsa(backend, th.randn(3, ansatz.n_inputs), th.ones(3, 2), n_directions=5)
    assert backend.usage.circuits == gradient_circuits(ansatz, "spsa", 3, n_directions=5) == 30


def test_finite_differences_count() -> None:
    """Central differences, written out: two circuits for every angle, and the slope comes out."""
    ansatz = PaperCircuit(2, 2)
    backend = StatevectorBackend(ansatz, seed=0)
    inputs = th.randn(3, ansatz.n_inputs, dtype=th.float64, requires_grad=True)
    weights = th.ones(3, 2, dtype=th.float64)
    (exact,) = th.autograd.grad((backend.expected_bits(inputs) * weights).sum(), inputs)
    backend = StatevectorBackend(ansatz, seed=0)
    estimate = th.zeros_like(exact)
    for column in range(ansatz.n_inputs):
        if column % ansatz.layer_width < 2 * ansatz.n_qubits:
            step = th.zeros_like(exact)
            step[:, column] = 1e-5
            ahead, behind = (backend.expected_bits(inputs.detach() + sign * step) for sign in (1, -1))
            estimate[:, column] = ((ahead - behind) * weights).sum(1) / 2e-5
    assert th.allclose(estimate, exact, atol=1e-8)
    assert backend.usage.circuits == gradient_circuits(ansatz, "finite_differences", 3) == 2 * ansatz.n_angles * 3


def test_qtdnn_needs_no_circuit_in_updates() -> None:
    assert gradient_circuits(PAPER_CIRCUIT, "qtdnn", 256) == 0
    # A job that is never sent costs nothing
    assert gradient_seconds(PAPER_CIRCUIT, "qtdnn", 256, 1000, CHIPS["ibm_fez"]) == 0
    plan = TrainingPlan()
    assert training_runs(PAPER_CIRCUIT, "qtdnn", plan) == (plan.steps, 0, plan.steps)
    assert training_seconds(PAPER_CIRCUIT, "qtdnn", plan, PAPER_CHIP) == pytest.approx(1.0)


def test_order_of_the_methods() -> None:
    costs = [gradient_circuits(PAPER_CIRCUIT, method, 256) for method in COUNTED_GRADIENTS]
    assert costs == [0, 512, 102_400, 153_600, 563_200]


@pytest.mark.parametrize(
    "method, kwargs",
    [
        ("qtdnn", {}),
        ("spsa", {"backend": "aer", "backend_kwargs": {"shots": 2}}),
        ("spsa", {"policy_delay": 3}),
        ("parameter_shift", {"gradient_steps": 2}),
    ],
)
def test_training_is_what_a_run_counts(method: str, kwargs: dict[str, Any]) -> None:
    """Circuits, jobs and chip seconds of a short run, against the model and against the dry run."""
    sizes = {"n_qubits": 2, "n_layers": 2}
    model = pendulum(gradient=method, policy_kwargs=sizes, batch_size=8, learning_starts=10, **kwargs)
    planned = model.dry_run(24)
    usage = model.learn(24).policy.quantum_layer.backend.usage
    # An exact backend measures the one bitstring that acts, and needs no shots in updates: its circuits count as one shot here
    exact = model.policy.quantum_layer.backend.exact
    shots = kwargs.get("backend_kwargs", {}).get("shots", 1)
    plan = TrainingPlan(24, model._n_updates, model.policy_delay, 8, shots, shots)
    runs = training_runs(PaperCircuit(2, 2), method, plan)
    assert (runs.acting + runs.updates, runs.jobs) == (usage.circuits, usage.jobs)
    measured = runs.acting if exact else runs.acting + runs.updates
    assert usage.shots == measured * shots
    seconds = training_seconds(PaperCircuit(2, 2), method, plan, PAPER_CHIP)
    unmeasured = 0 if not exact else runs.updates * shot_seconds(PaperCircuit(2, 2), PAPER_CHIP)
    assert usage.chip_seconds == pytest.approx(seconds - unmeasured) == pytest.approx(planned.chip_seconds)
    assert usage.chip_seconds == pytest.approx(usage.shots * shot_seconds(PaperCircuit(2, 2), PAPER_CHIP))


def test_jobs_and_reset_cost() -> None:
    times = ChipTimes(rotation=1.0, cz=2.0, readout=10.0, reset=100.0, job=1000.0)
    assert shot_seconds(PaperCircuit(3, 2), times) == 2 * 3 + 110
    assert job_seconds(PaperCircuit(3, 2), 5, 4, times, jobs=2) == 5 * 4 * 116 + 2000
    assert gradient_seconds(PaperCircuit(3, 2), "spsa", 5, 4, times) == 10 * 4 * 116 + 1000
    plan = TrainingPlan(steps=7, updates=6, policy_delay=2, batch_size=5, shots=4, acting_shots=3)
    assert training_runs(PaperCircuit(3, 2), "spsa", plan) == (7, 3 * 10 + 9 * 5, 7 + 3 + 9)
    assert training_seconds(PaperCircuit(3, 2), "spsa", plan, times) == 7 * 3 * 116 + 75 * 4 * 116 + 19_000


@pytest.mark.parametrize("name", ["steps", "updates", "policy_delay", "batch_size", "shots", "acting_shots", "n_directions"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_plan_refuses(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be an integer >= 1, got {value}"):
        TrainingPlan(**{name: value})


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, "20 ns"])
def test_times_refuse(value: Any) -> None:
    with pytest.raises(ValueError, match="cz must be a number of seconds >= 0"):
        ChipTimes(rotation=20e-9, cz=value, readout=100e-9)


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="method='adjoint' is unknown, accepted are 'qtdnn', 'spsa'"):
        gradient_circuits(PAPER_CIRCUIT, "adjoint", 1)


def test_every_chip_names_its_source() -> None:
    assert all(times.source for times in CHIPS.values())


@pytest.mark.parametrize("name, fake", [("ibm_fez", "FakeFez"), ("ibm_aachen", "FakeAachen"), ("ibm_berlin", "FakeBerlin")])
def test_ibm_chips_are_the_bundled_snapshots(name: str, fake: str) -> None:
    provider = pytest.importorskip("qiskit_ibm_runtime.fake_provider")
    if not hasattr(provider, fake):
        pytest.skip(f"this qiskit-ibm-runtime has no {fake}")
    chip = getattr(provider, fake)()

    def median(gate: str) -> float:
        return statistics.median(place.duration for place in chip.target[gate].values() if place and place.duration)

    expected = (2 * median("sx"), median("cz"), median("measure"), chip.default_rep_delay)
    assert astuple(CHIPS[name])[:4] == pytest.approx(expected)


def test_google_chip_is_the_bundled_specification() -> None:
    package = importlib.util.find_spec("cirq_google")
    if package is None or not package.submodule_search_locations:
        pytest.skip("cirq-google is not installed")
    folder = Path(package.submodule_search_locations[0]) / "devices" / "specifications"
    text = (folder / "willow_pink_d7v1-2024_08_16_device_spec_for_grid_device.proto.txt").read_text()
    picoseconds = {gate: int(time) for time, gate in re.findall(r"gate_duration_picos: (\d+)\s+(\w+)", text)}
    expected = [picoseconds[gate] * 1e-12 for gate in ("phased_xz", "cz", "meas", "reset")]
    assert astuple(CHIPS["google_willow"])[:4] == pytest.approx(expected)


def test_rotation_is_two_pulses_on_ibm_chips() -> None:
    from qiskit import QuantumCircuit, transpile

    circuit = QuantumCircuit(1)
    circuit.r(1.234, 0.567, 0)
    for level in range(4):
        gates = transpile(circuit, basis_gates=["sx", "x", "rz", "cz"], optimization_level=level).count_ops()
        assert gates == {"sx": 2, "rz": 3}


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"), (160e-9, "160 ns"), (0.5e-6, "0.5 us"), (252.88e-6, "252.9 us"), (4e-3, "4 ms"), (0.256, "0.256 s"),
        (281.6, "281.6 s"), (805, "13.42 min"), (9000, "2.5 h"), (4e6, "46.3 days"), (10 * YEAR, "10 years"),
        (12345.6 * YEAR, "12,346 years"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_command_prints_both_counts(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = capsys.readouterr().out
    for figure in (
        "256 rows x 220 inputs x 10 outputs x 1,000 shots x 0.5 us = 281.6 s per update",
        "256 rows x (100 theta x 2 + 100 phi x 4) x 1,000 shots x 0.5 us = 76.8 s per update",
        "17.85 years for 2,000,000 gradients",
        "8.923 years for 1,000,000 gradients at policy_delay=2; ten years are reached after 1,120,654.",
        "all marginals come from the same shots",
        "CZ indices are discrete and cannot be shifted",
        "2 runs for a theta and 4 for a phi",
        *CHIPS,
    ):
        assert figure in text
    rows = re.findall(r"^  (\S+|paper's count) +([\d,]+)  ", text, re.MULTILINE)
    assert rows[:5] == [
        ("qtdnn", "0"),
        ("spsa", "512"),
        ("finite_differences", "102,400"),
        ("parameter_shift", "153,600"),
        ("paper's count", "563,200"),
    ]
    assert len(rows) == 5 * len(CHIPS)


def test_manual_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out in (Path(__file__).parents[2] / "docs" / "cost.md").read_text()


def test_the_table_is_drawn(tmp_path: Path) -> None:
    """A mark for every method and chip, at the table's times; a folder that is not there is named."""
    plan = TrainingPlan(steps=1000)
    (axes,) = cost_figure(PaperCircuit(2, 3), plan, CHIPS).axes
    drawn = {line.get_label(): line.get_xdata() for line in axes.lines}
    assert list(drawn) == ["qtdnn", "spsa", "finite differences", "parameter shift", "paper's count"]
    found = [training_seconds(PaperCircuit(2, 3), "parameter_shift", plan, times) for times in CHIPS.values()]
    assert list(drawn["parameter shift"]) == found
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CHIPS)
    main(["--chip", "paper", "--plot", str(tmp_path / "cost.png")])
    assert (tmp_path / "cost.png").stat().st_size > 5000
    with pytest.raises(SystemExit, match="nowhere"):
        main(["--plot", str(tmp_path / "nowhere" / "cost.png")])


def test_command_takes_sizes_and_chips(capsys: pytest.CaptureFixture[str]) -> None:
    main("--n-qubits 2 --n-layers 3 --batch-size 4 --shots 5 --steps 6 --chip ibm_fez --reset 0 --job 0".split())
    text = capsys.readouterr().out
    assert "2 qubits, 3 layers: 18 inputs, 12 of them angles" in text
    assert "6 steps" in text and "3 of the actor" in text
    assert re.search(r"parameter_shift +144 ", text)
    assert "0 s reset, which is 0.0% of it; 0 s a job" in text
    assert "google_willow" not in text and "(changed: reset, job)" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--chip ibm_nowhere", r"invalid choice: 'ibm_nowhere' \(choose from '?google_willow'?, '?ibm_aachen"),
        ("--shots 0", "argument --shots: must be a whole number >= 1, got '0'"),
        ("--n-qubits -3", "argument --n-qubits"),
        ("--steps 1.5", "must be a whole number >= 1, got '1.5'"),
        ("--steps many", "must be a whole number >= 1, got 'many'"),
        ("--reset nan", "must be a number >= 0, got 'nan'"),
    ],
)
def test_command_refuses(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)
