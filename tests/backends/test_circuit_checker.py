"""The suite of circuits accepts a correct circuit and names each fault of a wrong one."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumLayer
from sb3_quantum.backends import (
    AerBackend,
    Backend,
    SamplerBackend,
    StatevectorBackend,
    check_backend,
    check_circuit,
    make_backend,
)
from sb3_quantum.circuits import BrickworkCircuit, Circuit, Column, Gate, PaperCircuit, Program, QiskitCircuit
from sb3_quantum.circuits.program import HADAMARD
from tests.circuits.test_families import FAMILIES, Mixed
from tests.circuits.test_qiskit_circuit import W, X, many_gates


@pytest.mark.parametrize("circuit", [*FAMILIES, QiskitCircuit(many_gates(), X, W)], ids=str)
def test_every_family_passes(circuit: Circuit) -> None:
    check_circuit(circuit)


class WrongPeriod(Mixed):
    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(column._replace(period=math.pi) if column.label == "x0" else column for column in super().columns)


class WrongTemplate(Mixed):
    def write(self, angles: Any, structure: Any, measure: bool = True, layers: bool = False) -> Any:
        return super().write([*angles[:3], 2 * angles[3]] if measure else angles, structure, measure, layers)


class WrongAngles(Mixed):
    def gate_angles(self, inputs: th.Tensor) -> th.Tensor:
        return super().gate_angles(inputs) * 1.01


class WrongShifts(Mixed):
    def shift_rule(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        columns, shifts, coefficients = super().shift_rule()
        return columns, shifts, coefficients * np.where(columns == 2, 0.5, 1.0)


class Unpacked(Mixed):
    def unpack(self, angles: th.Tensor, indices: th.Tensor) -> th.Tensor:
        return super().unpack(angles.flip(1), indices)


class WeightFirst(Mixed):
    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(column._replace(trained=column.label == "x0") for column in super().columns)


class Forgetful(Mixed):
    @property
    def kwargs(self) -> dict[str, Any]:
        return {"n_qubits": 2}


@pytest.mark.parametrize(
    "circuit, message",
    [
        (WrongPeriod(), "period may be wrong"),
        (WrongTemplate(), "must be the circuit of to_qiskit"),
        (WrongAngles(), "expected bits of torch.float64 are off by"),
        (WrongShifts(), "the parameter-shift rule is off by"),
        (Unpacked(), "must equal the inputs"),
        (WeightFirst(), "must come last"),
        (Forgetful(), "must be equal to it"),
    ],
)
def test_faults_are_found(circuit: Circuit, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_circuit(circuit)


class OnlyIndices(Mixed):
    """The inputs choose qubits, and there is no angle."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column("index", 3, f"end {place}") for place in range(2))

    @property
    def program(self) -> Program:
        turned = tuple(Gate("fixed", (qubit,), fixed=HADAMARD) for qubit in range(3))
        return Program(3, (*turned, Gate("cz", choice=0), *turned), 0, 1)

    gate_angles, write, angle_terms = Circuit.gate_angles, Circuit.write, Circuit.angle_terms


def test_a_circuit_without_angles() -> None:
    circuit = OnlyIndices()
    check_circuit(circuit)
    check_backend(AerBackend(circuit, seed=0))
    inputs = th.zeros(2, 2, requires_grad=True)
    (gradient,) = th.autograd.grad(QuantumLayer(circuit=circuit, gradient="parameter_shift").surrogate(inputs).sum(), inputs)
    assert not gradient.any()


class OwnGates(StatevectorBackend):
    """A backend that does not say which families it runs is taken to run the paper's circuit."""

    circuits = Backend.circuits


def test_a_backend_says_which_circuits_it_runs() -> None:
    OwnGates(PaperCircuit(2, 2, n_cz=2))
    with pytest.raises(ValueError, match=r"does not run BrickworkCircuit.*families 'paper'"):
        OwnGates(BrickworkCircuit(2, 2))
    with pytest.raises(ValueError, match=r"made for PaperCircuit.*the layer's circuit is BrickworkCircuit"):
        make_backend(StatevectorBackend(PaperCircuit(2, 2)), BrickworkCircuit(2, 2))


@pytest.mark.parametrize("kind", [AerBackend, SamplerBackend, StatevectorBackend])
@pytest.mark.parametrize("circuit", [PaperCircuit(3, 2, n_cz=2), QiskitCircuit(many_gates(), X, W)], ids=str)
def test_every_backend_runs_every_family(kind: type[Backend], circuit: Circuit) -> None:
    check_backend(kind(circuit, seed=0))
