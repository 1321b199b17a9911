"""Aer's noise against formulas that know nothing of Aer."""

import json
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch as th
import yaml
from qiskit.quantum_info import DensityMatrix, Operator, partial_trace
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    LocalNoisePass,
    NoiseModel,
    ReadoutError,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
    pauli_error,
    thermal_relaxation_error,
)
from scipy.stats import binomtest, chi2_contingency, chisquare

from sb3_quantum.backends import AerBackend, StatevectorBackend
from sb3_quantum.backends.noise import _chip_noise, make_noise, plain_noise
from sb3_quantum.backends.templates import TemplateCache
from sb3_quantum.circuits import PaperCircuit, QiskitCircuit

SHOTS = 20_000
#: probability that a test without fault fails, over all of its comparisons; seeds are fixed
FALSE_ALARM = 1e-6


def rotations(ansatz: PaperCircuit, *thetas: float) -> th.Tensor:
    """One circuit that turns all qubits by thetas[l] about x in layer l, with no CZ."""
    inputs = th.zeros(ansatz.n_layers, ansatz.layer_width, dtype=th.float64)
    for layer, theta in enumerate(thetas):
        inputs[layer, 0 : 2 * ansatz.n_qubits : 2] = theta
    return inputs.reshape(1, -1)


def check_ones(noise: Any, inputs: th.Tensor, ansatz: PaperCircuit, probability: float, method: str = "automatic") -> None:
    """Binomial test of every qubit's ones."""
    bits = AerBackend(ansatz, seed=1, noise=noise, method=method).sample(inputs, shots=SHOTS)[0]
    for qubit in range(ansatz.n_qubits):
        ones = int(bits[:, qubit].sum())
        assert binomtest(ones, SHOTS, probability).pvalue > FALSE_ALARM / ansatz.n_qubits, (ones / SHOTS, probability)


@pytest.mark.parametrize("method", ["automatic", "statevector", "matrix_product_state"])
@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 4 / 3])
def test_depolarizing_shrinks_z_by_1_minus_p_per_rotation(p: float, method: str) -> None:
    ansatz, thetas = PaperCircuit(1, 3), (0.4, 0.5, 0.6)
    z = (1 - p) ** 3 * np.cos(sum(thetas))
    check_ones({"depolarizing": {"r": p}}, rotations(ansatz, *thetas), ansatz, (1 - z) / 2, method)


def own(gates: str, n_qubits: int = 1) -> QiskitCircuit:
    return QiskitCircuit(f'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; qubit[{n_qubits}] q; {gates}')


@pytest.mark.parametrize(
    "circuit, noise, factor",
    [
        (own("ry(a) q[0];"), {"depolarizing": {"r": 0.3}}, 0.7),
        (own("h q[0]; rz(a) q[0]; h q[0];"), {"depolarizing": {"r": 0.3}}, 0.7**2),  # turns about z are free
        (own("rx(a) q[0]; cx q[0], q[1];", 2), {"depolarizing": {"cz": 0.3}}, 0.7),
        (own("h q[0]; ctrl @ rz(2 * a) q[1], q[0]; rz(-a) q[0]; h q[0];", 2), {"depolarizing": {"cz": 0.3}}, None),
        (own("rx(a) q[0];"), {"thermal_relaxation": {"t1": 1e-6, "t2": 1e-6, "r_time": 1e-3}}, None),
    ],
    ids=str,
)
def test_errors_of_numbers_are_on_every_circuits_gates(circuit: QiskitCircuit, noise: dict[str, Any], factor: Any) -> None:
    """Not only on those that are written with r and cz."""
    inputs = th.full((1, 1), 0.7, dtype=th.float64)
    exact = 1 - 2 * float(StatevectorBackend(circuit).expected_bits(inputs)[0, 0])
    ones = int(AerBackend(circuit, seed=1, noise=noise).sample(inputs, shots=SHOTS)[0, :, 0].sum())
    if factor is None:
        assert binomtest(ones, SHOTS, (1 - exact) / 2).pvalue < FALSE_ALARM  # it acts
    else:
        assert binomtest(ones, SHOTS, (1 - factor * exact) / 2).pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [0.1, 1.0, 16 / 15])
def test_depolarizing_of_a_cz(p: float) -> None:
    """It acts on both qubits once per CZ, and not where there is none: the last layer's CZ joins a qubit with itself."""
    ansatz = PaperCircuit(2, 2)
    inputs = rotations(ansatz, 0.7)
    inputs[0, ansatz.layer_width - 1] = 1
    check_ones({"depolarizing": {"cz": p}}, inputs, ansatz, (1 - (1 - p) * np.cos(0.7)) / 2)


