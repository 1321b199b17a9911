"""What a study's file may contain, and the errors for one that cannot be used."""

import copy
import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_quantum.study import StudyError, parse_study, read_study
from sb3_quantum.study.cell import identity
from sb3_quantum.study.file import shipped
from sb3_quantum.study.models import check_arms, make_model, total_steps
from sb3_quantum.study.settings import check_settings
from tests.study.helpers import SMALL, small


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("thresholds:", "treshold:", "'treshold' is unknown, did you mean 'thresholds'?"),
        ("- [pqc, zeros]", "- [pqc, zero]", "'zero' is unknown, did you mean 'zeros'?"),
        ("- [pqc, zeros]", "- [pqc, pqc]", "compared with itself"),
        ("- [pqc, zeros]", "- [pqc, zeros]\n  - [zeros, pqc]", "pqc and zeros are compared twice"),
        ("- [pqc, zeros]", "- [pqc, zeros, pqc]", "a comparison is of two arms"),
        ("- [pqc, zeros]", "- {tested: pqc, agianst: zeros}", "did you mean 'against'?"),
        ("- [pqc, zeros]", "- {tested: pqc, against: zeros, margin: -1}", "margin must be a number > 0"),
        ("seeds: 2", "seeds: [3, 4, 3]", "3 occurs twice"),
        ("seeds: 2", "seeds: 0", "seeds of pqc must be an integer >= 1"),
        ("seeds: 2", "seeds: []", "must be a number or a list"),
        ("pqc: {}", "pqc: {}\n  pqc: {}", "'pqc' occurs twice"),
        ("pqc: {}", "pqc: {}\n  b: {from: pqq}", "'pqq' is unknown, did you mean 'pqc'?"),
        ("pqc: {}", "pqc: {from: zeros}\n  b: {from: pqc}", None),
        ("pqc: {}", "pqc: {from: b}\n  b: {from: pqc}", "'pqc' is derived from itself: pqc from b from pqc"),
        ("pqc: {}", "p-c: {}", "names of arms and variants are letters"),
        ("pqc: {}", "pqc: {variants: [mean]}", "'mean' is unknown"),
        (
            "seeds: 2",
            "seeds: 2\nvariants: {one: {from: pqc}}",
            "the variant 'one' must not have 'from', which is a key of arms",
        ),
        ("budget: {steps: 60}", "budget: {step: 60}", "'step' is unknown, did you mean 'steps'?"),
        ("budget: {steps: 60}", "budget: {steps: 60, updates: 3}", "budget must be one of steps, updates, cpu_minutes"),
        ("budget: {steps: 60}", "budget: {cpu_minutes: .nan}", "cpu_minutes must be a number > 0"),
        ("budget: {steps: 60}", "budget: {steps: 1e3}", "YAML reads 1e-3 as one"),
        ("budget: {steps: 60}", "", "'budget' is missing"),
        ("episodes: 2", "episodes: 0", "episodes of the evaluation must be an integer >= 1"),
        ("episodes: 2", "ablations: [shufled]", "did you mean 'shuffled'?"),
        ("name: small", "name: ../small", "name must be letters, digits and underscores"),
        ("name: small", "name: small\n- 3", "is not YAML"),
        (SMALL.strip(), "[]", "must be a mapping"),
    ],
)
def test_files_that_cannot_be_used(old: str, new: str, message: str | None) -> None:
    if message is None:
        parse_study(changed(old, new))
        return
    with pytest.raises(StudyError) as caught:
        parse_study(changed(old, new), "a.yml")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("pqc: {gama: 0.9}", "arm 'pqc': 'gama' is unknown, did you mean 'gamma'?"),
        ("pqc: {n_qubits: 3}", "'n_qubits' is unknown, it belongs into policy_kwargs"),
        ("pqc: {seed: 3}", "'seed' is unknown, seeds are the study's"),
        ("pqc: {policy_kwargs: {n_qbits: 3}}", "'n_qbits' is unknown, did you mean 'n_qubits'?"),
        ("pqc: {policy_kwargs: {gamma: 0.9}}", "it belongs beside policy_kwargs"),
        ("pqc: {policy_kwargs: {block: pcq}}", "block='pcq' is unknown"),
        ("pqc: {gamma: 2}", "gamma must be"),
        ("td3: {algo: td3, gamma: 2}", "gamma must be a number >= 0 and <= 1, got 2"),
        ("td3: {algo: td3, batch_size: x}", "batch_size must be an integer >= 1, got 'x'"),
        ("pqc: {buffer_size: 0}", "buffer_size must be an integer >= 1, got 0"),
        ("pqc: {normalize: []}", "normalize must be true, false or keyword arguments"),
        ("td3: {algo: td3, train_freq: [1]}", "arm 'td3': "),
        ("pqc: {learning_rate: 1e-3}", "learning_rate must be a number >= 0"),
        ("pqc: {learning_rate: {start: 1.0, end: 0.1}}", "learning_rate needs start, end and steps"),
        ("pqc: {algo: qtd4}", "algo 'qtd4' is unknown, did you mean 'qtd3'?"),
        ("pqc: {normalize: {norm_rewards: true}}", "did you mean 'norm_reward'?"),
        ("pqc: {noise_type: normal}", "noise_type and noise_std must be given together"),
        ("pqc: {n_envs: 0}", "n_envs must be an integer >= 1"),
        ("pqc: {gradient_steps: 0}\nbudget: {updates: 5}", "gradient_steps=0 makes no updates"),
        ("pqc: {learning_rate: lin_0.1}\nbudget: {cpu_minutes: 1}", "write {start: ..., end: ..., steps: ...}"),
        ("td3: {from: nothing, algo: td3, qf_learning_rate: 0.1}", "did you mean 'learning_rate'?"),
    ],
)  # fmt: skip
def test_settings_are_checked_before_anything_runs(arms: str, message: str) -> None:
    study = parse_study(f"name: a\nenvironment: Pendulum-v1\nbudget: {{steps: 9}}\narms:\n  {arms}".replace(
        "budget: {steps: 9}\n" if "\nbudget" in arms else "\0", ""))  # fmt: skip
    with pytest.raises(StudyError) as caught:
        check_arms(study, list(study.arms))
    assert message in str(caught.value)


