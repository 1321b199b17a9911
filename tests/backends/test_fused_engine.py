"""The statevector's kernel for GPUs, in Triton's interpreter, against Qiskit and the compiled engine."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import Circuit, PaperCircuit, make_circuit
from sb3_quantum.circuits.fused import is_interpreted
from tests.backends.test_split import random_program, theirs
from tests.qtd3.test_circuits import mine

pytest.importorskip("triton")
from sb3_quantum.backends import fused_engine

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="a GPU is here, and with it Triton's compiler")


def both(circuit: Circuit, rows: int = 2, seed: int = 0) -> tuple[StatevectorBackend, StatevectorBackend, th.Tensor]:
    """The kernel, the compiled engine, and inputs for them."""
    inputs = 4 * th.randn(rows, circuit.n_inputs, generator=th.Generator().manual_seed(seed))
    return StatevectorBackend(circuit, seed=0, engine="triton"), StatevectorBackend(circuit, seed=0, engine="split"), inputs


@pytest.mark.parametrize("n_qubits, n_gates", [(1, 8), (3, 14), (2, 0)])
def test_any_program_equals_qiskit(n_qubits: int, n_gates: int) -> None:
    """All kinds of gates, angles that are used twice, and qubits that rows choose, some of them one and the same; and none."""
    program = random_program(n_qubits, n_gates, 3)
    rng = np.random.default_rng(0)
    angles = rng.normal(size=program.n_angles)
    pairs = rng.integers(n_qubits, size=(program.n_choices, 2))
    columns = dict(gate_columns=np.arange(program.n_angles), index_columns=program.n_angles + np.arange(pairs.size))
    circuit: Any = SimpleNamespace(program=program, n_qubits=n_qubits, **columns)
    inputs = th.from_numpy(np.concatenate([angles, pairs.ravel()]).astype(np.float32))[None]
    _, expected = fused_engine.FusedEngine(circuit).measure(inputs)
    assert np.abs(expected[0].numpy() - theirs(program, angles, pairs)).max() < 2e-6


CIRCUITS = [PaperCircuit(3, 2), PaperCircuit(4, 2, n_cz=2), PaperCircuit(1, 1), make_circuit("brickwork", 3, 1), mine()]


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
def test_bits_expected_bits_and_gradients(circuit: Circuit) -> None:
    """From the same seed the same bits, and the gradient of the compiled engine, weights of an own circuit included."""
    ours, compiled, inputs = both(circuit)
    measured = [backend.measure(inputs) for backend in (ours, compiled)]
    assert ours.get_state()["engine"] == "triton" and ours.kwargs["engine"] == "triton"
    assert (measured[0].expected_bits - measured[1].expected_bits).abs().max() < 2e-6
    assert measured[0].bits is not None and measured[1].bits is not None and th.equal(measured[0].bits, measured[1].bits)
    weights = th.randn(2, circuit.n_qubits, generator=th.Generator().manual_seed(1))
    gradients = []
    for backend in (ours, compiled):
        leaf = inputs.clone().requires_grad_()
        gradients.append(th.autograd.grad((backend.expected_bits(leaf) * weights).sum(), leaf)[0])
    assert gradients[1].abs().max() > 1e-2 and (gradients[0] - gradients[1]).abs().max() < 1e-5


def test_several_shots_and_more_rows_than_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_engine, "PROGRAMS", 2)
    ours, compiled, inputs = both(PaperCircuit(2, 1), rows=3)
    assert th.equal(ours.sample(inputs, shots=5), compiled.sample(inputs, shots=5))
    assert (ours.expected_bits(inputs) - compiled.expected_bits(inputs)).abs().max() < 2e-6
    leaf, weights = inputs.clone().requires_grad_(), th.tensor([[1.0, -2.0]]).expand(3, 2)
    assert (ours._fused.gradient(leaf, weights) - compiled._split_gradient(inputs, weights)).abs().max() < 1e-5


def test_both_ways_to_fetch_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide circuits fetch real and imaginary parts one after the other."""
    monkeypatch.setattr(fused_engine, "PACKED_QUBITS", 0)
    ours, compiled, inputs = both(PaperCircuit(3, 2), rows=1)
    assert (ours.expected_bits(inputs) - compiled.expected_bits(inputs)).abs().max() < 2e-6


def test_derivatives_of_derivatives() -> None:
    circuit = PaperCircuit(2, 2)
    ours, _, inputs = both(circuit, rows=1)
    found = []
    for backend, leaf in ((ours, inputs.clone()), (StatevectorBackend(circuit, engine="torch"), inputs.double())):
        leaf.requires_grad_()
        (slope,) = th.autograd.grad(backend.expected_bits(leaf).sum(), leaf, create_graph=True)
        found.append(th.autograd.grad(slope.square().sum(), leaf)[0])
    assert found[1].abs().max() > 1e-2 and (found[0] - found[1]).abs().max() < 1e-5


def test_inputs_that_are_no_numbers() -> None:
    """Refused wherever they stand, also where they change nothing; and the next call is not refused for them."""
    ours, _, inputs = both(PaperCircuit(2, 1))
    for column, value in ((0, float("nan")), (5, float("inf"))):
        wrong = inputs.clone()
        wrong[1, column] = value
        with pytest.raises(ValueError, match="finite"):
            ours.expected_bits(wrong)
    assert th.isfinite(ours.expected_bits(inputs)).all()
    assert ours.expected_bits(inputs[:0]).shape == (0, 2)


def test_torch_steps_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """For double precision, for graphs, for wide circuits and on a CPU without the interpreter."""
    backend = StatevectorBackend(PaperCircuit(2, 1), engine="triton")
    backend.expected_bits(th.zeros(1, 6, dtype=th.float64))
    assert backend.get_state()["engine"] == "torch"
    th.func.vmap(backend._recorded)(th.zeros(1, 1, 6))
    wide = StatevectorBackend(PaperCircuit(15, 1), engine="triton")
    assert wide._choose(th.zeros(1, 32)) == "torch"
    monkeypatch.delenv("TRITON_INTERPRET")
    assert backend._choose(th.zeros(1, 6)) == "torch"
    assert StatevectorBackend(PaperCircuit(2, 1))._choose(th.zeros(1, 6)) == "split"
