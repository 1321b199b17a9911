"""Films: an agent beside its circuit."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th

pytest.importorskip("matplotlib")
image_module = pytest.importorskip("PIL.Image")

from sb3_quantum import QuantumTD3  # noqa: E402
from sb3_quantum.backends import StatevectorBackend  # noqa: E402
from sb3_quantum.circuits import BrickworkCircuit, Circuit, PaperCircuit  # noqa: E402
from sb3_quantum.film import load  # noqa: E402
from sb3_quantum.hub import save_safe  # noqa: E402
from sb3_quantum.plots.figure import new_figure  # noqa: E402
from sb3_quantum.plots.film import CircuitPanel, film_frames, write_film  # noqa: E402


class Drawn(gym.Wrapper):
    """Pendulum-v1 that draws without a window: its image says how often it was drawn."""

    def __init__(self) -> None:
        super().__init__(gym.make("Pendulum-v1", render_mode=None, max_episode_steps=5))
        self.drawn = 0

    def render(self) -> np.ndarray:  # type: ignore[override]
        self.drawn += 1
        return np.full((20, 20, 3), self.drawn, dtype=np.uint8)


class Blind(Drawn):
    """The same, which draws nothing."""

    def render(self) -> None:  # type: ignore[override]
        return None


@pytest.fixture(scope="module")
def model() -> QuantumTD3:
    return QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(n_qubits=3, n_layers=2), seed=0, buffer_size=10)


def test_one_frame_in_every_so_many_steps(model: QuantumTD3) -> None:
    frames = list(film_frames(model, Drawn, length=8, every=3, width=200))
    assert len(frames) == 3
    assert all(frame.shape == (100, 200, 3) and frame.dtype == np.uint8 for frame in frames)
    # The environment moves on, and the circuit with it
    assert (frames[0][:, :100] != frames[1][:, :100]).any() and (frames[0][:, 100:] != frames[1][:, 100:]).any()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_film_has_all_frames(suffix: str, tmp_path: Path) -> None:
    frames = (np.full((10, 20, 3), 20 * i, dtype=np.uint8) for i in range(5))
    assert write_film(frames, tmp_path / f"film{suffix}", fps=10) == 5
    with image_module.open(tmp_path / f"film{suffix}") as film:
        assert film.n_frames == 5 and film.size == (20, 10)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    frames: Iterator[np.ndarray] = iter(())
    with pytest.raises(ValueError, match=r"\.gif, \.mp4, \.webp, got .*film\.avi"):
        write_film(frames, tmp_path / "film.avi", fps=10)


def test_no_frame_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_film(iter(()), tmp_path / "film.gif", fps=10)
    assert not list(tmp_path.iterdir())


def test_environment_is_closed_whatever_happens(model: QuantumTD3) -> None:
    closed = []

    class Closing(Blind):
        def close(self) -> None:
            closed.append(True)

    with pytest.raises(ValueError, match="render_mode"):
        next(film_frames(model, Closing, length=1))
    assert closed == [True]


def test_policy_without_circuit_is_refused() -> None:
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(block="zeros", n_qubits=2, n_layers=1), buffer_size=10)
    with pytest.raises(ValueError, match="has none"):
        next(film_frames(model, Drawn, length=1))


def test_environment_that_draws_nothing_is_refused(model: QuantumTD3) -> None:
    with pytest.raises(ValueError, match="render_mode"):
        next(film_frames(model, Blind, length=1))


@pytest.mark.parametrize("ansatz", [PaperCircuit(5, 3), PaperCircuit(6, 2, n_cz=3), BrickworkCircuit(4, 3)])
def test_panel_shows_this_circuit(ansatz: Circuit) -> None:
    inputs = th.randn(1, ansatz.n_inputs, generator=th.Generator().manual_seed(0)) * 3
    bits = StatevectorBackend(ansatz).expected_bits(inputs)
    panel = CircuitPanel(ansatz, new_figure(4, 4).add_subplot())
    panel.draw(inputs, bits)
    # Against Qiskit's own account of the same circuit
    circuit = ansatz.to_qiskit(inputs, measure=False)
    drawn = sorted(tuple(sorted(int(end) for _, end in segment)) for segment in panel._links.get_segments())
    pairs = [tuple(sorted(circuit.find_bit(q).index for q in gate.qubits)) for gate in circuit.data if len(gate.qubits) == 2]
    assert drawn == sorted(pairs) and pairs
    assert [bar.get_width() / panel._length for bar in panel._bars] == pytest.approx(bits[0].tolist())
    angles = np.array(
        [float(gate.operation.params[0]) for gate in circuit.data if len(gate.qubits) == 1 and gate.operation.params]
    )
    shown = np.asarray(panel._squares.get_array())
    assert np.sort(np.cos(shown)) == pytest.approx(np.sort(np.cos(angles)), abs=1e-5)


def test_both_forms_of_a_model_are_loaded(model: QuantumTD3, tmp_path: Path) -> None:
    model.save(tmp_path / "model.zip")
    save_safe(model, tmp_path / "safe")
    obs = np.array([[0.1, 0.2, 0.3]], dtype=np.float32)
    expected = model.predict(obs, deterministic=True)[0]
    for path in (tmp_path / "model.zip", tmp_path / "safe"):
        assert load(path).predict(obs, deterministic=True)[0] == pytest.approx(expected)
