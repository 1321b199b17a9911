"""Every command of the unmodified rl_zoo3, on one tiny run."""

import os
import pickle
import shutil
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
import yaml
from stable_baselines3.common.monitor import load_results
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sb3_quantum import QuantumReplayBuffer, QuantumTD3
from sb3_quantum.circuits import BrickworkCircuit
from sb3_quantum.zoo import hyperparams_path
from tests.zoo.helpers import SMALL, command, quick_zoo, zoo

QTD3 = ("--algo", "qtd3", "--env", "Pendulum-v1")
#: first colour of seaborn's palette, which the zoo's plots have
BLUE = (76, 114, 176)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 400 steps: our YAML by ``-conf``, checkpoints, replay buffer, evaluations, a weaker gravity."""
    folder = tmp_path_factory.mktemp("trained")
    printed = zoo(
        folder, "rl_zoo3.train", *QTD3, "-n", "400", "-conf", str(hyperparams_path()), "--seed", "3", "--progress",
        "--eval-freq", "200", "--eval-episodes", "2", "--save-freq", "300", "--save-replay-buffer",
        "--env-kwargs", "g:5.0", "-params", "learning_starts:100", SMALL,
    )  # fmt: skip
    assert f"Loading hyperparameters from: {hyperparams_path()}" in printed
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(trained / "logs", tmp_path / "logs")
    return tmp_path


def run_of(folder: Path, number: int = 1) -> Path:
    return folder / "logs" / "qtd3" / f"Pendulum-v1_{number}"


def load(path: Path) -> QuantumTD3:
    model = QuantumTD3.load(path)
    assert model.policy.quantum_layer is not None and model.policy.ansatz.n_qubits == 3
    return model


def test_train_and_continue(folder: Path) -> None:
    run = run_of(folder)
    model = load(run / "Pendulum-v1.zip")
    assert (model.num_timesteps, model._n_updates) == (400, 300)
    assert load(run / "rl_model_300_steps.zip").num_timesteps == 300
    assert load(run / "best_model.zip").num_timesteps in (200, 400)
    with np.load(run / "evaluations.npz") as evaluations:
        assert evaluations["timesteps"].tolist() == [200, 400] and evaluations["results"].shape == (2, 2)
    assert load_results(str(run))["l"].tolist() == [200, 200]
    config, args = (yaml.unsafe_load((run / "Pendulum-v1" / name).read_text()) for name in ("config.yml", "args.yml"))
    assert config["learning_starts"] == 100 and config["policy_kwargs"]["n_qubits"] == 3 and config["gamma"] == 0.98
    assert args["env_kwargs"] == {"g": 5.0}

    model.load_replay_buffer(run / "replay_buffer.pkl")
    buffer = model.replay_buffer
    assert isinstance(buffer, QuantumReplayBuffer) and buffer.size() == 400
    assert buffer.circuit is not None and buffer.circuit.angles[:400, 0].any(1).all()
    # The pendulum fell as slowly as it was asked to
    (_, sine, speed), next_speed = buffer.observations[:400, 0].T, buffer.next_observations[:400, 0, 2]
    free = (np.abs(sine) > 0.5) & (np.abs(next_speed) < 7.9)
    gravity = ((next_speed - speed) / 0.05 - 3 * 2 * buffer.actions[:400, 0, 0]) / (1.5 * sine)
    assert free.sum() > 40 and np.allclose(gravity[free], 5.0, atol=1e-2)

    (folder / "mine.py").write_text(
        "from torch import nn\n"
        "hyperparams = {'Pendulum-v1': dict(policy='MlpPolicy', n_timesteps=200, learning_starts=0, gamma=0.9,\n"
        "    policy_kwargs=dict(n_qubits=3, activation_fn=nn.ReLU))}\n"
    )
    printed = quick_zoo(
        folder, "rl_zoo3.train", *QTD3, "-conf", "mine.py", "-i", str(run / "Pendulum-v1.zip"),
        "--eval-freq", "-1", "--save-replay-buffer",
    )  # fmt: skip
    assert "Loading replay buffer" in printed
    continued = load(run_of(folder, 2) / "Pendulum-v1.zip")
    # The zoo counts steps from 0 again; weights, optimizers and updates go on
    assert (continued.num_timesteps, continued._n_updates, continued.gamma) == (200, 500, 0.9)
    (weights,) = {len(m.critic.optimizer.state) for m in (model, continued)}
    steps = [next(iter(m.critic.optimizer.state.values()))["step"] for m in (model, continued)]
    assert weights > 0 and steps == [300, 500]
    continued.load_replay_buffer(run_of(folder, 2) / "replay_buffer.pkl")
    assert continued.replay_buffer is not None and continued.replay_buffer.size() == 600
    assert np.array_equal(continued.replay_buffer.observations[:400], buffer.observations[:400])


@pytest.mark.slow
def test_tracked_in_two_processes(tmp_path: Path) -> None:
    """Environments in processes of their own and wandb, without its service, through the console script; another circuit."""
    circuit = "circuit='brickwork',circuit_kwargs=dict(n_qubits=3,n_layers=2)"
    printed = command(
        tmp_path, "rl_zoo3", "train", *QTD3, "-n", "420", "--vec-env", "subproc", "--eval-freq", "-1", "--log-interval", "1",
        "--track", "--wandb-project-name", "quantum", "-tags", "tiny", "-params", "n_envs:2", "learning_starts:100",
        SMALL.replace("n_qubits=3,n_layers=2", circuit), WANDB_MODE="offline",
    )  # fmt: skip
    assert "hyperparams/qtd3.yml" in printed and "Applying normal noise with std 0.1" in printed
    run = run_of(tmp_path)
    model = load(run / "Pendulum-v1.zip")
    assert model.num_timesteps == 420 and model.n_envs == 2 and model.policy.ansatz == BrickworkCircuit(3, 2)
    assert len(load_results(str(run))) == 2 and {path.name for path in run.glob("*.csv")} == {"0.monitor.csv", "1.monitor.csv"}
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"Pendulum-v1__qtd3" in record.read_bytes() and b"n_qubits" in record.read_bytes()
    (events,) = (tmp_path / "runs").glob("Pendulum-v1__qtd3__*/Pendulum-v1/*/events*")
    log = EventAccumulator(str(events)).Reload()
    assert {"rollout/ep_rew_mean", "train/critic_loss", "train/actor_loss"} <= set(log.Tags()["scalars"])
    first, *_ = log.Scalars("rollout/ep_rew_mean")
    assert first.step == 400 and first.value == pytest.approx(load_results(str(run))["r"].mean(), rel=1e-4)


def test_enjoy_and_benchmark(folder: Path) -> None:
    """``rl_zoo3.benchmark`` runs ``enjoy.py`` of the current folder."""
    printed = quick_zoo(
        folder, "rl_zoo3.enjoy", *QTD3, "-f", "logs", "--no-render", "-n", "200", "--load-last-checkpoint", "--stochastic",
        "--reward-log", "once",
    )  # fmt: skip
    assert "rl_model_300_steps.zip" in printed
    (reward,) = load_results(str(folder / "once"))["r"]
    assert f"{reward:.2f}" in printed

    (folder / "enjoy.py").write_text("from rl_zoo3.enjoy import enjoy\nenjoy()\n")
    zoo(
        folder, "rl_zoo3.benchmark", "--no-hub", "--log-dir", "logs", "--benchmark-dir", "marks", "-n", "400",
        "--num-threads", "1",
    )  # fmt: skip
    rewards = load_results(str(folder / "marks" / "qtd3-Pendulum-v1"))["r"]
    (row,) = (line for line in (folder / "benchmark.md").read_text().splitlines() if line.startswith("|qtd3"))
    algo, env, mean, std, _, steps, episodes = (cell.strip() for cell in row.strip("|").split("|"))
    assert (algo, env, steps, episodes) == ("qtd3", "Pendulum-v1", "400", "2")
    assert float(mean) == pytest.approx(rewards.mean(), abs=1e-2) and float(std) == pytest.approx(np.std(rewards), abs=1e-2)


def frames(film: Path) -> np.ndarray:
    shown = iio.imread(film, plugin="FFMPEG")
    assert shown.std() > 10, "a pendulum on white"
    assert np.abs(shown[0].astype(int) - shown[-1]).mean() > 0.5, "it moves"
    return shown


@pytest.mark.slow
def test_films(folder: Path) -> None:
    """Without a display, and with the ffmpeg that comes with imageio-ffmpeg."""
    (folder / "bin").mkdir()
    (folder / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    environment = {"SDL_VIDEODRIVER": "dummy"}
    quick_zoo(folder, "rl_zoo3.record_video", *QTD3, "-f", "logs", "-n", "30", "-o", "films", "--load-best", **environment)
    assert frames(folder / "films" / "best-model-qtd3-Pendulum-v1-step-0-to-step-30.mp4").shape[1:] == (500, 500, 3)

    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    quick_zoo(folder, "rl_zoo3.record_training", *QTD3, "-f", "logs", "-n", "20", PATH=path, **environment)
    videos = run_of(folder) / "videos"
    whole = frames(videos / "training.mp4")
    parts = [frames(next(videos.glob(f"{name}-*.mp4"))) for name in ("checkpoint-300", "final-model", "best-model")]
    assert all(20 <= len(part) <= 21 for part in parts) and 60 <= len(whole) <= 64
    # Each part has its name written above the pendulum
    assert parts[0][:, 12:40].mean() > 250 > whole[:, 12:40].mean() + 10


def colored(picture: Path) -> int:
    """Count the pixels in the colour of the first line or bar."""
    pixels = iio.imread(picture)[..., :3].astype(int)
    return int((np.abs(pixels - BLUE).max(-1) < 8).sum())


def test_plots(folder: Path) -> None:
    """A matplotlib backend saves what the zoo would show on a screen."""
    (folder / "to_files.py").write_text(
        "from matplotlib import pyplot as plt\n"
        "from matplotlib.backends.backend_agg import FigureCanvas\n"
        "def show():\n"
        "    for number in plt.get_fignums():\n"
        "        plt.figure(number).savefig(f'figure{number}.png')\n"
    )
    screen = {"MPLBACKEND": "module://to_files", "PYTHONPATH": str(folder)}
    command(folder, "rl_zoo3", "plot_train", "-a", "qtd3", "-e", "Pendulum-v1", "-f", "logs", "-w", "1", **screen)
    assert colored(folder / "figure1.png") > 100
    (folder / "figure1.png").unlink()

    evaluations = np.load(run_of(folder) / "evaluations.npz")
    # A second run of a little more reward; the zoo's bars need two
    shutil.copytree(run_of(folder), run_of(folder, 2))
    np.savez(run_of(folder, 2) / "evaluations.npz", **{**evaluations, "results": evaluations["results"] + 10})
    where = ("-e", "Pendulum-v1", "-f", "logs")
    printed = zoo(folder, "rl_zoo3.plots.all_plots", "-a", "qtd3", *where, "-o", "gathered", "--no-million", **screen)
    mean = evaluations["results"].mean(1) + 5
    assert f"{evaluations['results'][-1].mean() + 5:.0f} +/- 4" in printed, "half of 10, by the root of 2"
    assert colored(folder / "figure1.png") > 100
    with open(folder / "gathered.pkl", "rb") as file:
        (gathered,) = pickle.load(file)["Pendulum-v1"].values()
    assert gathered["timesteps"].tolist() == [200, 400] and np.allclose(gathered["mean"], mean)

    zoo(folder, "rl_zoo3.plots.plot_from_file", "-i", "gathered", "-o", "bars.png", "--format", "png", "-b", **screen)
    assert iio.imread(folder / "bars.png").shape[:2] == (480, 640) and len(list(folder.glob("figure*.png"))) == 3
    assert (iio.imread(folder / "bars.png")[..., :3].min(-1) < 200).sum() > 1000
