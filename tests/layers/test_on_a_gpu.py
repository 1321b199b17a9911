"""The kernels as Triton compiles them, against the loops for CPUs. It needs a GPU."""

import pytest
import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit, mean_field_features
from sb3_quantum.layers.encoding import RMSEncoding

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("n_qubits", [1, 5, 10, 13])
def test_kernels_agree_with_the_cpu(n_qubits: int) -> None:
    th.manual_seed(n_qubits)
    circuit = PaperCircuit(n_qubits, 4)
    inputs = 3 * th.randn(300, circuit.n_inputs)
    encoding = RMSEncoding(circuit, bias_range=0.3)
    found = []
    for device in ("cpu", "cuda"):
        backend = StatevectorBackend(circuit, seed=0)
        encoding.to(device).zero_grad()
        leaf = inputs.to(device).requires_grad_()
        encoded = encoding.encode(leaf)
        outputs = [backend.expected_bits(encoded), mean_field_features(circuit, encoded, 1e-4), encoded]
        slopes = [th.autograd.grad(x.sin().sum(), [leaf, *encoding.parameters()], retain_graph=True) for x in outputs]
        bits = backend.sample(encoded.detach(), shots=3)
        found.append([x.detach().cpu() for x in (*outputs, *sum(slopes, ()), bits)])
        assert backend.get_state()["engine"] == ("split" if device == "cpu" else "triton")
    *cpu, bits = found[0]
    *gpu, drawn = found[1]
    for one, other in zip(cpu, gpu, strict=True):
        assert (one - other).abs().max() <= 2e-5 * (1 + one.abs().max())
    assert (bits != drawn).float().mean() < 1e-3
