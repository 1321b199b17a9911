"""Damaged, forged and foreign files: one exception, which says what is wrong, before memory is taken."""

import json
import shutil
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from safetensors.torch import load_file, save_file
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import ModelFileError, load_safe, save_safe
from sb3_quantum.hub.strict import MAX_TEXT
from tests.qtd3.test_save_load import OBS
from tests.qtd3.test_train import pendulum

TINY: dict[str, Any] = dict(n_qubits=2, n_layers=2, n_links=1, qtdnn_arch=[4], net_arch=[4, 4])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with normalization, saved."""
    env = VecNormalize(make_vec_env("Pendulum-v1"))
    model = QuantumTD3("MlpPolicy", env, learning_starts=5, batch_size=4, buffer_size=50, policy_kwargs=TINY, seed=0).learn(12)
    save_safe(model, tmp_path_factory.mktemp("sound"))
    return tmp_path_factory.getbasetemp() / "sound0"


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "model"))


def refused(folder: Path, match: str, **kwargs: Any) -> None:
    """No other exception, little memory, little time."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings(), pytest.raises(ModelFileError, match=match):
            warnings.simplefilter("ignore")
            load_safe(folder, device="cpu", **kwargs)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def change_config(folder: Path, place: str, value: Any) -> None:
    config = json.loads((folder / "model.json").read_text())
    *parents, last = place.split(".")
    target = config
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent.replace("/", ".")]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    (folder / "model.json").write_text(json.dumps(config))


BOX = {"space": "Box", "dtype": "float32", "low": 0, "high": 1}
GROUP = "optimizers.actor/optimizer.0"


