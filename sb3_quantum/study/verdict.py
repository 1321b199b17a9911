"""Verdicts: a sentence for every comparison, from the results."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sb3_quantum.study.spec import Comparison
from sb3_quantum.study.statistics import (
    LEVEL,
    Difference,
    Estimate,
    detectable,
    difference,
    holm,
    probability_of_improvement,
    seeds_to_tell,
    trimmed_error,
)

#: outcomes of a comparison
OUTCOMES = ("ahead", "behind", "equal", "cannot be told apart", "not run")


@dataclass
class Verdict:
    """
    Verdict on a comparison.

    :param comparison: the comparison
    :param outcome: one of :data:`OUTCOMES`
    :param sentence: the verdict in words
    :param difference: difference of the interquartile means
    :param improvement: probability that a run of the tested arm has the higher return
    :param p: p-value corrected for all comparisons
    :param seeds: seeds of both arms
    :param more: seeds per arm that would detect the difference; ``None`` if unknown
    """

    comparison: Comparison
    outcome: str
    sentence: str
    difference: Difference
    improvement: Estimate
    p: float
    seeds: tuple[int, int]
    more: int | None


def verdicts(comparisons: list[tuple[Comparison, np.ndarray, np.ndarray]]) -> list[Verdict]:
    """
    Compute the verdicts of comparisons.

    :param comparisons: each with the mean returns of both arms' runs, ``(seeds,)``
    :return: the verdicts; p-values are corrected for all comparisons
    """
    run = [min(len(tested), len(against)) >= 2 for _, tested, against in comparisons]
    differences = [
        difference(tested, against) if there else None for there, (_, tested, against) in zip(run, comparisons, strict=True)
    ]
    # Comparisons that have not run yet count, so a finding does not vanish as the study grows
    corrected = holm([math.nan if found is None else found.p for found in differences])
    return [
        _not_run(*asked) if found is None else _verdict(*asked, found, p, len(comparisons))
        for asked, found, p in zip(comparisons, differences, corrected, strict=True)
    ]


def _verdict(
    comparison: Comparison, tested: np.ndarray, against: np.ndarray, found: Difference, p: float, n_comparisons: int
) -> Verdict:
    names, seeds = (comparison.tested, comparison.against), (len(tested), len(against))
    improvement = probability_of_improvement(tested, against)
    more = seeds_to_tell(tested, against, found.value)
    corrected = f", {_p(p)} after Holm's correction for {n_comparisons} comparisons" if n_comparisons > 1 else ""
    numbers = f"[{_number(found.low)}, {_number(found.high)}]"
    with_seeds = f"{seeds[0]} and {seeds[1]} seeds"
    if math.isnan(found.p):
        outcome = "cannot be told apart"
        sentence = (
            f"{names[0]} and {names[1]} cannot be told apart with {with_seeds}: neither arm's runs differ from each other."
        )
    elif p < 1 - LEVEL:
        outcome = "ahead" if found.value > 0 else "behind"
        word = "ahead of" if found.value > 0 else "behind"
        sentence = (
            f"{names[0]} is {word} {names[1]} by {_number(abs(found.value))} (difference {numbers}, {_p(found.p)}{corrected}; "
            f"{with_seeds}). A run of it has the higher return with a probability of {improvement.value:.2f} "
            f"[{improvement.low:.2f}, {improvement.high:.2f}]."
        )
    elif _equal(comparison.margin, tested, against, found):
        outcome = "equal"
        sentence = (
            f"{names[0]} equals {names[1]} to within {_number(comparison.margin or 0)}: the difference is "
            f"{_number(found.value)}, and both one-sided tests at 5 % say that it is no larger ({with_seeds})."
        )
    else:
        outcome = "cannot be told apart"
        sentence = (
            f"{names[0]} and {names[1]} cannot be told apart with {with_seeds}: the difference is {_number(found.value)} "
            f"{numbers}, {_p(found.p)}{corrected}. {_what_would_tell(found.value, detectable(tested, against), more)}"
        )
    return Verdict(comparison, outcome, sentence, found, improvement, p, seeds, more)


def _what_would_tell(effect: float, seen: float, more: int | None) -> str:
    """Describe which difference a comparison would have detected, and how many seeds would detect more."""
    text = f"A difference of {_number(seen)} would have been detected four times out of five"
    if more is None:
        return f"{text}; no practical number of seeds would detect one of {_number(abs(effect))}."
    return f"{text}; one of {_number(abs(effect))}, if it is that large, takes about {more} seeds per arm."


def _equal(margin: float | None, tested: np.ndarray, against: np.ndarray, found: Difference) -> bool:
    """Test by two one-sided tests at 5 % whether the difference is within the margin."""
    if margin is None:
        return False
    errors = [trimmed_error(values) for values in (tested, against)]
    variances = [error**2 for error, _ in errors]
    freedom = sum(variances) ** 2 / sum(v**2 / (rest - 1) for v, (_, rest) in zip(variances, errors, strict=True))
    half = float(stats.t.ppf(LEVEL, freedom)) * math.sqrt(sum(variances))
    return abs(found.value) + half < margin


def _not_run(comparison: Comparison, tested: np.ndarray, against: np.ndarray) -> Verdict:
    nothing = Estimate(math.nan, math.nan, math.nan)
    few = " and ".join(
        f"{name} has {len(values)}"
        for name, values in ((comparison.tested, tested), (comparison.against, against))
        if len(values) < 2
    )
    return Verdict(
        comparison,
        "not run",
        f"{comparison.tested} and {comparison.against} are not compared yet: {few} of at least 2 complete cells.",
        Difference(*nothing, math.nan),
        nothing,
        math.nan,
        (len(tested), len(against)),
        None,
    )


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def _number(value: float) -> str:
    """Format a number with significant digits only."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