def test_environments_are_checked_before_anything_runs() -> None:
    study = small(environment="Pendulum-v17")
    with pytest.raises(StudyError, match="environment 'Pendulum-v17' is unknown"):
        check_arms(study, list(study.arms))
    study = small(environment="{id: Pendulum-v1, packages: [no_such_package]}")
    with pytest.raises(StudyError, match="package 'no_such_package'"):
        check_arms(study, list(study.arms))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="'pendulum_link_cut' is unknown, did you mean 'pendulum_links_cut'"):
        read_study("pendulum_link_cut")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "no.yml")
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "bytes.yml")


def test_arms_are_changes_to_a_base() -> None:
    study = parse_study("""
        name: a
        environment: Pendulum-v1
        budget: {steps: 10}
        base: {gamma: 0.9, tau: 0.1, policy_kwargs: {n_qubits: 3, readout: mean}}
        variants:
          one: {policy_kwargs: {readout: sample}}
          two: {budget: {steps: 20}, seeds: 3}
        arms:
          a: {gamma: 0.8, policy_kwargs: {readout: majority, n_links: 0}}
          b: {from: a, tau: 0.2, seeds: [7], note: two   words}
          c: {from: nothing, algo: td3, variants: [two]}
        comparisons: [[a, b], [one-a, two-a], [a, c]]
        """)
    assert [arm.name for arm in study.arms] == ["one-a", "one-b", "two-a", "two-b", "two-c"]
    kwargs = {"n_qubits": 3, "readout": "sample", "n_links": 0}
    assert study.arm("one-b").settings == {"gamma": 0.8, "tau": 0.2, "policy_kwargs": kwargs}
    assert study.arm("two-a").settings["policy_kwargs"]["readout"] == "majority"
    assert study.arm("two-c").settings == {"algo": "td3"}
    assert study.arm("two-a").budget.amount == 20 and study.arm("one-a").budget.amount == 10
    assert (
        study.arm("two-a").seeds == (0, 1, 2) and study.arm("two-b").seeds == (7,) and study.arm("one-b").note == "two words"
    )
    pairs = [(each.tested, each.against) for each in study.comparisons]
    assert pairs == [("one-a", "one-b"), ("two-a", "two-b"), ("one-a", "two-a"), ("two-a", "two-c")]
    # All first seeds first; an index says the same everywhere
    cells = [(arm.name, seed) for arm, seed in study.cells()]
    assert cells[:5] == [("one-a", 0), ("one-b", 7), ("two-a", 0), ("two-b", 7), ("two-c", 0)]
    assert len(cells) == len(set(cells)) == 1 + 1 + 3 + 1 + 3


