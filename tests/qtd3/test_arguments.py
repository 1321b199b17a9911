"""Every argument of QuantumTD3 and of its policy: what is accepted, and that the rest is refused by name."""

import functools
import inspect
import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from sb3_quantum import MlpPolicy, QuantumReplayBuffer, QuantumTD3
from sb3_quantum.backends import BACKEND_ARGUMENTS, StatevectorBackend, make_backend
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.circuits.checks import parameters
from sb3_quantum.layers import BLOCKS, Block, FCBlock, QuantumLayer
from sb3_quantum.qtd3.actions import check_action_space
from sb3_quantum.qtd3.arguments import ALGORITHM, POLICY
from sb3_quantum.zoo.checks import check_kwargs
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_train import pendulum

#: what no argument of its kind accepts, whatever its range
NO_NUMBER = (None, "0.5", "many", True, np.nan, np.inf, [0.5], {}, 1j, -1)
NO_INTEGER = (*NO_NUMBER, 1.0, 1.5, "1")
NO_FLAG = (None, 0, 1, "True", [])
NO_DICTIONARY = (5, "dict(a=1)", [("a", 1)], {1: 2}, True)
NO_WIDTHS = (5, "64", [0], [-1], [1.5], ["64"], [True], {"pi": [64]}, {64}, [None])
NO_CHOICE = (None, 3, "other", ["exact"], {})
INTEGERS = (1, 3, np.int64(3), np.array(3), th.tensor(3))
NUMBERS = (0, 1, 0.5, np.float32(0.5), np.float64(0), np.array(0.5), np.int32(1))
WIDTHS = ([], [64], (64, 32), np.array([64, 32]), [np.int64(8)])
RATES = (1e-3, 1, 0, np.float32(1e-3), np.array(1e-3), "lin_1e-3", "lin_1e-3_1e-4", lambda progress: 1e-3, FloatSchedule(1e-3))
NO_RATES = (
    "1e-3",
    "lin_x",
    "lin_-1",
    "lin_1_-1",
    "lin_1_nan",
    "lin_1_2_3",
    "lin_",
    "lin_1_",
    "exp_1",
    -1e-3,
    np.nan,
    np.inf,
    [1e-3],
    True,
    {},
)
KWARGS = ({}, {"a": np.float32(1)})
ENV = CountingEnv()
NO_NOISE = (
    NormalActionNoise(np.zeros(2), -np.ones(2)),
    NormalActionNoise(np.full(2, np.nan), np.ones(2)),
    OrnsteinUhlenbeckActionNoise(np.zeros(2), np.full(2, np.inf)),
)