@pytest.mark.parametrize(
    "place, value, match",
    [
        ("format_version", True, "version True of the format"),
        ("format_version", 0, "version 0 of the format"),
        ("extra", 1, "has the unknown 'extra'"),
        ("arguments", [], "arguments must be a dictionary"),
        ("arguments.gamma", KeyError, "the argument 'gamma' is missing"),
        ("arguments.gamma", "0.9", "gamma='0.9', accepted is a number >= 0 and <= 1"),
        ("arguments.batch_size", 1.5, "batch_size=1.5, accepted is an integer >= 1"),
        ("arguments.policy_delay", 0, "policy_delay=0"),
        ("arguments.learning_rate", "lin_nan", "learning_rate='lin_nan', accepted is a number >= 0"),
        ("arguments.learning_rate", {"$linear_schedule": [1, 0, 0]}, "end_fraction > 0"),
        ("arguments.train_freq", [1, "year"], "train_freq"),
        ("arguments.seed", -1, "seed=-1"),
        ("arguments.buffer_size", 10**12, r"a replay buffer of 1,000,000,000,000 rows takes .* GiB.*buffer_size="),
        ("arguments.replay_buffer_kwargs", {"storage": "/tmp/x"}, "replay_buffer_kwargs has 'storage'"),
        ("arguments.replay_buffer_class", {"$class": "torch.nn.ReLU"}, "accepted is None or a replay buffer's class"),
        ("arguments.action_noise", {"$action_noise": {"kind": "normal", "mean": [0] * 9, "sigma": [1] * 9}}, "action's shape"),
        ("arguments.action_noise", {"$action_noise": {"kind": "normal", "mean": [0], "sigma": [-1]}}, "sigma of an action"),
        ("arguments.backend_kwargs", {"shots": 10**9}, "shots=1000000000"),
        ("arguments.backend_kwargs", {"engine": "x"}, "was not loaded: engine='x' is unknown"),
        ("arguments.fit_targets", "x", "fit_targets='x' is unknown"),
        ("arguments.policy_kwargs.n_qubits", 10**9, "is a circuit of .* inputs, and no tensor of the file is that wide"),
        ("arguments.policy_kwargs.n_layers", 10**8, "is a circuit of .* inputs, and no tensor of the file is that wide"),
        ("arguments.policy_kwargs.n_qubits", 5, r"the tensor 'policy\..*' is F32 of shape .* and by the settings"),
        ("arguments.policy_kwargs.circuit_kwargs", {"n_cz": 10**9}, "no tensor of the file is that wide"),
        ("arguments.policy_kwargs.circuit_kwargs", {"n_cz": 2}, "and by the settings it should be"),
        ("arguments.policy_kwargs.circuit_kwargs", {"ncz": 2}, "did you mean 'n_cz'"),
        ("arguments.policy_kwargs.circuit", "brickwork", "and by the settings it should be"),
        ("arguments.policy_kwargs.circuit", "no", "circuit='no' is unknown"),
        ("arguments.policy_kwargs.circuit", "qiskit", "no policy can be made"),
        ("arguments.policy_kwargs.net_arch", [10**6, 10**6], "and by the settings it should be"),
        ("arguments.policy_kwargs.net_arch", [4] * 10**5, "policy_kwargs lists 100,000 values"),
        ("arguments.policy_kwargs.n_critics", 10**6, "n_critics=1000000"),
        ("arguments.policy_kwargs.what", 1, "no policy can be made of these settings"),
        ("arguments.policy_kwargs.block", "fc", "is missing|is used by no part of"),
        ("arguments.policy_kwargs.optimizer_class", {"$class": "torch.optim.SGD"}, r"actor\.optimizer"),
        ("arguments.policy_kwargs.activation_fn", {"$class": "torch.nn.MultiheadAttention"}, "no policy can be made"),
        ("progress.num_timesteps", None, "num_timesteps of its progress is None"),
        ("n_envs", 10**12, "n_envs=1000000000000"),
        ("observation_space.shape", [10**9], "larger than any network in the file"),
        ("action_space", {**BOX, "shape": [10**9]}, "action_space: a space of 1,000,000,000 numbers is larger"),
        ("action_space", {"space": "Discrete", "n": 2, "start": 0}, "QuantumTD3 has a Box"),
        ("observation_space", {"space": "Dict", "spaces": [["a", BOX]]}, "a Box space is malformed"),
        ("observation_space", {"space": "Tuple", "spaces": []}, "no policy can be made"),
        ("observation_space.dtype", "object", "unknown type 'object'"),
        ("observation_space.low", "nan", "a bound of a space is 'nan'"),
        ("optimizers.x", [], "the optimizers are"),
        (f"{GROUP}.betas", [0.9], r"betas of actor\.optimizer is \[0\.9\]"),
        (f"{GROUP}.betas", [0.9, 2], r"actor\.optimizer cannot have such settings: Invalid beta"),
        (f"{GROUP}.eps", {"$float": "nan"}, r"eps of actor\.optimizer is nan"),
        (f"{GROUP}.lr", KeyError, r"actor\.optimizer lacks 'lr'"),
        (f"{GROUP}.amsgrad", True, r"amsgrad of actor\.optimizer is True"),
        (f"{GROUP}.params", [0], r"actor\.optimizer must have the parameters 0 to 9"),
        ("vec_normalize.clip_obs", -1, "flags of vec_normalize"),
        ("vec_normalize.gamma", KeyError, "vec_normalize has the flags"),
        ("vec_normalize", KeyError, "the tensor 'vec_normalize:.*' and 1 more is used by no part of|is used by no part of"),
        ("arguments.seed", {"$x": 1}, r"an unknown form: '\$x'"),
        ("arguments.seed", {"$array": {"dtype": "int64", "shape": [10**9], "data": ""}}, "does not have 0 bytes"),
    ],
)
def test_settings(folder: Path, place: str, value: Any, match: str) -> None:
    change_config(folder, place, value)
    refused(folder, match)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda text: text.replace('"gamma": 0.99', '"gamma": NaN', 1), "NaN is not a number of JSON"),
        (lambda text: text.replace('"gamma": 0.99', '"gamma": 1e999', 1), "beyond float64"),
        (lambda text: text.replace('"gamma": 0.99', f'"gamma": {"9" * 5000}', 1), "beyond 64 bits"),
        (lambda text: text.replace('"gamma"', '"gamma": 1, "gamma"', 1), "the key 'gamma' occurs twice"),
        (lambda text: f'{text.rstrip()[:-1]}, "x": {"[" * 70}{"]" * 70}}}', "nested deeper than 64 levels"),
        (lambda text: "[" * 100_000 + "]" * 100_000, "nested deeper than 64 levels"),
        (lambda text: f"[{text}]", "not a JSON object"),
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: text + " " * MAX_TEXT, "settings have at most"),
        (lambda text: "", "is not JSON"),
    ],
)
def test_json(folder: Path, change: Callable[[str], str], match: str) -> None:
    (folder / "model.json").write_text(change((folder / "model.json").read_text()))
    refused(folder, match)