@pytest.mark.parametrize("readout", [0.1, 1.0, [0.02, 0.1], [0.3, 0.0]])
def test_readout_error_shifts_the_marginal(readout: float | list[float]) -> None:
    ansatz, one = PaperCircuit(1, 1), np.sin(0.5) ** 2
    wrong_0, wrong_1 = readout if isinstance(readout, list) else (readout, readout)
    probability = one * (1 - wrong_1) + (1 - one) * wrong_0
    if probability > 0:
        check_ones({"readout_error": readout}, rotations(ansatz, 1.0), ansatz, probability)


@pytest.mark.parametrize("population", [0.0, 0.3])
def test_an_excited_qubit_relaxes_with_t1(population: float) -> None:
    """Three gates of 10 us each, and the readout of 20 us before the bit is read."""
    ansatz = PaperCircuit(1, 3)
    relaxation = {"t1": 1.0e-4, "t2": 8.0e-5, "r_time": 1.0e-5, "readout_time": 2.0e-5, "excited_population": population}
    left = np.exp(-5e-5 / 1e-4)
    check_ones({"thermal_relaxation": relaxation}, rotations(ansatz, np.pi), ansatz, population + (1 - population) * left)


@pytest.mark.parametrize("t2", [0.3, 1.0, 1.7])
def test_a_superposition_loses_its_phase_with_t2(t2: float) -> None:
    """A turn by pi/2 and back; t2 above t1 is another channel in Aer."""
    ansatz, time = PaperCircuit(1, 2), 0.4
    noise = {"thermal_relaxation": {"t1": 1.0, "t2": t2, "r_time": time}}
    probability = (1 - np.exp(-time / t2)) / 2 * np.exp(-time)
    check_ones(noise, rotations(ansatz, np.pi / 2, -np.pi / 2), ansatz, probability)
    check_ones(noise, rotations(ansatz, np.pi / 2, -np.pi / 2), ansatz, probability, "statevector")


def test_both_qubits_of_a_cz_relax_and_others_do_not() -> None:
    ansatz = PaperCircuit(3, 2)
    inputs = rotations(ansatz, np.pi)
    inputs[0, ansatz.layer_width - 1] = 2  # CZ between 0 and 2
    noise = {"thermal_relaxation": {"t1": 1.0, "t2": 1.0, "cz_time": 0.5}}
    ones = AerBackend(ansatz, seed=1, noise=noise).sample(inputs, shots=SHOTS)[0].sum(0).int().tolist()
    assert ones[1] == SHOTS
    assert all(binomtest(ones[qubit], SHOTS, np.exp(-0.5)).pvalue > FALSE_ALARM / 2 for qubit in (0, 2))


def test_relaxation_comes_after_depolarizing() -> None:
    noise = {"depolarizing": {"r": 0.4}, "thermal_relaxation": {"t1": 1.0, "t2": 1.0, "r_time": 0.5}}
    ansatz = PaperCircuit(1, 1)
    check_ones(noise, rotations(ansatz, np.pi), ansatz, (1 - 0.4 / 2) * np.exp(-0.5))


def test_whole_circuits_against_a_density_matrix() -> None:
    """Chi-square of all bitstrings against a density matrix that is depolarized and misread by hand."""
    ansatz, p_r, p_cz, wrong = PaperCircuit(3, 3), 0.05, 0.2, (0.03, 0.08)
    noise = {"depolarizing": {"r": p_r, "cz": p_cz}, "readout_error": list(wrong)}
    th.manual_seed(2)
    inputs = 2 * th.randn(4, ansatz.n_inputs, dtype=th.float64)
    bits = AerBackend(ansatz, seed=1, noise=noise).sample(inputs, shots=SHOTS).long().numpy()
    misread = np.array([[1 - wrong[0], wrong[1]], [wrong[0], 1 - wrong[1]]])
    for row in range(4):
        state = DensityMatrix.from_label("000")
        circuit = ansatz.to_qiskit(inputs[row], measure=False)
        for instruction in circuit.data:
            qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
            state = state.evolve(Operator(instruction.operation), qubits)
            state = depolarized(state, qubits, {1: p_r, 2: p_cz}[len(qubits)])
        expected = np.kron(np.kron(misread, misread), misread) @ state.probabilities()
        counts = np.bincount(bits[row] @ (1 << np.arange(3)), minlength=8)
        assert chisquare(counts, expected * SHOTS).pvalue > FALSE_ALARM / 4