#: for every argument what it takes and what it does not; None is named where it is taken
ROWS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "policy": (("MlpPolicy", MlpPolicy), (None, 3, TD3Policy, dict, [])),
    "env": (("Pendulum-v1", ENV), (3, [], CountingEnv, {})),
    "learning_rate": (RATES, (*NO_RATES, None)),
    "buffer_size": (INTEGERS, (*NO_INTEGER, 0)),
    "learning_starts": ((0, *INTEGERS), NO_INTEGER),
    "batch_size": (INTEGERS, (*NO_INTEGER, 0)),
    "tau": (NUMBERS, (*NO_NUMBER, 1.01)),
    "gamma": (NUMBERS, (*NO_NUMBER, 1.01)),
    "train_freq": (
        (*INTEGERS, (2, "episode"), [5, "step"], (np.int64(2), "step"), TrainFreq(1, TrainFrequencyUnit.STEP)),
        (*(x for x in NO_INTEGER if x != [0.5]), 0, (1,), (1, "year"), ("step", 1), (0, "step"), (1.5, "step"), [1, 2, 3]),
    ),
    "gradient_steps": ((-1, 0, *INTEGERS), (*(x for x in NO_INTEGER if x != -1), -2)),
    "action_noise": (
        (None, *NUMBERS, [0.1, 0.2], np.full(2, 0.1), (0.1, 0), NormalActionNoise(np.zeros(2), np.ones(2))),
        (-0.1, np.nan, np.inf, "0.1", True, {}, [-0.1], ["0.1"], [[0.1]], *NO_NOISE),
    ),
    "replay_buffer_class": ((None, QuantumReplayBuffer, ReplayBuffer), (3, "ReplayBuffer", dict, {})),
    "replay_buffer_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "optimize_memory_usage": ((True, np.False_), NO_FLAG),
    "n_steps": (INTEGERS, (*NO_INTEGER, 0)),
    "policy_delay": (INTEGERS, (*NO_INTEGER, 0)),
    "target_policy_noise": (NUMBERS, NO_NUMBER),
    "target_noise_clip": (NUMBERS, NO_NUMBER),
    "qf_learning_rate": ((None, *RATES), NO_RATES),
    "qtdnn_learning_rate": (RATES, (*NO_RATES, None)),
    "qtdnn_gradient_steps": (INTEGERS, (*NO_INTEGER, 0)),
    "qtdnn_batch_size": (INTEGERS, (*NO_INTEGER, 0)),
    "qtdnn_recent_pairs": ((None, *INTEGERS), (*NO_INTEGER[1:], 0)),
    "fit_targets": (("auto", np.str_("sample")), NO_CHOICE),
    "probe_std": (NUMBERS, NO_NUMBER),
    "backend": (("statevector", StatevectorBackend(PaperCircuit(3, 2))), (None, 3, "ibm-q", ["aer"], StatevectorBackend, {})),
    "backend_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "gradient": (("qtdnn", "spsa"), NO_CHOICE[:3]),
    "stats_window_size": (INTEGERS, (*NO_INTEGER, 0)),
    "tensorboard_log": ((None, "logs", Path("logs")), (3, [], True, {})),
    "policy_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "verbose": ((0, 2, True, np.int64(1)), (None, "1", -1, 0.5, [])),
    "seed": ((None, 0, 2**32 - 1, np.int64(5)), (-1, 2**32, 1.0, "1", True, [1])),
    "device": (("auto", "cpu", "cuda:1", th.device("cpu")), (None, "gpu", 3, [], "")),
    "_init_setup_model": ((True, False), NO_FLAG),
    "net_arch": (({"pi": [8], "qf": []}, None, *WIDTHS), (*NO_WIDTHS, {"pi": [8], "vf": [8]}, {"pi": 8, "qf": [8]})),
    "activation_fn": ((nn.ReLU, functools.partial(nn.LeakyReLU, 0.1)), ("relu", None, nn.ReLU(), dict, 3)),
    "features_extractor_class": ((FlattenExtractor,), ("flatten", None, nn.Flatten, 3)),
    "features_extractor_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "normalize_images": ((True, False), NO_FLAG),
    "optimizer_class": ((th.optim.SGD, functools.partial(th.optim.Adam, eps=1e-5)), ("Adam", None, nn.ReLU, 3)),
    "optimizer_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "n_critics": (INTEGERS, (*NO_INTEGER, 0)),
    "share_features_extractor": ((True, False), NO_FLAG),
    "n_qubits": ((None, *INTEGERS), (*(x for x in NO_INTEGER if x is not None), 0)),
    "n_layers": ((None, *INTEGERS), (*(x for x in NO_INTEGER if x is not None), 0)),
    "circuit": (("paper", "brickwork", PaperCircuit(3, 2)), NO_CHOICE),
    "circuit_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "n_links": ((0, *INTEGERS), NO_INTEGER),
    "block": (
        (*BLOCKS, np.str_("fc"), FCBlock, FCBlock(PaperCircuit(3, 2))),
        (*NO_CHOICE, nn.Linear, Block, QuantumLayer(3, 2)),
    ),
    "block_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "encoding": (("rms", "raw"), NO_CHOICE),
    "encoding_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "pre_arch": ((None, *WIDTHS), NO_WIDTHS),
    "post_arch": ((None, *WIDTHS), NO_WIDTHS),
    "critic_arch": ((None, *WIDTHS), NO_WIDTHS),
    "critic": (("twin", "crossq"), NO_CHOICE),
    "critic_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "critic_layer_norm": ((True, False), NO_FLAG),
    "qtdnn_arch": ((None, *WIDTHS), NO_WIDTHS),
    "qtdnn_features": (("raw", "periodic"), NO_CHOICE),
    "qtdnn_prior": (("none", "mean_field"), NO_CHOICE),
    "qtdnn_optimizer_class": ((None, th.optim.SGD), ("Adam", nn.ReLU, 3)),
    "qtdnn_optimizer_kwargs": ((None, *KWARGS), NO_DICTIONARY),
    "readout": (("sample", "majority", "mean"), NO_CHOICE),
    "eval_readout": (("sample", "majority", "mean"), NO_CHOICE),
    "surrogate_readout": (("sample", "mean"), (*NO_CHOICE, "majority")),
    "normalize_observations": ((True, False), NO_FLAG),
    "output_normalization": ((True, False), NO_FLAG),
    "actor_average_tau": ((None, *NUMBERS[1:4]), (*NO_NUMBER[1:], 0, 1.01)),
}
#: made by SB3, and handed to the policy by it
MADE = {"observation_space", "action_space", "lr_schedule"}
BOX = spaces.Box(-1, 1, (2,))


