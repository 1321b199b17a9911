"""The cumulant expansion's kernel for GPUs, in Triton's interpreter, against torch's operations in double precision."""

import numpy as np
import pytest
import torch as th

from sb3_quantum.circuits import fused
from sb3_quantum.circuits.program import Gate, Program
from sb3_quantum.priors import CumulantExpansion
from tests.backends.test_split import random_program

pytest.importorskip("triton")
from sb3_quantum.priors.fused_cumulants import FusedExpansion

pytestmark = pytest.mark.skipif(not fused.is_interpreted(), reason="a GPU is here, and with it Triton's compiler")


def correlated() -> Program:
    """Three qubits that meet again and again: by a CZ, by an RZZ, and by a CZ whose qubits every row chooses."""
    gates: list[Gate] = []
    for number, meeting in enumerate([Gate("cz", (0, 1)), Gate("rzz", (2, 1), (24,)), Gate("cz", choice=0)]):
        gates += [Gate("r", (qubit,), (6 * number + 2 * qubit, 6 * number + 2 * qubit + 1)) for qubit in range(3)]
        gates.append(meeting)
    gates += [Gate("ry", (qubit,), (18 + qubit,)) for qubit in range(3)]
    return Program(3, tuple(gates), 25, 1)


@pytest.mark.parametrize("order, program", [(1, random_program(3, 8, 3)), (2, correlated()), (2, random_program(2, 6, 1))])
def test_values_and_derivatives(order: int, program: Program) -> None:
    expansion = CumulantExpansion(program, order)
    rng = np.random.default_rng(0)
    angles = th.from_numpy(1.5 * rng.normal(size=(1, program.n_angles)))
    choices = th.tensor([[[0, 2]] * program.n_choices], dtype=th.long).reshape(1, -1, 2)
    weights = th.from_numpy(rng.normal(size=(1, program.n_qubits)))
    single, double = angles.float().requires_grad_(), angles.clone().requires_grad_()
    ours, theirs = FusedExpansion.apply(single, choices, expansion), expansion.in_torch(double, choices)
    assert (ours - theirs).abs().max() < 2e-6
    (mine,) = th.autograd.grad((ours * weights).sum(), single)
    (wanted,) = th.autograd.grad((theirs * weights).sum(), double)
    assert wanted.abs().max() > 0.1 and (mine - wanted).abs().max() < 5e-6
    if order == 2 and program.n_qubits > 2:  # or nothing but the mean field was seen
        assert (theirs - CumulantExpansion(program, 1).in_torch(angles, choices)).abs().max() > 0.02


def test_derivatives_of_derivatives_and_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    expansion = CumulantExpansion(Program(2, (Gate("rx", (0,), (0,)), Gate("cz", (0, 1)), Gate("ry", (0,), (1,))), 2), 2)
    choices, found = th.zeros(1, 0, 2, dtype=th.long), []
    for function in (lambda x: FusedExpansion.apply(x, choices, expansion), lambda x: expansion.in_torch(x, choices)):
        angles = th.tensor([[0.7, -1.1]], requires_grad=True)
        (slope,) = th.autograd.grad(function(angles).sum(), angles, create_graph=True)
        found.append(th.autograd.grad(slope.square().sum(), angles)[0])
    assert found[1].abs().max() > 0.1 and th.allclose(*found, atol=1e-5)
    assert FusedExpansion.apply(th.zeros(0, 2), choices[:0], expansion).shape == (0, 2)
    # The expansion takes it where tensors are worked with by kernels
    monkeypatch.setattr("sb3_quantum.priors.cumulants.is_fused", lambda angles: angles.dtype == th.float32)
    monkeypatch.setattr("sb3_quantum.priors.cumulants.in_graph", lambda angles: True)
    taken = expansion(th.zeros(1, 2, requires_grad=True), choices)
    assert type(taken.grad_fn).__name__ == "FusedExpansionBackward"