def depolarized(state: DensityMatrix, qubits: list[int], p: float) -> DensityMatrix:
    """(1 - p) rho + p (trace over the qubits) times the mixed state, entry by entry."""
    others = [qubit for qubit in range(3) if qubit not in qubits]
    rest = partial_trace(state, qubits).data
    mixed = np.zeros((8, 8), complex)
    for i in range(8):
        for j in range(8):
            if all((i >> qubit) & 1 == (j >> qubit) & 1 for qubit in qubits):
                a, b = (sum(((index >> qubit) & 1) << place for place, qubit in enumerate(others)) for index in (i, j))
                mixed[i, j] = rest[a, b] / 2 ** len(qubits)
    return DensityMatrix((1 - p) * state.data + p * mixed)


def test_marginals_move_towards_a_half_as_depolarizing_grows() -> None:
    ansatz = PaperCircuit(4, 3)
    th.manual_seed(0)
    inputs = th.randn(8, ansatz.n_inputs)
    distances = []
    for p in (0.0, 0.03, 0.1, 0.3, 1.0):
        backend = AerBackend(ansatz, shots=2000, seed=0, noise={"depolarizing": {"r": p, "cz": p}})
        distances.append(float((backend.expected_bits(inputs) - 0.5).abs().mean()))
    assert all(more > 1.1 * less for more, less in pairwise(distances)), distances
    assert distances[-1] < 0.02


def test_yaml_gives_the_same_noise() -> None:
    text = """
    noise:
      depolarizing: {r: 0.001, cz: 1}
      thermal_relaxation: {t1: 100.0e-6, t2: 80.0e-6, r_time: 20.0e-9, cz_time: 20.0e-9, readout_time: 1.0e-6}
      readout_error: [0.01, 0.02]
    """
    given = yaml.safe_load(text)["noise"]
    backend = AerBackend(PaperCircuit(2, 2), noise=given)
    assert backend.kwargs["noise"] == given == json.loads(json.dumps(given))
    assert backend.kwargs["noise"]["thermal_relaxation"]["r_time"] == 2e-8
    assert backend.kwargs["noise"] is not given
    with pytest.raises(ValueError, match=r"t1 of thermal_relaxation must be a number .* got '100e-6' \(YAML reads"):
        plain_noise({"thermal_relaxation": yaml.safe_load("{t1: 100e-6, t2: 1.0, r_time: 1.0}")})


RELAXATION = {"t1": 1.0, "t2": 1.0, "r_time": 0.1}


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({}, "noise must be a dictionary with at least one of 'depolarizing'"),
        (0.1, "noise must be None, a qiskit_aer.noise.NoiseModel, a dictionary .* got 0.1"),
        ("FakeManilaV2", "noise must be None.* got 'FakeManilaV2'"),
        ({"depolarising": {"r": 0.1}}, "'depolarising' is unknown, accepted are 'depolarizing', .*'chip'"),
        ({"depolarizing": 0.1}, "depolarizing must be a dictionary with .*'r', 'cz', got 0.1"),
        ({"depolarizing": {}}, "depolarizing must be a dictionary"),
        ({"depolarizing": {"rx": 0.1}}, "depolarizing: 'rx' is unknown, accepted are 'r', 'cz'"),
        ({"depolarizing": {"r": -0.1}}, r"depolarizing of r must be a number in \[0, 1.33333\], got -0.1"),
        ({"depolarizing": {"r": 1.34}}, "got 1.34"),
        ({"depolarizing": {"cz": 1.07}}, r"depolarizing of cz must be a number in \[0, 1.06667\], got 1.07"),
        ({"depolarizing": {"r": float("nan")}}, "got nan"),
        ({"depolarizing": {"r": True}}, "got True"),
        ({"depolarizing": {"r": None}}, "got None"),
        ({"readout_error": 1.1}, r"readout_error must be a number in \[0, 1\], got 1.1"),
        ({"readout_error": [0.1]}, r"the two \[p\(1\|0\), p\(0\|1\)\], got \[0.1\]"),
        ({"readout_error": [0.1, 0.1, 0.1]}, "got .0.1, 0.1, 0.1"),
        ({"readout_error": [0.1, -1]}, "got -1"),
        ({"readout_error": "0.1"}, "got '0.1'"),
        ({"thermal_relaxation": {"t1": 1.0, "r_time": 0.1}}, "thermal_relaxation needs t2 in seconds"),
        (
            {"thermal_relaxation": {**RELAXATION, "t1": 0}},
            "t1 of thermal_relaxation must be a number that is finite and > 0, got 0",
        ),
        ({"thermal_relaxation": {**RELAXATION, "t2": -1}}, "t2 .* got -1"),
        ({"thermal_relaxation": {**RELAXATION, "t1": float("inf")}}, "t1 .* got inf"),
        ({"thermal_relaxation": {**RELAXATION, "t2": 2.1}}, r"at most 2 \* t1 = 2 s, got 2.1 s"),
        ({"thermal_relaxation": {**RELAXATION, "r_time": -1e-9}}, "r_time .* >= 0, got -1e-09"),
        ({"thermal_relaxation": {**RELAXATION, "r_time": 0}}, "at least one of 'r_time'"),
        ({"thermal_relaxation": {**RELAXATION, "time": 1}}, "'time' is unknown"),
        ({"thermal_relaxation": {**RELAXATION, "excited_population": 1.5}}, r"excited_population .* \[0, 1\], got 1.5"),
        ({"chip": "FakeManilaV2", "readout_error": 0.1}, "'chip' cannot be combined with other keys, got 'readout_error'"),
        ({"chip": 3}, "chip must be a name, got 3"),
        ({"chip": "FakeManila"}, "chip='FakeManila' is unknown, .*'FakeManilaV2'"),
        ({"chip": "os"}, "chip='os' is unknown"),
        ({"model": 3}, "model must be a dictionary"),
        ({"model": {"errors": []}}, "model is not a saved NoiseModel"),
        ({"model": {"errors": [{1, 2}], "basis_gates": []}}, "model must be plain data"),
    ],
)
def test_impossible_noise(noise: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"noise.*{message}" if not message.startswith("noise") else message):
        AerBackend(PaperCircuit(2, 2), noise=noise)