def test_what_is_no_utf_8(folder: Path) -> None:
    (folder / "model.json").write_bytes(b'{"format": "\xff"}')
    refused(folder, "is not JSON: 'utf-8' codec")


def with_header(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A safetensors file with another header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


NAME = "policy.actor.post.0.bias"


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda content: content[:-1], "it was truncated or extended"),
        (lambda content: content + b"x", "it was truncated or extended"),
        (lambda content: b"", "is not a safetensors file"),
        (lambda content: struct.pack("<Q", 2**63) + content[8:], "a header of 9,223,372,036,854,775,808"),
        (lambda content: struct.pack("<Q", 5) + content[8:], "the header of .* is not JSON"),
        (lambda content: with_header(content, lambda header: header[NAME].update(shape=[10**9])), "does not fill the bytes"),
        (lambda content: with_header(content, lambda header: header[NAME].update(shape=[-4])), "no usable shape"),
        (lambda content: with_header(content, lambda header: header[NAME].update(dtype="F99")), "unknown type 'F99'"),
        (
            lambda content: with_header(content, lambda header: header[NAME].update(data_offsets=[0, 16])),
            "overlap or leave a gap",
        ),
        (lambda content: with_header(content, lambda header: header.update(x=3)), "must have dtype"),
        (lambda content: with_header(content, lambda header: header.update(__metadata__={"a": 1})), "must be strings"),
        (lambda content: content[:-9] + bytes([content[-9] ^ 16]) + content[-8:], "checksum differs from the one"),
    ],
)
def test_tensor_files(folder: Path, change: Callable[[bytes], bytes], match: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    refused(folder, match)


VARIANCE = "policy.normalizer.parts.box_.var"


@pytest.mark.parametrize(
    "name, change, match",
    [
        (NAME, lambda tensor: None, f"the tensor '{NAME}' is missing"),
        (NAME, lambda tensor: tensor[:2], rf"the tensor '{NAME}' is F32 of shape \[2\].* should be F32 of \[4\]"),
        (NAME, lambda tensor: tensor.double(), "is F64 of shape"),
        (NAME, lambda tensor: tensor * float("nan"), f"the tensor '{NAME}' holds numbers that are not finite"),
        (VARIANCE, lambda tensor: -tensor, f"the tensor '{VARIANCE}' must not hold negative numbers"),
        ("vec_normalize:obs_rms:var", lambda tensor: -tensor, "must not hold negative numbers"),
        ("vec_normalize:obs_rms:mean", lambda tensor: tensor * float("inf"), "not finite"),
        ("vec_normalize:ret_rms:count", lambda tensor: None, "'vec_normalize:ret_rms:count' is missing"),
        ("vec_normalize:obs_rms:var", lambda tensor: tensor[:1], r"should be F64 of \[3\]"),
        ("critic.optimizer:3:exp_avg", lambda tensor: None, r"critic\.optimizer lacks \['exp_avg'\] for its parameter 3"),
        ("critic.optimizer:3:exp_avg_sq", lambda tensor: -1 - tensor, "must not hold negative numbers"),
        ("critic.optimizer:3:exp_avg", lambda tensor: tensor[:1], "critic.optimizer:3:exp_avg is F32 of shape"),
        ("critic.optimizer:3:step", lambda tensor: tensor * float("nan"), "'critic.optimizer:3:step' holds numbers"),
        ("critic.optimizer:99:step", lambda tensor: th.ones(()), "belongs to no parameter"),
        ("actor.optimizer:0:other", lambda tensor: th.ones(4), r"has \['other'\] too many"),
        ("policy.other", lambda tensor: th.ones(4), "the tensor 'policy.other' is used by no part of"),
        ("policy.quantum_layer._extra_state", lambda tensor: tensor[:20], "was not loaded"),
        ("policy.quantum_layer._extra_state", lambda tensor: None, "_extra_state' is missing"),
        ("policy.quantum_layer._extra_state", lambda tensor: th.zeros(10**6, dtype=th.uint8), "holds a text"),
    ],
)
def test_tensors(folder: Path, name: str, change: Callable[[Any], Any], match: str) -> None:
    """Without a checksum, as a forger would leave it out."""
    change_config(folder, "sha256", KeyError)
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors.pop(name, None))
    if changed is not None:
        tensors[name] = changed
    save_file(tensors, folder / "model.safetensors")
    refused(folder, match)


