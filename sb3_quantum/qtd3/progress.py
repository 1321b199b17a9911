"""SB3's progress bar with numbers of a hybrid training."""

import math
from contextlib import suppress

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import safe_mean

from sb3_quantum.qtd3.callbacks import FidelityCallback, walk
from sb3_quantum.qtd3.harmless import HarmlessCallback, harmless
from sb3_quantum.qtd3.qtd3 import QuantumTD3


class QuantumProgressBarCallback(HarmlessCallback, ProgressBarCallback):
    """
    Show SB3's progress bar with the mean return of the last episodes (``stats_window_size``), the gradient cosine of the last
    ``FidelityCallback`` measurement, and the circuits run in training so far. Numbers that a policy does not have are left
    out. A bar that fails gives a warning, and the training continues without it.

    :raises ImportError: if tqdm or rich is missing
    """

    def __init__(self) -> None:
        super().__init__()
        #: text after the bar
        self.figures = ""
        self._fidelity: FidelityCallback | None = None

    @harmless
    def _on_training_start(self) -> None:
        from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.text import Text
        from tqdm.rich import RateColumn, tqdm

        found = (callback for callback in walk(self.locals["callback"]) if isinstance(callback, FidelityCallback))
        self._fidelity = next(found, None)
        outer = self

        class Figures(ProgressColumn):
            """The text as a column; tqdm's bar for rich has no postfix."""

            def render(self, task: Task) -> Text:
                return Text(outer.figures)

        self.figures = self._write()
        self.pbar = tqdm(
            total=self.locals["total_timesteps"] - self.model.num_timesteps,
            # Checks the clock in every step, and draws at most ten times per second
            miniters=1,
            progress=(
                "[progress.percentage]{task.percentage:>3.0f}%",
                BarColumn(bar_width=16),
                # Unlike tqdm's, it is not cut in a narrow terminal
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TimeElapsedColumn(),
                "<",
                TimeRemainingColumn(),
                RateColumn(unit="steps"),
                Figures(),
            ),
        )

    @harmless
    def _on_step(self) -> bool:
        # True when tqdm has drawn: the text is updated only as often as it is seen
        if self.pbar.update(self.training_env.num_envs):
            self.figures = self._write()
        return True

    def _on_training_end(self) -> None:
        self._close()
        if self._failed:
            # Restore the terminal's cursor
            with suppress(Exception):
                super()._on_training_end()

    @harmless
    def _close(self) -> None:
        self.figures = self._write()
        super()._on_training_end()

    def _write(self) -> str:
        """Write the current text."""
        assert isinstance(self.model, QuantumTD3)
        parts = []
        if self.model.ep_info_buffer:
            parts.append(f"return {safe_mean([episode['r'] for episode in self.model.ep_info_buffer]):.1f}")
        if self._fidelity is not None:
            cosine = self._fidelity.latest.get("qtdnn/cosine", math.nan)
            parts.append("cosine -" if math.isnan(cosine) else f"cosine {cosine:.3f}")
        usage = self.model.policy.block.usage()
        if "circuits" in usage:
            parts.append(f"circuits {usage['circuits']:,d}")
        return "  ".join(parts)


def with_progress(model: QuantumTD3, callback: MaybeCallback, progress_bar: bool) -> MaybeCallback:
    """
    Replace SB3's progress bar by ours: for ``progress_bar=True``, and in place of a ``ProgressBarCallback`` in a list, as the
    zoo's ``-P`` makes it. A list is changed in place, because the zoo ends the bar in its own list after Ctrl-C.

    If there are a bar and a qtDNN but no ``FidelityCallback``, one with 64 states is added. It measures 20 times per training,
    but at least 1,000 and at most 10,000 steps apart.

    :param model: the model that will learn
    :param callback: the callback passed to ``learn``
    :param progress_bar: likewise
    :return: the callback to use
    """
    if isinstance(callback, list):
        callback = CallbackList(callback)
    if not isinstance(callback, BaseCallback):
        callback = ConvertCallback(callback)
    # Subclasses are users' own bars
    if type(callback) is ProgressBarCallback:
        callback = QuantumProgressBarCallback()
    for node in walk(callback):
        if isinstance(node, CallbackList):
            node.callbacks[:] = [
                QuantumProgressBarCallback() if type(child) is ProgressBarCallback else child for child in node.callbacks
            ]
    if progress_bar:
        callback = CallbackList([callback, QuantumProgressBarCallback()])
    used = list(walk(callback))
    block = model.policy.block
    if (
        block.fitted
        and block.backend is not None
        and any(isinstance(node, QuantumProgressBarCallback) for node in used)
        and not any(isinstance(node, FidelityCallback) for node in used)
    ):
        steps = model._total_timesteps - model._num_timesteps_at_start
        callback = CallbackList([callback, FidelityCallback(freq=min(max(steps // 20, 1_000), 10_000), n_states=64)])
    return callback
