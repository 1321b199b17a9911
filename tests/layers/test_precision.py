"""Half precision, autocast, empty batches and arguments of the wrong kind."""

from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_quantum import QuantumLayer
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.layers import FCBlock, QtDNN, RBGBlock, RMSEncoding, ZerosBlock, make_block, make_encoding
from sb3_quantum.layers.encoding import _encode, _encode_backward

GRADIENTS = ("qtdnn", "exact", "parameter_shift", "spsa", "noise", "frozen")


def inputs(rows: int = 4) -> th.Tensor:
    return th.randn(rows, 16, generator=th.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_half_precision_is_single_precision_cast_back(gradient: str, dtype: th.dtype) -> None:
    layer = QuantumLayer(3, 2, seed=0, readout="mean", gradient=gradient)
    given = inputs().to(dtype).requires_grad_(True)
    found, surrogate = layer(given), layer.surrogate(given)
    assert found.dtype == surrogate.dtype == dtype
    assert th.equal(layer.measure(given).expected_bits, layer.measure(given.float()).expected_bits.to(dtype))
    assert th.equal(surrogate, layer.surrogate(given.float()).to(dtype))
    if gradient != "frozen":
        (slope,) = th.autograd.grad(found.float().sum(), given)
        assert slope.dtype == dtype and bool(th.isfinite(slope).all())
    assert layer.fit_surrogate(given).dtype == th.float32


@pytest.mark.parametrize(
    ("backend", "kwargs"), [("statevector", {}), ("statevector", {"engine": "torch"}), ("sampler", {"shots": 10})]
)
def test_autocast_changes_nothing_in_the_circuit(backend: str, kwargs: dict[str, Any]) -> None:
    one, other = (QuantumLayer(3, 2, seed=0, backend=backend, backend_kwargs=kwargs) for _ in range(2))
    other.load_state_dict(one.state_dict())
    given = inputs()
    with th.autocast("cpu", dtype=th.bfloat16):
        found = one(given), one.surrogate(given), one.measure(given).expected_bits, one.fit_surrogate(given)
    right = other(given), other.surrogate(given), other.measure(given).expected_bits, other.fit_surrogate(given)
    assert all(map(th.equal, found, right))


def test_a_network_under_autocast_learns() -> None:
    layer = QuantumLayer(3, 2, seed=0)
    net = nn.Sequential(nn.Linear(2, 16), RMSEncoding(PaperCircuit(3, 2)), layer, nn.Linear(3, 1))
    with th.autocast("cpu", dtype=th.bfloat16):
        loss = net(th.randn(4, 2)).float().sum()
    loss.backward()
    assert all(p.grad is not None and bool(th.isfinite(p.grad).all()) for p in net[0].parameters())


def test_inputs_and_qtdnn_of_different_precision() -> None:
    layer = QuantumLayer(3, 2, seed=0)
    assert layer.surrogate(inputs().double()).dtype == th.float64
    layer.fit_surrogate(inputs().double())
    assert layer.double().surrogate(inputs()).dtype == th.float32
    layer.fit_surrogate(inputs())


@pytest.mark.parametrize(
    ("backend", "gradient"), [*(("statevector", g) for g in GRADIENTS), *(("sampler", g) for g in GRADIENTS if g != "exact")]
)
def test_empty_batches(backend: str, gradient: str) -> None:
    layer = QuantumLayer(3, 2, seed=0, gradient=gradient, backend=backend)
    for dtype in (th.float32, th.float64, th.bfloat16):
        given = inputs(0).to(dtype).requires_grad_(True)
        outputs = layer(given)
        assert outputs.shape == (0, 3) and outputs.dtype == dtype
        if gradient != "frozen":
            outputs.sum().backward()
            assert given.grad is not None and given.grad.shape == given.shape
        assert layer.measure(given).expected_bits.shape == (0, 3)
        with pytest.raises(ValueError, match="inputs must have at least one row to fit the qtDNN to"):
            layer.fit_surrogate(given, gradient_steps=2, batch_size=2)


def test_numpys_numbers_are_numbers() -> None:
    layer = QuantumLayer(
        np.int64(3),  # type: ignore[arg-type]
        np.int32(2),  # type: ignore[arg-type]
        qtdnn_arch=np.array([8, 4]),  # type: ignore[arg-type]
        qtdnn_learning_rate=np.float32(1e-3),  # type: ignore[arg-type]
        seed=np.uint8(3),  # type: ignore[arg-type]
        backend_kwargs={"shots": np.int16(5), "max_circuits": np.int64(99)},
    )
    assert layer.ansatz == PaperCircuit(3, 2) and type(layer.ansatz.n_qubits) is int
    layer.fit_surrogate(inputs(), gradient_steps=np.int64(2), batch_size=np.int64(3))  # type: ignore[arg-type]
    assert RMSEncoding(PaperCircuit(3, 2), np.float32(0.5), np.int64(1), np.float64(0)).index_scale == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kwargs", "accepted"),
    [
        ({"n_qubits": 2.0}, "an integer >= 1"),
        ({"n_layers": True}, "an integer >= 1"),
        ({"backend": ["statevector"]}, "accepted are 'statevector'"),
        ({"backend_kwargs": [1]}, "a dictionary of keyword arguments"),
        ({"backend_kwargs": {"colour": 1}}, "do not fit the backend 'statevector'"),
        ({"backend_kwargs": {"shot": 1}}, "did you mean 'shots'?"),
        ({"readout": None}, "accepted are 'sample', 'majority', 'mean'"),
        ({"readout": ["mean"]}, "accepted are 'sample', 'majority', 'mean'"),
        ({"gradient": 1}, "accepted are 'qtdnn'"),
        ({"qtdnn_arch": 128}, "a list of integers >= 1"),
        ({"qtdnn_arch": [0]}, "an integer >= 1"),
        ({"qtdnn_features": ("raw",)}, "accepted are 'raw', 'periodic'"),
        ({"qtdnn_prior": {}}, "accepted are 'auto', 'none', 'mean_field'"),
        ({"qtdnn_learning_rate": "3e-3"}, "a number >= 0"),
        ({"qtdnn_learning_rate": float("nan")}, "a number >= 0"),
        ({"qtdnn_learning_rate": -1}, "a number >= 0"),
        ({"activation_fn": int}, "a subclass of torch.nn"),
        ({"activation_fn": "relu"}, "a subclass of torch.nn"),
        ({"optimizer_class": nn.Linear}, "a subclass of torch.optim"),
        ({"optimizer_kwargs": {"lr": 1.0}}, "do not fit"),
        ({"optimizer_kwargs": {"beta": 1}}, "did you mean 'betas'?"),
        ({"optimizer_kwargs": 3}, "a dictionary of keyword arguments"),
        ({"seed": -1}, "an integer >= 0"),
        ({"seed": 1.5}, "an integer >= 0"),
    ],
)
def test_wrong_arguments_are_named(kwargs: dict[str, Any], accepted: str) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))) as error:
        QuantumLayer(**{"n_qubits": 3, "n_layers": 2, **kwargs})
    assert accepted in str(error.value)


