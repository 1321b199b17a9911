"""The benchmark scripts: what they read and compute, on small cases. Their figures are not tests."""

import inspect
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sb3_quantum import FidelityCallback, QuantumTD3
from tests.qtd3.test_train import pendulum

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_live_measurements_are_read_from_what_a_training_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from tangent_fidelity import LIVE_KEYS, read_log

    logged = []

    class Watched(FidelityCallback):
        def measure(self) -> dict[str, float]:
            logged.append((self.num_timesteps, self.model._n_updates, super().measure()))
            return logged[-1][2]

    pendulum(verbose=1, batch_size=16).learn(450, callback=Watched(freq=150, n_states=32), log_interval=1)
    rows = read_log(capsys.readouterr().out)
    # What was recorded after the last table is printed by nobody
    assert 1 <= len(rows) <= len(logged)
    for row, (step, updates, measured) in zip(rows, logged, strict=False):
        # A table states the step at which it is printed, at the end of the episode
        assert step <= row["step"] <= step + 200 and updates <= row["update"]
        for ours, key in LIVE_KEYS.items():
            if key in measured:
                assert row[ours] == pytest.approx(measured[key], rel=0.01, abs=1e-4), key


def test_offline_recipes_make_pairs_of_their_own_kind() -> None:
    from tangent_fidelity import BATCH, DATA, HELD_OUT, RECIPES, make_fit

    data = dict(np.load(DATA))
    for states in ("random", "trained"):
        for recipe in RECIPES:
            fit = make_fit(recipe, states, data, seed=0)
            rows = len(data["random"]) - HELD_OUT
            assert len(fit.inputs) == (2 * rows if recipe == "no prior" else rows) > BATCH
            bits = bool(((fit.targets == 0) | (fit.targets == 1)).all())
            assert bits == (recipe == "paper")
            fit.update()
            fit.measure()
            assert fit.curve[0]["updates"] == 1 and fit.curve[0]["ms"] > 0 and -1 <= fit.curve[0]["cosine"] <= 1


def test_priors_where_a_policy_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import live_priors

    from sb3_quantum import QuantumTD3

    kwargs = dict(n_qubits=3, n_layers=2, circuit_kwargs={"n_cz": 0}, net_arch=[16, 16], readout="mean")
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=8, batch_size=8, policy_kwargs=kwargs, seed=0).learn(12)
    found = live_priors.live(model, "Pendulum-v1", n_states=8, episodes=1)
    assert found["mean_field"] == pytest.approx(1, abs=1e-3) and found["gradient_norm"] > 0
    model.save(tmp_path / "model.zip")
    monkeypatch.setattr(live_priors, "live", lambda model, env_id: {"mean_field": 0.51234})
    monkeypatch.setattr("sys.argv", ["live_priors.py", str(tmp_path / "model.zip"), "--json", str(tmp_path / "live.json")])
    live_priors.main()
    assert json.loads((tmp_path / "live.json").read_text()) == {str(tmp_path / "model.zip"): {"mean_field": 0.5123}}


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that is so much later whenever it is read, so that no test depends on a machine's speed."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def test_phases_are_timed_without_those_inside_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_speed import Stopwatch

    model = pendulum(batch_size=16).learn(110)
    watch = Stopwatch(model)
    clock = ticking(1)
    monkeypatch.setattr(time, "perf_counter", clock)
    inner = watch._timed(lambda: None, "inner")
    outer = watch._timed(lambda: (inner(), inner()), "outer")
    outer()
    # Read at 0 by the outer one, at 1 to 2 and 3 to 4 by the inner one, at 5 by the outer one
    assert watch.seconds == {"inner": 2, "outer": 3}
    watch.seconds.clear()
    start = clock()
    model.learn(20, reset_num_timesteps=False)
    total = clock() - start
    phases = {"act", "circuit", "env", "store", "sample", "qtdnn fit", "critics", "actor", "soft update", "rest"}
    assert set(watch.seconds) == phases and min(watch.seconds.values()) > 0
    assert sum(watch.seconds.values()) < total
    # Twenty steps, each of them one reading apart; ten of the twenty updates move the actor
    assert watch.seconds["env"] == watch.seconds["critics"] == 2 * watch.seconds["actor"] == 20


