"""The benchmark's witness, which simulates an output with the qubits in its past only, against the simulator."""

from pathlib import Path

import pytest
import torch as th

from sb3_quantum.backends import StatevectorBackend


@pytest.mark.parametrize("kind, n_cz", [("free", 1), ("matching", 2), ("bricks", 2)])
def test_the_witness_is_exact(kind: str, n_cz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from priors import exact_gradient, make_case

    circuit, inputs, pairs = make_case(5, 4, n_cz, kind, 0.5, 3, 0)
    angles = circuit.split(inputs)[0].reshape(3, 4, 5, 2)
    weights = th.randn(3, 2, generator=th.Generator().manual_seed(0))
    values, gradient = exact_gradient(angles, pairs, [1, 3], weights)
    leaf = inputs.clone().requires_grad_(True)
    z = 1 - 2 * StatevectorBackend(circuit).expected_bits(leaf)[:, [1, 3]]
    (theirs,) = th.autograd.grad((z * weights).sum(), leaf)
    assert th.allclose(values, z, atol=1e-5)
    assert th.allclose(gradient.flatten(1), circuit.split(theirs)[0], atol=1e-5)
