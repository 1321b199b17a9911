import copy
import math

import numpy as np
import pytest
import torch as th

from sb3_quantum.backends import Measurement
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.layers import QtDNN, RMSEncoding, make_block, make_encoding, read

ANSATZ = PaperCircuit(4, 3)


def test_rms_encoding_bounds_the_spread_of_angles() -> None:
    encoding = RMSEncoding(ANSATZ, angle_scale=0.3, index_scale=0.7)
    for size in (0.1, 1.0, 1e6):
        angles, indices = ANSATZ.split(encoding(size * th.randn(50, ANSATZ.n_inputs)))
        assert th.allclose((angles - encoding.angle_bias).square().mean(1).sqrt(), th.tensor(0.3), rtol=1e-2)
        assert th.allclose((indices - encoding.index_bias).square().mean(1).sqrt(), th.tensor(0.7), rtol=1e-2)


def test_rms_encoding_starts_as_said() -> None:
    ansatz = PaperCircuit(10, 10)
    encoding = RMSEncoding(ansatz, bias_range=1.0)
    angles, indices = encoding.angle_bias.detach(), encoding.index_bias.detach()
    assert 0.9 < float(angles.abs().max()) <= 1.0
    assert 0 <= float(indices.min()) and 8 < float(indices.max()) < 10
    assert {name for name, parameter in encoding.named_parameters() if parameter.requires_grad} == {"angle_bias", "index_bias"}


def test_rms_encoding_survives_huge_and_zero_outputs() -> None:
    encoding = RMSEncoding(ANSATZ)
    for size in (0.0, 1e30):
        assert bool(th.isfinite(encoding(th.full((2, ANSATZ.n_inputs), size))).all())


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (10, 10)])
def test_compiled_rms_encoding_equals_the_torch_path(shape: tuple[int, int]) -> None:
    """Values and gradients; in double precision torch's own operations run."""
    # Seeded: where a row's outputs are all close to zero the slopes are steep, and single precision says little
    th.manual_seed(0)
    ansatz = PaperCircuit(*shape)
    compiled = RMSEncoding(ansatz, angle_scale=0.3, index_scale=0.7, bias_range=1.0)
    in_torch = copy.deepcopy(compiled).double()
    outputs, weights = 3 * th.randn(20, ansatz.n_inputs), th.randn(20, ansatz.n_inputs)
    found = []
    for encoding, dtype in ((compiled, th.float32), (in_torch, th.float64)):
        leaf = outputs.to(dtype).requires_grad_(True)
        inputs = encoding(leaf)
        grads = th.autograd.grad((inputs * weights).sum(), [leaf, encoding.angle_bias, encoding.index_bias])
        found.append([inputs.detach(), *grads])
    for ours, reference in zip(*found, strict=True):
        assert ours.dtype == th.float32 and reference.dtype == th.float64
        assert th.allclose(ours.double(), reference, atol=1e-4, rtol=1e-4)


def test_raw_encoding_changes_nothing() -> None:
    outputs = 100 * th.randn(3, ANSATZ.n_inputs)
    assert th.equal(make_encoding("raw", ANSATZ)(outputs), outputs)


@pytest.mark.parametrize(
    "kwargs", [{"angle_scale": 0}, {"index_scale": -1.0}, {"angle_scale": math.nan}, {"bias_range": -0.1}]
)
def test_encoding_arguments_are_checked(kwargs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        RMSEncoding(ANSATZ, **kwargs)


def test_unknown_encoding() -> None:
    with pytest.raises(ValueError, match="encoding='fourier' is unknown, accepted are 'raw', 'rms'"):
        make_encoding("fourier", ANSATZ)


@pytest.mark.parametrize("features", ["raw", "periodic"])
def test_qtdnn_is_as_periodic_as_the_circuit(features: str) -> None:
    qtdnn = QtDNN(ANSATZ, [8], features).double()
    inputs = th.randn(5, ANSATZ.n_inputs, dtype=th.float64)
    angles, indices = ANSATZ.split(inputs)
    turned = ANSATZ.join(angles + 2 * math.pi, indices - 3 * ANSATZ.n_qubits)
    assert th.allclose(qtdnn(inputs), qtdnn(turned))


def test_qtdnn_of_the_paper_has_its_sizes() -> None:
    qtdnn = QtDNN(PaperCircuit(10, 10), [2048], "raw", prior="none")
    assert [tuple(p.shape) for p in qtdnn.parameters()] == [(2048, 220), (2048,), (10, 2048), (10,)]


def test_readouts() -> None:
    measurement = Measurement(th.tensor([[1.0, 0.0, 1.0]]), th.tensor([[0.2, 0.5, 0.7]]))
    assert read(measurement, "sample").tolist() == [[1, 0, 1]]
    assert read(measurement, "majority").tolist() == [[0, 0, 1]]
    assert read(measurement, "mean") is measurement.expected_bits


def test_fc_is_linear_and_differentiable() -> None:
    block = make_block("fc", ANSATZ)
    inputs = th.randn(5, ANSATZ.n_inputs, requires_grad=True)
    assert th.equal(block(inputs, "sample"), block.surrogate(inputs))
    block.surrogate(inputs).sum().backward()
    assert inputs.grad is not None and bool((inputs.grad != 0).all())
    assert sum(p.numel() for p in block.parameters()) == ANSATZ.n_inputs * 4 + 4


def test_rbg_knows_nothing_of_its_inputs() -> None:
    """Uniform bits: 40,000 of them within five standard deviations of a half (false-alarm rate 6e-7 at this fixed seed)."""
    th.manual_seed(0)
    block = make_block("rbg", ANSATZ)
    inputs = th.randn(10_000, ANSATZ.n_inputs, requires_grad=True)
    for bits in (block(inputs, "sample"), block.surrogate(inputs)):
        assert set(bits.unique().tolist()) == {0.0, 1.0}
        assert abs(float(bits.mean()) - 0.5) < 5 * 0.5 / math.sqrt(40_000)
        assert not bits.requires_grad
    seeded = [block(inputs, "sample", np.random.default_rng(1)) for _ in range(2)]
    assert th.equal(*seeded)
    assert th.equal(block(inputs, "mean"), th.full((10_000, 4), 0.5))
    assert th.equal(block(inputs, "majority"), th.zeros(10_000, 4))


def test_zeros_are_zeros() -> None:
    block = make_block("zeros", ANSATZ)
    assert not block(th.randn(3, ANSATZ.n_inputs), "sample").any() and not block.surrogate(th.randn(3, ANSATZ.n_inputs)).any()
    assert not list(block.parameters())