def test_no_argument_is_without_a_row() -> None:
    """A new argument must be written down in the package's table and in this one."""
    for cls, table in ((QuantumTD3, ALGORITHM), (MlpPolicy, POLICY)):
        names = set(inspect.signature(cls).parameters)
        assert names == set(table), f"rows of {cls.__name__} that differ from its arguments: {names ^ set(table)}"
        assert names - MADE <= set(ROWS), f"no values to test are given for {names - MADE - set(ROWS)}"
    assert set(ROWS) == set(ALGORITHM) | set(POLICY) - MADE


@pytest.mark.parametrize("name", ROWS)
def test_what_is_accepted(name: str) -> None:
    check = (ALGORITHM | POLICY)[name]
    for value in ROWS[name][0]:
        plain = check(name, value)
        assert not isinstance(plain, np.generic), f"{name}={value!r} stays a number of numpy"
        if isinstance(plain, dict):
            json.dumps(plain)


@pytest.mark.parametrize("name", ROWS)
def test_what_is_refused(name: str) -> None:
    """By the constructors themselves, before the environment or a network is made."""
    for value in ROWS[name][1]:
        with pytest.raises(ValueError) as error:
            if name in ALGORITHM:
                QuantumTD3(**{"policy": "MlpPolicy", "env": "No-such-environment", name: value})
            else:
                MlpPolicy(BOX, BOX, lambda progress: 1e-3, **{name: value})
        message = str(error.value)
        assert re.match(rf"{name}(\[.*?\])?(=| must )", message), f"{name}={value!r} is not named: {message}"
        assert re.search("must (be|have)|accepted are", message) and "\n" not in message, message


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"n_qubits": 4}, "QuantumTD3: 'n_qubits' is unknown, it belongs into policy_kwargs"),
        ({"nqubits": 4}, "'nqubits' is unknown, did you mean 'n_qubits'? it belongs into policy_kwargs"),
        ({"qtdnn_lr": 1e-3}, "'qtdnn_lr' is unknown, did you mean 'qtdnn_learning_rate'?"),
        ({"lr": 1e-3}, "'lr' is unknown, did you mean 'learning_rate'?"),
        ({"critic_lr": 1e-3}, "'critic_lr' is unknown, did you mean 'qf_learning_rate'?"),
        ({"qtdnn_bs": 8}, "'qtdnn_bs' is unknown, did you mean 'qtdnn_batch_size'?"),
        ({"shots": 100}, "QuantumTD3: 'shots' is unknown, it belongs into backend_kwargs"),
        (
            {"learning_rat": 1e-3, "gama": 0.9},
            "'gama' is unknown, did you mean 'gamma'?; 'learning_rat' is unknown, did you mean",
        ),
        ({"use_sde": True}, "'use_sde' is unknown, accepted are action_noise, "),
    ],
)
def test_unknown_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        QuantumTD3("MlpPolicy", "Pendulum-v1", **kwargs)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"nqubits": 4}, "policy_kwargs: 'nqubits' is unknown, did you mean 'n_qubits'?"),
        ({"qtdnn_gradient_steps": 2}, "policy_kwargs: 'qtdnn_gradient_steps' is unknown, it belongs beside policy_kwargs"),
        ({"qtdnn_lr": 1e-3}, "did you mean 'qtdnn_learning_rate'? it belongs beside policy_kwargs"),
        ({"shots": 100}, "policy_kwargs: 'shots' is unknown, it belongs into backend_kwargs, beside policy_kwargs"),
        ({"encoding_kwargs": {"scale": 1.0}}, "encoding_kwargs: 'scale' is unknown, "),
        ({"encoding": "raw", "encoding_kwargs": {"angle_scale": 1.0}}, "encoding_kwargs: 'angle_scale' is unknown"),
        ({"optimizer_kwargs": {"lr": 1.0}}, "optimizer_kwargs: 'lr' cannot be given here"),
        ({"qtdnn_optimizer_kwargs": {"lr": 1.0}}, "qtdnn_optimizer_kwargs: 'lr' cannot be given here"),
        ({"optimizer_kwargs": {"epss": 1.0}}, "optimizer_kwargs: 'epss' is unknown, did you mean 'eps'?"),
        ({"features_extractor_kwargs": {"dim": 1}}, "features_extractor_kwargs: 'dim' is unknown"),
    ],
)
def test_unknown_keywords_of_the_policy(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, buffer_size=10)