@pytest.mark.parametrize("kind", [FCBlock, RBGBlock, ZerosBlock, QtDNN, RMSEncoding])
def test_blocks_name_their_argument(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"ansatz must be an instance of Circuit, got \(3, 2\)"):
        kind((3, 2))


def test_makers_name_what_is_accepted() -> None:
    with pytest.raises(
        ValueError, match=r"block='pqs' is unknown, accepted are 'pqc', 'fc', 'rbg', 'zeros'.*; did you mean 'pqc'"
    ):
        make_block("pqs", PaperCircuit(3, 2))
    with pytest.raises(
        ValueError,
        match=r"encoding_kwargs do not fit encoding='rms': 'angle' is unknown, did you mean 'angle_scale'",
    ):
        make_encoding("rms", PaperCircuit(3, 2), {"angle": 1})


@pytest.mark.parametrize("wrong", [np.zeros((2, 16)), th.zeros(2, 16, dtype=th.long), th.zeros(2, 16, dtype=th.complex64)])
def test_inputs_of_the_wrong_kind(wrong: Any) -> None:
    layer = QuantumLayer(3, 2, seed=0)
    for function in (layer, layer.surrogate, layer.measure, layer.fit_surrogate, layer.backend.expected_bits):
        with pytest.raises(ValueError, match="inputs must be a torch tensor of floating-point numbers, got"):
            function(wrong)


def test_rms_of_a_circuit_without_indices_is_finite() -> None:
    """Angles only, in the compiled loops and in torch."""
    outputs, bias, is_angle = th.randn(3, 4), th.zeros(4), th.ones(4)
    found, factors, gradient = th.empty(3, 4), th.empty(3, 2), th.empty(3, 4)
    _encode(outputs.numpy(), bias.numpy(), is_angle.numpy(), (0.5, 0.25), found.numpy(), factors.numpy())
    right = 0.5 * nn.functional.rms_norm(outputs, (4,))
    assert th.allclose(found, right, atol=1e-5)
    _encode_backward(outputs.numpy(), factors.numpy(), is_angle.numpy(), (0.5, 0.25), outputs.numpy(), gradient.numpy())
    assert bool(th.isfinite(gradient).all())
