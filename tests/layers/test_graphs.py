"""Where torch records, transforms or differentiates again, compiled loops must not leave constants."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th

from sb3_quantum import QuantumLayer
from sb3_quantum.backends import StatevectorBackend, graph
from sb3_quantum.circuits import PaperCircuit, mean_field_bits
from sb3_quantum.layers import RMSEncoding, make_block

ANSATZ = PaperCircuit(3, 2)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")


def layer(**kwargs: Any) -> QuantumLayer:
    made = QuantumLayer(3, 2, readout="mean", seed=0, qtdnn_arch=[16], activation_fn=th.nn.Tanh, **kwargs)
    with th.no_grad():
        # A fit's result, so that the network adds to its prior
        for parameter in made.qtdnn.parameters():
            parameter.copy_(0.3 * th.randn(parameter.shape, generator=th.Generator().manual_seed(parameter.numel())))
    return made


def inputs(rows: int, dtype: th.dtype = th.float32, scale: float = 1.0) -> th.Tensor:
    return (scale * th.randn(rows, ANSATZ.n_inputs, generator=th.Generator().manual_seed(1))).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 2), (6, 3), (10, 10)])
@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_the_graph_is_the_circuit(shape: tuple[int, int], dtype: th.dtype) -> None:
    """Angles of many turns and indices beyond the register included."""
    ansatz = PaperCircuit(*shape)
    for scale in (1.0, 100.0):
        given = scale * th.randn(5, ansatz.n_inputs, generator=th.Generator().manual_seed(0), dtype=dtype)
        found, right = graph.expected_bits(ansatz, given), StatevectorBackend(ansatz).expected_bits(given)
        assert found.dtype == dtype
        assert th.allclose(found, right, atol=1e-5 if dtype == th.float32 else 1e-12)


FUNCTIONS: dict[str, Callable[[th.dtype], Callable[[th.Tensor], th.Tensor]]] = {
    "qtdnn": lambda dtype: layer().to(dtype).surrogate,
    "forward": lambda dtype: layer().to(dtype),
    "raw features": lambda dtype: layer(qtdnn_features="raw").to(dtype).surrogate,
    "exact": lambda dtype: layer(gradient="exact").surrogate,
    "torch engine": lambda dtype: layer(gradient="exact", backend_kwargs={"engine": "torch"}).surrogate,
    "parameter shift": lambda dtype: layer(gradient="parameter_shift").surrogate,
    "mean field": lambda dtype: lambda x: mean_field_bits(ANSATZ, x),
    "rms": lambda dtype: RMSEncoding(ANSATZ).to(dtype),
}


@pytest.mark.parametrize("dtype", [th.float32, th.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives_are_those_of_the_gradient(name: str, dtype: th.dtype) -> None:
    """Along a random direction, against the finite difference of the first derivative."""

    def slope(of: th.dtype, at: th.Tensor, create_graph: bool = False) -> th.Tensor:
        th.manual_seed(0)
        outputs = FUNCTIONS[name](of)(at)
        # Linear in the circuit's own outputs, whose values are not the qtDNN's, and curved in all others
        loss = outputs.sum() if name == "forward" else outputs.sin().sum()
        return th.autograd.grad(loss, at, create_graph=create_graph)[0]

    at, direction, step = inputs(2, th.float64), inputs(4, th.float64)[2:], 1e-5
    leaf = at.to(dtype).requires_grad_(True)
    found = th.autograd.grad((slope(dtype, leaf, create_graph=True) * direction.to(dtype)).sum(), leaf)[0]
    above, below = ((at + sign * step * direction).requires_grad_(True) for sign in (1, -1))
    right = (slope(th.float64, above) - slope(th.float64, below)) / (2 * step)
    assert float(right.abs().max()) > 0.01
    assert th.allclose(found.double(), right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def test_a_gradient_penalty_reaches_the_network_in_front() -> None:
    """The default layer's gradient is linear in what comes in, and its inputs are all that it can be differentiated in."""
    net, x = th.nn.Linear(3, ANSATZ.n_inputs), th.randn(4, 3, requires_grad=True)
    (slope,) = th.autograd.grad(layer()(net(x)).sum(), x, create_graph=True)
    (found,) = th.autograd.grad(slope.square().sum(), net.bias)
    assert float(found.abs().max()) > 1e-4


