import pickle
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from qiskit.quantum_info import Statevector
from scipy.stats import chisquare

from sb3_quantum.backends import StatevectorBackend, make_backend, statevector
from sb3_quantum.circuits import BrickworkCircuit, PaperCircuit

SHAPES = [(1, 1), (1, 4), (2, 3), (3, 2), (5, 4), (6, 3), (7, 5), (10, 10), (11, 3), (12, 4)]


def make(n_qubits: int, n_layers: int, rows: int = 6, seed: int = 0) -> tuple[StatevectorBackend, th.Tensor]:
    th.manual_seed(seed)
    ansatz = PaperCircuit(n_qubits, n_layers)
    # Angles beyond a turn and indices beyond the register, so that wrapping is part of what is compared
    return StatevectorBackend(ansatz, seed=seed), 5 * th.randn(rows, ansatz.n_inputs)


@pytest.mark.parametrize("n_qubits, n_layers", SHAPES)
@pytest.mark.parametrize("path", ["kernel", "torch"])
def test_probabilities_equal_qiskit(n_qubits: int, n_layers: int, path: str) -> None:
    """Independent witness: qiskit.quantum_info.Statevector, on the circuit that to_qiskit writes."""
    backend, inputs = make(n_qubits, n_layers)
    ours = backend.probabilities(inputs) if path == "kernel" else backend.statevector(inputs).abs().square()
    for row, probabilities in zip(inputs, ours, strict=True):
        theirs = Statevector(backend.ansatz.to_qiskit(row, measure=False)).probabilities()
        assert np.abs(probabilities.numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("n_qubits, n_layers", SHAPES)
def test_expected_bits_equal_qiskit(n_qubits: int, n_layers: int) -> None:
    backend, inputs = make(n_qubits, n_layers)
    ours = backend.expected_bits(inputs)
    for row, expected in zip(inputs, ours, strict=True):
        state = Statevector(backend.ansatz.to_qiskit(row, measure=False))
        theirs = [state.probabilities([qubit])[1] for qubit in range(n_qubits)]
        assert np.abs(expected.numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_kernel_and_torch_agree(scale: float) -> None:
    """The kernel brings inputs into range by itself: negative ones, half-integer indices and many turns."""
    backend, inputs = make(10, 10, rows=32)
    inputs = scale * inputs
    inputs[:, -4:] = th.tensor([0.5, -1.5, 12.5, -10.0])
    inputs[:, 20:22] = th.tensor([2.5, -3.5])
    assert th.allclose(backend.probabilities(inputs), backend.statevector(inputs).abs().square(), atol=1e-5)


@pytest.mark.parametrize("n_qubits, n_layers", [*SHAPES, (16, 2)])
def test_engines_sample_the_same_bits(n_qubits: int, n_layers: int) -> None:
    """From the same random numbers, but for those within rounding of a boundary: 0.2 % of the draws at 16 qubits."""
    backend, inputs = make(n_qubits, n_layers, rows=4)
    twin = StatevectorBackend(backend.ansatz, seed=0, engine="torch")
    differ = (backend.sample(inputs, shots=500) != twin.sample(inputs, shots=500)).any(-1)
    assert float(differ.float().mean()) < 0.01
    assert th.allclose(backend.expected_bits(inputs), twin.expected_bits(inputs), atol=1e-5)
    assert [one.get_state()["engine"] for one in (backend, twin)] == ["split", "torch"]
    assert twin.kwargs == {"shots": 1, "engine": "torch"} and "engine" not in backend.kwargs


def test_threads_do_not_change_what_is_sampled() -> None:
    backend, inputs = make(10, 3, rows=101)
    weights, found, threads = th.randn(101, 10), [], th.get_num_threads()
    try:
        for number in (1, 3):
            th.set_num_threads(number)
            backend.seed(0)
            leaf = inputs.clone().requires_grad_(True)
            expected = backend.expected_bits(leaf)
            found.append((backend.sample(inputs), expected.detach(), th.autograd.grad((expected * weights).sum(), leaf)[0]))
    finally:
        th.set_num_threads(threads)
    assert all(th.equal(one, other) for one, other in zip(*found, strict=True))


def test_unknown_engine() -> None:
    with pytest.raises(ValueError, match="engine='numba' is unknown, accepted are 'auto', 'split', 'full', 'torch'"):
        StatevectorBackend(PaperCircuit(2, 2), engine="numba")  # type: ignore[arg-type]


@pytest.mark.parametrize("n_qubits, n_layers", SHAPES)
def test_adjoint_kernel_and_autograd_agree(n_qubits: int, n_layers: int) -> None:
    """The kernel's gradient in single precision against torch's through the statevector in double precision."""
    backend, inputs = make(n_qubits, n_layers)
    weights = th.randn(2**n_qubits, 6, dtype=th.float64).T  # not contiguous
    gradients = []
    for dtype in (th.float32, th.float64):
        leaf = inputs.detach().to(dtype, copy=True).requires_grad_(True)
        (gradient,) = th.autograd.grad((backend.probabilities(leaf) * weights.to(dtype)).sum(), leaf)
        gradients.append(gradient.double())
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-4
    if n_layers > 1:
        assert float(gradients[1].abs().max()) > 1e-2


def test_gradients_are_exact() -> None:
    """gradcheck in double precision; the CZ indices are discrete and get zero."""
    ansatz = PaperCircuit(3, 3)
    backend = StatevectorBackend(ansatz)
    th.manual_seed(0)
    inputs = th.randn(2, ansatz.n_inputs, dtype=th.float64)
    _, indices = ansatz.split(inputs)
    angles = ansatz.split(inputs)[0].requires_grad_(True)
    assert th.autograd.gradcheck(lambda x: backend.expected_bits(ansatz.join(x, indices)), (angles,))
    whole = inputs.clone().requires_grad_(True)
    backend.expected_bits(whole).sum().backward()
    assert whole.grad is not None
    assert bool((ansatz.split(whole.grad)[1] == 0).all()) and bool((ansatz.split(whole.grad)[0] != 0).any())


def test_last_cz_never_changes_a_measurement() -> None:
    backend, inputs = make(4, 3)
    changed = inputs.clone()
    changed[:, -2:] += th.tensor([1.0, 2.0])
    assert th.allclose(backend.probabilities(inputs), backend.probabilities(changed), atol=1e-6)


def test_equal_indices_are_no_gate() -> None:
    ansatz = PaperCircuit(2, 2)
    backend = StatevectorBackend(ansatz)
    inputs = th.randn(1, ansatz.n_inputs)
    inputs[0, [4, 5]] = th.tensor([0.0, 2.0])  # both are qubit 0
    rows = [inputs.clone() for _ in range(2)]
    rows[1][0, [4, 5]] = th.tensor([1.0, 1.0])
    assert th.allclose(backend.probabilities(rows[0]), backend.probabilities(rows[1]))


def test_sampled_frequencies() -> None:
    """Chi-square of 20,000 bitstrings against the exact distribution; false-alarm rate 1e-6 at this fixed seed."""
    backend, inputs = make(4, 3, rows=1)
    exact = backend.probabilities(inputs)[0].double().numpy()
    bits = backend.sample(inputs, shots=20_000)[0].long().numpy()
    counts = np.bincount(bits @ (1 << np.arange(4)), minlength=16)
    seen = exact > 1e-4
    assert counts[~seen].sum() < 40
    assert chisquare(counts[seen], exact[seen] / exact[seen].sum() * counts[seen].sum()).pvalue > 1e-6


def test_impossible_states_are_never_sampled() -> None:
    ansatz = PaperCircuit(3, 1)
    backend = StatevectorBackend(ansatz, seed=0)
    inputs = th.zeros(1, ansatz.n_inputs)
    inputs[0, 2] = np.pi  # qubit 1 is turned over
    assert backend.sample(inputs, shots=1000)[0].unique(dim=0).tolist() == [[0.0, 1.0, 0.0]]


def test_shapes_and_types() -> None:
    backend, inputs = make(3, 2, rows=5)
    assert backend.sample(inputs).shape == (5, 3)
    assert backend.sample(inputs, shots=7).shape == (5, 7, 3)
    assert backend.expected_bits(inputs.double()).dtype == th.float64
    assert backend.sample(inputs.double()).dtype == th.float64
    assert backend.measure(inputs[:0]).expected_bits.shape == (0, 3)


def test_same_seed_same_bits_and_fresh_bits_every_call() -> None:
    (one, inputs), (other, _) = make(6, 3, rows=20), make(6, 3, rows=20)
    first, second = one.sample(inputs), one.sample(inputs)
    assert th.equal(first, other.sample(inputs)) and th.equal(second, other.sample(inputs))
    assert not th.equal(first, second)


def test_chunks_do_not_change_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    ansatz, inputs = PaperCircuit(5, 3), make(5, 3, rows=50)[1]
    one, other = (StatevectorBackend(ansatz, seed=0, engine="torch") for _ in range(2))
    whole = one.measure(inputs)
    monkeypatch.setattr(statevector, "CHUNK", 7 * 2**5)
    cut = other.measure(inputs)
    assert whole.bits is not None and cut.bits is not None
    assert th.equal(whole.bits, cut.bits) and th.allclose(whole.expected_bits, cut.expected_bits, atol=1e-6)


def test_measuring_without_a_draw_leaves_the_generator() -> None:
    backend, inputs = make(3, 2)
    before = deepcopy(backend.get_state()["generator"])
    assert backend.measure(inputs, draw=False).bits is None
    backend.expected_bits(inputs)
    assert backend.get_state()["generator"] == before
    backend.measure(inputs)
    assert backend.get_state()["generator"] != before


def test_usage_is_counted() -> None:
    backend, inputs = make(3, 2, rows=6)
    backend.measure(inputs)
    backend.sample(inputs, shots=5)
    backend.measure(inputs, draw=False, evaluation=True)
    backend.sample(inputs[:0])  # nothing is handed over
    assert (backend.usage.circuits, backend.usage.shots, backend.usage.jobs) == (12, 36, 2)
    assert (backend.eval_usage.circuits, backend.eval_usage.shots) == (6, 0)


@pytest.mark.parametrize("copy", [deepcopy, lambda backend: pickle.loads(pickle.dumps(backend))])
def test_copies_continue_the_generator(copy) -> None:
    backend, inputs = make(4, 2, rows=20)
    backend.sample(inputs)
    twin = copy(backend)
    assert th.equal(backend.sample(inputs), twin.sample(inputs)) and twin.usage == backend.usage


def test_too_many_qubits_say_how_much_memory() -> None:
    """Only all basis states at once need it; expected bits and samples are computed block by block."""
    ansatz = BrickworkCircuit(60, 2)
    backend = StatevectorBackend(ansatz, engine="torch")
    with pytest.raises(ValueError, match=r"n_qubits=60 needs [\d,]+ GiB .* this machine has [\d,]+ GiB"):
        backend.statevector(th.zeros(1, ansatz.n_inputs))
    with pytest.raises(ValueError, match="n_qubits=60 needs"):
        StatevectorBackend(PaperCircuit(60, 2)).probabilities(th.zeros(1, PaperCircuit(60, 2).n_inputs))
    assert StatevectorBackend(ansatz).sample(th.zeros(2, ansatz.n_inputs)).shape == (2, 60)


def test_the_full_engine_is_there_to_compare_with() -> None:
    backend, inputs = make(5, 3)
    full = StatevectorBackend(backend.ansatz, seed=0, engine="full")
    assert full.kwargs == {"shots": 1, "engine": "full"}
    for engine in (full, backend):
        engine.seed(0)
    assert th.equal(full.sample(inputs, shots=20), backend.sample(inputs, shots=20))
    assert [one.get_state()["engine"] for one in (full, backend)] == ["full", "split"]
    with pytest.raises(ValueError, match="engine='full' runs the paper's circuit with n_cz=1, got PaperCircuit"):
        StatevectorBackend(PaperCircuit(3, 2, 0), engine="full")


@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_wide_circuits_through_the_backend(dtype: th.dtype) -> None:
    """Bits, expected bits and a gradient of 127 qubits; the parameter-shift rule is the gradient's witness."""
    backend, inputs = make(127, 3, rows=2)
    leaf = inputs.detach().to(dtype, copy=True).requires_grad_(True)
    measured = backend.measure(leaf.detach())
    assert measured.bits is not None and measured.bits.shape == (2, 127)
    backend.expected_bits(leaf).sum().backward()
    assert leaf.grad is not None
    columns, shifts, coefficients = (th.as_tensor(part[:6]) for part in backend.ansatz.shift_rule())
    for column in columns.unique().tolist():
        terms = (columns == column).nonzero().flatten().tolist()
        shifted = inputs.double().repeat(len(terms), 1, 1)
        for place, term in enumerate(terms):
            shifted[place, :, column] += shifts[term]
        values = backend.expected_bits(shifted.flatten(0, 1)).sum(1).reshape(len(terms), 2)
        assert th.allclose((coefficients[terms] @ values), leaf.grad[:, column].double(), atol=1e-4)


@pytest.mark.parametrize("ansatz", [BrickworkCircuit(4, 3), PaperCircuit(4, 3, 2), PaperCircuit(4, 3, 0)], ids=str)
def test_other_families_split(ansatz: Any) -> None:
    """Values and gradients against torch's engine in double precision."""
    th.manual_seed(0)
    inputs = 3 * th.randn(5, ansatz.n_inputs)
    found = []
    for engine, dtype in (("split", th.float32), ("torch", th.float64)):
        backend = StatevectorBackend(ansatz, engine=engine)
        leaf = inputs.detach().to(dtype, copy=True).requires_grad_(True)
        expected = backend.expected_bits(leaf)
        expected.square().sum().backward()
        assert leaf.grad is not None
        found.append((expected.detach().double(), leaf.grad.double()))
    assert all(float((one - other).abs().max()) < 2e-5 for one, other in zip(*found, strict=True))


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend='qpu' is unknown, accepted are 'statevector', 'aer'"):
        make_backend("qpu", PaperCircuit())


def test_backend_of_another_shape() -> None:
    with pytest.raises(ValueError, match="made for"):
        make_backend(StatevectorBackend(PaperCircuit(2, 2)), PaperCircuit(3, 2))


@pytest.mark.parametrize("shots", [0, -1, 1.5, True])
def test_shots_must_be_positive(shots: object) -> None:
    with pytest.raises(ValueError, match=f"shots must be an integer >= 1, got {shots}"):
        make_backend("statevector", PaperCircuit(2, 2), {"shots": shots})
    backend, inputs = make(2, 2)
    with pytest.raises(ValueError, match=f"shots must be an integer >= 1, got {shots}"):
        backend.sample(inputs, shots=shots)


def test_huge_inputs_run() -> None:
    backend, _ = make(4, 3)
    for path in (backend.expected_bits, lambda x: backend.expected_bits(x.clone().requires_grad_(True)).detach()):
        expected = path(th.full((1, backend.ansatz.n_inputs), 1e30))
        assert bool(th.isfinite(expected).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("engine", ["auto", "full", "torch"])
def test_values_that_are_not_finite(value: float, engine: Any) -> None:
    backend = StatevectorBackend(PaperCircuit(3, 2), engine=engine)
    inputs = th.full((5, backend.ansatz.n_inputs), 3e38)  # finite, but its sum is not
    assert bool(th.isfinite(backend.expected_bits(inputs)).all())
    for row, column in ((0, 0), (4, 15), (2, 7)):
        bad = inputs.clone()
        bad[row, column] = value
        with pytest.raises(ValueError, match=rf"must be finite, got {value} for .* \(row {row} of the batch\)"):
            backend.sample(bad)
    assert backend.usage.circuits == 5
