"""Reading a run, and drawing several."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.plot import main
from sb3_quantum.plots import Run, load_run, runs_figure
from sb3_quantum.plots.runs import Curve, running_mean
from sb3_quantum.plots.style import COLOURS
from tests.envs import SMALL, CountingEnv


def write_monitor(path: Path, episodes: list[tuple[float, int]]) -> None:
    rows = "".join(f"{value},{length},0.5\n" for value, length in episodes)
    path.write_text('#{"t_start": 1.0, "env_id": "None"}\nr,l,t\n' + rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind: ``qtd3`` as the zoo leaves it, ``logged`` with TensorBoard and progress.csv, and SB3's ``td3``."""
    root = tmp_path_factory.mktemp("runs")
    kwargs = dict(learning_starts=20, buffer_size=300, batch_size=16, seed=0)
    env = make_vec_env(CountingEnv, 2, monitor_dir=str(root / "qtd3"))
    evaluation = EvalCallback(
        make_vec_env(CountingEnv), log_path=str(root / "qtd3"), eval_freq=25, n_eval_episodes=3, verbose=0
    )
    model = QuantumTD3("MlpPolicy", env, policy_kwargs=SMALL, tensorboard_log=str(root / "tb"), **kwargs)  # type: ignore[arg-type]
    model.learn(120, callback=[FidelityCallback(freq=30, n_states=8), evaluation], log_interval=1)
    other = QuantumTD3("MlpPolicy", make_vec_env(CountingEnv), policy_kwargs=SMALL, **kwargs)  # type: ignore[arg-type]
    other.set_logger(configure(str(root / "logged"), ["csv"]))
    other.learn(60, callback=FidelityCallback(freq=20, n_states=8), log_interval=1)
    TD3("MlpPolicy", make_vec_env(CountingEnv, monitor_dir=str(root / "td3")), **kwargs).learn(80)  # type: ignore[arg-type]
    return root


def test_a_run_of_the_zoo_is_read_without_tensorboard(trained: Path) -> None:
    run = load_run(trained / "qtd3")
    assert run.label == "qtd3" and run.episodes and run.evaluations and run.cosine and run.circuits and run.prior
    # Two environments side by side, 7 steps an episode
    np.testing.assert_array_equal(run.episodes.steps, np.repeat(np.arange(14, 113, 14), 2))
    np.testing.assert_array_equal(run.evaluations.steps, [50, 100])
    assert run.spread is not None and (run.spread > 0).all()
    np.testing.assert_array_equal(run.cosine.steps, [30, 60, 90])
    np.testing.assert_array_equal(run.circuits.values, [30, 60, 90])


def test_event_files_and_tables_say_the_same(trained: Path) -> None:
    """Every fidelity in the event file is one of those in fidelity.csv; SB3 writes them when the next episodes end."""
    table, events = load_run(trained / "qtd3"), load_run(trained / "tb", "board")
    assert events.label == "board" and events.cosine and table.cosine and events.rollouts and events.circuits
    assert events.episodes is None and events.evaluations is not None and events.spread is None
    np.testing.assert_allclose(events.cosine.values, table.cosine.values, rtol=1e-6)
    assert (events.cosine.steps >= table.cosine.steps).all()
    logged = load_run(trained / "logged")
    assert logged.rollouts and logged.cosine and len(logged.cosine.steps) == 2 and logged.circuits
    np.testing.assert_array_equal(logged.circuits.steps, logged.circuits.values)


