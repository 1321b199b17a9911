from copy import deepcopy

import pytest
import torch as th
from qiskit.quantum_info import Statevector
from torch import nn
from torch.nn import functional as F

from sb3_quantum import QuantumLayer
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit, mean_field_bits


def make_layer(**kwargs) -> QuantumLayer:
    th.manual_seed(0)
    return QuantumLayer(**{"n_qubits": 3, "n_layers": 2, "qtdnn_arch": [64], **kwargs})


def test_forward_gives_bits_and_backward_the_qtdnns_vector_jacobian_product() -> None:
    layer = make_layer()
    inputs = th.randn(6, layer.ansatz.n_inputs, requires_grad=True)
    weights = th.randn(6, 3)
    outputs = layer(inputs)
    assert set(outputs.unique().tolist()) <= {0.0, 1.0}
    (outputs * weights).sum().backward()
    (expected,) = th.autograd.grad((th.sigmoid(layer.qtdnn(inputs)) * weights).sum(), inputs)
    assert inputs.grad is not None and th.equal(inputs.grad, expected)
    assert bool((expected != 0).any())


@pytest.mark.parametrize("readout", ["sample", "majority", "mean"])
def test_forward_is_the_circuits(readout: str) -> None:
    layer = make_layer(readout=readout)
    inputs = th.randn(8, layer.ansatz.n_inputs)
    expected = layer.backend.expected_bits(inputs)
    outputs = layer(inputs.requires_grad_(True)).detach()
    if readout == "mean":
        assert th.allclose(outputs, expected, atol=1e-6)
    elif readout == "majority":
        assert th.equal(outputs, (expected > 0.5).float())
    else:
        assert bool(((outputs == 0) | (outputs == 1)).all())


def fitted_layer() -> tuple[QuantumLayer, th.Tensor]:
    """A layer that was fitted around one point in the space of angles, and other points there."""
    layer = make_layer()
    angles, indices = layer.ansatz.split(th.randn(1, layer.ansatz.n_inputs))
    cloud = layer.ansatz.join(angles + 0.4 * th.randn(1064, layer.ansatz.n_angles), indices.expand(1064, -1))
    layer.fit_surrogate(cloud[:1000], gradient_steps=500, batch_size=64)
    return layer, cloud[1000:]


def alignment(layer: QuantumLayer, inputs: th.Tensor) -> float:
    """Mean cosine, over the angles, between the layer's gradient and exact autograd through the statevector."""
    inputs = inputs.clone().requires_grad_(True)
    weights = th.randn(len(inputs), layer.ansatz.n_qubits)
    (exact,) = th.autograd.grad((layer.backend.expected_bits(inputs) * weights).sum(), inputs)
    outputs = layer(inputs)
    if not outputs.requires_grad:
        return 0.0
    (ours,) = th.autograd.grad((outputs * weights).sum(), inputs)
    return float(F.cosine_similarity(layer.ansatz.split(ours)[0], layer.ansatz.split(exact)[0]).mean())


def test_fitted_gradient_points_along_the_circuits() -> None:
    """Fails when the surrogate's gradient is cut (cosine 0) or its sign is flipped (cosine -0.9): both are tried below."""
    layer, inputs = fitted_layer()
    assert alignment(layer, inputs) > 0.8


def test_the_alignment_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs = fitted_layer()
    surrogate = layer.surrogate
    monkeypatch.setattr(layer, "surrogate", lambda x: surrogate(x).detach())
    assert alignment(layer, inputs) == 0.0
    monkeypatch.setattr(layer, "surrogate", lambda x: -surrogate(x))
    assert alignment(layer, inputs) < -0.8


