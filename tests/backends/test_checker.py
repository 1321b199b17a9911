"""The checker accepts our own backends and finds each of these faults."""

from typing import Any

import numpy as np
import pytest
import torch as th

import sb3_quantum
from sb3_quantum.backends import AerBackend, Backend, StatevectorBackend, check_backend
from sb3_quantum.circuits import PaperCircuit

SHAPE = PaperCircuit(4, 3)


@pytest.mark.parametrize("ansatz", [PaperCircuit(1, 1), PaperCircuit(2, 2), SHAPE, PaperCircuit(10, 10)])
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_statevector(ansatz: PaperCircuit, engine: Any) -> None:
    check_backend(StatevectorBackend(ansatz, seed=0, engine=engine))


@pytest.mark.parametrize("kwargs", [{}, {"shots": 1}])
def test_aer(kwargs: dict[str, Any]) -> None:
    sb3_quantum.check_backend(AerBackend(SHAPE, seed=0, **kwargs))


def test_the_generator_is_left_as_it_was() -> None:
    backend, twin = StatevectorBackend(SHAPE, seed=3), StatevectorBackend(SHAPE, seed=3)
    check_backend(backend)
    assert backend.get_state()["generator"] == twin.get_state()["generator"] and backend.usage.circuits > 0


class Reversed(StatevectorBackend):
    """Qiskit's printed order."""

    differentiable = False

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        bits, expected = (np.asarray(part) for part in super()._run(inputs, shots, generator))
        return bits[..., ::-1].copy(), expected[..., ::-1].copy()


class Replayed(StatevectorBackend):
    """The same bits in every call, as a sampler with an integer for a seed."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        return super()._run(inputs, shots, np.random.default_rng(0))


class SharedRows(StatevectorBackend):
    """One set of random numbers for all rows."""

    differentiable = False

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        seed = int(generator.integers(2**32))
        if len(inputs) == 0:
            return super()._run(inputs, shots, generator)
        parts = [super(SharedRows, self)._run(row, shots, np.random.default_rng(seed)) for row in inputs.split(1)]
        return tuple(np.concatenate([np.asarray(part) for part in same]) for same in zip(*parts, strict=True))


class OwnGenerator(StatevectorBackend):
    """Ignores the generator that it is handed."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        return super()._run(inputs, shots, self.generator)


class Unseeded(StatevectorBackend):
    """Randomness from elsewhere."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        generator.random()
        return super()._run(inputs, shots, np.random.default_rng())


class Swapped(StatevectorBackend):
    """Rows of a batch in another order, as where they are sorted by circuit."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        order = np.arange(len(inputs)) if len(inputs) != 3 else np.array([1, 0, 2])
        bits, expected = super()._run(inputs, shots, generator)
        return bits[order], expected[order]


class WrongPhi(StatevectorBackend):
    """phi of the wrong sign, which single-layer circuits do not show."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        signs = th.ones(self.ansatz.n_layers, self.ansatz.layer_width)
        signs[0, 1 : 2 * self.ansatz.n_qubits : 2] = -1
        return super()._run(inputs * signs.flatten().to(inputs), shots, generator)


class Rounded(StatevectorBackend):
    """Expected bits that are not exact."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        bits, expected = super()._run(inputs, shots, generator)
        return bits, th.as_tensor(expected).bfloat16()


class CountsTwice(StatevectorBackend):
    """A job that was sent again, with its samples."""

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        self.usage.shots += shots
        return super()._run(inputs, shots, generator)


class Unlimited(StatevectorBackend):
    """No budget holds it."""

    def check_budget(self, asked: Any) -> None:
        pass


class NotPlain(StatevectorBackend):
    """A spec that no file can hold."""

    @property
    def kwargs(self) -> dict[str, Any]:
        return {**super().kwargs, "seed": np.int64(3)}


class Forgetful(StatevectorBackend):
    """A spec that leaves an argument out."""

    def __init__(self, ansatz: PaperCircuit, scale: int = 1, **kwargs: Any):
        super().__init__(ansatz, **kwargs)
        self.scale = scale

    @property
    def kwargs(self) -> dict[str, Any]:
        return {**super().kwargs, "scale": 1} if self.scale == 2 else {**super().kwargs, "scale": self.scale + 1}


class Lenient(StatevectorBackend):
    """Takes whatever comes."""

    def _account(self, inputs: th.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super()._account(th.nan_to_num(inputs), *args, **kwargs)


@pytest.mark.parametrize(
    "backend, message",
    [
        (Reversed, "column m must be qubit m"),
        (Replayed, "every call must draw fresh bits"),
        (SharedRows, "every row must draw bits of its own"),
        (OwnGenerator, "a generator that is handed in must be used"),
        (Unseeded, "the same generator handed in must give the same bits"),
        (Swapped, "does not have its distribution"),
        (WrongPhi, "does not have its distribution"),
        (Rounded, "must be exact to 1e-5"),
        (CountsTwice, "4 circuits of 3 shots were run"),
        (Unlimited, "max_circuits=5 let 8 circuits run"),
        (NotPlain, "JSON"),
        (Forgetful, "must have the same kwargs"),
        (Lenient, "NaN must raise a ValueError"),
    ],
)
def test_faults_are_found(backend: type[Backend], message: str) -> None:
    with pytest.raises((AssertionError, TypeError), match=message):
        check_backend(backend(SHAPE, seed=0))


def test_false_alarm_rate() -> None:
    """A faultless backend is refused about as often as asked for: 300 checks, +-4 standard deviations at fixed seeds."""
    from sb3_quantum.backends import checker

    refused = 0
    for seed in range(300):
        try:
            checker._check_distribution(StatevectorBackend(SHAPE, seed=seed), 500, 0.3)
        except AssertionError:
            refused += 1
    # Three tests at 0.1 each: 1 - 0.9^3 = 0.271
    assert abs(refused / 300 - 0.271) < 4 * (0.271 * 0.729 / 300) ** 0.5


def test_noisy_backends_are_held_to_everything_else() -> None:
    check_backend(WrongPhi(SHAPE, seed=0), noisy=True)
    with pytest.raises(AssertionError, match="column m must be qubit m"):
        check_backend(Reversed(SHAPE, seed=0), noisy=True)