VARIANTS = """
variants:
  near: {}
  far: {environment: {id: MountainCarContinuous-v0, kwargs: {goal_velocity: 0.1}}}
"""


def test_a_variant_may_have_an_environment_of_its_own() -> None:
    study = parse_study(SMALL + VARIANTS)
    where = {arm.name: study.environment_of(arm).id for arm in study.arms}
    assert where == {
        "near-pqc": "Pendulum-v1", "near-zeros": "Pendulum-v1",
        "far-pqc": "MountainCarContinuous-v0", "far-zeros": "MountainCarContinuous-v0",
    }  # fmt: skip
    model = make_model(study.arm("far-pqc"), study.environment_of(study.arm("far-pqc")), 0)
    assert model.observation_space.shape == (2,)
    near, far = (identity(study, study.arm(name), 0)["environment"] for name in ("near-pqc", "far-pqc"))
    assert near == {"id": "Pendulum-v1", "kwargs": {}, "packages": []} and far["kwargs"] == {"goal_velocity": 0.1}
    # Within a variant
    assert [(each.tested, each.against) for each in study.comparisons] == [
        ("near-pqc", "near-zeros"),
        ("far-pqc", "far-zeros"),
    ]
    with pytest.raises(StudyError, match="near-pqc and far-pqc cannot be compared: their environments differ"):
        parse_study(SMALL.replace("[pqc, zeros]", "[near-pqc, far-pqc]") + VARIANTS)
    with pytest.raises(StudyError, match="arm 'pqc' must not have an environment; give it to the study or to a variant"):
        parse_study(SMALL.replace("pqc: {}", "pqc: {environment: Pendulum-v1}"))
    with pytest.raises(StudyError, match=r"environment 'MountainCra-v0' is unknown: .*MountainCar"):
        unknown = parse_study(SMALL + VARIANTS.replace("MountainCarContinuous-v0", "MountainCra-v0"))
        check_arms(unknown, [unknown.arm("far-pqc")])


def test_the_hash_is_that_of_what_is_said() -> None:
    # Folders of earlier versions name their copies of a study after it
    assert small().hash == "9782abb36ffa48b7"
    assert parse_study("# a comment\n" + SMALL).hash == small().hash
    assert parse_study(SMALL + VARIANTS).hash != parse_study(SMALL + VARIANTS.replace("0.1", "0.2")).hash
    assert small(seeds="3").hash != small().hash != small(comparisons="[]\nquestion: x").hash


@pytest.mark.parametrize("name", list(shipped()))
def test_shipped_studies_can_be_read(name: str) -> None:
    study = read_study(name)
    assert study.name == name and study.question and len(study.cells()) >= 1
    for arm in study.arms:
        assert arm.note or len(study.arms) == 1, arm.name


