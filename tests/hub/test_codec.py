"""Whatever the pickle-free form stores comes back: equal, of the same type, in the same order."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import gymnasium as gym
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.hub.codec import decode, decode_space, encode, encode_space

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
KEYS = st.text("zyxab é:_", min_size=1, max_size=4)
TINY: dict[str, Any] = dict(n_qubits=2, n_layers=2, n_links=1, qtdnn_arch=[4], net_arch=[4, 4])


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def identical(one: Any, other: Any) -> bool:
    """Equal in type, order and sign of zeros; NaN is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    return repr(one) == repr(other)


arrays = hnp.arrays(
    st.sampled_from([*INTEGERS, "bool", "float16", "float32", "float64"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | arrays | arrays.map(lambda array: array.sum())
values = st.recursive(
    plain | st.text(st.characters(categories=["Cs", "Lu"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["$tuple", "$float", "$"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(values)
@example("\ud800\udc00")
@example({"\ud800\udc00": "\udc00"})
def test_values(value: Any) -> None:
    assert identical(decode(through_json(encode(value, "x"))), value)


@st.composite
def boxes(draw: st.DrawFn, floats: bool = False) -> spaces.Box:
    """Of every type and shape, bounds finite or not, all equal or not."""
    dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64"] if floats else [*INTEGERS, "bool", "float64"])))
    shape = draw(hnp.array_shapes(min_dims=0 if not floats else 1, max_dims=2, max_side=3))
    kind = draw(st.integers(0, 2))
    if (dtype.kind == "f" and kind == 0) or (dtype.kind == "i" and kind == 0):
        return spaces.Box(-np.inf, draw(st.sampled_from([np.inf, 1])), shape, dtype.type)
    limits = (0, 1) if dtype.kind == "b" else (np.finfo if dtype.kind == "f" else np.iinfo)(dtype)
    least, most = limits if isinstance(limits, tuple) else (limits.min, limits.max)
    low = np.full(shape, max(least, draw(st.sampled_from([least, 0, -1, -0.0]))), dtype)
    high = np.full(shape, draw(st.sampled_from([most, 1])), dtype)
    if kind == 1 and high.size:
        high.flat[0] = 1
    return spaces.Box(low, high, shape, dtype.type)


@st.composite
def leaves(draw: st.DrawFn) -> spaces.Space:
    dtype: Any = np.dtype(draw(st.sampled_from(INTEGERS))).type
    shape = draw(hnp.array_shapes(max_dims=2, max_side=3))
    start = draw(st.integers(0, 3)) * (1 if np.dtype(dtype).kind == "u" else -1)
    return draw(
        st.sampled_from(
            [
                spaces.Discrete(draw(st.integers(1, 9)), start=start, dtype=dtype),
                spaces.MultiDiscrete(np.full(shape, 2, dtype), dtype, start=np.full(shape, start, dtype)),
                spaces.MultiBinary(shape),
                spaces.MultiBinary(shape[0]),
                draw(boxes()),
                draw(boxes(floats=True)),
            ]
        )
    )


def dictionaries(inner: st.SearchStrategy[spaces.Space], **kwargs: Any) -> st.SearchStrategy[spaces.Dict]:
    """Their keys in the order in which they were given, or sorted."""
    pairs = st.lists(st.tuples(KEYS, inner), unique_by=lambda pair: pair[0], min_size=1, max_size=4, **kwargs)
    return pairs.map(lambda made: spaces.Dict(OrderedDict(made))) | pairs.map(lambda made: spaces.Dict(dict(made)))


nested = st.recursive(
    leaves(), lambda inner: dictionaries(inner) | st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple), max_leaves=5
)


def outline(space: spaces.Space) -> Any:
    """Everything that makes two spaces the same: what ``==`` compares, order, types, and which bounds are infinite."""
    if isinstance(space, spaces.Dict):
        return [(key, outline(part)) for key, part in space.spaces.items()]
    if isinstance(space, spaces.Tuple):
        return [outline(part) for part in space.spaces]
    bounds = ()
    if isinstance(space, spaces.Box):
        arrays = (space.low, space.high, space.bounded_below, space.bounded_above)
        bounds = tuple((array.dtype, array.tobytes()) for array in arrays)  # type: ignore[assignment]
    return type(space), space.dtype, space.shape, bounds


@settings(max_examples=60, deadline=None)
@given(nested)
def test_spaces(space: spaces.Space) -> None:
    back = decode_space(through_json(encode_space(space)))
    assert back == space and outline(back) == outline(space)


@pytest.mark.parametrize(
    "space", [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)], ids=str
)
def test_spaces_that_sb3_cannot_use_are_refused(space: spaces.Space) -> None:
    for refused in (space, spaces.Dict({"a": space}), spaces.Tuple([space])):
        with pytest.raises(ValueError, match="cannot be saved without pickle"):
            encode_space(refused)


class AnyEnv(gym.Env):
    """Random observations of a given space."""

    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, space: spaces.Space):
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), -float(np.square(action).sum()), False, False, {}


discrete = st.builds(
    lambda n, dtype: spaces.Discrete(n, dtype=np.dtype(dtype).type), st.integers(2, 5), st.sampled_from(INTEGERS)
)
bounded = st.builds(lambda n: spaces.Box(-3.0, 3.0, (n,), np.float64), st.integers(1, 3))
binary = st.sampled_from([spaces.MultiBinary(3), spaces.MultiBinary([2])])
observed = st.lists(
    st.tuples(st.text("zyxab:_", min_size=1, max_size=3), bounded | discrete | binary),
    unique_by=lambda pair: pair[0], min_size=2, max_size=3,
)  # fmt: skip


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(observed)
def test_actions_after_loading(tmp_path: Path, pairs: list[tuple[str, spaces.Space]]) -> None:
    """Features in another order would be other actions, and no error."""
    env = AnyEnv(spaces.Dict(OrderedDict(pairs)))
    model = QuantumTD3("MultiInputPolicy", env, buffer_size=20, policy_kwargs=TINY, seed=0)
    save_safe(model, tmp_path)
    loaded = load_safe(tmp_path, env=AnyEnv(spaces.Dict(OrderedDict(pairs))))
    assert outline(loaded.observation_space) == outline(model.observation_space)
    for _ in range(5):
        observation = env.observation_space.sample()
        assert np.array_equal(*(each.predict(observation, deterministic=True)[0] for each in (model, loaded)))


def test_a_dictionary_of_0_1_0_comes_back_in_its_order() -> None:
    """Its files had the order, only reading them lost it: the action is the one that was noted when the file was made."""
    loaded = load_safe(Path(__file__).parent / "data" / "dict_0_1_0")
    assert list(loaded.observation_space.spaces) == ["vel", "ang"]  # type: ignore[attr-defined]
    observation = {"vel": np.array([8, -8], np.float32), "ang": np.array([0.1, 0], np.float32)}
    assert loaded.predict(observation, deterministic=True)[0] == pytest.approx([-0.3320581316947937], abs=1e-6)


def drawn(noise: ActionNoise) -> list[Any]:
    np.random.seed(0)
    return [noise().tobytes() for _ in range(3)]


@pytest.mark.parametrize(
    "noise",
    [
        NormalActionNoise(np.zeros(2), np.array([0.1, 0.3])),
        NormalActionNoise(np.zeros(2, np.float32), np.full(2, 0.1), dtype=np.float64),
        OrnsteinUhlenbeckActionNoise(np.ones(2), np.full(2, 0.4), theta=0.2, dt=0.5, initial_noise=np.array([0.5, -0.5])),
        VectorizedActionNoise(OrnsteinUhlenbeckActionNoise(np.zeros(2), np.full(2, 0.4)), 3),
    ],
    ids=str,
)
def test_noise_goes_on_where_it_was(noise: ActionNoise) -> None:
    drawn(noise)
    back = decode(through_json(encode(noise, "x")))
    assert type(back) is type(noise) and drawn(back) == drawn(noise)


@pytest.mark.parametrize(
    "schedule",
    [LinearSchedule(1, 1e-4, 0.5), FloatSchedule(LinearSchedule(1e-3, 0.0, 1.0)), ConstantSchedule(0.5), FloatSchedule(2)],
)
def test_schedules(schedule: Any) -> None:
    back = FloatSchedule(decode(through_json(encode(schedule, "x"))))
    assert [back(progress) for progress in (1.0, 0.6, 0.0)] == [schedule(progress) for progress in (1.0, 0.6, 0.0)]


def test_subclasses_are_not_taken_for_what_they_come_from() -> None:
    class Own(LinearSchedule):
        pass

    class OwnNoise(NormalActionNoise):
        pass

    for value in (Own(1.0, 0.0, 1.0), OwnNoise(np.zeros(1), np.ones(1)), np.array(["a"]), 1j, b"x", {1: 2}, object()):
        with pytest.raises(ValueError, match="cannot be saved without pickle"):
            encode(value, "x")
