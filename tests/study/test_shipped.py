"""Studies that come with the package: their settings are those of the zoo, of the paper and of the earlier runs."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.study import Study, make_model, read_study
from sb3_quantum.study.file import shipped
from sb3_quantum.study.folder import find
from sb3_quantum.study.settings import check_settings, n_envs_of

ROOT = Path(__file__).parents[2]


@pytest.fixture()
def earlier_runs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import earlier_runs

    return earlier_runs


@pytest.mark.parametrize("name", [name for name in shipped() if name != "quick"])
def test_every_arm_has_settings_that_there_are(name: str) -> None:
    study = read_study(name)
    for arm in study.arms:
        check_settings(arm.settings)
    # As many evaluations as there are points need as many rollouts
    counted = [arm.budget for arm in study.arms if arm.budget.unit != "cpu_minutes"]
    assert all(budget.amount >= study.evaluation.points for budget in counted)


def test_arms_of_one_environment_can_be_made() -> None:
    """All of Pendulum's that act on one bitstring, the other readout's are a part of them; Humanoid's have the same blocks."""
    study = read_study("pendulum_links_cut")
    arms = {variant: [arm for arm in study.arms if arm.variant == variant] for variant in ("mean", "sample")}
    assert [len(each) for each in arms.values()] == [12, 15]
    for variant, steps in (("mean", 20_000), ("sample", 40_000)):
        assert {arm.budget.amount for arm in arms[variant]} == {steps}
    for arm in arms["sample"]:
        model = make_model(arm, study.environment, 0, buffer_size=2 * n_envs_of(arm.settings))
        assert isinstance(model, QuantumTD3) and model.actor.n_links == 0 and model.batch_size == 64
        assert model.policy.readout == model.policy.eval_readout == "sample"


def test_circuits_of_the_other_circuits() -> None:
    """Controls differ from what they control in one thing: the gates, or the gradient."""
    study = read_study("pendulum_circuits")
    made = {}
    for arm in study.arms:
        model = make_model(arm, study.environment, 0, buffer_size=2)
        assert isinstance(model, QuantumTD3) and model.policy.quantum_layer is not None
        assert model.actor.n_links == 0 and model.policy.readout == (arm.variant or "mean")
        made[arm.name] = model.policy.ansatz, model.policy.quantum_layer.gradient
    for variant in ("mean", "sample"):
        deep, gradient = made[f"{variant}-deep"]
        assert (deep.family, deep.n_qubits, deep.n_layers, gradient) == ("brickwork", 10, 20, "qtdnn")
        without, gradient = made[f"{variant}-deep_n_cz0"]
        assert (without.n_qubits, without.n_layers, without.n_cz, gradient) == (10, 20, 0, "qtdnn")
        for control in ("frozen", "noise", "exact"):
            assert made[f"{variant}-deep_{control}"] == (deep, control)
    assert made["mean-wide"][0].n_qubits == 127 and made["mean-wide_frozen"] == (made["mean-wide"][0], "frozen")
    assert made["mean-dense"][0].n_cz == 5 and made["mean-dense_frozen"] == (made["mean-dense"][0], "frozen")


def test_the_papers_arm_has_the_papers_settings() -> None:
    study = read_study("pendulum_links_cut")
    ours = study.arm("sample-paper").settings
    base = study.arm("sample-pqc").settings
    for name, value in PAPER.items():
        if name == "policy_kwargs":
            kept = {**value, "n_links": 0, "readout": "sample", "eval_readout": "sample"}
            assert ours[name] == kept
        elif name not in base:
            assert ours[name] == value, name


def test_shipped_settings_are_those_of_the_zoo() -> None:
    zoo = dict(yaml.safe_load((ROOT / "hyperparams" / "qtd3.yml").read_text())["Humanoid-v4"])
    assert zoo.pop("policy") == "MlpPolicy" and zoo.pop("noise_type") == "normal" and zoo.pop("n_timesteps") == 8e5
    call = ast.parse(zoo.pop("policy_kwargs"), mode="eval").body
    assert isinstance(call, ast.Call)
    zoo["policy_kwargs"] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    zoo["action_noise"] = zoo.pop("noise_std")
    study = read_study("humanoid")
    assert study.arm("shipped").settings == zoo and study.arm("shipped").budget.amount == 800_000
    # The comparison of blocks has the same recipe
    links = dict(read_study("humanoid_links").arm("pqc").settings)
    assert links == {name: zoo[name] for name in links} and zoo.keys() - links.keys() == {
        "action_noise", "train_freq", "gradient_steps"
    }  # fmt: skip


