import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_quantum.common import ObservationNormalizer
from sb3_quantum.common.normalization import RunningNormalizer
from tests.envs import CountingEnv


def test_statistics_equal_sb3s() -> None:
    rng = np.random.default_rng(0)
    theirs, ours = RunningMeanStd(shape=(3,)), ObservationNormalizer(spaces.Box(-1, 1, (3,)))
    for size in (1, 4, 100, 2):
        batch = rng.normal(5.0, [1.0, 10.0, 0.1], size=(size, 3))
        theirs.update(batch)
        ours.update(th.as_tensor(batch))
    running = ours.parts["box_"]
    # SB3 starts with a count of 1e-4, we with 1e-8
    assert np.allclose(running.mean.numpy(), theirs.mean, rtol=1e-4)
    assert np.allclose(running.var.numpy(), theirs.var, rtol=1e-2)


def test_compiled_statistics_equal_those_of_any_device() -> None:
    compiled, plain = RunningNormalizer((2, 3)), RunningNormalizer((2, 3))
    for size, dtype in ((1, th.float64), (5, th.float32), (3, th.float16)):
        batch = (3 * th.randn(size, 2, 3, dtype=th.float64, generator=th.Generator().manual_seed(size)) + 7).to(dtype)
        compiled.update(batch)
        plain._update_on_device(batch)
        for name, buffer in plain.named_buffers():
            th.testing.assert_close(dict(compiled.named_buffers())[name], buffer, rtol=1e-6, atol=0)


def test_normalized_observations_equal_vec_normalize() -> None:
    env = VecNormalize(DummyVecEnv([CountingEnv]), norm_reward=False)
    ours = ObservationNormalizer(env.observation_space)
    env.reset()
    for _ in range(200):
        raw = env.get_original_obs()
        ours.update(th.as_tensor(raw))
        env.step(env.action_space.sample()[None])
    env.training = False
    raw = env.get_original_obs()
    # VecNormalize has seen one observation more
    ours.update(th.as_tensor(raw))
    # SB3 starts with a count of 1e-4, we with 1e-8
    assert np.allclose(ours(th.as_tensor(raw)).numpy(), env.normalize_obs(raw), atol=1e-4)


def test_only_real_arrays_are_normalized() -> None:
    space = spaces.Dict(
        {
            "real.part": spaces.Box(-np.inf, np.inf, (2,)),
            "image": spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8),
            "counts": spaces.Box(0, 9, (2,), dtype=np.int64),
            "choice": spaces.Discrete(3),
        }
    )
    normalizer = ObservationNormalizer(space)
    assert list(normalizer.parts) == ["box_real_part"]
    obs = {key: th.as_tensor(np.stack([space[key].sample() for _ in range(50)])) for key in space}
    normalizer.update(obs)
    out = normalizer(obs)
    assert abs(float(out["real.part"].mean())) < 1e-5 and abs(float(out["real.part"].std()) - 1) < 0.05
    assert all(out[key] is obs[key] for key in ("image", "counts", "choice"))
    assert list(ObservationNormalizer(space["image"]).parts) == []


def test_values_are_clipped() -> None:
    normalizer = ObservationNormalizer(spaces.Box(-np.inf, np.inf, (1,)))
    normalizer.update(th.tensor([[0.0], [1.0]]))
    assert normalizer(th.tensor([[1e30], [-1e30]])).tolist() == [[10.0], [-10.0]]


def test_loaded_statistics_are_used() -> None:
    space = spaces.Box(-np.inf, np.inf, (2,))
    old, new = ObservationNormalizer(space), ObservationNormalizer(space)
    old.update(th.tensor([[1.0, 10.0], [3.0, 50.0]]))
    new.load_state_dict(old.state_dict())
    batch = th.tensor([[2.0, 20.0]])
    assert th.equal(new(batch), old(batch)) and not th.equal(new(batch), batch)
    assert set(old.state_dict()) == {f"parts.box_.{name}" for name in ("mean", "var", "count")}
