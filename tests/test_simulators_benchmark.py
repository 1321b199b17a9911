"""What ``benchmarks/simulators.py`` checks and writes, with the peers that are installed. Its figures are not tests."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_ours_and_aer_run_the_same_circuit() -> None:
    pytest.importorskip("qiskit_aer")
    from simulator_forms import AerBinds, AerCircuits, AerStateForm, Full, Ours
    from simulators import verify

    for form in (Ours, Full, AerCircuits, AerBinds, AerStateForm):
        verify(form)


@pytest.mark.parametrize("number", range(5))
def test_simulators_that_split_run_the_same_circuit(number: int) -> None:
    from simulators import verify
    from splitting_forms import SPLITTING_FORMS

    form = SPLITTING_FORMS[number]
    pytest.importorskip(form.package)
    verify(form)
    # Beyond 64 qubits bits do not fit into a number of the machine
    from simulator_forms import make_inputs

    ansatz, patterns, inputs = make_inputs(70, 1, n_layers=1)
    _, indices = ansatz.split(inputs)
    theta = th.pi * (th.arange(70) % 3 == 0)
    inputs = ansatz.join(th.stack([theta, th.zeros(70)], dim=1).reshape(1, -1), indices).float()
    simulator = form(ansatz, patterns)
    assert (np.asarray(simulator.run(simulator.build(inputs)))[0] == (np.arange(70) % 3 == 0)).all()


def test_another_order_of_qubits_or_another_circuit_is_found_out() -> None:
    from simulator_forms import Ours
    from simulators import verify

    class ReversedBits(Ours):
        def run(self, built: th.Tensor) -> th.Tensor:
            return super().run(built).flip(1)

    class ReversedStates(Ours):
        def probabilities(self, inputs: th.Tensor) -> np.ndarray:
            return super().probabilities(inputs).reshape(-1, 2, 2, 2).transpose(0, 3, 2, 1).reshape(-1, 8)

    class WithoutCZ(Ours):
        def probabilities(self, inputs: th.Tensor) -> np.ndarray:
            angles, indices = self.ansatz.split(inputs)
            return super().probabilities(self.ansatz.join(angles, th.zeros_like(indices)))

    with pytest.raises(AssertionError, match="order"):
        verify(ReversedBits)
    for form in (ReversedStates, WithoutCZ):
        with pytest.raises(AssertionError, match="off by"):
            verify(form)


def test_figures_of_the_forms_become_those_of_the_engines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from simulator_forms import Ours
    from simulators import plot, report, run

    class Absent(Ours):
        engine, package = "absent", "no_such_package"

    class Slower(Ours):
        engine, form = "slower", "twice"

        def run(self, built: th.Tensor) -> Any:
            super().run(built)
            return super().run(built)

    class SlowerStill(Slower):
        form = "three times"

        def run(self, built: th.Tensor) -> Any:
            super().run(built)
            return Ours.run(self, built)

    results, missing = run([(3, 1), (10, 2)], 2, [Ours, Slower, SlowerStill, Absent])
    results = json.loads(json.dumps(results))
    assert results["missing_peers"] == ["absent"] and "no_such_package" in missing["absent"]
    for key in ("median_us", "median_us_prebuilt"):
        assert set(results[key]) == {"ours", "slower"}
        assert all(set(figures) == {"3,1", "10,2"} and min(figures.values()) > 0 for figures in results[key].values())
    assert results["versions"]["torch"] == version("torch") and results["threads"] == th.get_num_threads()
    for size, figure in results["median_us"]["slower"].items():
        assert figure == min(row["us"] for row in results["forms"] if row["engine"] == "slower" and row["size"] == size)
    parts = results["arithmetic"]
    assert parts["flops"] < parts["flops_gate_by_gate"] and all(us > 0 for us in parts["parts_us"].values())
    capsys.readouterr()
    report(results, missing)
    printed = capsys.readouterr().out
    assert "no verdict on absent" in printed and "ahead of every measured peer" in printed
    plot(results["median_us"], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_quick_figures_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Sizes and engines of ``--quick``, with circuits of two layers in place of ten."""
    import simulators
    from simulator_forms import Full, Ours, make_inputs
    from splitting_forms import SPLITTING_FORMS

    class Absent(Ours):
        engine, package = "absent", "no_such_package"

    monkeypatch.setattr(simulators, "FORMS", [Ours, Full, Absent, *SPLITTING_FORMS[:1]])
    monkeypatch.setattr(simulators, "make_inputs", lambda *size, **kwargs: make_inputs(*size, **{"n_layers": 2, **kwargs}))
    monkeypatch.setattr("sys.argv", ["simulators.py", "--quick", "--json", str(tmp_path / "quick.json")])
    for name in ("environ", "sched_setaffinity"):
        monkeypatch.setattr(f"os.{name}", dict(os.environ) if name == "environ" else lambda *_: None, raising=False)
    threads = th.get_num_threads()
    try:
        simulators.main()
    finally:
        th.set_num_threads(threads)
    results = json.loads((tmp_path / "quick.json").read_text())
    figures = results["median_us"]
    sizes = ["10,1", "10,256", "16,256", "20,8"]
    assert list(figures["ours"]) == [*sizes, "127,256"] and list(figures["full"]) == sizes
    assert figures.get("prism-q", figures["ours"]).keys() == figures["ours"].keys() and "absent" not in figures
    assert all(us > 0 for engine in figures.values() for us in engine.values())
    # 2**16 amplitudes a circuit, 256 circuits: microseconds of one circuit, not of the batch or in seconds
    assert 10 < figures["full"]["16,256"] < 1e5 and figures["full"]["16,256"] > 2 * figures["ours"]["16,256"]
    assert "absent" in results["missing_peers"] and "no verdict on absent" in capsys.readouterr().out


def test_verdicts_follow_from_the_figures() -> None:
    from simulators import verdicts

    ours = {"10,1": 50.0, "10,256": 30.0}
    figures = {"ours": ours, "aer": {"10,1": 4000.0, "10,256": 1500.0}, "qulacs": {"10,1": 60.0, "10,256": 25.0}}
    lines = verdicts(figures, {"lightning": "not there"})
    assert lines[0] == "10,1: 80.0x aer per circuit, reaches 80x"
    assert lines[1] == "10,256: 50.0x aer per circuit, misses 500x"
    assert "no, not of qulacs at 10,256 (0.83x)" in lines[2]
    assert lines[3] == "no verdict on lightning, which is missing: not there"
    del figures["qulacs"]
    assert verdicts(figures, {})[-1].endswith("yes")


def test_operations_are_those_of_the_algorithm() -> None:
    from simulator_parts import flops

    # One qubit, two layers: a table of one new entry, two amplitudes times a phase, one real rotation of two components
    between = 6 + 12 + 12
    assert flops(1, 2) == between + 2 + 6 + 2 + 2
    assert 0.6e6 < flops(10, 10) < 0.7e6