def test_networks_that_overflow(sound: Path, folder: Path) -> None:
    """Every number is finite, and no action is."""
    change_config(folder, "sha256", KeyError)
    tensors = load_file(sound / "model.safetensors")
    for name in ("policy.actor.pre.0.bias", "policy.actor.pre.2.weight"):
        tensors[name].fill_(3e38)
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "they have no finite action for zeros")


def test_every_dropped_optimizer_tensor_is_missed(sound: Path, folder: Path) -> None:
    """All of one parameter too, which without a checksum may as well never have been updated."""
    tensors = load_file(sound / "model.safetensors")
    save_file(
        {name: t for name, t in tensors.items() if not name.startswith("critic.optimizer:3:")}, folder / "model.safetensors"
    )
    refused(folder, "checksum differs from the one")


def test_a_smaller_buffer_is_the_callers_choice(folder: Path) -> None:
    change_config(folder, "arguments.buffer_size", 10**12)
    with pytest.warns(UserWarning, match="normalized by hand"):
        assert load_safe(folder, buffer_size=1).buffer_size == 1


def test_mistakes_of_the_caller_are_no_damage(sound: Path) -> None:
    with pytest.raises(ValueError, match="'lerning_rate' is unknown, did you mean 'learning_rate'") as caught:
        load_safe(sound, lerning_rate=1e-5)
    assert not isinstance(caught.value, ModelFileError)
    with pytest.raises(ValueError, match="spaces do not match") as caught:
        load_safe(sound, env=make_vec_env("MountainCarContinuous-v0"))
    assert not isinstance(caught.value, ModelFileError)


def test_saving_that_stops_between_the_files_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors are new, the settings old: those beside the tensors are used. A failure before leaves both old."""
    old, new = pendulum(policy_kwargs=TINY, gamma=0.9), pendulum(policy_kwargs=TINY, gamma=0.8, seed=2)
    save_safe(old, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    import safetensors.torch

    def fails(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(safetensors.torch, "save_file", fails)
        with pytest.raises(OSError, match="no space"):
            save_safe(new, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    save_safe(new, tmp_path)
    (tmp_path / "model.json").write_bytes(before["model.json"])
    with pytest.warns(UserWarning, match=r"model\.json is older than model\.safetensors, because saving was interrupted"):
        loaded = load_safe(tmp_path)
    assert loaded.gamma == 0.8
    assert np.array_equal(loaded.predict(OBS, deterministic=True)[0], new.predict(OBS, deterministic=True)[0])


def test_what_would_not_load_is_not_written(tmp_path: Path) -> None:
    model = pendulum(policy_kwargs=TINY)
    with th.no_grad():
        model.actor.post[0].bias[0] = float("nan")
    with pytest.raises(
        ValueError, match=r"cannot be saved without pickle: the tensor 'policy\.actor\.post\.0\.bias' holds numbers"
    ):
        save_safe(model, tmp_path / "there")
    assert not (tmp_path / "there").exists()
