"""Seeds of one arm are one curve with an interval."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sb3_quantum.plot import default_labels, main, unique_labels
from sb3_quantum.plots import Curve, Run, arms_figure
from sb3_quantum.plots.arms import mean_and_interval
from tests.plots.test_runs import write_monitor


def test_mean_is_between_points_and_over_common_steps() -> None:
    steps, mean, low, high = mean_and_interval(
        [Curve(np.array([0.0, 10.0]), np.array([0.0, 10.0])), Curve(np.array([2.0, 8.0]), np.array([4.0, 10.0]))]
    )
    assert steps[0] == 2 and steps[-1] == 8
    np.testing.assert_allclose(mean, steps + 1)
    # Student's, with one degree of freedom: the two differ by 2 everywhere
    half = stats.t.interval(0.95, 1, scale=stats.sem([0.0, 2.0]))[1]
    np.testing.assert_allclose(high - mean, half)
    np.testing.assert_allclose(mean - low, half)


def test_interval_holds_the_mean_as_often_as_it_says() -> None:
    """400 arms of four seeds: the number of misses is Binomial(400, 0.05), beyond [5, 38] in one of 12,000 cases."""
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(400):
        curves = [Curve(np.array([0.0, 1.0]), np.full(2, rng.normal())) for _ in range(4)]
        _, _, low, high = mean_and_interval(curves)
        misses += not low[0] <= 0 <= high[0]
    assert 5 <= misses <= 38


def test_one_seed_has_no_interval() -> None:
    figure = arms_figure({"a": [Run("a", rollouts=Curve(np.array([1.0, 2.0]), np.array([0.0, 1.0])))]})
    (axes,) = figure.axes  # none for the cosine, which nobody measured
    assert len(axes.collections) == 0 and len(axes.lines) == 2


def test_panels_and_names() -> None:
    steps = np.array([1.0, 2.0, 3.0])
    arms = {
        "qtd3": [Run("qtd3", episodes=Curve(steps, steps * k), cosine=Curve(steps, steps / 3)) for k in (1, 2, 3)],
        "td3": [Run("td3", evaluations=Curve(steps, steps))],
    }
    figure = arms_figure(arms, window=2)
    returns, cosines = figure.axes
    assert len(returns.collections) == 1 and len(cosines.collections) == 1  # bands
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["qtd3 (3 runs)", "td3 (1 run)"]
    with pytest.raises(ValueError, match="neither returns nor cosines"):
        arms_figure({"a": [Run("a", circuits=Curve(steps, steps))]})


def test_labels_tell_runs_apart() -> None:
    assert unique_labels([Path("logs/qtd3/A_1"), Path("logs/qtd3/A_2")]) == ["A_1", "A_2"]
    assert unique_labels([Path("logs/qtd3/A_1"), Path("logs/td3/A_1")]) == ["qtd3/A_1", "td3/A_1"]


def test_folders_named_by_a_number_are_seeds() -> None:
    cells = [Path("study") / arm / seed for arm in ("pqc", "fc") for seed in ("0", "1")]
    assert default_labels(cells) == ["pqc", "pqc", "fc", "fc"]
    assert default_labels([*cells, Path("other/pqc/0")])[::4] == ["study/pqc", "other/pqc"]
    assert default_labels([Path("pqc/0"), Path("A_1")]) == ["0", "A_1"]
    assert default_labels([Path("pqc/0")]) == ["0"]


def test_command_groups_equal_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a_1", "a_2", "b_1"):
        Path(name).mkdir()
        write_monitor(Path(name) / "0.monitor.csv", [(1.0, 10), (2.0, 10)])
    for labels, said in (([], "3 runs\n"), (["--labels", "a", "a", "b"], "3 runs in 2 arms\n")):
        monkeypatch.setattr(sys, "argv", ["plot", "a_1", "a_2", "b_1", *labels])
        main()
        out = capsys.readouterr().out
        assert out.startswith(f"runs.png: {said}") and "FidelityCallback" in out
    assert Path("runs.png").stat().st_size > 10_000
