"""A training that ends early says so, and releases what it held."""

import csv
import signal
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import BackendError
from sb3_quantum.qtd3.callbacks import FidelityCallback
from sb3_quantum.qtd3.progress import QuantumProgressBarCallback
from tests.envs import SMALL

#: the budget of one case is spent while acting, that of the other one in an update
SPENT: dict[str, dict[str, Any]] = {
    "collect_rollouts": dict(backend_kwargs={"max_circuits": 25}),
    "train": dict(gradient="spsa", batch_size=8, backend_kwargs={"max_circuits": 100}),
}


class Count(BaseCallback):
    """How often a training started and ended, and an error at a step."""

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None, when: str = "step"):
        super().__init__()
        self.calls: list[str] = []
        self.fail_at, self.error, self.when = fail_at, error, when

    def _on_training_start(self) -> None:
        self.calls.append("start")
        if self.when == "start" and self.error is not None:
            raise self.error

    def _on_step(self) -> bool:
        if self.when == "step" and self.num_timesteps == self.fail_at and self.error is not None:
            raise self.error
        return True

    def _on_training_end(self) -> None:
        self.calls.append("end")
        if self.when == "end" and self.error is not None:
            raise self.error


class HoldsSignals(QuantumProgressBarCallback):
    """Of this package's kind: it holds a bar and a signal handler."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.previous = signal.signal(signal.SIGTERM, lambda *_: None)

    def _on_training_end(self) -> None:
        super()._on_training_end()
        signal.signal(signal.SIGTERM, self.previous)


def make(**kwargs: Any) -> QuantumTD3:
    kwargs = {"learning_starts": 10, "batch_size": 16, **kwargs}
    return QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=SMALL, seed=0, **kwargs)


@pytest.mark.parametrize("where", SPENT)
def test_a_spent_budget(where: str, tmp_path: Path) -> None:
    model, callback, before = make(**SPENT[where]), Count(), signal.getsignal(signal.SIGTERM)
    model.set_logger(configure(str(tmp_path), ["csv", "tensorboard"]))
    with pytest.warns(UserWarning, match=r"training ends at \d+ of 60 steps"):
        assert model.learn(60, callback=[callback, HoldsSignals()]) is model
    assert model.interruption is not None and "of max_circuits=" in model.interruption
    assert callback.calls == ["start", "end"] and signal.getsignal(signal.SIGTERM) is before
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert [row["train/interruption"] for row in rows if row["train/interruption"]] == [model.interruption]

    model.save(tmp_path / "model")
    again = QuantumTD3.load(tmp_path / "model", env=model.get_env(), backend_kwargs={})
    assert again.interruption == model.interruption
    assert again.learn(12).num_timesteps == 12 and again.interruption is None


def test_losses_of_the_update_that_was_cut_are_kept() -> None:
    model = make(**{**SPENT["train"], "gradient_steps": 50})
    with pytest.warns(UserWarning, match="training ends at"):
        model.learn(60)
    assert 1 < model._n_updates < 50


def test_it_is_no_interruption_to_end_as_asked() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 5

    model = make().learn(20, callback=Stop())
    assert model.num_timesteps == 5 and model.interruption is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("by me")])
def test_other_errors_release_our_own_callbacks_only(error: BaseException) -> None:
    """SB3 ends no callback then."""
    model, theirs, ours = make(), Count(15, error), HoldsSignals()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(type(error)):
        model.learn(20, callback=[ours, theirs])
    assert theirs.calls == ["start"] and signal.getsignal(signal.SIGTERM) is before and ours.pbar.disable
    assert model.interruption == f"training ends at 15 of 20 steps: {type(error).__name__}{str(error) and ': by me'}"
    assert model.learn(5).interruption is None


@pytest.mark.parametrize("when", ["start", "end"])
def test_errors_at_start_and_end(when: str) -> None:
    """As of a callback that evaluates then; the bar of a callback that has not been started yet cannot be closed."""
    model, failing, before = make(), Count(error=BackendError("gone"), when=when), signal.getsignal(signal.SIGTERM)
    with pytest.warns(UserWarning, match="training ends at .*: gone"):
        model.learn(4, callback=[HoldsSignals(), failing, FidelityCallback()])
    assert model.interruption is not None and model.interruption.endswith("gone")
    assert signal.getsignal(signal.SIGTERM) is before
