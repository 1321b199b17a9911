"""The environment of a saved model is the one that its agent saw in training, wrappers and statistics included."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rl_zoo3.wrappers import TimeFeatureWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, unwrap_vec_normalize

from sb3_quantum import QuantumTD3
from sb3_quantum.common import returns_of, trained_with_vec_normalize
from sb3_quantum.zoo.environments import environment_of
from tests.envs import SMALL, CountingEnv

ENV = "Counting-v0"
SEEDS = range(40, 43)


@pytest.fixture(autouse=True)
def registered() -> Any:
    """Only while a test runs."""
    gym.register(ENV, CountingEnv, max_episode_steps=20)
    yield
    del gym.registry[ENV]


def train(env: VecEnv, policy: str = "MlpPolicy") -> QuantumTD3:
    """A few steps, so that there is a last observation and statistics are not those of the beginning."""
    kwargs = {**SMALL, "normalize_observations": False}
    return QuantumTD3(policy, env, learning_starts=100, buffer_size=50, seed=0, policy_kwargs=kwargs).learn(20)


def one_by_one(model: QuantumTD3, env: VecEnv) -> list[float]:
    """Returns in the environment that the model was trained in; statistics stand still."""
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None:
        normalizer.training = normalizer.norm_reward = False
    returns = []
    for seed in SEEDS:
        env.seed(seed)
        observations, done, total = env.reset(), False, 0.0
        while not done:
            action, _ = model.predict(observations, deterministic=True)  # type: ignore[arg-type]
            observations, rewards, dones, _ = env.step(action)
            total, done = total + float(rewards[0]), bool(dones[0])
        returns.append(total)
    return returns


def save(model: QuantumTD3, path: Path) -> QuantumTD3:
    """The model as a command reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return QuantumTD3.load(path, buffer_size=1)


@pytest.mark.parametrize(("normalize", "checkpoint"), [(False, False), (True, False), (True, True)])
def test_a_run_of_the_zoo(tmp_path: Path, normalize: bool, checkpoint: bool) -> None:
    """
    Wrapper, keyword arguments, statistics or stacked frames (SB3's off-policy algorithms cannot have both in the zoo's order)
    are found beside the model, and above a checkpoint.
    """
    inner = DummyVecEnv([lambda: TimeFeatureWrapper(gym.make(ENV, length=5), max_steps=9)])
    env: Any = VecNormalize(inner) if normalize else VecFrameStack(inner, 3)
    run = tmp_path / "Counting-v0_1"
    model = train(env)
    path = run / "checkpoint-20" / "model.zip" if checkpoint else run / f"{ENV}.zip"
    loaded = save(model, path)
    for folder in {run / ENV, path.parent / ENV}:
        folder.mkdir()
    if normalize:
        env.save(str(path.parent / ENV / "vecnormalize.pkl"))
    (run / ENV / "config.yml").write_text(
        "!!python/object/apply:collections.OrderedDict\n- - [env_wrapper, [{rl_zoo3.wrappers.TimeFeatureWrapper: "
        "{max_steps: 9}}]]\n  - [env_kwargs, {length: 4}]\n"
        + ("  - [normalize, true]\n" if normalize else "  - [frame_stack, 3]\n")
    )
    (run / ENV / "args.yml").write_text("env_kwargs: {length: 5}\ngym_packages: []\n")
    expected = one_by_one(model, env)
    make_env = environment_of(loaded, path, ENV)
    assert returns_of(loaded, make_env, len(SEEDS), SEEDS[0]) == pytest.approx(expected, rel=1e-4)
    # The command line has the last word
    shorter = returns_of(loaded, environment_of(loaded, path, ENV, {"length": 2}), len(SEEDS), SEEDS[0])
    assert (shorter > np.array(expected)).all()


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("name", ["model_vecnormalize.pkl", "vecnormalize.pkl", "vec_normalize.pkl", "elsewhere"])
def test_statistics_beside_a_model(tmp_path: Path, name: str, dictionary: bool) -> None:
    env = VecNormalize(DummyVecEnv([lambda: gym.make(ENV, dictionary=dictionary)]))
    model = train(env, "MultiInputPolicy" if dictionary else "MlpPolicy")
    loaded = save(model, tmp_path / "model.zip")
    env.save(str(tmp_path / name))
    given = tmp_path / name if name == "elsewhere" else None
    make_env = environment_of(loaded, tmp_path / "model.zip", ENV, {"dictionary": dictionary}, vecnormalize=given)
    assert returns_of(loaded, make_env, len(SEEDS), SEEDS[0]) == pytest.approx(one_by_one(model, env), rel=1e-4)


