"""A mistake in a user's backend is named where it is made."""

from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import Backend, StatevectorBackend, make_backend
from sb3_quantum.circuits import BrickworkCircuit, PaperCircuit

CIRCUIT = PaperCircuit(3, 2)
INPUTS = th.zeros(2, CIRCUIT.n_inputs)


class Own(Backend):
    """Measures zeros; the tests below take something from it or return something else."""

    name = "own"
    circuits = (PaperCircuit,)
    exact = False
    differentiable = False

    def _run(self, inputs: Any, shots: int, generator: Any) -> Any:
        return self.returned if hasattr(self, "returned") else (np.zeros((2, shots, 3)), np.zeros((2, 3)))


class Bare(Backend):
    """Declares nothing."""

    def _run(self, inputs: Any, shots: int, generator: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("parent", "declared", "message"),
    [
        (Bare, {}, "Wrong.name must be a string; it is missing"),
        (Bare, {"name": "own"}, "Wrong.exact must be True if .*; it is missing"),
        (Own, {"exact": "no"}, "Wrong.exact must be True .* or False if .* shots; got 'no'"),
        (Own, {"differentiable": 0}, "Wrong.differentiable must be True if autograd .*; got 0"),
        (Own, {"circuits": ("paper",)}, r"Wrong.circuits must be a tuple of subclasses of Circuit.*; got \('paper',\)"),
        (Own, {"circuits": None}, "Wrong.circuits must be a tuple of subclasses of Circuit.*; got None"),
    ],
)
def test_class_attributes(parent: type[Backend], declared: dict[str, Any], message: str) -> None:
    wrong = type("Wrong", (parent,), declared)
    with pytest.raises(TypeError, match=f"^{message}$"):
        wrong(CIRCUIT)


def test_a_single_family_and_computed_flags_are_accepted() -> None:
    single = type("Single", (Own,), {"circuits": PaperCircuit, "exact": property(lambda self: False)})
    assert single(CIRCUIT).sample(INPUTS).shape == (2, 3)
    with pytest.raises(ValueError, match=r"'own' does not run BrickworkCircuit.*, it runs circuits of the families 'paper'"):
        single(BrickworkCircuit(3, 2))


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (None, "an instance of NoneType"),
        (np.zeros((2, 5, 3)), "an instance of ndarray"),
        ((np.zeros((2, 5, 2)), np.zeros((2, 3))), r"\(2, 5, 2\) and \(2, 3\)"),
        ((np.zeros((2, 3)), np.zeros((2, 3))), r"\(2, 3\) and \(2, 3\)"),
        ((th.zeros(2, 5, 3), th.zeros(3)), r"\(2, 5, 3\) and \(3,\)"),
        ((np.zeros((2, 5, 3)), [[0.0] * 3] * 2), r"\(2, 5, 3\) and list"),
    ],
)
def test_returned_shapes(returned: Any, found: str) -> None:
    """A batch of two circuits, so that an array alone would be unpacked without a word."""
    backend = Own(CIRCUIT, shots=5)
    backend.returned = returned  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=rf"^Own._run must return bits \(2, 5, 3\) and .* \(2, 3\), .* it returned {found}$"):
        backend.expected_bits(INPUTS)


def test_a_class_and_superfluous_arguments_are_refused() -> None:
    for call in (
        lambda: make_backend(Own, CIRCUIT),  # type: ignore[arg-type]
        lambda: QuantumTD3("MlpPolicy", "Pendulum-v1", backend=Own),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"or a Backend instance; this is a class, pass an instance: Own\(circuit\)$"):
            call()
    with pytest.raises(ValueError, match=r"^backend_kwargs \['shots'\] need the name .*; pass them to StatevectorBackend\("):
        make_backend(StatevectorBackend(CIRCUIT), CIRCUIT, {"shots": 5})
    with pytest.raises(ValueError, match=r"; this is a class, pass an instance: PaperCircuit\(\.\.\.\)$"):
        QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(circuit=PaperCircuit))
