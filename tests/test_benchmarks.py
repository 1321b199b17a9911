"""The benchmark scripts: what they read and compute, on small cases. Their figures are not tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from sb3_quantum import FidelityCallback
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


def test_links_are_cut_in_every_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from links_cut import ARMS, report, run, train

    for arm in ARMS:
        model = train(arm, "sample", seed=0, steps=8)
        assert model.actor.n_links == 0 and model.policy.readout == model.policy.eval_readout == "sample"
        assert model.batch_size == 64 and model.num_timesteps == 8
    figures = run(tmp_path, "default", "mean", seed=0, steps=8, episodes=2)
    assert figures["steps"] == 8 and len(figures["returns"]) == 2
    # Done before: read, not run
    path = tmp_path / "mean-default-0.json"
    path.write_text(json.dumps({**figures, "returns": [-1.0, -3.0]}))
    assert run(tmp_path, "default", "mean", seed=0, steps=8, episodes=2)["returns"] == [-1.0, -3.0]
    (tmp_path / "mean-frozen-0.json").write_text(json.dumps({**figures, "arm": "frozen", "returns": [-9.0, -9.0]}))
    (tmp_path / "mean-noise-0.json").write_text(json.dumps({**figures, "arm": "noise", "returns": [-2.0, -2.0]}))
    capsys.readouterr()
    report(tmp_path)
    printed = capsys.readouterr().out
    assert "default's interval clears that of frozen" in printed
    assert "default's interval does not clear that of noise" in printed
