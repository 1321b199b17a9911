"""Updates that see bits drawn from the surrogate: the estimator, what the PostDNN gets, and who may ask for it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.layers.readout import draw_bits
from tests.envs import SMALL


def loss(bits: th.Tensor, matrix: th.Tensor) -> th.Tensor:
    """Quadratic in each bit, and not separable."""
    return th.einsum("bi,ij,bj->b", bits, matrix, bits) + bits @ matrix[0]


def test_the_estimator_is_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean over all patterns of bits, weighted by their probabilities, against the derivative of the expected loss."""
    n = 4
    p = th.tensor([0.5, 0.03, 0.8, 0.999], dtype=th.float64)
    matrix = th.randn(n, n, dtype=th.float64, generator=th.Generator().manual_seed(0))
    patterns = th.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=th.float64)
    monkeypatch.setattr(th, "bernoulli", lambda _: patterns)
    leaf = p.expand(len(patterns), n).clone().requires_grad_(True)
    bits = draw_bits(leaf)
    assert th.equal(bits.detach(), patterns)
    weights = th.where(patterns > 0, p, 1 - p).prod(1)
    (found,) = th.autograd.grad((weights * loss(bits, matrix)).sum(), leaf)
    exact = p.clone().requires_grad_(True)
    expected = (th.where(patterns > 0, exact, 1 - exact).prod(1) * loss(patterns, matrix)).sum()
    (right,) = th.autograd.grad(expected, exact)
    assert th.allclose(found.sum(0), right, rtol=1e-10)


def test_bits_come_from_torchs_generator() -> None:
    """Frequencies of 20,000 draws: with other seeds, a false alarm in 1 of 5,000 runs (three bits, 4 standard errors)."""
    p = th.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    draws = [(th.manual_seed(3), draw_bits(p.expand(20_000, 5)))[1] for _ in range(2)]
    assert th.equal(*draws) and not draws[0].requires_grad
    assert ((draws[0].mean(0) - p).abs() <= 4 * (p * (1 - p) / 20_000).sqrt()).all()
    # Certain bits: finite derivatives, whatever half the precision rounds to
    for dtype in (th.float32, th.bfloat16):
        certain = th.tensor([[0.0, 1.0]], dtype=dtype, requires_grad=True)
        bits = draw_bits(certain)
        assert bits.tolist() == [[0.0, 1.0]] and th.autograd.grad(bits.sum(), certain)[0].tolist() == [[0.5, 0.5]]


def model(**kwargs: Any) -> QuantumTD3:
    settings = dict(learning_starts=20, batch_size=8, buffer_size=200, seed=0, device="cpu")
    return QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs={**SMALL, **kwargs}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("block", ["pqc", "mean_field"])
def test_what_the_postdnn_sees(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = model(block=block, readout="sample", surrogate_readout="sample", actor_average_tau=0.1)
    before = [parameter.clone() for parameter in trained.actor.pre.parameters()]
    seen: list[th.Tensor] = []
    decode = type(trained.actor).decode
    monkeypatch.setattr(
        type(trained.actor), "decode", lambda self, outputs, links: seen.append(outputs) or decode(self, outputs, links)
    )
    trained.learn(40)
    # Acting (one row) and updating, actor and target actor alike
    assert {len(outputs) for outputs in seen} == {1, 8}
    assert all(((outputs == 0) | (outputs == 1)).all() for outputs in seen)
    assert any(not th.equal(old, new) for old, new in zip(before, trained.actor.pre.parameters(), strict=True))
    other = model(block=block, readout="sample")
    seen.clear()
    other.learn(40)
    updates = [outputs for outputs in seen if len(outputs) == 8]
    assert updates and not any(((outputs == 0) | (outputs == 1)).any() for outputs in updates)


def test_it_is_saved(tmp_path: Path) -> None:
    trained = model(readout="sample", surrogate_readout="sample").learn(30)
    trained.save(tmp_path / "model")
    save_safe(trained, tmp_path / "safe")
    for loaded in (QuantumTD3.load(tmp_path / "model"), load_safe(tmp_path / "safe")):
        for actor in (loaded.policy.actor, loaded.policy.actor_target):
            assert actor.surrogate_readout == "sample"
    assert model().actor.surrogate_readout == "mean"


@pytest.mark.parametrize("block", ["fc", "rbg", "zeros", "bernoulli"])
def test_blocks_without_expected_bits_refuse(block: str) -> None:
    with pytest.raises(ValueError, match=f"of these blocks have: 'pqc', 'mean_field'; got block='{block}'"):
        model(block=block, readout="sample", surrogate_readout="sample")


@pytest.mark.parametrize("readout", ["mean", "majority"])
def test_policies_that_do_not_act_on_bits_refuse(readout: str) -> None:
    with pytest.raises(ValueError, match=f"a policy that acts on bits, readout='sample', got readout='{readout}'"):
        model(readout=readout, surrogate_readout="sample")
