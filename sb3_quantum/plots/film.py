"""Films of an agent beside its circuit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.circuits.wrapping import wrap_angles
from sb3_quantum.common.evaluation import reset, step
from sb3_quantum.plots.figure import new_figure
from sb3_quantum.qtd3 import QuantumTD3

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: file formats of films
FILM_SUFFIXES = (".gif", ".mp4", ".webp")
_ORANGE, _BLUE = "#D55E00", "#0072B2"


class CircuitPanel:
    """
    Small drawing of a circuit for every frame of a film: a square for every one-qubit gate, coloured by its first angle, an
    orange line for every two-qubit gate, and a bar for every expected bit at the end of its wire.

    :param ansatz: the circuit
    :param axes: the axes to draw in
    """

    def __init__(self, ansatz: Circuit, axes: "Axes"):
        from matplotlib.collections import LineCollection

        self.ansatz = ansatz
        self._columns, n_columns = _columns(ansatz)
        steps = list(zip(ansatz.program.gates, self._columns, strict=True))
        self._one = [(gate, column) for gate, column in steps if gate.name not in ("cz", "rzz")]
        self._two = [(gate, column) for gate, column in steps if gate.name in ("cz", "rzz")]
        self._end = n_columns + 0.5
        n_qubits = ansatz.n_qubits
        axes.set_xlim(-1, n_columns + 0.32 * n_columns)
        axes.set_ylim(n_qubits - 0.3, -0.7)
        axes.axis("off")
        axes.hlines(np.arange(n_qubits), -0.8, self._end, color="0.75", linewidth=0.8, zorder=0)
        self._squares = axes.scatter(
            [column for _, column in self._one],
            [gate.qubits[0] for gate, _ in self._one],
            c=np.zeros(len(self._one)),
            cmap="twilight_shifted",
            vmin=-np.pi,
            vmax=np.pi,
            marker="s",
            s=2.2e4 / max(n_qubits, n_columns) ** 1.75,
            edgecolors="0.4",
            linewidths=0.4,
        )
        self._links = LineCollection([], colors=_ORANGE, linewidths=2, capstyle="round")
        axes.add_collection(self._links)
        length = 0.3 * n_columns
        axes.barh(np.arange(n_qubits), length, 0.7, left=self._end, color="0.92")
        self._bars = axes.barh(np.arange(n_qubits), 0, 0.7, left=self._end, color=_BLUE)
        self._length = length

    def draw(self, inputs: th.Tensor, bits: th.Tensor) -> None:
        """
        Draw one circuit.

        :param inputs: circuit inputs, ``(1, n_inputs)``
        :param bits: its expected bits, ``(1, n_qubits)``
        """
        angles = self.ansatz.gate_angles(inputs)[0].double().cpu().numpy()
        first = np.array([angles[gate.angles[0]] if gate.angles else 0.0 for gate, _ in self._one])
        self._squares.set_array(wrap_angles(th.as_tensor(first)).numpy())
        chosen = self.ansatz.choices(inputs)[0].tolist() if self.ansatz.program.n_choices else []
        segments = []
        for gate, column in self._two:
            ends = gate.qubits if gate.choice is None else chosen[gate.choice]
            if ends[0] != ends[1]:
                segments.append([(column, ends[0]), (column, ends[1])])
        self._links.set_segments(segments)
        for bar, bit in zip(self._bars, bits[0].tolist(), strict=True):
            bar.set_width(self._length * bit)


def _columns(ansatz: Circuit) -> tuple[list[int], int]:
    """Return the column of every gate, and the number of columns. A gate whose qubits rows choose blocks all wires."""
    free = [0] * ansatz.n_qubits
    columns = []
    for gate in ansatz.program.gates:
        if gate.choice is not None or not gate.qubits:
            wires = range(ansatz.n_qubits)
        elif len(gate.qubits) == 2:
            wires = range(min(gate.qubits), max(gate.qubits) + 1)
        else:
            wires = range(gate.qubits[0], gate.qubits[0] + 1)
        column = max(free[wire] for wire in wires)
        columns.append(column)
        for wire in wires:
            free[wire] = column + 1
    return columns, max(free)


@keywords_checked({})
def film_frames(
    model: QuantumTD3,
    make_env: Callable[[], gym.Env | VecEnv],
    length: int,
    seed: int = 0,
    every: int = 1,
    width: int = 720,
) -> Iterator[np.ndarray]:
    """
    Let a model act deterministically, and draw the environment beside the acting circuit. The expected bits are those of the
    exact simulator.

    :param model: a model with a circuit
    :param make_env: makes one environment whose ``render()`` gives an image
    :param length: number of steps; a new episode follows one that ends
    :param seed: reset seed of the first episode
    :param every: steps per frame
    :param width: width of a frame, in pixels
    :return: frames, ``(height, width, 3)``, uint8
    :raises ImportError: if matplotlib is missing
    :raises ValueError: if the policy has no circuit, or the environment draws no images
    """
    layer = model.policy.quantum_layer
    if layer is None:
        raise ValueError('a film shows the circuit that acts, and this policy has none: its block is not "pqc"')
    env = make_env()
    try:
        yield from _frames(model, layer.ansatz, env, length, seed, every, width)
    finally:
        env.close()


def _frames(
    model: QuantumTD3, ansatz: Circuit, env: gym.Env | VecEnv, length: int, seed: int, every: int, width: int
) -> Iterator[np.ndarray]:
    """Yield the frames of :func:`film_frames`; the caller closes the environment."""
    obs = reset(env, seed)
    if not isinstance(env.render(), np.ndarray):
        raise ValueError('the environment draws no images; it needs env_kwargs=dict(render_mode="rgb_array")')
    scene = _Scene(ansatz, width)
    exact = StatevectorBackend(ansatz)
    total, step_of_episode = 0.0, 0
    for place in range(length):
        if place % every == 0:
            with th.no_grad():
                tensor, _ = model.policy.obs_to_tensor(obs)
                inputs, _ = model.policy.deployed_actor.encode(tensor)  # (1, n_inputs)
                bits = exact.expected_bits(inputs)  # (1, n_qubits)
            image = env.render()
            assert isinstance(image, np.ndarray)
            yield scene.frame(image, inputs, bits, f"step {step_of_episode}    return {total:,.0f}")
        action, _ = model.predict(obs, deterministic=True)
        obs, reward, done = step(env, action)
        total, step_of_episode = total + reward, step_of_episode + 1
        if done:
            seed += 1
            obs, total, step_of_episode = reset(env, seed), 0.0, 0


@keywords_checked({})
def write_film(frames: Iterator[np.ndarray], path: str | Path, fps: int) -> int:
    """
    Write frames as a film.

    :param frames: ``(height, width, 3)``, uint8
    :param path: path of the film; ``.gif`` and ``.webp`` are animated images, ``.mp4`` needs moviepy
    :param fps: frames per second
    :return: number of frames
    :raises ImportError: if Pillow or moviepy is missing
    :raises ValueError: if the suffix is none of :data:`FILM_SUFFIXES`, or there is no frame
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise ValueError(f"a film must end with {', '.join(FILM_SUFFIXES)}, got {path}")
    images = list(frames)
    if not images:
        raise ValueError("frames must contain at least one frame")
    if suffix == ".mp4":
        try:
            from moviepy import ImageSequenceClip
        except ImportError as error:
            raise ImportError('mp4 needs moviepy: pip install "sb3-quantum[hub]"; .gif does not') from error
        ImageSequenceClip(images, fps=fps).write_videofile(str(path), logger=None)
        return len(images)
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('films need Pillow: pip install "sb3-quantum[plots]"') from error
    pictures = [Image.fromarray(image) for image in images]
    if suffix == ".gif":  # one palette for all frames, without dithering: half the size
        some = images[:: max(len(images) // 8, 1)]
        palette = Image.fromarray(np.concatenate(some)).quantize(128)
        pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options: dict[str, Any] = {"quality": 70, "method": 4} if suffix == ".webp" else {"optimize": True}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, **options)
    return len(images)


class _Scene:
    """Figure of the frames: the environment on the left, the circuit on the right."""

    def __init__(self, ansatz: Circuit, width: int):
        self.figure = new_figure(width / 100, width / 200, dpi=100)
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.canvas = FigureCanvasAgg(self.figure)
        self._left = self.figure.add_axes((0.0, 0.0, 0.5, 1.0))
        self._left.axis("off")
        self._image: Any = None
        right = self.figure.add_axes((0.52, 0.17, 0.47, 0.69))
        self._panel = CircuitPanel(ansatz, right)
        # In points; half the film's width holds about 27 letters of this size, which are 7 points in a column of 3.3 inches
        size = 15.3 * width / 720
        self.figure.text(0.53, 0.89, f"this step's circuit: {counted(ansatz.n_qubits, 'qubit')}", fontsize=size)
        self.figure.text(0.53, 0.025, "squares: angles, lines: CZ,\nbars: expected bits", fontsize=size, linespacing=1.1)
        self._text = self._left.text(
            0.03,
            0.96,
            "",
            transform=self._left.transAxes,
            fontsize=size,
            va="top",
            bbox=dict(facecolor="white", edgecolor="none"),
        )

    def frame(self, image: np.ndarray, inputs: th.Tensor, bits: th.Tensor, text: str) -> np.ndarray:
        """Draw one frame, ``(height, width, 3)``."""
        if self._image is None:
            self._image = self._left.imshow(image)
        else:
            self._image.set_data(image)
        self._text.set_text(text)
        self._panel.draw(inputs, bits)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
