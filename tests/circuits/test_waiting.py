"""A message says once what the program waits for, and about how long."""

import logging

import numpy as np
import pytest
from numba import njit

from sb3_quantum.backends.split_engine import SplitEngine
from sb3_quantum.circuits import PaperCircuit, waiting


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(waiting, "_told", set())
    caplog.set_level(logging.WARNING, "sb3_quantum")


def compile_something(module: str) -> None:
    def twice(value):
        return 2 * value

    twice.__module__ = module
    assert njit(twice)(3) == 6


def test_first_compilation_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    compile_something("somebody.else")
    assert caplog.messages == []
    compile_something("sb3_quantum.test")
    compile_something("sb3_quantum.test")
    (message,) = caplog.messages
    assert "compiles its simulator" in message and "10 s" in message


@pytest.mark.parametrize("kernel, times", [("measure", 1), ("gradient", 3)])
def test_long_simulation_is_announced(kernel: str, times: int, caplog: pytest.LogCaptureFixture) -> None:
    """Before it begins, with what it depends on; a simulation of moments is not."""
    # Where numba's cache is empty, the first call compiles
    waiting._told.add("compile")
    circuit = PaperCircuit(n_qubits=3, n_layers=2)
    engine = SplitEngine(circuit.program, circuit.gate_columns, circuit.index_columns)
    inputs, weights = np.zeros((4, circuit.n_inputs), np.float32), np.ones((4, 3), np.float32)

    def run() -> None:
        if kernel == "measure":
            engine.measure(inputs)
        else:
            engine.gradient(inputs, None, weights)

    run()
    assert caplog.messages == []
    engine._work, engine._long = 100e9, 0
    engine._threads = lambda rows: 1  # type: ignore[method-assign]
    run()
    run()
    (message,) = caplog.messages
    assert "4 circuits of 3 qubits" in message and f"about {waiting.duration(400 * times)}" in message


@pytest.mark.parametrize(
    "seconds, words", [(8, "8 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (9e6, "2,500 hours")]
)
def test_duration(seconds: float, words: str) -> None:
    assert waiting.duration(seconds) == words
