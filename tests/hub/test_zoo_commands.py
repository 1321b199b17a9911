"""``rl_zoo3.push_to_hub`` and ``rl_zoo3.load_from_hub``, unmodified, against a Hub on the loopback interface."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
import yaml

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import load_from_hub
from tests.hub.loopback import OWNER, TOKEN, LoopbackHub
from tests.qtd3.test_save_load import same
from tests.zoo.helpers import SMALL, quick_zoo, zoo

REPO = f"{OWNER}/qtd3-Pendulum-v1"
RUN = ("--algo", "qtd3", "--env", "Pendulum-v1")


def train(folder: Path, *parameters: str) -> None:
    quick_zoo(
        folder, "rl_zoo3.train", *RUN, "-n", "300", "--eval-freq", "-1", "--seed", "3", "-tb", str(folder / "tb"),
        "-params", "learning_starts:100", SMALL, *parameters,
    )  # fmt: skip


def push(folder: Path, *extra: str, expect: int = 0, run: Callable[..., str] = quick_zoo, **environment: str) -> str:
    return run(folder, "rl_zoo3.push_to_hub", *RUN, "-f", "logs", "-orga", OWNER, *extra, expect=expect, **environment)


def load(folder: Path, *extra: str, expect: int = 0, run: Callable[..., str] = quick_zoo, **environment: str) -> str:
    trust = {"TRUST_REMOTE_CODE": "True", **environment}
    return run(folder, "rl_zoo3.load_from_hub", *RUN, "-f", "logs", "-orga", OWNER, *extra, expect=expect, **trust)


def test_push_with_video_and_load(hub: LoopbackHub, tmp_path: Path) -> None:
    """With VecNormalize, a film, into a repository that has something already; then loaded by both ways, and enjoyed."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there, tmp_path / "bin"):
        folder.mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    train(here, "normalize:True")
    hub.commit(REPO, {"LICENSE": b"kept", "README.md": b"overwritten"})
    push(here, "-n", "25", run=zoo, PATH=path)
    files = hub.files(REPO)
    ours = {"README.md", "model.safetensors", "model.json", "results.json", "circuit.png", "replay.mp4", "LICENSE"}
    theirs = {
        "qtd3-Pendulum-v1.zip",
        "config.yml",
        "args.yml",
        "env_kwargs.yml",
        "train_eval_metrics.zip",
        "vec_normalize.pkl",
    }
    assert ours | theirs | {".gitattributes"} <= files.keys() and len(hub.repositories[REPO]) == 2
    assert imageio.imread(files["replay.mp4"], plugin="FFMPEG", extension=".mp4", index=10).shape == (500, 500, 3)

    _, front, card = files["README.md"].decode().split("---\n", 2)
    metadata, results = yaml.safe_load(front), json.loads(files["results.json"])
    value = metadata["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert value == f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}" and len(results["returns"]) == 10
    assert {"Pendulum-v1", "sb3-quantum", "reinforcement-learning"} <= set(metadata["tags"])
    for line in (
        "| qubits | 3 |", "| seed | 3 |", f"{REPO}/resolve/main/replay.mp4", "reset with seeds 10000 to 10009", "| `cosine` |",
        f"load_from_hub --algo qtd3 --env Pendulum-v1 -orga {OWNER} -name qtd3-Pendulum-v1", "'learning_starts': 100",
    ):  # fmt: skip
        assert line in card, card
    # Nothing of this machine, and the zoo's own log folder is on it
    for name, content in files.items():
        assert str(tmp_path).encode() not in content and TOKEN.encode() not in content, name
    assert yaml.load(files["args.yml"], yaml.UnsafeLoader)["tensorboard_log"] == "tb"

    load(there, run=zoo)
    run = there / "logs" / "qtd3" / "Pendulum-v1_1"
    trained = QuantumTD3.load(here / "logs" / "qtd3" / "Pendulum-v1_1" / "Pendulum-v1.zip")
    assert same(QuantumTD3.load(run / "Pendulum-v1.zip").policy.actor.state_dict(), trained.policy.actor.state_dict())
    assert (run / "Pendulum-v1" / "vecnormalize.pkl").is_file() and (run / "0.monitor.csv").is_file()
    printed = quick_zoo(there, "rl_zoo3.enjoy", *RUN, "-f", "logs", "--no-render", "-n", "400")
    assert "2 Episodes" in printed
    # The form without pickle has the normalization too, and the stated returns
    safe = load_from_hub(REPO, env=gym.make("Pendulum-v1"))
    assert same(safe.policy.actor.state_dict(), trained.policy.actor.state_dict())
    env = safe.get_env()
    assert env is not None and safe.get_vec_normalize_env() is not None
    env.seed(results["first_seed"])
    observations, total = env.reset(), 0.0
    for _ in range(200):
        observations, _, _, _ = env.step(safe.predict(observations, deterministic=True)[0])  # type: ignore[arg-type]
        total += safe.get_vec_normalize_env().get_original_reward()[0]  # type: ignore[union-attr]
    assert total == pytest.approx(results["returns"][0], abs=1e-2)


def test_without_video_and_normalization(hub: LoopbackHub, tmp_path: Path) -> None:
    """The file that is not there is not missed, a folder that is there is not overwritten."""
    train(tmp_path)
    push(tmp_path, "--no-render", "-name", "mine")
    repo = f"{OWNER}/mine"
    assert "replay.mp4" not in hub.files(repo) and "<video" not in hub.files(repo)["README.md"].decode()
    printed = load(tmp_path, "-name", "mine", "--exp-id", "1", expect=1)
    assert "already exists" in printed and "No normalization file" in printed
    load(tmp_path, "-name", "mine")
    assert (tmp_path / "logs" / "qtd3" / "Pendulum-v1_2" / "Pendulum-v1.zip").is_file()
    printed = load(tmp_path, "-name", "nothing", expect=1)
    assert "Repository Not Found" in printed
    assert len(os.listdir(tmp_path / "logs" / "qtd3")) == 2

    # What goes wrong on the way up leaves what was there
    head = hub.head(repo)
    hub.fail = "/commit/"
    printed = push(tmp_path, "--no-render", "-name", "mine", expect=1)
    assert "500" in printed and "is pushed to the hub" not in printed
    hub.fail = None
    printed = push(tmp_path, "--no-render", "-name", "mine", expect=1, HF_TOKEN="hf_wrong")
    assert "Invalid credentials" in printed
    assert hub.head(repo) == head and np.all([REPO != name for name in hub.repositories])


def test_other_algorithms_are_published_as_the_zoo_does(hub: LoopbackHub, tmp_path: Path) -> None:
    td3 = ("--algo", "td3", "--env", "Pendulum-v1")
    quick_zoo(tmp_path, "rl_zoo3.train", *td3, "-n", "120", "--eval-freq", "-1")
    quick_zoo(tmp_path, "rl_zoo3.push_to_hub", *td3, "-f", "logs", "-orga", OWNER, "--no-render")
    files = hub.files(f"{OWNER}/td3-Pendulum-v1")
    card = files["README.md"].decode()
    assert "**TD3** Agent playing **Pendulum-v1**" in card and "model-index" in card and "sb3-quantum" not in card
    assert "model.safetensors" not in files and "returns" not in json.loads(files["results.json"])
