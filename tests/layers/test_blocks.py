"""The blocks in the circuit's place: their outputs and the quality of their gradients."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit, make_circuit, mean_field_bits
from sb3_quantum.circuits.program import Gate, Program
from sb3_quantum.layers import BLOCKS, BernoulliBlock, Block, FCBlock, MeanFieldBlock, QuantumLayer, RMSEncoding, make_block
from sb3_quantum.qtd3.critics import CategoricalCritic, CrossQCritic, TwinCritic, check_critic

ANSATZ = PaperCircuit(4, 3)
#: probability of a false alarm of each test that draws, at its fixed seed: five standard deviations
SIGMAS = 5


def inputs(rows: int, circuit: Any = ANSATZ) -> th.Tensor:
    return 2 * th.randn(rows, circuit.n_inputs, generator=th.Generator().manual_seed(0))


def test_mean_field_is_the_product_state() -> None:
    block = make_block("mean_field", ANSATZ)
    x = inputs(5).requires_grad_(True)
    bits = block(x, "mean")
    th.testing.assert_close(bits, mean_field_bits(ANSATZ, x))
    assert th.equal(bits, block.surrogate(x)) and not list(block.parameters())
    assert th.equal(block(x, "majority"), (bits > 0.5).float())
    (theirs,) = th.autograd.grad(mean_field_bits(ANSATZ, x).square().sum(), x)
    (ours,) = th.autograd.grad(block.surrogate(x).square().sum(), x)
    assert th.equal(ours, theirs)


@pytest.mark.parametrize("circuit", [PaperCircuit(4, 3, n_cz=0), make_circuit("brickwork", 4, 1)])
def test_mean_field_is_exact_without_entanglement(circuit: Any) -> None:
    """A layer of brickwork ends in gates that no measurement sees."""
    x = inputs(5, circuit)
    exact = StatevectorBackend(circuit).expected_bits(x)
    th.testing.assert_close(make_block("mean_field", circuit)(x, "mean"), exact, atol=2e-6, rtol=0)


def test_mean_fields_sampled_bits_are_independent_and_straight_through() -> None:
    block = make_block("mean_field", ANSATZ)
    block.seed(0)
    n = 20_000
    x = inputs(1).expand(n, -1).clone().requires_grad_(True)
    bits = block(x, "sample")
    mean = block(x[:1], "mean")[0].detach()
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    deviation = (mean * (1 - mean) / n).sqrt()
    assert bool(((bits.mean(0) - mean).abs() < SIGMAS * deviation).all())
    centred = (bits - mean).detach()
    covariance = centred.T @ centred / n
    bound = SIGMAS * n**0.5 * deviation[:, None] * deviation[None, :]
    assert bool((covariance.fill_diagonal_(0).abs() < bound).all())
    (ours,) = th.autograd.grad(bits.sum(), x)
    (theirs,) = th.autograd.grad(block.surrogate(x).sum(), x)
    assert th.equal(ours, theirs)


def test_mean_field_refuses_what_it_does_not_know() -> None:
    class Swapped(PaperCircuit):
        @property
        def program(self) -> Program:  # type: ignore[override]
            return Program(self.n_qubits, (Gate("swap", (0, 1)), Gate("ccx", (0, 1))), 0, 0, (2,))

    with pytest.raises(ValueError, match=r"block='mean_field' does not fit .*but the circuit has ccx, swap"):
        make_block("mean_field", Swapped(3, 1))
    bad = inputs(2)
    bad[1, 3] = math.nan
    with pytest.raises(ValueError, match="circuit inputs must be finite, got nan for phi of qubit 1 in circuit layer 0"):
        make_block("mean_field", ANSATZ)(bad, "sample")
    with pytest.raises(ValueError, match=r"circuit inputs must have the shape \(batch, 30\)"):
        make_block("mean_field", ANSATZ).surrogate(bad[:, 1:])


def test_mean_field_in_a_graph() -> None:
    block = make_block("mean_field", ANSATZ)
    traced = th.jit.trace(lambda z: block(z, "mean"), inputs(2), check_trace=False)
    th.testing.assert_close(traced(inputs(7)), block(inputs(7), "mean"))
    with pytest.raises(RuntimeError, match="random bits of numpy cannot be part of a traced"):
        th.jit.trace(lambda z: block(z, "sample"), inputs(2))


def test_bernoulli_is_a_linear_layer_with_random_bits() -> None:
    th.manual_seed(0)
    block = BernoulliBlock(ANSATZ)
    x = inputs(3)
    mean = th.sigmoid(block.linear(x))
    assert th.equal(block(x, "mean"), mean) and th.equal(block(x, "majority"), (mean > 0.5).float())
    n = 20_000
    many = x[:1].expand(n, -1)
    deviation = (mean[0] * (1 - mean[0]) / n).sqrt()
    for bits in (block(many, "sample"), block.surrogate(many)):
        assert set(bits.unique().tolist()) == {0.0, 1.0}
        assert bool(((bits.mean(0) - mean[0]).abs() < SIGMAS * deviation).all())
    block.readout = "mean"
    assert th.equal(block.surrogate(x), mean) and block.claim == "exact"


def bitstrings(n: int) -> th.Tensor:
    return (th.arange(2**n)[:, None] >> th.arange(n) & 1).double()


def losses(generator: th.Generator) -> dict[str, nn.Module]:
    """Linear, quadratic and neither in each bit; a critic is of the third kind."""

    class Form(nn.Module):
        def __init__(self, squared: float):
            super().__init__()
            self.w, self.m = th.randn(4, generator=generator).double(), th.randn(4, 4, generator=generator).double()
            self.squared = squared

        def forward(self, bits: th.Tensor) -> th.Tensor:
            return bits @ self.w + self.squared * ((bits - 0.3) @ self.m * (bits - 0.3)).sum(1)

    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)).double()
    with th.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.7 * th.randn(parameter.shape, generator=generator))
    return {"linear": Form(0.0), "quadratic": Form(1.0), "network": network}


def estimates(estimator: str, loss: nn.Module, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients at the block's logits: draws of the block, its expectation and the exact one, by enumeration of bitstrings."""
    th.manual_seed(1)
    block = BernoulliBlock(PaperCircuit(4, 1), estimator).double()
    row = inputs(1, block.ansatz).double()
    logits = block.linear(row).detach()
    # The gradient at the logits is that at the bias, row by row: the inputs see it through the weights
    x = row.expand(n, -1).clone().requires_grad_(True)
    (at_inputs,) = th.autograd.grad(loss(block.surrogate(x)).sum(), x)
    drawn = th.linalg.lstsq(block.linear.weight.detach().T, at_inputs.T).solution.T
    p = th.sigmoid(logits)[0]
    strings = bitstrings(4)
    probabilities = (strings * p + (1 - strings) * (1 - p)).prod(1)
    leaf = strings.clone().requires_grad_(True)
    (slopes,) = th.autograd.grad(loss(leaf).sum(), leaf)
    factor = p * (1 - p) if estimator == "straight_through" else (strings - p).abs() / 2
    expected = (probabilities[:, None] * slopes * factor).sum(0)
    exact = (probabilities[:, None] * loss(strings).detach()[:, None] * (strings - p)).sum(0)
    return drawn.numpy(), expected.numpy(), exact.numpy()


