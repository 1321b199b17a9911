"""Conformance suite of circuits, as ``check_backend`` is for backends."""

import json
import math
import pickle

import numpy as np
import torch as th

from sb3_quantum.backends.statevector import StatevectorBackend
from sb3_quantum.circuits import CIRCUITS, Circuit, make_circuit
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted

#: number of circuits to compare
ROWS = 3


@keywords_checked({})
def check_circuit(circuit: Circuit, tolerance: float = 1e-5, false_alarm: float = 1e-6) -> None:
    """
    Check that a circuit fulfils its contract.

    It compares expected bits, drawn bits, gradient and parameter-shift rule of the engine that runs it with Qiskit's
    ``Statevector``, and checks wrapping, packing, template and spec.

    :param circuit: the circuit, of up to about 12 qubits
    :param tolerance: tolerance for expected bits and gradients, in single precision
    :param false_alarm: probability that a correct circuit is refused because of its drawn bits
    :raises AssertionError: if something is wrong; the message says what
    """
    generator = th.Generator().manual_seed(0)
    inputs = 3 * th.randn(ROWS, circuit.n_inputs, generator=generator, dtype=th.float64)
    witness = np.array([_bits(circuit, row) for row in inputs])  # (ROWS, n_qubits)
    _check_columns(circuit)
    _check_storage(circuit, inputs, witness)
    _check_values(circuit, inputs, witness, tolerance, false_alarm)
    if circuit.n_angles:
        _check_gradient(circuit, inputs, tolerance)
        _check_shift_rule(circuit, inputs[:1], tolerance)
    _check_template(circuit, inputs, witness)
    _check_spec(circuit)


def _bits(circuit: Circuit, row: th.Tensor) -> np.ndarray:
    """Compute the reference: probabilities of reading 1."""
    from qiskit.quantum_info import Statevector

    # Not wrapped, so that a wrong period is found
    angles = circuit.split(row[None])[0][0].tolist()
    state = Statevector(circuit.write(angles, circuit.structures(row[None])[0], measure=False))
    return np.array([state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)])


def _check_columns(circuit: Circuit) -> None:
    trained = [column.trained for column in circuit.columns]
    assert trained == sorted(trained), "columns that are trained must come last"
    for column in circuit.columns:
        assert column.kind in ("angle", "index"), f"a column's kind must be 'angle' or 'index', got {column.kind!r}"
        assert column.kind == "angle" or not column.trained, f"{column.label} is an index and cannot be trained"
        assert column.period > 0, f"the period of {column.label} must be positive, got {column.period}"
    program = circuit.program
    assert (
        program.n_qubits == circuit.n_qubits
    ), f"the program has {counted(program.n_qubits, 'qubit')}, not {circuit.n_qubits}"
    choices = {gate.choice for gate in program.gates} - {None}
    assert (
        2 * program.n_choices == circuit.n_indices
    ), f"{counted(circuit.n_indices, 'index chooses', 'indices choose')} {counted(program.n_choices, 'pair')} of qubits"
    assert choices <= set(range(program.n_choices)), f"gates have choices beyond n_choices={program.n_choices}"


def _check_values(circuit: Circuit, inputs: th.Tensor, witness: np.ndarray, tolerance: float, false_alarm: float) -> None:
    backend = StatevectorBackend(circuit, seed=0)
    for given in (inputs, inputs.float()):
        error = float(np.abs(backend.expected_bits(given).numpy() - witness).max())
        assert error < tolerance, f"expected bits of {given.dtype} are off by {error:.1e} from those of to_qiskit"
    shots = 2000
    means = backend.sample(inputs.float(), shots=shots).numpy().mean(1)
    # Hoeffding's inequality, for all means together
    bound = math.sqrt(math.log(2 * witness.size / false_alarm) / (2 * shots))
    error = float(np.abs(means - witness).max())
    assert error < bound, f"means of {shots} drawn bits are off by {error:.3f} from the expected bits, at most {bound:.3f}"