def test_descending_the_layers_gradient_reaches_a_target() -> None:
    """The circuit's inputs themselves are trained through the layer: with a cut or flipped gradient the loss does not fall."""
    layer = make_layer(readout="mean")
    inputs = (0.5 * th.randn(1, layer.ansatz.n_inputs)).requires_grad_(True)
    optimizer = th.optim.Adam([inputs], lr=0.02)
    target = th.tensor([[1.0, 0.0, 1.0]])
    losses = []
    for _ in range(150):
        near = inputs.detach() + 0.3 * th.randn(64, layer.ansatz.n_inputs)
        layer.fit_surrogate(near, gradient_steps=5)
        loss = F.mse_loss(layer(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_in_a_sequential_model_an_optimizer_of_everything_leaves_the_qtdnn() -> None:
    layer = make_layer()
    model = nn.Sequential(nn.Linear(4, layer.ansatz.n_inputs), layer, nn.Linear(3, 1))
    optimizer = th.optim.AdamW(model.parameters(), lr=0.1)
    before = deepcopy(layer.qtdnn.state_dict())
    weight = model[0].weight.detach().clone()
    model(th.randn(16, 4)).square().mean().backward()
    optimizer.step()
    assert not th.equal(model[0].weight, weight)
    assert all(th.equal(value, layer.qtdnn.state_dict()[key]) for key, value in before.items())


def test_the_prior_is_the_mean_field_until_the_first_fit() -> None:
    layer = make_layer()
    inputs = 3 * th.randn(50, layer.ansatz.n_inputs)
    assert th.allclose(layer.surrogate(inputs), mean_field_bits(layer.ansatz, inputs), atol=2e-4)
    without = make_layer(qtdnn_prior="none")
    assert not th.allclose(without.surrogate(inputs), mean_field_bits(layer.ansatz, inputs), atol=0.1)
    with pytest.raises(
        ValueError, match="qtdnn_prior='exact' is unknown, accepted are 'auto', 'none', 'mean_field', 'pair_corr"
    ):
        make_layer(qtdnn_prior="exact")


def test_fitting_corrects_the_prior_where_the_device_differs() -> None:
    """A device that loses contrast and reads ones as zeros: neither is known to the mean field."""
    layer = make_layer()
    inputs = th.randn(600, layer.ansatz.n_inputs)
    device = 0.1 + 0.6 * layer.backend.expected_bits(inputs)
    error = (layer.surrogate(inputs[500:]) - device[500:]).abs().mean()
    layer.fit_surrogate(inputs[:500], device[:500], gradient_steps=400, batch_size=64)
    assert (layer.surrogate(inputs[500:]) - device[500:]).abs().mean() < 0.4 * error


def test_fit_surrogate_learns_recorded_pairs() -> None:
    layer = make_layer(qtdnn_prior="none")
    inputs = th.randn(128, layer.ansatz.n_inputs)
    targets = layer.backend.expected_bits(inputs)
    first = layer.fit_surrogate(inputs, targets)
    for _ in range(200):
        last = layer.fit_surrogate(inputs, targets)
    entropy = F.binary_cross_entropy(targets, targets)
    assert last - entropy < 0.2 * (first - entropy)
    assert not any(parameter.requires_grad for parameter in layer.qtdnn.parameters())


@pytest.mark.parametrize("kwargs", [{"gradient_steps": 0}, {"batch_size": 0}])
def test_fit_surrogate_refuses_nothing_to_do(kwargs: dict[str, int]) -> None:
    layer = make_layer()
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be an integer >= 1, got 0"):
        layer.fit_surrogate(th.zeros(4, layer.ansatz.n_inputs), **kwargs)


def test_fit_surrogate_refuses_other_targets() -> None:
    layer = make_layer()
    with pytest.raises(ValueError, match=r"targets must have the shape \(4, 3\), got \(4, 2\)"):
        layer.fit_surrogate(th.zeros(4, layer.ansatz.n_inputs), th.zeros(4, 2))


def test_to_qiskit_is_the_circuit_that_runs() -> None:
    layer = make_layer(readout="mean")
    inputs = th.randn(1, layer.ansatz.n_inputs)
    state = Statevector(layer.to_qiskit(inputs, measure=False))
    theirs = th.tensor([[state.probabilities([qubit])[1] for qubit in range(3)]], dtype=th.float32)
    assert th.allclose(layer(inputs), theirs, atol=1e-5)


def test_state_dict_carries_qtdnn_generator_and_counters() -> None:
    layer, other = make_layer(seed=1), make_layer(seed=2)
    inputs = th.randn(10, layer.ansatz.n_inputs)
    layer.fit_surrogate(inputs)
    layer(inputs)
    other.load_state_dict(layer.state_dict())
    assert th.equal(layer.surrogate(inputs), other.surrogate(inputs))
    assert th.equal(layer(inputs), other(inputs))
    assert other.backend.usage == layer.backend.usage


def test_state_dict_of_another_shape_is_refused() -> None:
    with pytest.raises(
        RuntimeError,
        match=r"circuit PaperCircuit\(n_qubits=3, n_layers=2, .*\), but this one has PaperCircuit\(n_qubits=3, n_layers=3, ",
    ):
        make_layer(n_layers=3).load_state_dict(make_layer().state_dict())


def test_global_seed_governs_the_layer() -> None:
    inputs = th.randn(20, make_layer().ansatz.n_inputs)
    assert th.equal(make_layer()(inputs), make_layer()(inputs))
    assert not th.equal(make_layer(seed=5)(inputs), make_layer(seed=6)(inputs))


def test_set_backend_keeps_the_generator() -> None:
    layer, other = make_layer(seed=1), make_layer(seed=1)
    layer.set_backend("statevector")
    inputs = th.randn(20, layer.ansatz.n_inputs)
    assert th.equal(layer(inputs), other(inputs))
    backend = StatevectorBackend(PaperCircuit(3, 2))
    layer.set_backend(backend)
    assert layer.backend is backend


def test_unknown_arguments() -> None:
    with pytest.raises(ValueError, match="readout='median' is unknown, accepted are 'sample', 'majority', 'mean'"):
        make_layer(readout="median")
    with pytest.raises(ValueError, match="qtdnn_features='fourier' is unknown, accepted are 'raw', 'periodic'"):
        make_layer(qtdnn_features="fourier")


def test_nan_is_refused_by_name() -> None:
    layer = make_layer()
    with pytest.raises(ValueError, match="theta of qubit 0 in circuit layer 0"):
        layer(th.full((1, layer.ansatz.n_inputs), th.nan))
