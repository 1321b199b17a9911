"""Publishing and loading, with the real client against a Hub on the loopback interface."""

import base64
import getpass
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import HubError, load_from_hub, push_to_hub, save_safe
from sb3_quantum.hub.private import check_nothing_private, clean_arguments
from tests.hub.loopback import OWNER, TOKEN, LoopbackHub
from tests.qtd3.test_save_load import same
from tests.qtd3.test_train import pendulum

REPO = f"{OWNER}/qtd3-Pendulum-v1"


def card_of(hub: LoopbackHub) -> tuple[dict[str, Any], str]:
    """The metadata and the text of the published card."""
    _, front, text = hub.files(REPO)["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(front), text


def test_push_and_load(hub: LoopbackHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Everything is there, in one commit, and what comes back is the model."""
    model = pendulum(tensorboard_log=str(tmp_path / "tb")).learn(150)
    before = model.get_parameters()
    url = push_to_hub(model, REPO, "Pendulum-v1", n_eval_episodes=3, video_length=30)
    # Nothing of encoders and drivers, and nobody has to print what is returned
    *lines, last = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Evaluating", "Mean", "Filming"] and last == f"Published: {url}"
    assert same(before, model.get_parameters())
    files = hub.files(REPO)
    names = {
        "README.md",
        "model.safetensors",
        "model.json",
        "qtd3-Pendulum-v1.zip",
        "results.json",
        "replay.mp4",
        "circuit.png",
    }
    assert files.keys() == names and url.endswith(hub.head(REPO)) and len(hub.repositories[REPO]) == 2
    # The large-file protocol was used, and not for everything
    assert f"POST /{REPO}.git/info/lfs/objects/batch" in hub.requests and 0 < len(hub.blobs) < len(names)
    assert imageio.imread(files["replay.mp4"], plugin="FFMPEG", extension=".mp4", index=0).shape == (
        500,
        500,
        3,
    )
    assert imageio.imread(files["circuit.png"]).std() > 10

    results = json.loads(files["results.json"])
    loaded = load_from_hub(REPO, env=gym.make("Pendulum-v1"))
    assert same(loaded.get_parameters(), before)
    # The stated returns are those of the loaded model on the stated seeds
    env = loaded.get_env()
    assert env is not None
    for episode, value in enumerate(results["returns"]):
        env.seed(results["first_seed"] + episode)
        assert evaluate_policy(loaded, env, 1)[0] == pytest.approx(value, abs=2e-3)
    assert results["mean_reward"] == pytest.approx(np.mean(results["returns"]))

    metadata, text = card_of(hub)
    assert metadata["library_name"] == "stable-baselines3" and {"Pendulum-v1", "sb3-quantum", "qiskit"} <= set(
        metadata["tags"]
    )
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}"
    usage = model.policy.quantum_layer.backend.usage
    for line in (
        "| qubits | 3 |", "| layers | 2 |", "| environment steps | 150 |", f"| circuits run | {usage.circuits} |",
        "reset with seeds 10000 to 10002", f"| `cosine` | {results['fidelity']['qtdnn/cosine']:.3f} |",
        "circuits on the `statevector` backend", "| readout when acting in training | `sample` |",
    ):  # fmt: skip
        assert line in text, text
    # SB3's zip is there for those who want it
    (tmp_path / "model.zip").write_bytes(files["qtd3-Pendulum-v1.zip"])
    assert same(QuantumTD3.load(tmp_path / "model.zip").get_parameters(), before)


def test_the_code_on_the_card_works(hub: LoopbackHub) -> None:
    push_to_hub(pendulum(), REPO, "Pendulum-v1", {"g": 9.0}, n_eval_episodes=1, video_length=0)
    code = card_of(hub)[1].split("```python\n")[1].split("```")[0]
    assert "gym.make('Pendulum-v1', g=9.0)" in code and "replay.mp4" not in hub.files(REPO)["README.md"].decode()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    mean, std = map(float, done.stdout.split(" +/- "))
    assert -2000 < mean < 0 < std


def test_overwriting_and_revisions(hub: LoopbackHub) -> None:
    first, second = pendulum(seed=1), pendulum(seed=2)
    for model, length in ((first, 20), (second, 0)):
        push_to_hub(model, REPO, "Pendulum-v1", n_eval_episodes=1, video_length=length)
        assert ("replay.mp4" in hub.files(REPO)) == (length > 0) and "circuit.png" in hub.files(REPO)
    commits = list(hub.repositories[REPO])
    assert len(commits) == 3
    assert same(load_from_hub(REPO).get_parameters(), second.get_parameters())
    assert same(load_from_hub(REPO, revision=commits[1]).get_parameters(), first.get_parameters())
    with pytest.raises(HubError, match="no such revision"):
        load_from_hub(REPO, revision="0" * 40)


def test_vec_normalize_and_blocks(hub: LoopbackHub) -> None:
    """The evaluation sees normalized observations; a model without a circuit says so."""
    env = VecNormalize(make_vec_env("Pendulum-v1"), norm_reward=False)
    model = QuantumTD3("MlpPolicy", env, learning_starts=50, policy_kwargs=dict(block="zeros", net_arch=[16, 16])).learn(150)
    push_to_hub(model, REPO, "Pendulum-v1", n_eval_episodes=1, video_length=0)
    assert env.training
    _, text = card_of(hub)
    assert 'the block `"zeros"`' in text and "## Circuit" not in text and "circuit.png" not in hub.files(REPO)
    loaded = load_from_hub(REPO, env=gym.make("Pendulum-v1"))
    normalizer = loaded.get_vec_normalize_env()
    assert normalizer is not None and np.array_equal(normalizer.obs_rms.mean, env.obs_rms.mean)
    loaded_env = loaded.get_env()
    assert loaded_env is not None
    loaded_env.seed(10_000)
    assert evaluate_policy(loaded, loaded_env, 1)[0] == pytest.approx(
        json.loads(hub.files(REPO)["results.json"])["returns"][0], abs=2e-3
    )


def test_a_file_from_the_network_does_not_choose_the_machine(hub: LoopbackHub) -> None:
    model = pendulum(backend="aer", backend_kwargs={"shots": 5})
    push_to_hub(model, REPO, "Pendulum-v1", n_eval_episodes=1, video_length=0)
    assert "| backend in training | `aer` |" in card_of(hub)[1]
    loaded = load_from_hub(REPO)
    assert loaded.policy.quantum_layer is not None and loaded.policy.quantum_layer.backend.name == "statevector"
    there = load_from_hub(REPO, backend="aer", backend_kwargs={"shots": 9})
    assert there.policy.quantum_layer is not None and there.policy.quantum_layer.backend.shots == 9


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def trapped(path: Path, mark: Path) -> bytes:
    """A model's zip that does something when it is loaded."""
    model = pendulum()
    model.ep_success_buffer = Trap(mark)  # type: ignore[assignment]
    model.save(path)
    return path.read_bytes()


def test_a_trap_in_the_zip_stays_shut(hub: LoopbackHub, tmp_path: Path) -> None:
    """Not on the safe path, not by default where there is no other form; and it is a trap indeed."""
    mark, name = tmp_path / "mark", "qtd3-Pendulum-v1.zip"
    trap = trapped(tmp_path / "trap.zip", mark)
    assert not mark.exists()
    save_safe(pendulum(), tmp_path / "safe")
    safe = {path.name: path.read_bytes() for path in (tmp_path / "safe").iterdir()}
    hub.commit(REPO, {**safe, name: trap})
    load_from_hub(REPO)
    load_from_hub(REPO, allow_pickle=True)
    assert not mark.exists() and f"GET /{REPO}/resolve/main/{name}" not in hub.requests
    hub.commit(REPO, {name: trap})
    with pytest.raises(HubError, match="allow_pickle=True if you trust"):
        load_from_hub(REPO)
    assert not mark.exists()
    assert isinstance(load_from_hub(REPO, allow_pickle=True), QuantumTD3)
    assert mark.exists()


def test_nothing_to_load(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no such repository"):
        load_from_hub(REPO)
    hub.commit(REPO, {"README.md": b"nothing here"})
    with pytest.raises(HubError, match=r"it has no model\.json and model\.safetensors"):
        load_from_hub(REPO)
    with pytest.raises(HubError, match="there is no model in it"):
        load_from_hub(REPO, allow_pickle=True)
    for other in (TD3, PPO):
        other("MlpPolicy", "Pendulum-v1").save(tmp_path / "other.zip")
        hub.commit(REPO, {"qtd3-Pendulum-v1.zip": (tmp_path / "other.zip").read_bytes()})
        with pytest.raises(ValueError, match="another algorithm"):
            load_from_hub(REPO, allow_pickle=True)
    hub.commit(REPO, {"model.json": b'{"algo": "ppo"}', "model.safetensors": b""})
    with pytest.raises(ValueError, match="not a model file of sb3-quantum"):
        load_from_hub(REPO)


def test_refused_pushes_publish_nothing(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = pendulum()

    def push(repo: str = REPO, **kwargs: Any) -> str:
        return push_to_hub(model, repo, **{"env_id": "Pendulum-v1", "n_eval_episodes": 1, "video_length": 0, **kwargs})

    with pytest.raises(HubError, match="access token is not valid"):
        push(token="hf_wrong")
    with pytest.raises(HubError, match="may be somebody else's"):
        push("somebody-else/model")
    with pytest.raises(HubError, match="must be 'owner/name'"):
        push("model")
    with pytest.raises(gym.error.Error, match="version `v99`"):
        push(env_id="Pendulum-v99")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="no access token: log in"):
        push()
    assert hub.repositories == {}
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    # Somewhere in the middle, an old model before: that one stays what is published
    old = pendulum(seed=9)
    push_to_hub(old, REPO, "Pendulum-v1", n_eval_episodes=1, video_length=0)
    head = hub.head(REPO)
    for where in ("/preupload/", "/lfs/objects/batch", "/commit/"):
        hub.fail = where
        with pytest.raises(HubError, match=r"was not published: the Hub failed \(HTTP 500"):
            push()
        assert hub.head(REPO) == head
    hub.fail = None
    assert same(load_from_hub(REPO).get_parameters(), old.get_parameters())


def test_no_network(hub: LoopbackHub) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(HubError, match="cannot be reached"):
        push_to_hub(pendulum(), REPO, "Pendulum-v1", n_eval_episodes=1, video_length=0)
    with pytest.raises(HubError, match="cannot be reached"):
        load_from_hub(REPO)


def test_nothing_private_is_published(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a home folder and a user whose name occurs nowhere else; the guard also looks into archives and pickles."""
    home = tmp_path / "home" / "q7jkuser"
    (home / "logs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "q7jkuser")
    monkeypatch.chdir(home)
    assert getpass.getuser() == "q7jkuser" and Path.home() == home
    model = pendulum(tensorboard_log=str(home / "logs")).learn(60)
    push_to_hub(model, REPO, "Pendulum-v1", n_eval_episodes=1, video_length=0)
    for name, content in hub.files(REPO).items():
        members = {name: content}
        if name.endswith(".zip"):
            archive = zipfile.ZipFile(io.BytesIO(content))
            members.update({member: archive.read(member) for member in archive.namelist()})
            pickles = re.findall(rb'":serialized:": "([^"]+)"', members["data"])
            assert len(pickles) > 5
            members.update({f"pickle {i}": base64.b64decode(text) for i, text in enumerate(pickles)})
        for member, text in members.items():
            assert b"q7jkuser" not in text and TOKEN.encode() not in text, member

    # What an environment is made with is on the card
    gym.register("WithFile-v0", entry_point=lambda file: gym.make("Pendulum-v1").unwrapped, max_episode_steps=5)
    head = hub.head(REPO)
    with pytest.raises(ValueError, match=r"not published: README\.md contains the home folder"):
        push_to_hub(model, REPO, "WithFile-v0", {"file": str(home / "x.xml")}, n_eval_episodes=1, video_length=0)
    assert hub.head(REPO) == head

    folder = tmp_path / "published"
    folder.mkdir()
    model.save(folder / "model.zip")
    with pytest.raises(ValueError, match=r"not published: model\.zip contains the home folder and the user's name"):
        check_nothing_private(folder)
    # A function is pickled with what it refers to
    rates = str(home / "rates.csv")

    def schedule(progress: float) -> float:
        return 1e-3 if rates else 0.0

    pendulum(learning_rate=schedule).save(folder / "model.zip")
    with zipfile.ZipFile(folder / "model.zip") as archive:
        assert not any(b"q7jkuser" in archive.read(member) for member in archive.namelist())
    # It is in the pickle in the JSON in the archive, and nowhere else
    with pytest.raises(ValueError, match=r"model\.zip/data contains the home folder"):
        check_nothing_private(folder)
    (folder / "model.zip").unlink()
    check_nothing_private(folder)
    (folder / "README.md").write_text(f"export HF_TOKEN={TOKEN}")
    with pytest.raises(ValueError, match=r"README\.md contains the access token and something like an access token"):
        check_nothing_private(folder, TOKEN)


def test_arguments_of_a_run_lose_paths(tmp_path: Path) -> None:
    path = tmp_path / "args.yml"
    kept = {"algo": "qtd3", "env_kwargs": {"g": 9.0}, "seed": 3, "log_folder": "logs", "device": "auto"}
    private = {"tensorboard_log": str(Path.home() / "tb"), "storage": "mysql://me:secret@host/db", "trained_agent": "~/a.zip"}
    path.write_text(yaml.dump({**kept, **private}))
    clean_arguments(path)
    assert yaml.safe_load(path.read_text()) == {**kept, "tensorboard_log": "tb", "storage": "", "trained_agent": "a.zip"}
    assert os.listdir(tmp_path) == ["args.yml"]
