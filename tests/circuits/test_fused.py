"""
The kernels for GPUs in Triton's interpreter, which runs the same code on a CPU (conftest.py asks for it where there is no
GPU); and when they are used.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch as th

from sb3_quantum.circuits import PaperCircuit, fused, mean_field_bits
from sb3_quantum.circuits.mean_field import in_torch, mean_field_features

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(not fused.is_interpreted(), reason="a GPU is here, and with it Triton's compiler")
ROOT = Path(__file__).parents[2]


def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernels take what the loops for CPUs take otherwise."""
    from sb3_quantum.circuits import mean_field

    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    monkeypatch.setattr(fused, "_compiles", lambda device: True)
    monkeypatch.setattr(mean_field, "_is_compiled", lambda inputs: False)


@pytest.mark.parametrize("n_qubits, n_layers, margin", [(3, 3, 1e-4), (1, 1, 0.0), (5, 2, 0.0)])
def test_features_and_their_derivative(n_qubits: int, n_layers: int, margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch's operations in double precision: partners that are one qubit, indices at ties and far out of range."""
    on_cpu(monkeypatch)
    circuit = PaperCircuit(n_qubits, n_layers)
    inputs = 3 * th.randn(3, circuit.n_inputs, generator=th.Generator().manual_seed(n_qubits))
    columns = th.from_numpy(circuit.index_columns)
    inputs[0, columns] = th.tensor([0.5, 1.5, 2.5, -0.5, 7.0, 1e6])[: len(columns)]
    inputs[1, columns] = 2.0
    # Not contiguous, as a slice of a network's outputs is
    single = th.cat([inputs, inputs], dim=1)[:, : circuit.n_inputs].requires_grad_()
    double = inputs.double().requires_grad_()
    ours, theirs = mean_field_features(circuit, single, margin), in_torch(circuit, double, margin)
    assert type(ours.grad_fn).__name__ == "FusedFeaturesBackward"
    # A cosine of 2e6 radians is what single precision makes of it
    assert (ours - theirs)[1:].abs().max() < 5e-6 and (ours - theirs)[0, 2 * circuit.n_inputs :].abs().max() < 5e-6
    weights = th.randn(ours.shape, generator=th.Generator().manual_seed(0))
    (mine,) = th.autograd.grad((ours * weights).sum(), single)
    (wanted,) = th.autograd.grad((theirs * weights.double()).sum(), double)
    angles = th.from_numpy(circuit.angle_columns)
    assert (mine - wanted)[1:].abs().max() < 1e-5 and (mine - wanted)[:, angles].abs().max() < 1e-5
    assert th.equal(mean_field_features(circuit, single.detach(), margin), ours.detach())


def test_features_are_differentiable_again(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(monkeypatch)
    circuit = PaperCircuit(2, 2)
    found = []
    for inputs in (th.linspace(-2, 2, 12)[None], th.linspace(-2, 2, 12, dtype=th.float64)[None]):
        inputs.requires_grad_()
        (slope,) = th.autograd.grad(mean_field_bits(circuit, inputs).sum(), inputs, create_graph=True)
        found.append(th.autograd.grad(slope.square().sum(), inputs)[0])
    assert found[0].abs().max() > 0.1 and (found[0] - found[1]).abs().max() < 1e-5
    assert mean_field_features(circuit, th.zeros(0, 12), 1e-4).shape == (0, 26)


def test_where_the_kernels_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU in single precision and outside of graphs; on a CPU only if both interpreter and engine are asked for."""
    tensor = th.zeros(1, 1)
    assert not fused.is_fused(tensor) and not fused._compiles(tensor.device)
    assert fused.has_room(tensor, 3, named=True) and not fused.has_room(tensor, 3, named=False)
    assert not fused.has_room(tensor.double(), 3, named=True) and not fused.has_room(tensor, 15, named=True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not fused.has_room(tensor, 3, named=True)
    on_cpu(monkeypatch)
    assert fused.is_fused(tensor) and not fused.is_fused(tensor.double())
    seen = []
    th.func.vmap(lambda row: seen.append(fused.is_fused(row)) or row)(tensor)  # type: ignore[func-returns-value]
    assert seen == [False]


def test_torch_steps_in_where_triton_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C compiler, say: a warning, once, and torch's operations."""

    def broken(device: th.device) -> bool:
        raise RuntimeError("Failed to find C compiler")

    from sb3_quantum.circuits import fused_trial

    device = th.device("cuda")
    capability: list[Any] = [(9, 0)]
    monkeypatch.setattr(th.cuda, "get_device_capability", lambda device: capability[0])
    monkeypatch.setattr(fused_trial, "works", broken)
    compiles = fused._compiles.__wrapped__
    with pytest.warns(UserWarning, match=r"cannot compile for cuda \(RuntimeError: Failed to find C compiler\)"):
        assert not compiles(device)
    monkeypatch.setattr(fused_trial, "works", lambda device: True)
    assert compiles(device)
    capability[0] = (7, 5)
    assert not compiles(device)
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    assert not compiles(device)


def test_the_smallest_kernel_works() -> None:
    from sb3_quantum.circuits import fused_trial

    assert fused_trial.works(th.device("cpu"))


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu() -> None:
    """To machine code, without one: what the interpreter runs, the compiler may refuse."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile_kernels", "--qubits", "10", "--capability", "8.0"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("capability 8.0") == 4 + 5
