"""The rms encoding's kernel for GPUs, in Triton's interpreter, against the compiled loops."""

import pytest
import torch as th

from sb3_quantum.circuits import Circuit, PaperCircuit
from sb3_quantum.circuits.fused import is_interpreted
from sb3_quantum.layers.encoding import RMSEncoding
from tests.qtd3.test_circuits import mine

pytest.importorskip("triton")
from sb3_quantum.layers.encoding_kernel import FusedRMS

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="a GPU is here, and with it Triton's compiler")


def fused(encoding: RMSEncoding, outputs: th.Tensor) -> th.Tensor:
    return FusedRMS.apply(outputs, encoding.angle_bias, encoding.index_bias, encoding)


@pytest.mark.parametrize("circuit", [PaperCircuit(3, 2), PaperCircuit(2, 1, n_cz=0), mine()], ids=str)
def test_values_and_derivatives(circuit: Circuit) -> None:
    """Rows in the middle of a wider tensor, some of them so large that single precision has no square of them."""
    th.manual_seed(0)
    encoding = RMSEncoding(circuit, bias_range=0.3)
    outputs = th.randn(4, circuit.n_data + 5)
    outputs[1:3] *= th.tensor([[1e25], [1e-20]])
    outputs = outputs[:, 2 : 2 + circuit.n_data].detach().requires_grad_()
    leaves = [outputs, encoding.angle_bias, encoding.index_bias]
    ours, wanted = fused(encoding, outputs), encoding.encode(outputs)
    assert type(wanted.grad_fn).__name__ == "_CompiledRMSBackward"
    assert (ours - wanted).abs().max() < 1e-6
    weights = th.randn(ours.shape)
    mine_, theirs = (th.autograd.grad((x * weights).sum(), leaves, allow_unused=True) for x in (ours, wanted))
    for one, other in zip(mine_, theirs, strict=True):
        if other is not None and other.numel():
            assert ((one - other).abs() <= 3e-6 * other.abs().amax(-1, keepdim=True)).all()


def test_derivatives_of_derivatives() -> None:
    th.manual_seed(0)
    encoding = RMSEncoding(PaperCircuit(2, 1), bias_range=0.3)
    outputs = th.randn(2, 6, requires_grad=True)
    found = []
    for encode in (lambda x: fused(encoding, x), encoding.encode):
        (slope,) = th.autograd.grad(encode(outputs).pow(3).sum(), outputs, create_graph=True)
        found.append(th.autograd.grad(slope.square().sum(), [outputs, encoding.angle_bias, encoding.index_bias]))
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 0 and th.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_only_what_is_asked_for() -> None:
    encoding = RMSEncoding(PaperCircuit(2, 1))
    encoding.requires_grad_(False)
    outputs = th.randn(2, 6, requires_grad=True)
    fused(encoding, outputs).sum().backward()
    assert outputs.grad is not None and encoding.angle_bias.grad is None
    encoding.requires_grad_(True)
    fused(encoding, outputs.detach()).sum().backward()
    assert encoding.angle_bias.grad is not None and encoding.angle_bias.grad.tolist() == [2.0] * 4
    assert fused(encoding, th.zeros(0, 6)).shape == (0, 6)
