"""Models as safetensors and JSON."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_quantum import PAPER, QuantumNStepReplayBuffer, QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.hub.codec import decode, decode_space, encode, encode_space
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_save_load import OBS, same
from tests.qtd3.test_train import pendulum


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"policy_kwargs": {"block": "fc"}},
        {"n_steps": 3, "replay_buffer_class": QuantumNStepReplayBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.9}},
        {"learning_rate": "lin_1e-3", "qf_learning_rate": LinearSchedule(1e-3, 1e-4, 0.5), "train_freq": (1, "episode")},
        {"policy_kwargs": dict(optimizer_class=th.optim.SGD, optimizer_kwargs={"momentum": 0.5}, activation_fn=th.nn.Tanh)},
        {"policy_kwargs": {"net_arch": {"pi": [16, 8], "qf": [8, 8]}, "share_features_extractor": True}},
        {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(1), np.full(1, 0.2)), "probe_std": 0.1},
    ],
)
def test_round_trip(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """The same model as from SB3's zip: parameters, all optimizers, generator and counters; and it goes on in the same way."""
    model = pendulum(**kwargs).learn(120)
    assert model.env is not None
    save_safe(model, tmp_path)
    model.save(tmp_path / "model.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"model.zip", "model.safetensors", "model.json"}
    ours, theirs = load_safe(tmp_path, env=model.env), QuantumTD3.load(tmp_path / "model.zip", env=model.env)
    assert same(ours.get_parameters(), model.get_parameters())
    predictions = [each.predict(OBS, deterministic=True)[0] for each in (model, ours, theirs)]
    assert np.array_equal(predictions[0], predictions[1]) and np.array_equal(predictions[0], predictions[2])
    assert type(ours.replay_buffer) is type(theirs.replay_buffer) and ours.train_freq == theirs.train_freq
    assert ours.action_space == model.action_space and ours.observation_space == model.observation_space
    for name in ("lr_schedule", "qf_lr_schedule", "qtdnn_lr_schedule"):
        at = [getattr(ours, name)(progress) for progress in (1.0, 0.7, 0.1)]
        assert at == pytest.approx([getattr(theirs, name)(progress) for progress in (1.0, 0.7, 0.1)], rel=1e-12)
    learned = []
    for loaded in (ours, theirs):
        loaded.set_random_seed(5)
        learned.append(loaded.learn(80, reset_num_timesteps=False).get_parameters())
        assert loaded.num_timesteps == model.num_timesteps + 80 or kwargs.get("train_freq") is not None
    assert same(*learned)


def test_paper_settings_and_changes(tmp_path: Path) -> None:
    machine = {"backend": "aer", "backend_kwargs": {"shots": 7, "noise": {"readout_error": 0.01}}}
    model = QuantumTD3("MlpPolicy", make_vec_env("Pendulum-v1", 3), **{**PAPER, **machine})
    save_safe(model, tmp_path)
    loaded = load_safe(tmp_path)
    assert loaded.policy.quantum_layer is not None
    assert (loaded.policy.quantum_layer.backend.name, loaded.policy.quantum_layer.backend.shots) == ("aer", 7)
    assert loaded.policy.quantum_layer.backend.kwargs["noise"] == {"readout_error": 0.01}
    assert (
        loaded.n_envs == 3
        and loaded.policy_kwargs == model.policy_kwargs
        and loaded.qtdnn_gradient_steps == PAPER["qtdnn_gradient_steps"]
    )
    changed = load_safe(tmp_path, backend="statevector", learning_rate=1e-5)
    assert changed.policy.quantum_layer is not None and changed.policy.quantum_layer.backend.kwargs == {"shots": 1}
    assert changed.lr_schedule(1) == 1e-5
    with pytest.raises(ValueError, match="'lerning_rate' is unknown, did you mean 'learning_rate'"):
        load_safe(tmp_path, lerning_rate=1e-5)


@pytest.mark.parametrize("dictionary", [False, True])
def test_vec_normalize(tmp_path: Path, dictionary: bool) -> None:
    """Its statistics and flags come along, around a new environment or one that has a VecNormalize of its own."""

    def make() -> DummyVecEnv:
        return DummyVecEnv([lambda: CountingEnv(dictionary)])

    normalized = VecNormalize(make(), clip_obs=3.0, norm_reward=False)
    policy = "MultiInputPolicy" if dictionary else "MlpPolicy"
    model = QuantumTD3(policy, normalized, learning_starts=20, batch_size=8, policy_kwargs=SMALL, seed=0).learn(60)
    save_safe(model, tmp_path)
    observations = make().reset()
    expected = model.predict(normalized.normalize_obs(observations), deterministic=True)[0]
    for env in (make(), VecNormalize(make())):
        loaded = load_safe(tmp_path, env=env)
        found = loaded.get_vec_normalize_env()
        assert found is not None and not found.training and not found.norm_reward and found.clip_obs == 3.0
        assert np.array_equal(loaded.predict(found.normalize_obs(observations), deterministic=True)[0], expected)
        assert vars(found.ret_rms) == vars(normalized.ret_rms)
        loaded.learn(30, reset_num_timesteps=False)
    with pytest.warns(UserWarning, match="normalized by hand"):
        load_safe(tmp_path)


def test_images(tmp_path: Path) -> None:
    space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    env = gym.make("Pendulum-v1")
    wrapped = gym.wrappers.TransformObservation(env, lambda obs: np.full((36, 36, 1), 100 * abs(obs[0]), np.uint8), space)
    model = QuantumTD3("CnnPolicy", wrapped, buffer_size=50, policy_kwargs=SMALL)
    save_safe(model, tmp_path)
    assert len((tmp_path / "model.json").read_text()) < 8000
    loaded = load_safe(tmp_path)
    obs = model.observation_space.sample()
    assert np.array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])


