"""127 and 156 qubits on Qiskit's simulators and chips: shots agree with our engine, and errors name what cannot run."""

from pathlib import Path

import numpy as np
import pytest
import torch as th

from sb3_quantum.backends import AerBackend, Backend, IBMBackend, SamplerBackend, StatevectorBackend
from sb3_quantum.backends.aer_method import aer_method
from sb3_quantum.circuits import PaperCircuit

pytest.importorskip("qiskit_aer")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def inputs_of(circuit: PaperCircuit, rows: int) -> th.Tensor:
    generator = th.Generator().manual_seed(0)
    angles = 6 * th.rand(rows, circuit.n_angles, generator=generator)
    # CZ gates that meet, so that there are blocks of several qubits
    return circuit.join(angles, 8 * th.rand(rows, circuit.n_indices, generator=generator))


def test_the_comparison_finds_mistakes() -> None:
    """A right backend fails with the probability that is asked for; wrong orders and lost correlations are found."""
    from wide import FALSE_ALARM, p_value

    circuit = PaperCircuit(30, 5)
    inputs = inputs_of(circuit, 2)
    bits = StatevectorBackend(circuit, seed=0).sample(inputs, 1000).numpy().astype(np.uint8)
    assert p_value(circuit, inputs, bits) > 0.01
    assert p_value(circuit, inputs, np.roll(bits, 1, axis=2)) < FALSE_ALARM
    assert p_value(circuit, inputs, bits[::-1]) < FALSE_ALARM
    apart = np.stack([np.roll(bits[:, :, qubit], qubit, axis=1) for qubit in range(30)], axis=2)  # the same marginals
    assert p_value(circuit, inputs, apart) < FALSE_ALARM


@pytest.mark.parametrize("n_qubits", [127, 156])
@pytest.mark.parametrize("kind", ["aer", "sampler"])
def test_shots_at_this_width(n_qubits: int, kind: str) -> None:
    """Without a word about the method: a right backend fails with a probability of 1e-6, and not at all with this seed."""
    from wide import FALSE_ALARM, p_value

    circuit = PaperCircuit(n_qubits, 2)
    inputs = inputs_of(circuit, 1)
    aer = kind == "aer"
    backend: Backend = AerBackend(circuit, seed=0) if aer else SamplerBackend(circuit, seed=0, sampler="aer")
    assert p_value(circuit, inputs, backend.sample(inputs, 400).numpy().astype(np.uint8)) > FALSE_ALARM
    # What a file says is what was asked for
    assert "method" not in backend.kwargs


def test_which_method_aer_takes() -> None:
    assert aer_method(24) == "automatic" and aer_method(25) == "matrix_product_state"
    assert aer_method(127, "statevector") == "statevector" and aer_method(3, "density_matrix") == "density_matrix"


def test_a_sampler_that_holds_all_states_refuses_by_name() -> None:
    with pytest.raises(ValueError, match=r'sampler="statevector" .* n_qubits=127, [\d,]+ GiB.* use sampler="aer"'):
        SamplerBackend(PaperCircuit(127, 2))


@pytest.mark.parametrize("kind", ["ibm", "sampler"])
def test_a_wide_fake_chip_is_simulated_by_products(kind: str) -> None:
    """26 qubits of a chip of 27, with its noise: the mean bits of every qubit go with the exact ones."""
    pytest.importorskip("qiskit_ibm_runtime")
    circuit, chip = PaperCircuit(26, 1), {"chip": "FakeMumbaiV2"}
    wanted = th.arange(26) % 3 == 0
    inputs = th.zeros(1, circuit.n_inputs)
    inputs[:, :52:2] = th.pi * wanted
    backend = IBMBackend(circuit, seed=0, **chip) if kind == "ibm" else SamplerBackend(circuit, seed=0, sampler="fake", **chip)
    # Readout errors of some percent: 20 shots of a qubit are wrong in most cases with a probability below 1e-9
    assert ((backend.sample(inputs, 20).mean(1)[0] > 0.5) == wanted).all()