def test_live_runs_undo_all_shipped_settings() -> None:
    """The live figures are the defaults', whatever is shipped for the environment."""
    from tangent_fidelity import LIVE_DEFAULTS, STEPS_PER_UPDATE

    from sb3_quantum.study import read_study

    shipped = read_study("humanoid").arm("shipped").settings
    undone = dict(option.split(":") for option in LIVE_DEFAULTS[1:])
    defaults = {name: parameter.default for name, parameter in inspect.signature(QuantumTD3.__init__).parameters.items()}
    # The zoo's settings for all MuJoCo environments, which the live runs keep
    kept = {"action_noise", "train_freq", "gradient_steps"}
    assert set(undone) == set(shipped) - kept
    assert undone.pop("n_envs") == str(STEPS_PER_UPDATE) and undone.pop("policy_kwargs") == "dict()"
    assert undone.pop("learning_starts") == "10000" and undone.pop("learning_rate") == "0.0003"
    assert undone == {name: str(defaults[name]) for name in undone}


def test_the_frontier_of_small_circuits(tmp_path: Path) -> None:
    from frontier import INPUTS, _quick_row, measure_circuit, uniform_inputs

    from sb3_quantum.circuits import PaperCircuit

    free = measure_circuit((3, 2, 0), "trained", ["mean_field", "none"], [0, 2], seed=0)
    assert free["entanglement"] < 1e-5 and free["cosine"]["mean_field"]["0"] == pytest.approx(1, abs=1e-3)
    assert set(free["cosine"]) == {"mean_field", "mean_field, probed", "none", "none, probed"}
    assert free["cosine"]["none"]["0"] < 0.9 and set(free["cosine"]["none"]) == {"0", "2"}
    alone = measure_circuit((3, 2, 0), "trained", ["mean_field"], [0], seed=0)
    assert alone["cosine"] == {"mean_field": {"0": free["cosine"]["mean_field"]["0"]}}  # the same states, no pairs
    row = _quick_row(PaperCircuit(3, 4, 3), seed=0)
    assert set(row) == {"prior", "mean_field", "fitted", "gradient_norm", "marginal_std"}
    assert row["mean_field"] < row["prior"] <= 1
    for make in INPUTS.values():
        inputs = make(PaperCircuit(3, 2, 2), 50, np.random.default_rng(0))
        assert inputs.shape == (50, 20)
    assert float(uniform_inputs(PaperCircuit(3, 2), 500, np.random.default_rng(0)).std(0).max()) > 1.5


def test_a_frontier_that_was_cut_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import frontier

    families = {name: {"prior": 1.0} for name in frontier.QUICK}
    monkeypatch.setattr(frontier, "quick", lambda: families)
    monkeypatch.setattr(frontier, "HELD_OUT", 4)
    path = tmp_path / "frontier.json"
    arguments = ["frontier.py", "--json", str(path), "--layers", "2", "--cz", "0", "--priors", "mean_field"]
    arguments += ["--parts", "map", "--inputs", "trained", "--qubits"]
    monkeypatch.setattr("sys.argv", [*arguments, "3"])
    frontier.main()
    first = json.loads(path.read_text())
    assert first.keys() == {*families, "map"} and [row["seed"] for row in first["map"]] == [0, 1, 2]
    monkeypatch.setattr("sys.argv", [*arguments, "3", "4"])
    measured = []
    monkeypatch.setattr(frontier, "measure_circuit", lambda *args: measured.append(args) or {"qubits": args[0][0]})
    frontier.main()
    assert [args[0][0] for args in measured] == [4, 4, 4]
    assert json.loads(path.read_text())["map"][:3] == first["map"]