@pytest.mark.parametrize("file", ["fidelity.csv", "progress.csv", "events"])
def test_the_name_that_a_key_had_in_0_1_0_is_read(tmp_path: Path, file: str) -> None:
    """Runs of 0.1.0 have the prior's cosine under the mean field's name; one that is continued has both, in TensorBoard."""
    old, new = "qtdnn/cosine_mean_field", "qtdnn/cosine_prior"
    values = {10: {old: 0.25, "qtdnn/cosine": 0.5}, 20: {old: 0.75, "qtdnn/cosine": 0.5}}
    if file == "events":
        values = {**values, 30: {new: 1.0, "qtdnn/cosine": 0.5}}
        logger = configure(str(tmp_path), ["tensorboard"])
        for steps, row in values.items():
            for key, value in row.items():
                logger.record(key, value)
            logger.dump(steps)
        logger.close()
    else:
        head = "steps" if file == "fidelity.csv" else "time/total_timesteps"
        lines = [f"{steps},{row[old]},{row['qtdnn/cosine']}" for steps, row in values.items()]
        (tmp_path / file).write_text("\n".join([f"{head},{old},qtdnn/cosine", *lines]) + "\n")
    run = load_run(tmp_path)
    assert run.prior is not None and run.prior.steps.tolist() == list(values)
    assert run.prior.values.tolist() == [0.25, 0.75, 1.0][: len(values)]
    labels = [text.get_text() for text in runs_figure([run]).axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == ["prior alone, without a fit", "qtDNN"]


def test_a_continued_run_goes_on(tmp_path: Path) -> None:
    """The clock of a monitor file starts again with every process, and its steps do not."""
    write_monitor(tmp_path / "0.monitor.csv", [(1.0, 10), (2.0, 30), (3.0, 5)])
    run = load_run(tmp_path)
    assert run.episodes is not None
    assert run.episodes.steps.tolist() == [10, 40, 45] and run.episodes.values.tolist() == [1, 2, 3]


def test_running_mean() -> None:
    assert running_mean(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist() == [1.0, 1.5, 2.5, 3.5]
    assert running_mean(np.array([1.0, 2.0]), 5).tolist() == [1.0, 1.5]


def test_every_run_is_drawn_with_what_it_has(trained: Path) -> None:
    runs = [load_run(trained / name) for name in ("qtd3", "td3", "tb")]
    figure = runs_figure(runs, window=3)
    returns, cosines, circuits = figure.axes
    colours = [{line.get_color() for line in axes.lines if len(np.ravel(line.get_xdata())) > 0} for axes in figure.axes]
    assert colours == [set(COLOURS[:3]), {COLOURS[0], COLOURS[2]}, {COLOURS[0], COLOURS[2]}]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["qtd3", "td3", "tb"]
    assert returns.get_shared_x_axes().joined(returns, circuits) and circuits.get_xlabel() == "environment steps"
    assert all(axes.get_ylabel() for axes in figure.axes)
    mean = next(line for line in returns.lines if line.get_linewidth() == 1.8)
    assert runs[0].episodes is not None
    np.testing.assert_allclose(mean.get_ydata(), running_mean(runs[0].episodes.values, 3))
    assert cosines.get_ylim()[0] <= 0 and cosines.get_ylim()[1] > 1


def test_panels_without_data_are_left_out() -> None:
    curve = Curve(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    for runs, panels in (
        ([Run("a", rollouts=curve)], ["return"]),
        ([Run("a", circuits=curve)], ["circuits"]),
        ([Run("a", rollouts=curve), Run("b", prior=curve)], ["return", "cosine"]),
    ):
        figure = runs_figure(runs)
        assert [axes.get_ylabel().split()[0] for axes in figure.axes] == panels
        assert figure.axes[-1].get_xlabel() == "environment steps"
        assert not any(axes.texts for axes in figure.axes)
    (nothing,) = runs_figure([Run("a")]).axes
    assert [text.get_text() for text in nothing.texts] == ["not recorded"]
    # More runs than colours differ in their dashes
    many = runs_figure([Run(str(i), rollouts=curve) for i in range(9)])
    looks = {(line.get_color(), line.get_linestyle()) for line in many.axes[0].lines}
    assert len(looks) == 9


def test_command(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained / "qtd3"), str(trained / "td3"), "--labels", "hybrid", "classical"]
    for name in ("runs.png", "runs.svg", "runs.pdf"):
        command = [sys.executable, "-m", "sb3_quantum.plot", *arguments, "--output", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    picture = imread(tmp_path / "runs.png")
    assert picture.shape[:2] == (1430, 1034) and 0.005 < (picture[..., :3] < 0.9).any(-1).mean() < 0.5
    assert (tmp_path / "runs.svg").read_text().startswith("<?xml") and (tmp_path / "runs.pdf").read_bytes()[:4] == b"%PDF"


def test_what_cannot_be_drawn_is_an_error(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken", "endless", "torn", "started"):
        Path(name).mkdir()
    Path("broken/0.monitor.csv").write_text("a,b\n1,2\n")
    Path("endless/0.monitor.csv").write_text(f"#{{}}\nr,l,t\n{'1' * 200_000},2,3\n")  # more than csv reads
    Path("torn/evaluations.npz").write_bytes(b"PK\x03\x04")
    write_monitor(Path("started/0.monitor.csv"), [])
    Path("note.txt").write_text("no run")
    good = str(trained / "qtd3")
    for arguments, message in (
        (["missing"], "missing does not exist"),
        (["empty"], "empty holds no run"),
        (["started"], "started holds no run"),
        ([good, "empty"], "empty holds no run"),
        (["note.txt"], "note.txt is a file"),
        (["broken"], "broken/0.monitor.csv is not a monitor file"),
        (["endless"], "endless/0.monitor.csv is not a monitor file"),
        (["torn"], "torn/evaluations.npz is not a file of"),
        ([good, good, "--labels", "one"], "one label per run, 2 in all, got 1"),
        ([good, "--output", "runs.bmp"], "got runs.bmp"),
        ([good, "--output", "nowhere/runs.png"], "nowhere"),
        ([good, "--window", "0"], "--window must be >= 1, got 0"),
    ):
        monkeypatch.setattr(sys, "argv", ["plot", "--output", "runs.png", *arguments])
        with pytest.raises(SystemExit) as failed:
            main()
        assert str(failed.value).startswith("error: ") and message in str(failed.value), arguments
    assert not list(tmp_path.glob("runs.*"))
    done = subprocess.run([sys.executable, "-m", "sb3_quantum.plot", "missing"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.startswith("error: missing does not exist") and done.stdout == ""


def test_several_boards_in_one_folder_are_told_apart(trained: Path, tmp_path: Path) -> None:
    for name in ("QuantumTD3_1", "QuantumTD3_2"):
        source = next((trained / "tb").rglob("events.*"))
        (tmp_path / name).mkdir()
        (tmp_path / name / source.name).write_bytes(source.read_bytes())
    with pytest.raises(ValueError, match=r"several TensorBoard runs, give one of them: QuantumTD3_1, QuantumTD3_2"):
        load_run(tmp_path)
    assert load_run(tmp_path / "QuantumTD3_2").cosine is not None


def test_runs_below_a_folder_are_named(trained: Path, tmp_path: Path) -> None:
    for name in ("A_1", "A_2"):
        (tmp_path / name).mkdir()
        write_monitor(tmp_path / name / "0.monitor.csv", [(1.0, 10)])
    with pytest.raises(ValueError, match="give one of the runs in it: A_1, A_2"):
        load_run(tmp_path)
