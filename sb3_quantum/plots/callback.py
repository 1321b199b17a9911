"""Pictures in TensorBoard during training."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch as th
from stable_baselines3.common.logger import CSVOutputFormat, HumanOutputFormat, Image, JSONOutputFormat
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_quantum.circuits.checks import check_int, check_number, names_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.plots.circuit import circuit_figure
from sb3_quantum.plots.figure import new_figure
from sb3_quantum.plots.runs import Curve, Run, runs_figure
from sb3_quantum.qtd3 import FidelityCallback, QuantumTD3
from sb3_quantum.qtd3.callbacks import walk
from sb3_quantum.qtd3.harmless import HarmlessCallback, harmless

if TYPE_CHECKING:
    import matplotlib.figure

#: log formats without pictures
_TEXT = ("stdout", "log", "json", "csv")


class FigureCallback(HarmlessCallback):
    """
    Draw figures for TensorBoard every ``freq`` steps.

    ``figures/circuit`` is the circuit with the current policy's angles, always for the training's first observation, so that
    only the policy changes. ``figures/curves`` are return, gradient cosine and circuits since this training began; the cosine
    is that of a ``FidelityCallback`` in the same training. A policy without a circuit has only the curves. The callback
    changes none of the training's generators and counters. If it fails, it warns once and stops drawing; the training
    continues.

    Figures are written with the next log.

    :param freq: environment steps between two drawings
    :param window: training episodes that the return is averaged over
    :param layers_per_row: layers in a row of the circuit's drawing
    :raises ImportError: if matplotlib is missing
    :raises ValueError: if an argument is not accepted
    """

    @names_checked({})
    def __init__(self, freq: int = 10_000, window: int = 20, layers_per_row: int = 5):
        super().__init__()
        # A missing package should not end a training at its first drawing
        new_figure(1, 1)
        self.freq = check_number("freq", freq, least=1)
        self.window = check_int("window", window)
        self.layers_per_row = check_int("layers_per_row", layers_per_row)
        self._last = 0
        self._obs: PyTorchObs | None = None
        self._fidelity: FidelityCallback | None = None
        self._seen: dict[str, float] = {}
        self._rows: dict[str, list[tuple[int, float]]] = {}

    @harmless
    def _on_training_start(self) -> None:
        assert isinstance(self.model, QuantumTD3) and self.model._last_obs is not None
        self._last = self.model.num_timesteps
        obs, _ = self.model.policy.obs_to_tensor(self.model._last_obs)
        self._obs = {key: part[:1].clone() for key, part in obs.items()} if isinstance(obs, dict) else obs[:1].clone()
        found = (callback for callback in walk(self.locals["callback"]) if isinstance(callback, FidelityCallback))
        self._fidelity = next(found, None)
        self._seen = {}
        self._rows = {"episodes": [], "circuits": [], "cosine": [], "prior": []}
        if not self._is_drawn_for():
            warnings.warn("FigureCallback draws nothing: no tensorboard_log is given", stacklevel=2)

    def _is_drawn_for(self) -> bool:
        """Tell whether the logger writes a format with pictures."""
        text = (CSVOutputFormat, HumanOutputFormat, JSONOutputFormat)
        return any(not isinstance(form, text) for form in self.logger.output_formats)

    @harmless
    def _on_step(self) -> bool:
        assert isinstance(self.model, QuantumTD3)
        for info in self.locals["infos"]:
            if "episode" in info:
                self._rows["episodes"].append((self.model.num_timesteps, info["episode"]["r"]))
                self._record_circuits()
        return True

    def _record_circuits(self) -> None:
        assert isinstance(self.model, QuantumTD3)
        usage = self.model.policy.block.usage()
        if "circuits" in usage:
            self._rows["circuits"].append((self.model.num_timesteps, usage["circuits"]))

    @harmless
    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps
        if self._fidelity is not None and self._fidelity.latest is not self._seen:
            self._seen = self._fidelity.latest
            if "qtdnn/cosine" in self._seen:
                self._rows["cosine"].append((steps, self._seen["qtdnn/cosine"]))
                self._rows["prior"].append((steps, self._seen["qtdnn/cosine_prior"]))
        if steps - self._last >= self.freq and self._is_drawn_for():
            self._last = steps
            for key, figure in self.draw().items():
                # As an image: the logger would render a figure, where a failure ends the training
                self.logger.record(f"figures/{key}", Image(_rendered(figure), "HWC"), exclude=_TEXT)

    def draw(self) -> dict[str, "matplotlib.figure.Figure"]:
        """
        Draw the figures now.

        :return: ``curves``, and ``circuit`` if there is one
        :raises ImportError: if pylatexenc is missing, which Qiskit's drawings need
        """
        model = self.model
        assert isinstance(model, QuantumTD3) and self._obs is not None
        rows = {key: Curve(*np.array(row, dtype=float).T) for key, row in self._rows.items() if row}
        title = f"after {counted(model.num_timesteps, 'step')}"
        figures = {"curves": runs_figure([Run(type(model).__name__, **rows)], self.window, title)}  # type: ignore[arg-type]
        block = model.policy.block
        if block.backend is not None:
            model.policy.set_training_mode(False)
            with th.no_grad():
                inputs, _ = model.actor.encode(self._obs)
            title = f"The policy's circuit {title}, for the first observation of this training"
            figures["circuit"] = circuit_figure(block.ansatz, inputs, title, self.layers_per_row)
        return figures


def _rendered(figure: "matplotlib.figure.Figure") -> np.ndarray:
    """Render a figure, ``(height, width, 3)``, uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