def test_a_curve_with_fewer_fits_than_asked_for_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import frontier

    monkeypatch.setattr(frontier, "QUICK", {"tiny": (3, 2, 1)})
    monkeypatch.setattr(frontier, "quick", lambda: {"tiny": {}})
    monkeypatch.setattr(frontier, "PAIRS", 256)
    path = tmp_path / "frontier.json"
    arguments = [
        "frontier.py",
        "--json",
        str(path),
        "--parts",
        "curves",
        "--inputs",
        "trained",
        "--priors",
        "none",
        "--fits",
        "0",
    ]
    curves = []
    for more in ([], ["1"], ["1"]):
        monkeypatch.setattr("sys.argv", [*arguments, *more])
        frontier.main()
        curves.append(json.loads(path.read_text())["curves"])
    assert [len(rows) for rows in curves] == [1, 1, 1] and curves[1] == curves[2]
    assert set(curves[0][0]["cosine"]["none"]) == {"0"} and set(curves[1][0]["cosine"]["none"]) == {"0", "1"}


def test_priors_on_circuits_that_grow() -> None:
    """The witness of cosines is exact: on the paper's circuit, the engine that splits says the same at 20 qubits."""
    import torch as th
    from frontier import measure_growth
    from priors import exact_gradient, make_case

    from sb3_quantum.backends import StatevectorBackend

    row = measure_growth("matching", 4, rows=2, seeds=1)
    assert row["mean_field"] < row["pair_correlations"] <= 1.000001
    assert 0 < row["mean_field_operations"] < row["pair_correlations_operations"]
    circuit, inputs, pairs = make_case(20, 6, 1, "free", 0.5, 2, 0)
    angles = circuit.split(inputs)[0].reshape(2, 6, 20, 2)
    leaf = inputs.clone().requires_grad_(True)
    z = 1 - 2 * StatevectorBackend(circuit).expected_bits(leaf)[:, [3, 17]]
    (theirs,) = th.autograd.grad(z.sum(), leaf)
    ours = sum(exact_gradient(angles, pairs, [output], th.ones(2, 1))[1] for output in (3, 17))
    assert th.allclose(ours.flatten(1), circuit.split(theirs)[0], atol=1e-4)


def test_the_published_frontier_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import frontier

    data = BENCHMARKS / "results" / "frontier.json"
    monkeypatch.setattr("sys.argv", ["frontier.py", "--data", str(data), "--plot", str(tmp_path)])
    frontier.main()
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("frontier_trained.png", "frontier_growth.png"))
    published = json.loads(data.read_text())
    for name in ("paper_10", "dense_5", "dense_10"):
        keys = {"prior", "fitted", "mean_field", "gradient_norm", "marginal_std", "ms_per_update"}
        assert set(published[name]) == keys


def test_a_circuit_of_ones_own_is_the_familys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import own_circuit
    import torch as th

    from sb3_quantum.backends import StatevectorBackend

    family, indices, own = own_circuit.both(3, 4)
    angles = th.randn(5, family.n_angles, generator=th.Generator().manual_seed(0))
    bits = StatevectorBackend(family).expected_bits(family.join(angles, indices.expand(5, -1)))
    assert th.allclose(StatevectorBackend(own).expected_bits(angles), bits, atol=1e-6)
    monkeypatch.setattr("sys.argv", ["own_circuit.py", "--qubits", "3", "--layers", "2", "--rounds", "1"])
    own_circuit.main()
    assert capsys.readouterr().out.count("times") == 6


def test_half_precision_is_timed_on_the_same_networks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco")
    import half_precision

    made = {}
    original = half_precision.make
    monkeypatch.setattr(half_precision, "make", lambda bfloat16: made.setdefault(bfloat16, original(bfloat16)))
    monkeypatch.setattr("sys.argv", ["half_precision.py", "--pieces", "1", "--updates", "3"])
    half_precision.main()
    single, half = made[False], made[True]
    assert [len(model.critic.q_networks) for model in (single, half)] == [2, 2]
    assert [model.critic.q_networks[0].in_bfloat16 for model in (single, half)] == [False, True]
    assert single._n_updates == half._n_updates == 2 + 3 and single.batch_size == half.batch_size == 128
    assert single.critic.q_networks[0].linears[1].in_features == 512
    times = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines() if "ms per update" in line]
    assert len(times) == 2 and min(times) > 0
