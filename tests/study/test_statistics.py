"""
How often the intervals are right and how often arms of one kind are told apart, by simulation at a few seeds. The seeds are
fixed; the bounds are those of a simulation of 4,000 studies, three standard errors away.
"""

import math

import numpy as np
import pytest
from scipy import stats

from sb3_quantum.study.spec import Comparison
from sb3_quantum.study.statistics import (
    BOOTSTRAP_COVERAGE,
    TRIM,
    bootstrapped,
    detectable,
    difference,
    first_reached,
    holm,
    iqm,
    mean,
    probability_of_improvement,
    profile,
    seeds_to_tell,
)
from sb3_quantum.study.verdict import verdicts

STUDIES = 4000


def draws(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Mean returns of runs: symmetric ones, skewed ones, heavy tails, and one run in five that fails."""
    if kind == "skewed":
        return -np.exp(rng.normal(size=shape))
    if kind == "failing":
        return np.where(rng.random(shape) < 0.2, -20, 0) + rng.normal(size=shape)
    return rng.normal(size=shape) if kind == "normal" else rng.standard_t(3, size=shape)


def covered(kind: str, n: int, rng: np.random.Generator) -> float:
    """How often the interval of the interquartile mean covers that of all runs there could be."""
    true = stats.trim_mean(draws(kind, (300_000,), rng), TRIM)
    runs = draws(kind, (400, n), rng)
    return float(np.mean([low <= true <= high for _, low, high in map(iqm, runs)]))


@pytest.mark.parametrize("kind", ["normal", "skewed", "failing", "heavy"])
def test_the_interval_of_the_interquartile_mean_holds(kind: str) -> None:
    rng = np.random.default_rng(1)
    for n in (3, 5, 10):
        assert 0.89 <= covered(kind, n, rng) <= 0.99, n


def test_the_bootstrap_is_as_bad_as_the_report_says() -> None:
    rng = np.random.default_rng(2)
    for n, claimed in BOOTSTRAP_COVERAGE.items():
        runs = rng.normal(size=(500, n))
        drawn = runs[:, rng.integers(n, size=(400, n))]
        for trimmed, share in zip((TRIM, 0), claimed, strict=True):
            low, high = np.percentile(stats.trim_mean(drawn, trimmed, axis=2), [2.5, 97.5], axis=1)
            assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(share, abs=0.06), (n, trimmed)
    # And scipy's is that bootstrap
    ours = bootstrapped(runs[0])
    low, high = np.percentile(stats.trim_mean(runs[0][rng.integers(10, size=(5000, 10))], TRIM, axis=1), [2.5, 97.5])
    assert ours.low == pytest.approx(low, abs=0.1) and ours.high == pytest.approx(high, abs=0.1)


@pytest.mark.parametrize("kind", ["normal", "skewed", "failing", "heavy"])
def test_false_alarms_are_as_rare_as_stated(kind: str) -> None:
    """The test behind every verdict, for arms of one kind: at most 5 %, and three standard errors."""
    rng = np.random.default_rng(3)
    for n, m in ((3, 3), (5, 3), (5, 5), (10, 5), (10, 10)):
        sets = draws(kind, (STUDIES, n), rng), draws(kind, (STUDIES, m), rng)
        alarms = stats.ttest_ind(*sets, axis=1, equal_var=False, trim=TRIM).pvalue < 0.05
        assert alarms.mean() <= 0.065, (n, m)
        # The same numbers, one by one
        for i in range(5):
            assert (difference(sets[0][i], sets[1][i]).p < 0.05) == alarms[i]


def test_arms_of_unequal_spread_give_few_false_alarms() -> None:
    rng = np.random.default_rng(4)
    for n, m in ((3, 3), (5, 3), (5, 5), (10, 5)):
        alarms = stats.ttest_ind(
            5 * rng.normal(size=(STUDIES, n)), rng.normal(size=(STUDIES, m)), axis=1, equal_var=False, trim=TRIM
        ).pvalue
        assert (alarms < 0.05).mean() <= 0.085, (n, m)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_interval_of_the_probability_of_improvement_holds(shift: float) -> None:
    rng = np.random.default_rng(5)
    true = stats.norm.cdf(shift / math.sqrt(2))
    for n, m in ((3, 3), (5, 3), (5, 5), (10, 10)):
        found = [probability_of_improvement(shift + rng.normal(size=n), rng.normal(size=m)) for _ in range(200)]
        assert np.mean([each.low <= true <= each.high for each in found]) >= 0.86, (n, m)


def test_probabilities_at_their_ends_have_intervals() -> None:
    one = np.arange(5.0)
    assert probability_of_improvement(one + 10, one)[:] == pytest.approx((1, 0.643, 1), abs=1e-3)
    assert probability_of_improvement(one, one + 10)[:] == pytest.approx((0, 0, 0.357), abs=1e-3)
    assert probability_of_improvement(one, one).value == 0.5


def test_as_many_seeds_as_are_said_to_tell_do_tell() -> None:
    rng = np.random.default_rng(6)
    quantiles = stats.norm.ppf((np.arange(201) + 0.5) / 201)
    tested, against = quantiles, 2 * quantiles
    for effect, expected in ((1.0, 50), (2.5, 10)):
        n = seeds_to_tell(tested, against, effect)
        assert n == pytest.approx(expected, rel=0.2)
        told = stats.ttest_ind(
            effect + rng.normal(size=(2000, n)), 2 * rng.normal(size=(2000, n)), axis=1, equal_var=False, trim=TRIM
        ).pvalue
        assert (told < 0.05).mean() == pytest.approx(0.8, abs=0.06)
    assert seeds_to_tell(tested, against, 0.0) is None is seeds_to_tell(tested, against, 1e-6)
    assert detectable(*np.stack([quantiles, 2 * quantiles])[:, 8::20]) == pytest.approx(2.5, rel=0.3)
    assert math.isnan(detectable(tested[:1], against))


def test_holm_corrects_for_all_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([math.nan, 0.5]) == [1.0, 1.0] and holm([]) == []


def test_few_or_equal_values_are_no_error() -> None:
    for estimate in (iqm, mean, bootstrapped):
        value, low, high = estimate(np.array([3.0]))
        assert value == 3 and math.isnan(low) and math.isnan(high)
        assert estimate(np.array([3.0, 3.0]))[:] == (3, 3, 3)
    assert math.isnan(difference(np.array([3.0, 3]), np.array([2.0, 2])).p)
    assert math.isnan(difference(np.array([3.0]), np.array([2.0, 2])).p)


def test_profiles_and_thresholds() -> None:
    shares, low, high = profile([np.array([1.0, 2, 3, 4]), np.array([3.0, 3, 3, 3])], np.array([0.0, 2.5, 5]))
    assert shares.tolist() == [1, 0.75, 0] and low[1] == 0.5 and high[1] == 1
    curve = {"steps": np.array([10.0, 20, 30]), "return": np.array([1.0, 5, 2])}
    assert first_reached(curve, 4, "steps") == 20 and first_reached(curve, 6, "steps") == math.inf == first_reached(
        {}, 1, "steps"
    )


@pytest.mark.parametrize(
    ("against", "margin", "outcome", "words"),
    [
        ([-300.0, -310, -290, -305, -295], None, "ahead", "a is ahead of b by 200"),
        ([10.0, 0, 5, -5, -10], None, "behind", "a is behind b by 100"),
        ([-103.0, -97, -101, -99, -100], 30.0, "equal", "a equals b to within 30"),
        ([-103.0, -97, -101, -99, -100], None, "cannot be told apart", "no practical number of seeds"),
        ([-160.0, -80, -120, -60, -150], None, "cannot be told apart", "seeds per arm"),
        ([-160.0], None, "not run", "b has 1 of at least 2 complete cells"),
        ([], None, "not run", "b has 0 of at least 2"),
    ],
)
def test_a_verdict_is_what_the_numbers_say(against: list[float], margin: float | None, outcome: str, words: str) -> None:
    tested = np.array([-100.0, -104, -96, -101, -99])
    (verdict,) = verdicts([(Comparison("a", "b", margin), tested, np.array(against))])
    assert verdict.outcome == outcome and words in verdict.sentence
    assert f"5 and {len(against)} seeds" in verdict.sentence or outcome == "not run"


def test_two_arms_without_any_spread() -> None:
    """Policies that always act alike: no test can say how often that would happen."""
    (verdict,) = verdicts([(Comparison("a", "b"), np.full(5, -1474.0), np.full(5, -1475.0))])
    assert verdict.outcome == "cannot be told apart" and "differ from each other" in verdict.sentence


def test_many_comparisons_need_more() -> None:
    """Of ten comparisons with nothing in them, one is often told apart at 5 %; corrected for all of them, seldom."""
    rng = np.random.default_rng(7)
    arms = rng.normal(size=(11, 1000, 5))
    alone = stats.ttest_ind(arms[:1], arms[1:], axis=2, equal_var=False, trim=TRIM).pvalue.T
    corrected = np.array([holm(list(row)) for row in alone])
    assert (alone < 0.05).any(1).mean() > 0.15 and (corrected < 0.05).any(1).mean() < 0.07
    many = [(Comparison("a", str(i)), np.arange(5.0), np.arange(5.0) - 4) for i in range(8)]
    assert {verdict.outcome for verdict in verdicts(many[:1])} == {"ahead"}
    assert {verdict.outcome for verdict in verdicts(many)} == {"cannot be told apart"}