@pytest.mark.parametrize(
    ("settings", "updates", "steps"),
    [
        ("learning_starts: 20", 30, 50),
        ("learning_starts: 20, train_freq: 4", 7, 48),
        ("learning_starts: 21, train_freq: 4, gradient_steps: 3", 7, 32),
        ("learning_starts: 20, n_envs: 3, gradient_steps: -1", 7, 27),
    ],
)
def test_budgets_of_updates_are_steps(settings: str, updates: int, steps: int) -> None:
    study = parse_study(
        f"name: a\nenvironment: Pendulum-v1\nbudget: {{updates: {updates}}}\n"
        f"arms: {{a: {{{settings}, batch_size: 4, buffer_size: 100, policy_kwargs: {{block: zeros, net_arch: [4, 4]}}}}}}"
    )
    (arm,) = study.arms
    assert total_steps(arm.settings, arm.budget) == steps
    model = make_model(arm, study.environment, 0).learn(steps)
    assert model.num_timesteps == steps and updates <= model._n_updates < updates + max(model.gradient_steps, model.n_envs)


def test_rates_noise_and_normalization() -> None:
    study = parse_study("""
        name: a
        environment: Pendulum-v1
        budget: {steps: 100}
        base: {n_envs: 2, buffer_size: 100}
        arms:
          td3: {algo: td3, learning_rate: lin_0.1_0.01, noise_type: ornstein-uhlenbeck, noise_std: 0.3, normalize: true,
                gamma: 0.9}
          tqc: {algo: tqc, learning_rate: {start: 0.1, end: 0.05, steps: 50}, action_noise: 0.2, train_freq: [2, step]}
          crossq: {algo: crossq, normalize: {norm_obs: false}}
        """)
    td3, tqc, crossq = (make_model(arm, study.environment, 0) for arm in study.arms)
    assert [type(model).__name__ for model in (td3, tqc, crossq)] == ["TD3", "TQC", "CrossQ"]
    assert td3.lr_schedule(1) == pytest.approx(0.1) and td3.lr_schedule(0) == pytest.approx(0.01)
    assert [tqc.lr_schedule(1 - done) for done in (0, 0.25, 0.5, 1)] == pytest.approx([0.1, 0.075, 0.05, 0.05])
    assert type(td3.action_noise).__name__.startswith("Ornstein") and tqc.action_noise._sigma == pytest.approx(0.2)
    assert td3.get_vec_normalize_env().gamma == 0.9 and not crossq.get_vec_normalize_env().norm_obs
    assert tqc.train_freq.frequency == 2 and tqc.get_vec_normalize_env() is None and tqc.n_envs == 2


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in nested dictionaries and lists."""
    yield path
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield from places(data[key], (*path, key))


def test_whatever_stands_in_a_file_is_a_sentence() -> None:
    """Every value of a file by something else: it is accepted, or refused in one sentence."""
    whole = {
        **yaml.safe_load(SMALL),
        "variants": {"one": {"tau": 0.1, "environment": "Pendulum-v1"}},
        "environment": {"id": "Pendulum-v1", "kwargs": {"g": 1.0}, "packages": ["math"]},
        "evaluation": {"episodes": 2, "ablations": ["zeros"], "deterministic": None, "fidelity": True},
        "comparisons": [["pqc", "zeros"], {"tested": "one-zeros", "against": "one-b", "margin": 1, "claim": "c"}],
    }
    whole["arms"]["b"] = {"from": "pqc", "note": "n", "seeds": [1, 2], "budget": {"updates": 3}, "variants": ["one"]}
    parse_study(yaml.dump(whole))
    refused = 0
    for place in places(whole):
        for odd in (None, True, -1, "x", [], [[]], {"x": {}}, {1: 2}):
            data = copy.deepcopy(whole)
            if place:
                *inside, last = place
                functools.reduce(operator.getitem, inside, data)[last] = odd
            else:
                data = odd
            try:
                for arm in parse_study(yaml.dump(data)).arms:
                    check_settings(arm.settings)
            except StudyError as error:
                assert "\n" not in str(error), (place, odd)
                refused += 1
            except ValueError:
                # Of settings, which are an arm's own: whoever makes its model adds the arm's name
                assert place[:1] in (("base",), ("arms",), ("variants",)), (place, odd)
    assert refused > 150
