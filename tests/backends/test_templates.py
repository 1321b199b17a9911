import numpy as np
import torch as th
from qiskit.quantum_info import Statevector

from sb3_quantum.backends.templates import TemplateCache
from sb3_quantum.circuits import PaperCircuit

BASIS = ["rz", "sx", "x", "cz"]


def test_bound_templates_are_the_circuits() -> None:
    """Independent witness: the circuits that to_qiskit writes number by number."""
    ansatz = PaperCircuit(3, 4)
    th.manual_seed(0)
    inputs = 4 * th.randn(6, ansatz.n_inputs)
    inputs[3:] = ansatz.join(ansatz.split(inputs[3:])[0], ansatz.split(inputs[:3])[1])
    cache = TemplateCache(ansatz, lambda circuit: circuit)
    parts = cache.bind(inputs)
    assert sorted(np.concatenate([part.rows for part in parts]).tolist()) == list(range(6)) and len(parts) == 3
    for part in parts:
        for row, values in zip(part.rows, part.values, strict=True):
            bound = part.circuit.assign_parameters(values).remove_final_measurements(inplace=False)
            expected = Statevector(ansatz.to_qiskit(inputs[row], measure=False))
            assert np.abs(Statevector(bound).probabilities() - expected.probabilities()).max() < 1e-6
    assert (cache.hits, cache.misses, cache.hit_rate) == (3, 3, 0.5)


def test_equal_and_swapped_qubits_are_one_pattern() -> None:
    ansatz = PaperCircuit(3, 1)
    inputs = th.zeros(4, ansatz.n_inputs)
    inputs[:, -2:] = th.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [1.0, 1.0]])
    cache = TemplateCache(ansatz, lambda circuit: circuit)
    assert [part.rows.tolist() for part in cache.bind(inputs)] == [[0, 1], [2, 3]]


def test_the_least_recently_used_circuit_is_forgotten() -> None:
    ansatz, made = PaperCircuit(4, 1), []
    cache = TemplateCache(ansatz, lambda circuit: made.append(circuit) or circuit, maxsize=2)  # type: ignore[func-returns-value]

    def run(other: float) -> None:
        inputs = th.zeros(1, ansatz.n_inputs)
        inputs[0, -1] = other
        cache.bind(inputs)

    for other in (1.0, 2.0, 1.0, 3.0, 1.0):  # 2 is forgotten, not 1
        run(other)
    assert len(made) == 3 and len(cache) == 2
    run(2.0)
    assert len(made) == 4 and cache.misses == 4 and cache.hits == 2


def test_parameters_that_transpiling_removed() -> None:
    """Rotations about z right before the measurement cannot be seen, and their angles are not bound."""
    from qiskit import transpile

    ansatz = PaperCircuit(2, 2)
    th.manual_seed(1)
    inputs = th.randn(1, ansatz.n_inputs)
    cache = TemplateCache(ansatz, lambda circuit: transpile(circuit, basis_gates=BASIS, optimization_level=3))
    (part,) = cache.bind(inputs)
    assert part.values.shape == (1, part.circuit.num_parameters)
    bound = part.circuit.assign_parameters(part.values[0]).remove_final_measurements(inplace=False)
    expected = Statevector(ansatz.to_qiskit(inputs, measure=False)).probabilities()
    assert np.abs(Statevector(bound).probabilities() - expected).max() < 1e-6