def test_a_chip_writes_the_same_circuits() -> None:
    """Compare the circuits written for the chip, run without noise, with our own distribution by chi-square."""
    ansatz = PaperCircuit(4, 4)
    th.manual_seed(3)
    inputs = 3 * th.randn(3, ansatz.n_inputs)
    exact = StatevectorBackend(ansatz).probabilities(inputs).double().numpy()
    transpile = make_noise({"chip": "FakeManilaV2"}, ansatz).transpile
    assert transpile is not None
    for part in TemplateCache(ansatz, transpile).bind(inputs):
        assert {"rz", "sx", "cx"} <= set(part.circuit.count_ops()) and "r" not in part.circuit.count_ops()
        for row, values in zip(part.rows, part.values, strict=True):
            result = AerSimulator(seed_simulator=1).run(part.circuit.assign_parameters(values), shots=SHOTS).result()
            counts = np.zeros(16)
            for state, count in result.get_counts().items():
                counts[int(state, 2)] = count
            assert chisquare(counts, exact[row] / exact[row].sum() * SHOTS).pvalue > FALSE_ALARM / 3


def test_a_chips_noise_acts() -> None:
    """
    The same bitstrings as Aer's own simulator of that chip gives (chi-square of two samples), and other ones than without
    noise, which would be all ones.
    """
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    ansatz = PaperCircuit(3, 3)
    inputs = rotations(ansatz, 0.5, 1.0, np.pi - 1.5)
    backend = AerBackend(ansatz, seed=1, noise={"chip": "FakeManilaV2"})
    found = backend.sample(inputs, shots=SHOTS)[0].long().numpy() @ (1 << np.arange(3))
    transpile = make_noise({"chip": "FakeManilaV2"}, ansatz).transpile
    assert transpile is not None
    (part,) = TemplateCache(ansatz, transpile).bind(inputs)
    circuit = part.circuit.assign_parameters(part.values[0])
    counts = AerSimulator.from_backend(FakeManilaV2()).run(circuit, shots=SHOTS, seed_simulator=2).result().get_counts()
    table = np.array([np.bincount(found, minlength=8), [counts.get(f"{state:03b}", 0) for state in range(8)]])
    table = np.column_stack([table[:, table.sum(0) >= 10], table[:, table.sum(0) < 10].sum(1) + 1])
    assert chi2_contingency(table).pvalue > FALSE_ALARM
    assert 0.8 < table[0, -2] / SHOTS < 0.97
    assert json.loads(json.dumps(backend.kwargs)) == {"shots": 100, "noise": {"chip": "FakeManilaV2"}}