def test_estimators_bias_and_variance() -> None:
    """
    Against the exact gradient of the expected loss, from all 16 bitstrings. Means of 40,000 draws lie within five standard
    deviations of what enumeration says they should be: 24 comparisons, a false-alarm rate of 1.4e-5 together (the seed is
    fixed). The biases themselves are enumerated and have no error.
    """
    n, bias, spread = 40_000, {}, {}
    for name, loss in losses(th.Generator().manual_seed(2)).items():
        for estimator in ("straight_through", "zgr"):
            drawn, expected, exact = estimates(estimator, loss, n)
            deviation = drawn.std(0) / math.sqrt(n)
            assert np.all(np.abs(drawn.mean(0) - expected) < SIGMAS * deviation + 1e-12), (name, estimator)
            bias[name, estimator] = float(np.linalg.norm(expected - exact) / np.linalg.norm(exact))
            spread[name, estimator] = float(np.linalg.norm(drawn.std(0)) / np.linalg.norm(exact))
    assert bias["linear", "straight_through"] < 1e-12 and spread["linear", "straight_through"] < 1e-12
    assert bias["linear", "zgr"] < 1e-12 and bias["quadratic", "zgr"] < 1e-12
    assert bias["quadratic", "straight_through"] > 0.1
    assert bias["network", "zgr"] < 0.6 * bias["network", "straight_through"]
    # What the smaller bias costs
    assert spread["linear", "zgr"] > 0.05


