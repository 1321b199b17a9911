"""What the progress bar shows, where it comes in, and that it changes nothing."""

import re
from typing import Any

import pytest
import rich
from stable_baselines3.common import callbacks as sb3_callbacks
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ProgressBarCallback

from sb3_quantum import FidelityCallback
from sb3_quantum.qtd3.callbacks import walk
from sb3_quantum.qtd3.progress import QuantumProgressBarCallback, _short, with_progress
from tests.qtd3.test_train import equal, pendulum, weights


def test_it_shows_return_cosine_and_circuits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # rich keeps the width that it had when somebody first asked for its console
    monkeypatch.setattr(rich, "_console", None)
    monkeypatch.setenv("COLUMNS", "140")
    fidelity = FidelityCallback(freq=100, n_states=16)
    model = pendulum(learning_starts=50).learn(420, callback=fidelity, progress_bar=True)
    assert model.ep_info_buffer is not None and model.policy.quantum_layer is not None
    mean = sum(episode["r"] for episode in model.ep_info_buffer) / len(model.ep_info_buffer)
    assert len(model.ep_info_buffer) == 2 and model.policy.quantum_layer.backend.usage.circuits == 420
    cosine = fidelity.latest["qtdnn/cosine"]
    shown = capsys.readouterr().out
    assert f"return {mean:.1f}  cosine {cosine:.3f}  circuits 420" in shown and "420/420" in shown


def test_it_counts_from_where_a_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    model = pendulum().learn(60)
    model.learn(30, progress_bar=True, reset_num_timesteps=False)
    shown = capsys.readouterr().out
    assert "30/30" in shown and "circuits 90" in " ".join(shown.split())


def test_what_a_policy_does_not_have_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pendulum(policy_kwargs={"block": "zeros"}).learn(210, progress_bar=True)
    shown = capsys.readouterr().out
    assert re.search(r"return -\d+\.\d", shown) and "cosine" not in shown and "circuits" not in shown
    pendulum(gradient="exact", learning_starts=205).learn(210, progress_bar=True)
    shown = capsys.readouterr().out
    assert "circuits" in shown and "cosine" not in shown


def bars(callback: Any) -> list[type[BaseCallback]]:
    return [type(node) for node in walk(callback) if isinstance(node, ProgressBarCallback)]


def test_the_zoos_bar_is_replaced_in_its_own_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The zoo ends ``callbacks[0]`` after Ctrl-C; the bar that is drawn must be that one."""
    mine: list[BaseCallback] = [ProgressBarCallback(), FidelityCallback()]
    pendulum().learn(60, callback=mine)
    assert isinstance(mine[0], QuantumProgressBarCallback) and "circuits 60" in " ".join(capsys.readouterr().out.split())
    mine[0].on_training_end()

    class Own(ProgressBarCallback):
        pass

    model = pendulum().learn(1)
    for given, expected in (
        (ProgressBarCallback(), [QuantumProgressBarCallback]),
        ([CallbackList([ProgressBarCallback()])], [QuantumProgressBarCallback]),
        ([Own()], [Own]),
        (None, []),
    ):
        assert bars(with_progress(model, given, False)) == expected


def fidelities(model: Any, callback: Any, progress_bar: bool) -> list[int]:
    found = walk(with_progress(model, callback, progress_bar))  # type: ignore[arg-type]
    return [node.freq for node in found if isinstance(node, FidelityCallback)]


def test_a_bar_brings_a_measurement_along() -> None:
    model = pendulum().learn(1)
    for total, freq in ((100, 1_000), (60_000, 3_000), (10**7, 10_000)):
        model._total_timesteps = total
        assert fidelities(model, None, True) == [freq]
    assert fidelities(model, FidelityCallback(freq=7), True) == [7]
    assert fidelities(model, None, False) == []
    assert fidelities(pendulum(policy_kwargs={"block": "fc"}).learn(1), None, True) == []


def test_training_is_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the bar brings along, after 110 steps instead of 1,000."""
    measured = []

    class Sooner(FidelityCallback):
        def __init__(self, freq: int, n_states: int):
            super().__init__(freq - 890, n_states)

        def measure(self) -> dict[str, float]:
            measured.append(self.freq)
            return super().measure()

    monkeypatch.setattr("sb3_quantum.qtd3.progress.FidelityCallback", Sooner)
    assert equal(weights(pendulum().learn(200, progress_bar=True)), weights(pendulum().learn(200)))
    assert measured == [110]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3_callbacks, "tqdm", None)
    with pytest.raises(ImportError, match="You must install tqdm and rich"):
        pendulum().learn(10, progress_bar=True)


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (999, "999"), (1_000, "1k"), (12_345, "12.3k"), (999_999, "1000k"),
                                              (1_000_000, "1M"), (123_456_789, "123M"), (2.5e9, "2.5G")])  # fmt: skip
def test_steps_are_short_in_a_narrow_terminal(number: float, text: str) -> None:
    assert _short(number) == text and len(text) <= 5


def test_it_takes_one_line_of_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a million steps, five-digit returns and a cosine: what does not fit is left out, and nothing wraps."""
    monkeypatch.setattr(rich, "_console", None)
    monkeypatch.setenv("COLUMNS", "80")
    fidelity = FidelityCallback(freq=100, n_states=16)

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 210

    pendulum(learning_starts=50).learn(1_000_000, callback=CallbackList([fidelity, Stop()]), progress_bar=True)
    shown = capsys.readouterr().out
    lines = [line.rstrip() for line in shown.splitlines() if line.strip()]
    assert len(lines) == 1 and re.search(r"210/1M .* return -\d+\.\d  cosine [01]\.\d\d$", lines[0]), shown