def test_spsa_refuses_second_derivatives() -> None:
    x = inputs(2).requires_grad_(True)
    with pytest.raises(RuntimeError, match='gradient="spsa" has no second derivatives'):
        th.autograd.grad(layer(gradient="spsa")(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("name", ["qtdnn", "forward", "exact", "mean field", "rms"])
def test_functional_transforms(name: str) -> None:
    """Batches of rows, reverse and forward mode, against plain autograd."""
    function, x = FUNCTIONS[name](th.float64), inputs(2, th.float64)
    right = th.autograd.functional.jacobian(lambda z: function(z).sum(0), x)

    def total(z: th.Tensor) -> th.Tensor:
        return function(z).sum(0)

    assert th.allclose(th.func.jacrev(total)(x), right, atol=1e-8)
    assert th.allclose(th.func.jacfwd(total)(x), right, atol=1e-8)
    rows = th.func.vmap(lambda row: function(row[None])[0])(x)
    assert th.allclose(rows, function(x), atol=1e-8)
    with th.autograd.forward_ad.dual_level():
        dual = th.autograd.forward_ad.make_dual(x, th.ones_like(x))
        tangent = th.autograd.forward_ad.unpack_dual(total(dual)).tangent
    assert th.allclose(tangent, right.sum((1, 2)), atol=1e-8)


@pytest.mark.parametrize("gradient", ["qtdnn", "exact", "frozen"])
@pytest.mark.parametrize("batch", [1, 5])
def test_traced_layers_are_no_constants(gradient: str, batch: int) -> None:
    made = layer(gradient=gradient).eval()
    for function in (made, made.surrogate):
        traced = th.jit.trace(lambda x, f=function: f(x), inputs(3))
        assert th.allclose(traced(inputs(batch, scale=3.0)), function(inputs(batch, scale=3.0)), atol=1e-5)


def test_torch_compile_draws_and_counts() -> None:
    """Compiled, a layer breaks the graph: bits are fresh in every call, and circuits are counted."""
    made = QuantumLayer(3, 2, seed=0)
    compiled = th.compile(made, backend="eager")
    flat = th.zeros(64, ANSATZ.n_inputs)
    flat[:, 8] = th.pi / 2
    first, second = compiled(flat), compiled(flat)
    assert not th.equal(first, second) and set(first.unique().tolist()) == {0.0, 1.0}
    assert made.backend.usage.circuits == 128
    assert th.allclose(th.compile(made.surrogate, backend="eager")(flat), made.surrogate(flat), atol=1e-6)


def test_what_a_transform_cannot_hold_is_refused() -> None:
    x = inputs(2)
    with pytest.raises(RuntimeError, match='use the readout "mean" or "majority"'):
        th.func.jacrev(QuantumLayer(3, 2, seed=0))(x)
    with pytest.raises(RuntimeError, match='use "statevector" for it'):
        th.jit.trace(QuantumLayer(3, 2, seed=0, readout="mean", backend="sampler"), x)
    with pytest.raises(RuntimeError, match="random bits of numpy"):
        th.jit.trace(lambda z: make_block("rbg", ANSATZ)(z, "sample"), x)
    with pytest.raises(ValueError, match=r"circuit inputs must have the shape \(batch, 16\)"):
        th.jit.trace(layer(), x[:, :-1])


def test_onlookers_change_nothing() -> None:
    """A counter of operations is no trace: bits may be drawn under it."""
    from torch.utils.flop_counter import FlopCounterMode

    one, other = QuantumLayer(3, 2, seed=0), QuantumLayer(3, 2, seed=0)
    with FlopCounterMode(display=False):
        seen = one(inputs(8))
    assert th.equal(seen, other(inputs(8)))