@pytest.mark.parametrize("arm", ["sb3_td3", "sb3_tqc", "sb3_crossq"])
def test_arms_of_others_have_the_settings_of_the_zoo(arm: str) -> None:
    rl_zoo3 = pytest.importorskip("rl_zoo3")
    ours = dict(read_study("humanoid_recipe").arm(arm).settings)
    path = Path(rl_zoo3.__file__).parent / "hyperparams" / f"{ours.pop('algo')}.yml"
    theirs = {"policy_kwargs": "{}", **yaml.safe_load(path.read_text())["Humanoid-v4"]}
    assert theirs.pop("policy") == "MlpPolicy" and theirs.pop("n_timesteps") > 0
    assert theirs.pop("noise_type", "normal") == "normal" and theirs.pop("noise_std", None) == ours.pop("action_noise", None)
    theirs["policy_kwargs"] = eval(theirs["policy_kwargs"])
    assert ours == {"n_envs": 1, **theirs}


@pytest.mark.parametrize("name", ["humanoid_recipe", "humanoid_links", "humanoid_links_cut"])
def test_recipes_look_back_as_far_and_have_one_kind_of_critics(name: str) -> None:
    for arm in read_study(name).arms:
        kwargs = arm.settings["policy_kwargs"]
        if "algo" not in arm.settings:
            # As far back in updates, however seldom the actor is updated
            assert kwargs["actor_average_tau"] == pytest.approx(1e-3 * arm.settings.get("policy_delay", 2))
            assert not (kwargs.get("critic_layer_norm") and "critic" in kwargs)


def test_the_two_studies_of_humanoid_differ_in_the_links_alone() -> None:
    linked, cut = read_study("humanoid_links"), read_study("humanoid_links_cut")
    settings = dict(cut.arm("pqc").settings)
    settings["policy_kwargs"] = {key: value for key, value in settings["policy_kwargs"].items() if key != "n_links"}
    assert settings == linked.arm("pqc").settings and linked.evaluation == cut.evaluation
    recipe = dict(read_study("humanoid_recipe").arm("gamma98").settings)
    # What the recipe undoes of the settings that it began with
    recipe["policy_kwargs"] = {key: value for key, value in recipe["policy_kwargs"].items() if key != "critic_layer_norm"}
    rates = dict.fromkeys(("learning_rate", "qf_learning_rate"), "lin_0.001_0.0003")
    assert {**recipe, **rates} == linked.arm("pqc").settings


def cells_of(earlier_runs: Any, study: Study) -> list[Any]:
    return list(earlier_runs.cells(study))


@pytest.mark.parametrize(
    ("name", "count"),
    [("pendulum_links_cut", 60), ("pendulum_circuits", 19), ("wall_clock", 15), ("wall_clock_candidates", 10)],
)
def test_earlier_runs_are_cells_of_the_studies(name: str, count: int, earlier_runs: Any) -> None:
    study = read_study(name)
    cells = cells_of(earlier_runs, study)
    assert len(cells) == count == len({(cell.arm, cell.seed) for cell in cells})
    for cell in cells:
        assert cell.changes(study) == [] and len(cell.returns) == study.evaluation.episodes
        raw = json.loads((earlier_runs.RESULTS / cell.manifest["taken_over"]).read_text())
        assert raw["seed"] == cell.seed and raw["returns"] == cell.returns.tolist()
        budget = study.arm(cell.arm).budget
        assert raw["minutes" if budget.unit == "cpu_minutes" else "steps"] == budget.amount
        if cell.curve:
            assert cell.curve["return"][-1] == np.mean(raw["returns"]) and (np.diff(cell.curve["steps"]) > 0).all()


def test_earlier_runs_of_the_recipe_are_cells_of_its_study(earlier_runs: Any) -> None:
    study = read_study("humanoid_recipe")
    cells = cells_of(earlier_runs, study)
    raw = json.loads((earlier_runs.RESULTS / "humanoid_seeds.json").read_text())["runs"]
    assert len(cells) == len(raw) == len({(cell.arm, cell.seed) for cell in cells}) == 9
    for cell in cells:
        figures = raw[f"{cell.arm}-{cell.seed}"]
        assert cell.changes(study) == [] and cell.returns.tolist() == figures["returns"] and len(cell.returns) == 100
        assert cell.evaluation["first_seed"] == study.evaluation.first_seed == 50_000
        assert figures["cpu_minutes"] == study.arm(cell.arm).budget.amount == cell.manifest["cpu_minutes"]
        # Five episodes of the deployed average in training, a hundred of it at the end
        assert cell.curve["updates"][-1] == figures["updates"] == cell.manifest["updates"]
        assert cell.curve["return"][-1] == pytest.approx(cell.returns.mean(), rel=0.06)
        assert np.isnan(cell.curve["worst"]).all() and (cell.curve["own_return"] != cell.curve["return"]).all()


def test_earlier_runs_are_reported(
    earlier_runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sb3_quantum.study import report

    monkeypatch.setattr(sys, "argv", ["earlier_runs.py", "wall_clock", "--out", str(tmp_path)])
    earlier_runs.main()
    printed = capsys.readouterr().out
    assert "15 of 15 runs were taken over" in printed
    study = read_study("wall_clock")
    found = find(study, tmp_path / "wall_clock")
    text = report.page(study, found, report._groups(study, found), tmp_path / "wall_clock").markdown()
    assert "shipped and zeros cannot be told apart with 3 and 2 seeds" in text and "older than this file" in text