def test_acting_bits_have_the_estimators_gradient_too() -> None:
    block = BernoulliBlock(ANSATZ, "zgr")
    x = inputs(50).requires_grad_(True)
    bits, logits = block(x, "sample"), block.linear(x)
    slope = ((bits - th.sigmoid(logits)).abs() / 2).detach()
    (ours,) = th.autograd.grad(bits.sum(), x, retain_graph=True)
    (theirs,) = th.autograd.grad((slope * logits).sum(), x)
    th.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: make_block("bernouli", ANSATZ), ValueError, "block='bernouli' is unknown.*did you mean 'bernoulli'"),
        (lambda: make_block("bernoulli", ANSATZ, {"estimater": "zgr"}), ValueError, "did you mean 'estimator'"),
        (lambda: make_block("bernoulli", ANSATZ, {"estimator": "zrg"}), ValueError, "estimator='zrg' is.*did you mean 'zgr'"),
        (lambda: make_block("fc", ANSATZ, {"width": 3}), ValueError, "block_kwargs of block='fc': 'width' is unknown"),
        (lambda: make_block("fc", ANSATZ, 3), ValueError, "block_kwargs must be a dictionary"),
        (
            lambda: make_block("pqc", ANSATZ, {"gradient": "x"}),
            ValueError,
            "'gradient' is unknown, it belongs into policy_kwargs",
        ),
        (lambda: make_block(3, ANSATZ), ValueError, "block must be one of 'pqc'.* or a subclass of Block"),
        (lambda: make_block(nn.Linear, ANSATZ), ValueError, "or a subclass of Block with a name, or an instance"),
        (lambda: make_block(Block, ANSATZ), ValueError, "or a subclass of Block with a name, or an instance"),
        (lambda: make_block(QuantumLayer(3, 2), ANSATZ), ValueError, "block='pqc' must be given by name"),
        (lambda: make_block(FCBlock(PaperCircuit(3, 2)), ANSATZ), ValueError, "block='fc' has 16 inputs, and .* has 30"),
        (
            lambda: make_block(FCBlock(ANSATZ), ANSATZ, {"width": 3}),
            ValueError,
            "need the name of a block, but block is an",
        ),
        (lambda: BernoulliBlock(ANSATZ, estimators="zgr"), TypeError, "BernoulliBlock: 'estimators' is unknown, did you mean"),
        (lambda: MeanFieldBlock(ANSATZ, n_cz=1), TypeError, "MeanFieldBlock: 'n_cz' is unknown"),
        # The same hint everywhere
        (lambda: RMSEncoding(ANSATZ, angel_scale=1), TypeError, "RMSEncoding: 'angel_scale' is unknown, did you mean 'angle_"),
        (lambda: check_critic("twni", None), ValueError, "critic='twni' is unknown.*did you mean 'twin'"),
        (lambda: check_critic("crossq", {"momentun": 1}), ValueError, "critic_kwargs has 'momentun'.*did you mean 'momentum'"),
        (lambda: TwinCritic(layer_nrom=True), TypeError, "TwinCritic: 'layer_nrom' is unknown, did you mean 'layer_norm'"),
        (lambda: CrossQCritic(normaliser=None), TypeError, "CrossQCritic: 'normaliser' is unknown, did you mean 'normalizer'"),
        (
            lambda: CategoricalCritic(momentun=1),
            TypeError,
            "CategoricalCritic: 'momentun' is unknown, did you mean 'momentum'",
        ),
    ],
)
def test_names_and_what_was_meant(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_makers_make_every_block() -> None:
    for name, kind in BLOCKS.items():
        made = make_block(name, ANSATZ, readout="mean")
        assert type(made) is kind and made.readout == "mean" and made.name == name
        assert (made.n_inputs, made.n_outputs) == (ANSATZ.n_inputs, 4)
    given = BernoulliBlock(ANSATZ)
    made = make_block(given, ANSATZ)
    assert made is not given and th.equal(made(inputs(3), "mean"), given(inputs(3), "mean"))