SPACES: list[spaces.Space] = [
    spaces.Box(-np.inf, np.inf, (3,), np.float64),
    spaces.Box(np.array([-1, -2.7], np.float32), np.array([1, np.inf], np.float32)),
    spaces.Box(0, 255, (4, 4, 3), np.uint8),
    spaces.Dict({"a": spaces.Discrete(3, start=-1), "b": spaces.MultiBinary([2, 3]), "c": spaces.MultiDiscrete([2, 5])}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces(space: spaces.Space) -> None:
    assert decode_space(json.loads(json.dumps(encode_space(space), allow_nan=False))) == space


def test_what_has_no_safe_form_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    class Own(th.nn.ReLU):
        pass

    odd = pendulum().learn(60)
    next(iter(odd.critic.optimizer.state.values()))["counts"] = [1, 2]
    with pytest.raises(ValueError, match=r"critic\.optimizer cannot be saved without pickle: its 'counts' is not a tensor"):
        save_safe(odd, tmp_path / "there")
    for kwargs, match in (
        ({"policy_kwargs": {"activation_fn": Own}}, r"policy_kwargs\['activation_fn'\] cannot be saved without pickle"),
        ({"learning_rate": lambda progress: 1e-3 * progress**2}, "learning_rate cannot be saved without pickle"),
    ):
        with pytest.raises(ValueError, match=match):
            save_safe(pendulum(**kwargs), tmp_path / "there")
    assert not (tmp_path / "there").exists()
    with pytest.raises(ValueError, match="the space Text"):
        encode_space(spaces.Text(5))
    with pytest.raises(ValueError, match="cannot be saved without pickle"):
        encode({1: 2}, "x")


@pytest.mark.parametrize("value", [float("inf"), [1, (2, 3)], {"noise": {"r": 0.1}}, {"kind": None}, np.float32(0.5)])
def test_values(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value, "x"), allow_nan=False)))
    assert back == value and type(back) is type(value)


def test_noise_of_every_kind() -> None:
    for noise in (
        NormalActionNoise(np.zeros(2), np.array([0.1, 0.3])),
        OrnsteinUhlenbeckActionNoise(np.ones(2), np.full(2, 0.4), theta=0.2, initial_noise=np.array([0.5, -0.5])),
    ):
        assert vars(decode(encode(noise, "x"))).keys() == vars(noise).keys()
        assert str(decode(encode(noise, "x"))) == str(noise)
    ou = decode(encode(OrnsteinUhlenbeckActionNoise(np.ones(2), np.full(2, 0.4), 0.2, 0.5, np.array([0.5, -0.5])), "x"))
    assert (ou._theta, ou._dt, list(ou.noise_prev)) == (0.2, 0.5, [0.5, -0.5])


def damaged(folder: Path, **changes: Any) -> Path:
    """A saved model, its JSON changed."""
    save_safe(pendulum(), folder)
    config = json.loads((folder / "model.json").read_text())
    for key, value in changes.items():
        target = config
        *parents, last = key.split("__")
        for parent in parents:
            target = target[parent]
        target[last] = value
    (folder / "model.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"format": "else"}, "not a model file of sb3-quantum"),
        ({"format_version": 99}, "version 99 of the format"),
        ({"algorithm": "QuantumSAC"}, "another algorithm: QuantumSAC"),
        ({"policy": "os.system"}, "unknown policy: 'os.system'"),
        ({"arguments__policy_kwargs__activation_fn": {"$class": "os.system"}}, "not known to be safe: 'os.system'"),
        ({"arguments__action_noise": {"$action_noise": {"kind": "evil"}}}, "unknown action noise: 'evil'"),
        ({"arguments__policy": "MlpPolicy"}, "no argument 'policy'"),
        ({"arguments___setup_model": 3}, "no argument '_setup_model'"),
        ({"observation_space": {"space": "Evil"}}, "unknown space: 'Evil'"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        load_safe(damaged(tmp_path, **changes))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_safe(tmp_path)
    damaged(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load_safe(tmp_path)
    (tmp_path / "model.json").write_text('{"format": "sb3-quantum", "format_version": 1}')
    with pytest.raises(ValueError, match="lacks 'algorithm', 'policy'"):
        load_safe(tmp_path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_safe(pendulum(), tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (lambda: save_safe(pendulum(), tmp_path / "there"), lambda: load_safe(tmp_path)):
        with pytest.raises(ImportError, match=r"pip install \"sb3-quantum\[hub\]\""):
            call()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "sb3_quantum.hub.transfer")
    with pytest.raises(ImportError, match=r"the Hub needs huggingface_hub: pip install \"sb3-quantum\[hub\]\""):
        importlib.import_module("sb3_quantum.hub.transfer")


def test_spaces_of_the_environment_are_checked(tmp_path: Path) -> None:
    save_safe(pendulum(), tmp_path)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        load_safe(tmp_path, env=make_vec_env("MountainCarContinuous-v0"))
