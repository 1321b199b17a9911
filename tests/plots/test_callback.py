"""Pictures are read back from the event file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.plots import FigureCallback
from tests.envs import SMALL, CountingEnv
from tests.qtd3.test_train import equal, pendulum, weights


def counting(**kwargs: Any) -> QuantumTD3:
    """Episodes of 7 steps."""
    env = make_vec_env(CountingEnv, 2, env_kwargs={"dictionary": kwargs.pop("dictionary", False)})
    policy = "MultiInputPolicy" if "Dict" in type(env.observation_space).__name__ else "MlpPolicy"
    kwargs["policy_kwargs"] = {**SMALL, **kwargs.get("policy_kwargs", {})}
    return QuantumTD3(policy, env, **{"learning_starts": 20, "buffer_size": 300, "batch_size": 16, "seed": 0, **kwargs})


def images(folder: Path) -> dict[str, list[np.ndarray]]:
    accumulator = EventAccumulator(str(next(folder.rglob("events.*")).parent), size_guidance={"images": 0})
    accumulator.Reload()
    return {
        key: [imread(io.BytesIO(event.encoded_image_string))[..., :3] for event in accumulator.Images(key)]
        for key in accumulator.Tags()["images"]
    }


@pytest.mark.parametrize("dictionary", [False, True])
def test_pictures_reach_tensorboard(tmp_path: Path, dictionary: bool) -> None:
    model = counting(dictionary=dictionary, tensorboard_log=str(tmp_path))
    model.learn(120, callback=[FidelityCallback(freq=30, n_states=8), FigureCallback(freq=50)], log_interval=1)
    pictures = images(tmp_path)
    assert {key: len(found) for key, found in pictures.items()} == {"figures/circuit": 2, "figures/curves": 2}
    for picture in (pictures["figures/circuit"][0], pictures["figures/curves"][0]):
        height, width, _ = picture.shape
        assert height >= 290 and width >= 600
        # On white paper, with something in every third of it
        assert (picture[0, 0] == 1).all()
        for third in np.array_split(picture, 3):
            assert 0.003 < (third < 0.9).any(-1).mean() < 0.5
    # The policy has moved between the two, and the curves have grown
    first, second = pictures["figures/circuit"]
    assert first.shape != second.shape or (first != second).any()
    first, second = pictures["figures/curves"]
    assert (first != second).any()


def test_curves_are_those_of_the_training(tmp_path: Path) -> None:
    model = counting(tensorboard_log=str(tmp_path))
    fidelity, figures = FidelityCallback(freq=30, n_states=8), FigureCallback(freq=1000)
    model.learn(120, callback=[fidelity, figures])
    returns, cosines, circuits = figures.draw()["curves"].axes
    assert model.ep_info_buffer is not None and len(model.ep_info_buffer) == 16
    dots = next(line for line in returns.lines if line.get_marker() == ".")
    np.testing.assert_allclose(dots.get_ydata(), [episode["r"] for episode in model.ep_info_buffer])
    np.testing.assert_array_equal(dots.get_xdata(), np.repeat(np.arange(14, 113, 14), 2))
    prior, qtdnn = cosines.lines
    np.testing.assert_array_equal(qtdnn.get_xdata(), [30, 60, 90])
    assert qtdnn.get_ydata()[-1] == fidelity.latest["qtdnn/cosine"]
    assert prior.get_ydata()[-1] == fidelity.latest["qtdnn/cosine_prior"]
    (line,) = circuits.lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


def test_the_circuit_is_the_policys_at_the_first_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("sb3_quantum.plots.callback.circuit_figure", lambda *args: drawn.append(args[1]))
    monkeypatch.setattr(FigureCallback, "_is_drawn_for", lambda self: True)
    model = pendulum()
    first, _ = model.env.reset(), None  # type: ignore[union-attr]
    model._last_obs = first
    figures = FigureCallback(freq=10**6)
    model.learn(60, callback=figures, reset_num_timesteps=False)
    figures.draw()
    obs, _ = model.policy.obs_to_tensor(first)
    assert drawn[0].equal(model.actor.encode(obs)[0].detach())


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    drawn = pendulum(tensorboard_log=str(tmp_path)).learn(150, callback=FigureCallback(freq=40))
    assert equal(weights(drawn), weights(pendulum(tensorboard_log=str(tmp_path)).learn(150)))


def test_other_formats_hold_no_pictures(tmp_path: Path) -> None:
    model = counting()
    model.set_logger(configure(str(tmp_path), ["log", "json", "csv", "tensorboard"]))
    model.learn(80, callback=FigureCallback(freq=30), log_interval=1)
    assert set(images(tmp_path)) == {"figures/circuit", "figures/curves"}
    for name in ("log.txt", "progress.json", "progress.csv"):
        text = (tmp_path / name).read_text()
        assert "ep_rew_mean" in text and "figures" not in text


def test_without_tensorboard_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FigureCallback, "draw", None)
    with pytest.warns(UserWarning, match="no tensorboard_log is given"):
        counting().learn(60, callback=FigureCallback(freq=20))


def test_a_block_without_a_circuit_has_curves(tmp_path: Path) -> None:
    model = counting(policy_kwargs={"block": "zeros"}, tensorboard_log=str(tmp_path))
    model.learn(60, callback=FigureCallback(freq=30), log_interval=1)
    assert list(images(tmp_path)) == ["figures/curves"]


def test_missing_matplotlib_is_said_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[plots\]"):
        FigureCallback()