@pytest.mark.parametrize("name", BACKEND_ARGUMENTS)
def test_keywords_of_backends_in_the_wrong_place(name: str) -> None:
    for make in (
        QuantumLayer,
        functools.partial(QuantumTD3, "MlpPolicy", "Pendulum-v1"),
        functools.partial(MlpPolicy, BOX, BOX, lambda _: 1e-3),
    ):
        if name not in inspect.signature(make).parameters:
            with pytest.raises(TypeError, match=f"'{name}' is unknown, it belongs (into backend_kwargs|beside policy_kwargs)"):
                make(**{name: 1})


def test_unknown_names_of_the_layer() -> None:
    with pytest.raises(TypeError, match="QuantumLayer: 'qtdnn_lr' is unknown, did you mean 'qtdnn_learning_rate'"):
        QuantumLayer(3, 2, qtdnn_lr=1e-3)
    assert QuantumLayer(n_qubits=3, n_layers=2, seed=5).ansatz.n_qubits == 3


def test_load_refuses_names_that_nobody_reads(tmp_path: Path) -> None:
    """What SB3 takes, constructors' arguments and what the file holds is accepted, and used."""
    QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=SMALL, buffer_size=10).save(tmp_path / "model")
    for kwargs, message in (
        ({"gama": 0.5}, "QuantumTD3.load: 'gama' is unknown, did you mean 'gamma'?"),
        ({"lr": 0.5}, "'lr' is unknown, did you mean 'learning_rate'?"),
        ({"custom_object": {}}, "did you mean 'custom_objects'?"),
        ({"n_qubits": 3}, "'n_qubits' is unknown, it is among the file's policy_kwargs, which cannot be changed"),
        ({"shots": 3}, "'shots' is unknown, it belongs into backend_kwargs"),
        ({"qwertz": 1}, "'qwertz' is unknown, accepted are action_noise, "),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            QuantumTD3.load(tmp_path / "model", **kwargs)  # type: ignore[arg-type]
    of_sb3 = dict(env=None, device="cpu", custom_objects={"lr_schedule": None}, print_system_info=False, force_reset=True)
    saved = dict(_n_updates=7, start_time=0)
    model = QuantumTD3.load(tmp_path / "model", **of_sb3, **saved, gamma=0.5, seed=3, verbose=0)  # type: ignore[arg-type]
    assert (model.gamma, model._n_updates, model.seed) == (0.5, 7, 3)

    class Wider(QuantumTD3):
        def __init__(self, *args: Any, width: int = 1, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.width = width

    assert Wider.load(tmp_path / "model", width=4).width == 4


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shot": 5}, "did you mean 'shots'?"),
        ({"noise": 0.1}, "it is an argument of backend='aer'"),
        ({"nois": 0.1}, "did you mean 'noise'? it is an argument of backend='aer'"),
        ({"chip": "FakeManilaV2"}, "it is an argument of backend='sampler' and 'ibm'"),
    ],
)
def test_unknown_keywords_of_the_backend(kwargs: dict[str, Any], message: str) -> None:
    said = re.escape(f"{next(iter(kwargs))!r} is unknown, {message}")
    with pytest.raises(ValueError, match=f"^backend_kwargs: {said}$"):
        QuantumTD3("MlpPolicy", "Pendulum-v1", backend_kwargs=kwargs, buffer_size=10)
    with pytest.raises(ValueError, match=f"{said}$"):
        check_kwargs({"policy": "MlpPolicy", "backend_kwargs": kwargs})
    with pytest.raises(ValueError, match=f"do not fit the backend 'statevector': {said}$"):
        make_backend("statevector", PaperCircuit(3, 2), kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"storag": "memmap"}, "replay_buffer_kwargs of QuantumReplayBuffer: 'storag' is unknown, did you mean 'storage'?"),
        ({"n_envs": 3}, "'n_envs' is unknown, accepted are handle_timeout_termination, storage"),
    ],
)
def test_unknown_keywords_of_the_replay_buffer(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        QuantumTD3("MlpPolicy", ENV, policy_kwargs=SMALL, replay_buffer_kwargs=kwargs)


def test_no_environment() -> None:
    with pytest.raises(ValueError, match="env must be a Gymnasium environment, a VecEnv or a registered id, got None"):
        QuantumTD3("MlpPolicy", None)  # type: ignore[arg-type]


def test_a_training_with_numbers_of_numpy(tmp_path: Path) -> None:
    """It is the training with Python's, and its file holds nothing of numpy."""
    settings: dict[str, Any] = dict(learning_starts=20, batch_size=8, gradient_steps=1, gamma=0.5, seed=3, n_steps=2)
    numbers = {name: np.float64(x) if isinstance(x, float) else np.int64(x) for name, x in settings.items()}
    policy = {**SMALL, "net_arch": np.array([16, 16]), "n_qubits": np.int32(3), "n_layers": np.array(2)}
    plain = pendulum(**settings).learn(40)
    model = pendulum(**numbers, policy_kwargs=policy, train_freq=[1, "step"], action_noise=np.array([0.1])).learn(np.int64(40))
    for name, parameter in plain.policy.named_parameters():
        assert th.equal(parameter, dict(model.policy.named_parameters())[name]), name
    assert {type(getattr(model, name)) for name in numbers} == {int, float}
    model.save(tmp_path / "model")
    assert QuantumTD3.load(tmp_path / "model").batch_size == 8


def test_load_checks_what_it_is_given(tmp_path: Path) -> None:
    pendulum().save(tmp_path / "model")
    for name, value in (("batch_size", 0), ("action_noise", -0.1), ("gamma", "0.9"), ("fit_targets", "mean")):
        with pytest.raises(ValueError, match=f"^{name}"):
            QuantumTD3.load(tmp_path / "model", **{name: value})
    model = QuantumTD3.load(tmp_path / "model", action_noise=0.3)
    assert isinstance(model.action_noise, NormalActionNoise) and model.action_noise._sigma == [0.3]


class OneAction(CountingEnv):
    """
    :param action_space: its action space
    """

    def __init__(self, action_space: spaces.Box):
        super().__init__()
        self.action_space = action_space


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("shape", [(), (1,), (2, 2)])
@pytest.mark.parametrize("kind", ["number", "normal", "ornstein", "numbers", "none"])
def test_noise_in_the_shape_of_an_action(shape: tuple[int, ...], n_envs: int, kind: str) -> None:
    space = spaces.Box(-2.0, 1.0, shape, dtype=np.float32)
    noise: Any = {
        "number": 0.1,
        "normal": NormalActionNoise(np.zeros(shape), np.full(shape, 0.1)),
        "ornstein": OrnsteinUhlenbeckActionNoise(np.zeros(shape), np.full(shape, 0.1)),
        "numbers": NormalActionNoise(0.0, 0.1),  # type: ignore[arg-type]
        "none": None,
    }[kind]
    env = DummyVecEnv([lambda: OneAction(space)] * n_envs)
    settings: dict[str, Any] = dict(learning_starts=4, buffer_size=20, batch_size=4, policy_kwargs={**SMALL, "block": "zeros"})
    model = QuantumTD3("MlpPolicy", env, action_noise=noise, **settings).learn(10)
    assert np.isfinite(model.replay_buffer.actions).all() and model.replay_buffer.size() == 10 // n_envs
    actions, _ = model.predict(env.observation_space.sample())
    assert np.shape(actions) == shape and space.contains(np.asarray(actions, dtype=np.float32))


@pytest.mark.parametrize("noise", [[0.1], [0.1, 0.1, 0.1], NormalActionNoise(np.zeros(3), np.ones(3))])
def test_noise_in_another_shape(noise: Any) -> None:
    if isinstance(noise, list) and len(noise) == 1:
        pendulum(action_noise=noise)
        return
    with pytest.raises(ValueError, match=r"action_noise must have the shape of an action, \(1,\), got "):
        pendulum(action_noise=noise)


@pytest.mark.parametrize(
    "space, message",
    [
        (spaces.Box(1.0, 1.0, (2,)), r"low below its high.*got \[1, 1\] at index 0"),
        (spaces.Box(np.array([0.0, 3.0]), np.array([1.0, 3.0])), r"low below its high.*got \[3, 3\] at index 1"),
        (spaces.Box(2.0, 2.0, ()), r"low below its high.*got \[2, 2\]$"),
        (spaces.Box(-3, 3, (2,), dtype=np.int32), "a Box of real numbers, got Box.* of int32"),
        (spaces.Box(0, 255, (2,), dtype=np.uint8), "a Box of real numbers, got Box.* of uint8"),
        (spaces.Box(-3e38, 3e38, (2,), dtype=np.float32), "within float32, got .* at index 0"),
        (spaces.Box(-6e4, 6e4, (2,), dtype=np.float16), "within float16"),
        (spaces.Box(-1.0, 1.0, (0,)), r"at least one action, got the shape \(0,\)"),
    ],
)
def test_action_spaces(space: spaces.Box, message: str) -> None:
    with pytest.raises(ValueError, match=f"^the action space must have|^the action space must be .*{message}"):
        check_action_space(space)
    with pytest.raises(ValueError, match=message):
        QuantumTD3("MlpPolicy", OneAction(space), buffer_size=10, policy_kwargs=SMALL)
    check_action_space(spaces.Box(-1e30, 1e30, (2,)))


class FourQubits(MlpPolicy):
    """A policy with a circuit of its own."""

    def __init__(self, *args: Any, n_qubits: int = 4, **kwargs: Any):
        super().__init__(*args, n_qubits=n_qubits, **kwargs)


class Computed(MlpPolicy):
    """Another one, whose signature does not say so, with an argument of its own."""

    def __init__(self, *args: Any, width: int = 2, **kwargs: Any):
        kwargs.update(n_qubits=width, n_layers=1, block="pqc")
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize(
    "policy, qubits, kwargs", [(FourQubits, 4, {}), (FourQubits, 2, {"n_qubits": 2}), (Computed, 3, {"width": 3})]
)
def test_a_policy_with_a_circuit_of_its_own(
    policy: type[MlpPolicy], qubits: int, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    kwargs = {"net_arch": [8, 8], "n_links": 1, **kwargs}
    model = QuantumTD3(policy, "Pendulum-v1", learning_starts=10, buffer_size=50, batch_size=8, policy_kwargs=kwargs).learn(20)
    assert model.policy.ansatz.n_qubits == qubits == model.replay_buffer.ansatz.n_qubits
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    again = QuantumTD3.load(tmp_path / "model", env=gym.make("Pendulum-v1"))
    again.load_replay_buffer(tmp_path / "buffer")
    again.learn(5, reset_num_timesteps=False)
    assert again.policy.ansatz == model.policy.ansatz


def test_a_subclass_with_arguments_of_its_own() -> None:
    class Mine(QuantumTD3):
        def __init__(self, *args: Any, mine: int = 1, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.mine = mine

    assert Mine("MlpPolicy", "Pendulum-v1", mine=2, buffer_size=10, policy_kwargs=SMALL).mine == 2
    with pytest.raises(TypeError, match=r"Mine: 'taau' is unknown, did you mean 'tau'\?"):
        Mine("MlpPolicy", "Pendulum-v1", taau=0.1)
    assert set(parameters(TD3) or ()) <= set(parameters(QuantumTD3) or ()), "SB3 has an argument that QuantumTD3 lacks"
