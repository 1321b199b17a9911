"""SB3's progress bar with numbers of a hybrid training."""

import inspect
import math
from contextlib import suppress

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import safe_mean

from sb3_quantum.qtd3.callbacks import FidelityCallback, walk
from sb3_quantum.qtd3.harmless import HarmlessCallback, harmless
from sb3_quantum.qtd3.qtd3 import QuantumTD3

#: columns of a terminal in which the bar has its full form
WIDE = 120
#: columns that its short form takes beside the steps and the numbers of the training: percentage, bar, times, rate, spaces
NARROW = 4 + 4 + 7 + 1 + 7 + 11 + 7


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
        #: characters for that text
        self._room = math.inf
        self._fidelity: FidelityCallback | None = None

    @harmless
    def _on_training_start(self) -> None:
        import rich
        from rich.progress import BarColumn, ProgressColumn, Task, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column
        from rich.text import Text
        from tqdm.rich import RateColumn, tqdm

        found = (callback for callback in walk(self.locals["callback"]) if isinstance(callback, FidelityCallback))
        self._fidelity = next(found, None)
        outer = self

        class Figures(ProgressColumn):
            """The text as a column; tqdm's bar for rich has no postfix."""

            def render(self, task: Task) -> Text:
                return Text(outer.figures)

        class Count(ProgressColumn):
            """The steps so far and in all. Unlike tqdm's, the numbers are not cut in a narrow terminal."""

            def render(self, task: Task) -> Text:
                write = _short if narrow else "{:,.0f}".format
                return Text(f"{write(task.completed)}/{write(task.total or 0)}", style="progress.download")

        width = rich.get_console().width
        narrow = width < WIDE
        steps = self.locals["total_timesteps"] - self.model.num_timesteps
        # The steps so far may take more characters than those in all: 12.3k/1M
        self._room = width - NARROW - len(f"{_short(steps)}/{'12.3k' if steps >= 1000 else steps}") if narrow else math.inf
        self.figures = self._write()
        self.pbar = tqdm(
            total=steps,
            # Checks the clock in every step, and draws at most ten times per second
            miniters=1,
            progress=(
                "[progress.percentage]{task.percentage:>3.0f}%",
                BarColumn(bar_width=4 if narrow else 16),
                Count(Column(no_wrap=True)),
                TimeElapsedColumn(Column(no_wrap=True)),
                "<",
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                RateColumn(unit="steps"),
                Figures(Column(no_wrap=True, overflow="ellipsis")),
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
            parts.append("cosine -" if math.isnan(cosine) else f"cosine {cosine:.{3 if self._room == math.inf else 2}f}")
        usage = self.model.policy.block.usage()
        if "circuits" in usage:
            parts.append(f"circuits {usage['circuits']:,d}")
        # The first ones say most
        while len(parts) > 1 and len("  ".join(parts)) > self._room:
            del parts[-1]
        return "  ".join(parts)


def _short(number: float) -> str:
    """Write a number of steps with at most five characters."""
    for divisor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= divisor:
            return f"{number / divisor:.1f}".removesuffix(".0")[:4].removesuffix(".") + unit
    return f"{number:.0f}"


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
    :raises ValueError: if a callback is a class, which SB3 would call as a function in every step
    """
    for given in callback if isinstance(callback, list) else [callback]:
        if inspect.isclass(given):
            raise ValueError(f"callback must be an instance, such as {given.__name__}(), got the class")
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