def test_chips_that_are_too_small_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="chip='FakeManilaV2' has 5 qubits, but the circuit has 6"):
        AerBackend(PaperCircuit(6, 1), noise={"chip": "FakeManilaV2"})
    _chip_noise.cache_clear()
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    with pytest.raises(ImportError, match=r"sb3-quantum\[ibm\]"):
        AerBackend(PaperCircuit(2, 1), noise={"chip": "FakeLimaV2"})


def native_model() -> NoiseModel:
    """One error of every kind that Aer can hold."""
    model = NoiseModel()
    kraus = thermal_relaxation_error(1.0, 1.5, 0.1)
    model.add_all_qubit_quantum_error(depolarizing_error(0.05, 1).compose(kraus), "r")
    model.add_quantum_error(pauli_error([("XY", 0.1), ("II", 0.9)]), "cz", [0, 1])
    model.add_quantum_error(coherent_unitary_error(np.diag([1, 1j, 1, 1])), "cz", [0, 2])
    model.add_quantum_error(depolarizing_error(0.05, 2), "cz", [1, 2])
    model.add_quantum_error(amplitude_damping_error(0.2), "measure", [2])
    model.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]))
    model.add_readout_error(ReadoutError([[1.0, 0.0], [0.5, 0.5]]), [1])
    return model


def test_a_noise_model_becomes_plain_data_and_comes_back() -> None:
    ansatz = PaperCircuit(3, 2)
    backend = AerBackend(ansatz, seed=4, noise=native_model())
    kwargs = json.loads(json.dumps(backend.kwargs))
    model = make_noise(plain_noise(kwargs["noise"]), ansatz).model
    assert model == native_model()
    again = AerBackend(ansatz, seed=4, **kwargs)
    assert again.kwargs == backend.kwargs == AerBackend(ansatz, noise=native_model()).kwargs
    th.manual_seed(0)
    inputs = th.randn(3, ansatz.n_inputs)
    assert th.equal(backend.sample(inputs, shots=50), again.sample(inputs, shots=50))


def test_the_model_of_a_chip_comes_back() -> None:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    model = NoiseModel.from_backend(FakeManilaV2())
    with pytest.warns(UserWarning, match="errors on 'cx' for the qubits .* none for"):
        noise = make_noise(json.loads(json.dumps(plain_noise(model))), PaperCircuit(3, 2))
    found, given = (plain["model"] for plain in (plain_noise(noise.model), plain_noise(model)) if plain is not None)
    assert found["basis_gates"] == given["basis_gates"]
    for error, original in zip(found["errors"], given["errors"], strict=True):
        # Probabilities are divided by their sum when they are read
        np.testing.assert_allclose(error.pop("probabilities"), original.pop("probabilities"), rtol=1e-12)
        assert error == original
    assert noise.transpile is not None
    written = noise.transpile(PaperCircuit(3, 2).template([(0, 1), (1, 2)]))
    assert set(written.count_ops()) <= {*model.basis_gates, "barrier"}
    ones = AerBackend(PaperCircuit(1, 1), noise=model, seed=0).sample(rotations(PaperCircuit(1, 1), np.pi), shots=SHOTS).mean()
    assert 0.9 < float(ones) < 0.995


def test_a_model_on_other_gates_acts() -> None:
    """Errors on sx only: our rotations are written with sx, and turn out depolarized."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), "sx")
    ansatz = PaperCircuit(1, 1)
    # RGate is rz, sx, rz, sx, rz
    check_ones(model, rotations(ansatz, 0.6), ansatz, (1 - 0.9**2 * np.cos(0.6)) / 2)


def test_models_that_cannot_act_or_cannot_be_saved() -> None:
    never = NoiseModel()
    never.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), "ecr")
    with pytest.raises(ValueError, match=r"errors on 'ecr', but the circuits are written in .* none of them would ever act"):
        AerBackend(PaperCircuit(1, 1), noise=never)
    passes = NoiseModel()
    passes._custom_noise_passes.append(LocalNoisePass(lambda gate, qubits: None))
    with pytest.raises(ValueError, match="LocalNoisePass, which is code and cannot be saved"):
        AerBackend(PaperCircuit(2, 2), noise=passes)


def test_models_on_our_gates_leave_the_circuits_as_they_are() -> None:
    assert make_noise(plain_noise(native_model()), PaperCircuit(3, 2)).transpile is None
    assert make_noise(plain_noise({"readout_error": 0.1}), PaperCircuit(3, 2)).transpile is None