def _check_gradient(circuit: Circuit, inputs: th.Tensor, tolerance: float) -> None:
    backend = StatevectorBackend(circuit, seed=0)
    leaf = inputs.float().requires_grad_(True)
    weights = th.linspace(-1, 1, circuit.n_qubits).expand(ROWS, -1)
    (gradient,) = th.autograd.grad((backend.expected_bits(leaf) * weights).sum(), leaf)
    for column in circuit.angle_columns:
        step = th.zeros(circuit.n_inputs, dtype=th.float64)
        step[column] = 1e-5
        for row in range(ROWS):
            ahead, behind = _bits(circuit, inputs[row] + step), _bits(circuit, inputs[row] - step)
            slope = float(((ahead - behind) / 2e-5) @ weights[row].numpy())
            error = abs(float(gradient[row, column]) - slope)
            allowed = 10 * tolerance * max(1.0, abs(slope))
            assert error < allowed, f"the gradient of {circuit.columns[column].label} is off by {error:.1e}"
    for column in circuit.index_columns:
        assert not bool(
            gradient[:, column].any()
        ), f"the gradient of {circuit.columns[column].label} must be 0, because it is an index"


def _check_shift_rule(circuit: Circuit, inputs: th.Tensor, tolerance: float) -> None:
    try:
        columns, shifts, coefficients = circuit.shift_rule()
    except ValueError:
        return  # it says that there is none
    backend = StatevectorBackend(circuit, engine="torch")
    leaf = inputs.clone().requires_grad_(True)
    for qubit in range(circuit.n_qubits):
        (exact,) = th.autograd.grad(backend.expected_bits(leaf)[0, qubit], leaf)
        shifted = inputs.repeat(len(columns), 1)
        shifted[np.arange(len(columns)), columns] += th.as_tensor(shifts)
        values = backend.expected_bits(shifted)[:, qubit].detach()
        found = th.zeros_like(inputs[0]).index_add(0, th.as_tensor(columns), th.as_tensor(coefficients) * values)
        error = float((found - exact[0])[circuit.angle_columns].abs().max())
        assert error < tolerance, f"the parameter-shift rule is off by {error:.1e} from the gradient of bit {qubit}"


def _check_storage(circuit: Circuit, inputs: th.Tensor, witness: np.ndarray) -> None:
    wrapped = circuit.wrap(inputs)
    for row, bits in zip(wrapped, witness, strict=True):
        error = float(np.abs(_bits(circuit, row) - bits).max())
        assert (
            error < 1e-6
        ), f"wrap() must not change the circuit, but bits differ by {error:.1e}; a column's period may be wrong"
    angles, indices = circuit.pack(inputs.float())
    back = circuit.unpack(th.as_tensor(angles), th.as_tensor(indices))
    # float16 has 11 bits
    allowed = wrapped.abs() * 2.0**-11 + 1e-6
    assert bool(((back - wrapped).abs() <= allowed).all()), "unpack(pack(inputs)) must equal the inputs"
    assert th.equal(circuit.join(*circuit.split(inputs)), inputs), "join must be the inverse of split"


def _check_template(circuit: Circuit, inputs: th.Tensor, witness: np.ndarray) -> None:
    from qiskit.quantum_info import Statevector

    for row, structure, bits in zip(inputs, circuit.structures(inputs), witness, strict=True):
        template = circuit.template(structure)
        assert len(template.clbits) == circuit.n_qubits, "the template must measure every qubit"
        values = circuit.split(row[None])[0][0].tolist()
        bound = template.assign_parameters({parameter: values[parameter.index] for parameter in template.parameters})
        bound.remove_final_measurements()
        state = Statevector(bound)
        found = [state.probabilities([qubit])[1] for qubit in range(circuit.n_qubits)]
        error = float(np.abs(np.array(found) - bits).max())
        assert (
            error < 1e-6
        ), f"the template with its angles bound must be the circuit of to_qiskit, but bits differ by {error:.1e}"
    assert hash(structure) is not None


def _check_spec(circuit: Circuit) -> None:
    kwargs = json.loads(json.dumps(circuit.kwargs))
    assert kwargs == circuit.kwargs, f"kwargs must be plain data that JSON can hold, got {circuit.kwargs}"
    again = type(circuit)(**kwargs)
    assert again == circuit and hash(again) == hash(circuit), "a circuit made from its kwargs must be equal to it"
    assert pickle.loads(pickle.dumps(circuit)) == circuit, "pickle must keep the circuit"
    if CIRCUITS.get(circuit.family) is type(circuit):
        assert make_circuit(**circuit.spec) == circuit, "make_circuit(**circuit.spec) must make the same circuit"