def test_a_checkpoint_has_its_own_statistics(tmp_path: Path) -> None:
    """SB3's CheckpointCallback names them alike; those of another checkpoint would be wrong."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make(ENV)]))
    loaded = save(train(env), tmp_path / "rl_model_20_steps.zip")
    env.save(str(tmp_path / "rl_model_vecnormalize_20_steps.pkl"))
    (tmp_path / "vecnormalize.pkl").write_bytes(b"of another one")
    made: Any = environment_of(loaded, tmp_path / "rl_model_20_steps.zip", ENV)()
    assert np.array_equal(made.obs_rms.mean, env.obs_rms.mean) and not made.training and not made.norm_reward


def test_missing_or_wrong_statistics_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    env = VecNormalize(DummyVecEnv([lambda: gym.make(ENV)]))
    loaded = save(train(env), path)
    with pytest.raises(ValueError, match=r"was trained with VecNormalize.*--vecnormalize PATH"):
        environment_of(loaded, path, ENV)
    other = VecNormalize(DummyVecEnv([lambda: gym.make(ENV, dictionary=True)]))
    for content in (b"", b"nonsense", pickle.dumps({}), pickle.dumps(other)):
        (tmp_path / "wrong").write_bytes(content)
        with pytest.raises(ValueError, match="does not fit"):
            environment_of(loaded, path, ENV, vecnormalize=tmp_path / "wrong")()
    with pytest.raises(FileNotFoundError):
        environment_of(loaded, path, ENV, vecnormalize=tmp_path / "missing")()


def test_whether_observations_were_normalized(tmp_path: Path) -> None:
    """The model file says so, in 0.1.0 only where it shows; rewards alone do not count."""
    plain = DummyVecEnv([lambda: gym.make(ENV)])
    for env, expected in (
        (plain, False),
        (VecNormalize(plain), True),
        (VecNormalize(plain, norm_obs=False), False),
        (VecNormalize(VecFrameStack(plain, 3)), True),
    ):
        loaded = save(train(env), tmp_path / "model.zip")
        assert trained_with_vec_normalize(loaded) is expected
        del loaded.observations_normalized
        assert trained_with_vec_normalize(loaded) is (expected or None)
    untrained = QuantumTD3("MlpPolicy", VecNormalize(plain), buffer_size=1, policy_kwargs=SMALL)
    assert trained_with_vec_normalize(untrained) is None
    # A stray file is not of a model that was trained without
    loaded = save(train(plain), tmp_path / "model.zip")
    VecNormalize(plain).save(str(tmp_path / "vecnormalize.pkl"))
    assert isinstance(environment_of(loaded, tmp_path / "model.zip", ENV)(), gym.Env)


def test_raw_observations_are_warned_of(tmp_path: Path) -> None:
    model = train(VecNormalize(DummyVecEnv([lambda: gym.make(ENV)])))
    returns_of(model, lambda: gym.make(ENV), 1, 0)  # by its own normalizer, without a warning
    with pytest.warns(UserWarning, match="trained with VecNormalize, but is evaluated on observations that are not"):
        returns_of(save(model, tmp_path / "model.zip"), lambda: gym.make(ENV), 1, 0)
