"""What every family of circuits must do, against Qiskit; and how families are made, named and stored."""

import math
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch as th
from qiskit.quantum_info import Statevector

from sb3_quantum.circuits import CIRCUITS, BrickworkCircuit, Circuit, Column, Gate, PaperCircuit, Program, make_circuit
from sb3_quantum.circuits.program import HADAMARD


@dataclass(frozen=True)
class Mixed(Circuit):
    """A fourth family, as a user would write it: all gates there are, a weight, an angle of two gates, and a choice."""

    family: ClassVar[str] = "mixed"
    n_qubits: int = 3
    n_layers: int = 1

    @property
    def kwargs(self) -> dict[str, Any]:
        return {}

    @property
    def columns(self) -> tuple[Column, ...]:
        angles = [Column("angle", 2 * math.pi, f"x{place}") for place in range(3)]
        indices = [Column("index", 3, f"end {place}") for place in range(2)]
        return (*angles, *indices, Column("angle", 4 * math.pi, "w", trained=True))

    @property
    def program(self) -> Program:
        gates = (
            Gate("fixed", (0,), fixed=HADAMARD),
            Gate("r", (1,), (0, 1)),
            Gate("rx", (2,), (2,)),
            Gate("cz", choice=0),
            Gate("ry", (1,), (3,)),
            Gate("rz", (0,), (4,)),
            Gate("rzz", (0, 2), (5,)),
            Gate("fixed", (0,), fixed=HADAMARD),
            Gate("rx", (2,), (5,)),
        )
        return Program(3, gates, 6, 1)

    #: x0 and x1 are an r gate's; x2 turns three qubits, twice as fast in one of them; w half as fast
    @property
    def angle_terms(self) -> tuple[tuple[tuple[int, float], ...] | None, ...]:
        return (((0, 1.0),), ((1, 1.0),), ((2, 1.0),), ((2, 2.0),), ((3, 0.5),), ((0, 1.0), (2, 1.0)))

    def gate_angles(self, inputs: th.Tensor) -> th.Tensor:
        x0, x1, x2, w = self.split(inputs)[0].unbind(1)
        return th.stack([x0, x1, x2, 2 * x2, w / 2, x0 + x2], dim=1)

    def write(self, angles: Any, structure: Any, measure: bool = True, layers: bool = False) -> Any:
        x0, x1, x2, w = angles
        return super().write([x0, x1, x2, 2 * x2, w / 2, x0 + x2], structure, measure, layers)


FAMILIES = [PaperCircuit(3, 2), PaperCircuit(4, 3, n_cz=2), PaperCircuit(2, 2, n_cz=0), BrickworkCircuit(4, 3), Mixed()]


def inputs_of(circuit: Circuit, rows: int = 3) -> th.Tensor:
    return 4 * th.randn(rows, circuit.n_inputs, generator=th.Generator().manual_seed(0), dtype=th.float64)


def qiskit_bits(circuit: Circuit, row: th.Tensor) -> np.ndarray:
    """Independent witness: Qiskit's statevector of what the circuit is said to be."""
    state = Statevector(circuit.to_qiskit(row, measure=False))
    return np.array([state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)])


@pytest.mark.parametrize("circuit", FAMILIES, ids=str)
class TestEveryFamily:
    def test_wrapped_inputs_are_the_same_circuit(self, circuit: Circuit) -> None:
        inputs = inputs_of(circuit)
        wrapped = circuit.wrap(inputs)
        angles, indices = circuit.split(wrapped)
        assert bool((angles.abs() <= th.as_tensor(circuit.periods) / 2 + 1e-12).all())
        assert th.equal(indices, indices.round()) and bool(((indices >= 0) & (indices < circuit.n_qubits)).all())
        for row, other in zip(inputs, wrapped, strict=True):
            assert np.allclose(qiskit_bits(circuit, row), qiskit_bits(circuit, other), atol=1e-9)

    def test_packed_inputs_come_back(self, circuit: Circuit) -> None:
        inputs = inputs_of(circuit, 20).float()
        angles, indices = circuit.pack(inputs)
        assert angles.dtype == np.float16 and indices.dtype == np.uint8
        assert angles.shape == (20, circuit.n_angles) and indices.shape == (20, circuit.n_indices)
        back = circuit.unpack(th.as_tensor(angles), th.as_tensor(indices))
        assert back.dtype == th.float32
        # Half a unit in the last place of 2 pi, the largest angle of the families here
        assert th.allclose(back, circuit.wrap(inputs), atol=2e-3)

    def test_split_and_join(self, circuit: Circuit) -> None:
        inputs = inputs_of(circuit)
        angles, indices = circuit.split(inputs)
        assert angles.shape == (3, circuit.n_angles) and indices.shape == (3, circuit.n_indices)
        assert th.equal(circuit.join(angles, indices), inputs)
        kinds = [column.kind for column in circuit.columns]
        assert kinds.count("angle") == circuit.n_angles and len(kinds) == circuit.n_inputs

    def test_template_and_bound_circuit_agree(self, circuit: Circuit) -> None:
        row = inputs_of(circuit, 1)
        template = circuit.template(circuit.structures(row)[0])
        assert template.num_clbits == circuit.n_qubits
        values = circuit.split(row)[0][0].tolist()
        bound = template.assign_parameters({p: values[p.index] for p in template.parameters})
        bound.remove_final_measurements()
        state = Statevector(bound)
        bits = [state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)]
        assert np.allclose(bits, qiskit_bits(circuit, row[0]), atol=1e-9)

    def test_shift_rule_is_the_derivative(self, circuit: Circuit) -> None:
        """Against central differences of Qiskit's values, whose error is 1e-9 at this step."""
        row = inputs_of(circuit, 1)[0]
        columns, shifts, coefficients = circuit.shift_rule()
        assert set(columns) <= set(circuit.angle_columns) and circuit.n_shifted == len(columns)
        found = np.zeros((circuit.n_inputs, circuit.n_qubits))
        for column, shift, coefficient in zip(columns, shifts, coefficients, strict=True):
            moved = row.clone()
            moved[column] += shift
            found[column] += coefficient * qiskit_bits(circuit, moved)
        for column in circuit.angle_columns:
            ahead, behind = row.clone(), row.clone()
            ahead[column] += 1e-5
            behind[column] -= 1e-5
            slope = (qiskit_bits(circuit, ahead) - qiskit_bits(circuit, behind)) / 2e-5
            assert np.allclose(found[column], slope, atol=1e-7), circuit.columns[column].label

    def test_is_plain_data(self, circuit: Circuit) -> None:
        _ = circuit.columns, circuit.n_shifted  # which are remembered, and must not be in the pickle
        again = pickle.loads(pickle.dumps(circuit))
        assert again == circuit and hash(again) == hash(circuit) and "_" not in again.__getstate__()
        if circuit.family in CIRCUITS:
            assert make_circuit(**circuit.spec) == circuit

    def test_bad_numbers_are_named(self, circuit: Circuit) -> None:
        with pytest.raises(ValueError, match="must have the shape"):
            circuit.check(th.zeros(1, circuit.n_inputs + 1))
        for place in (0, circuit.n_inputs - 1):
            inputs = th.zeros(2, circuit.n_inputs)
            inputs[1, place] = math.nan
            with pytest.raises(ValueError, match="got nan for") as error:
                circuit.check(inputs)
            assert circuit.columns[place].label in str(error.value)


def test_the_papers_circuit_is_the_default() -> None:
    assert make_circuit() == PaperCircuit(10, 10, 1) and make_circuit("paper", 3, 2) == PaperCircuit(3, 2)
    assert make_circuit(circuit_kwargs={"n_cz": 5}) == PaperCircuit(10, 10, 5)
    assert make_circuit("brickwork", circuit_kwargs={"n_layers": 2}) == BrickworkCircuit(10, 2)
    mine = Mixed()
    assert make_circuit(mine) is mine and make_circuit(mine, n_qubits=3) is mine


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"circuit": "papier"}, "circuit='papier' is unknown, accepted are 'paper', 'brickwork', 'qiskit'"),
        ({"circuit_kwargs": {"ncz": 1}}, "'ncz' is unknown, did you mean 'n_cz'"),
        ({"circuit_kwargs": {"n_cz": -1}}, "n_cz must be an integer >= 0"),
        ({"n_qubits": 3, "circuit_kwargs": {"n_qubits": 4}}, "n_qubits=3 contradicts circuit_kwargs"),
        ({"circuit": PaperCircuit(), "n_qubits": 3}, "n_qubits=3 contradicts circuit=PaperCircuit"),
        ({"circuit": PaperCircuit(), "circuit_kwargs": {"n_cz": 2}}, "need the name of a circuit"),
        ({"circuit": "brickwork", "circuit_kwargs": {"n_cz": 2}}, "'n_cz' is unknown"),
        ({"circuit": 7}, "circuit=7 is unknown"),
        ({"circuit": PaperCircuit}, "this is a class, pass an instance: PaperCircuit"),
        ({"circuit": "OPENQASM 3.0; qubit q;"}, "is unknown, .*; for OpenQASM 3 text pass QiskitCircuit\\(text, inputs="),
        ({"circuit": "qiskit"}, "needs circuit_kwargs with 'circuit', accepted are circuit, inputs, weights"),
        ({"n_qubits": PaperCircuit(3, 2)}, "n_qubits must be an integer, got a circuit: pass it as circuit=PaperCircuit"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_circuit(**arguments)


def test_version_0_1_0_pickled_it_under_another_name() -> None:
    from sb3_quantum.circuits.ansatz import Ansatz

    old = Ansatz.__new__(Ansatz)
    old.__dict__.update(n_qubits=4, n_layers=3)  # what such a pickle restores
    assert old == PaperCircuit(4, 3) and old.n_inputs == 30


def test_shift_rule_needs_a_common_measure() -> None:
    class Odd(Mixed):
        @property
        def angle_terms(self) -> Any:
            return (((0, 1.0),), ((1, 1.0),), ((2, 1.0),), ((2, math.sqrt(2)),), ((3, 0.5),), None)

    with pytest.raises(ValueError, match="sums of a circuit's inputs"):
        Odd().shift_rule()
    terms = Odd().angle_terms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Odd, "angle_terms", property(lambda self: (*terms[:5], ((0, 1.0),))))
        with pytest.raises(ValueError, match="x2 enters gates with the factors"):
            Odd().shift_rule()


def test_chip_time_follows_the_longest_chain() -> None:
    assert PaperCircuit(10, 10).program.seconds(1.0, 10.0) == 110
    assert PaperCircuit(10, 10, n_cz=5).program.seconds(1.0, 10.0) == 510
    assert PaperCircuit(3, 4, n_cz=0).program.seconds(1.0, 10.0) == 1  # rotations in a row are one
    assert BrickworkCircuit(4, 3).program.seconds(1.0, 10.0) == 33
    gates = (Gate("rz", (0,), (0,)), Gate("rzz", (0, 1), (1,)))
    assert Program(2, gates, 2).seconds(1.0, 10.0) == 21
