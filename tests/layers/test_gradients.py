"""The references agree with each other, and with finite differences in double precision."""

import pytest
import torch as th

from sb3_quantum import QuantumLayer
from sb3_quantum.backends import AerBackend, StatevectorBackend
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.layers import parameter_shift, spsa


def case(n_qubits: int = 3, n_layers: int = 4, rows: int = 3) -> tuple[StatevectorBackend, th.Tensor, th.Tensor, th.Tensor]:
    """A backend, inputs, weights and the exact vector-Jacobian product, in double precision."""
    th.manual_seed(0)
    ansatz = PaperCircuit(n_qubits, n_layers)
    backend = StatevectorBackend(ansatz, seed=0)
    inputs = 2 * th.randn(rows, ansatz.n_inputs, dtype=th.float64)
    weights = th.randn(rows, n_qubits, dtype=th.float64)
    leaf = inputs.clone().requires_grad_(True)
    (exact,) = th.autograd.grad((backend.expected_bits(leaf) * weights).sum(), leaf)
    return backend, inputs, weights, exact


@pytest.mark.parametrize("gradient", ["exact", "parameter_shift"])
def test_gradcheck(gradient: str) -> None:
    """Against finite differences, in the angles; the indices are held."""
    layer = QuantumLayer(2, 3, gradient=gradient)
    th.manual_seed(0)
    angles, indices = layer.ansatz.split(th.randn(2, layer.ansatz.n_inputs, dtype=th.float64))
    angles.requires_grad_(True)
    assert th.autograd.gradcheck(lambda x: layer.surrogate(layer.ansatz.join(x, indices)), (angles,))


def test_shift_equals_exact() -> None:
    backend, inputs, weights, exact = case()
    assert th.allclose(parameter_shift(backend, inputs, weights), exact, atol=1e-5)


def test_chunks_do_not_change_the_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, inputs, weights, exact = case(rows=5)
    monkeypatch.setattr("sb3_quantum.layers.gradients.CHUNK", 1)
    assert th.allclose(parameter_shift(backend, inputs, weights), exact, atol=1e-5)


def test_two_terms_for_theta_and_four_for_phi() -> None:
    """600 runs a row for the paper's circuit; two terms would be wrong for phi."""
    assert PaperCircuit(10, 10).n_shifted == 600
    backend, inputs, weights, exact = case()
    phi = backend.ansatz.layer_width + 1  # of qubit 0 in layer 1; in layer 0, on the state 0, RZ(-phi) does nothing
    plus, minus = inputs.clone(), inputs.clone()
    plus[:, phi] += th.pi / 2
    minus[:, phi] -= th.pi / 2
    two_terms = ((backend.expected_bits(plus) - backend.expected_bits(minus)) / 2 * weights).sum(1)
    assert not th.allclose(two_terms, exact[:, phi], atol=1e-3)


def test_indices_get_zero_from_the_references_and_a_slope_from_the_qtdnn() -> None:
    for gradient in ("exact", "parameter_shift", "spsa", "qtdnn"):
        layer = QuantumLayer(3, 2, gradient=gradient, qtdnn_prior="none")
        inputs = th.randn(4, layer.ansatz.n_inputs, requires_grad=True)
        layer(inputs).sum().backward()
        assert inputs.grad is not None
        angles, indices = layer.ansatz.split(inputs.grad)
        assert bool(angles.any()) and bool(indices.any()) == (gradient == "qtdnn")


def test_mean_of_spsa_converges_as_its_step_shrinks() -> None:
    """
    All 16 directions of the four angles here, so that the mean is exact and only the bias is left: it falls with the square of
    the step.
    """
    ansatz = PaperCircuit(2, 1)
    backend = StatevectorBackend(ansatz)
    th.manual_seed(0)
    inputs = th.randn(1, ansatz.n_inputs, dtype=th.float64)
    weights = th.randn(1, 2, dtype=th.float64)
    leaf = inputs.clone().requires_grad_(True)
    (exact,) = th.autograd.grad((backend.expected_bits(leaf) * weights).sum(), leaf)

    class AllDirections:
        """Stands in for the generator and deals every direction once."""

        def __init__(self) -> None:
            self.dealt = 0

        def choice(self, signs: list[float], size: tuple[int, int]) -> th.Tensor:
            bits = [(self.dealt >> i) & 1 for i in range(size[1])]
            self.dealt += 1
            return th.tensor([[signs[bit] for bit in bits]], dtype=th.float64).numpy()

    errors = []
    for step in (0.4, 0.2, 0.1):
        backend.generator = AllDirections()
        errors.append(float((spsa(backend, inputs, weights, step, n_directions=16) - exact).norm()))
    assert errors[0] > 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1) and errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_spsa_points_uphill_on_average() -> None:
    """The cosine of the mean of 400 random directions with the gradient (24 angles: the noise's norm is about 0.24 of its)."""
    backend, inputs, weights, exact = case(rows=1)
    estimate = spsa(backend, inputs, weights, step=0.05, n_directions=400)
    assert float(th.nn.functional.cosine_similarity(estimate, exact)) > 0.8


@pytest.mark.parametrize("kwargs", [{"step": 0.0}, {"n_directions": 0}])
def test_spsa_arguments(kwargs: dict[str, float]) -> None:
    backend, inputs, weights, _ = case()
    with pytest.raises(ValueError, match="step must be > 0 and n_directions >= 1"):
        spsa(backend, inputs, weights, **kwargs)


def test_shift_on_shots() -> None:
    """
    Aer at 4,000 shots: each of the 36 entries within six standard errors of the exact gradient (false-alarm rate below 1e-7 at
    a fixed seed). A bit's variance is at most 1/4, and theta's rule has coefficients whose squares sum to 1/2, phi's to 1.5.
    """
    ansatz = PaperCircuit(2, 3)
    th.manual_seed(0)
    inputs, weights = th.randn(3, ansatz.n_inputs), th.eye(2)[[0, 1, 0]]
    leaf = inputs.clone().requires_grad_(True)
    (exact,) = th.autograd.grad((StatevectorBackend(ansatz).expected_bits(leaf) * weights).sum(), leaf)
    backend = AerBackend(ansatz, shots=4000, seed=0)
    estimate = parameter_shift(backend, inputs, weights)
    coefficients = ansatz.shift_rule()[2]
    worst = float(max((coefficients[:2] ** 2).sum(), (coefficients[2:6] ** 2).sum()))
    assert float((estimate - exact).abs().max()) < 6 * (0.25 / 4000 * worst) ** 0.5
    assert backend.usage.circuits == 3 * 36 and backend.usage.shots == 3 * 36 * 4000


def test_frozen_withholds_the_gradient() -> None:
    layer = QuantumLayer(3, 2, gradient="frozen")
    inputs = th.randn(4, layer.ansatz.n_inputs, requires_grad=True)
    assert not layer(inputs).requires_grad and not layer.surrogate(inputs).requires_grad
    layer.gradient = "qtdnn"
    assert layer(inputs).requires_grad


def test_noise_has_the_norm_of_the_gradient_and_not_its_direction() -> None:
    """
    The cosine of a random direction in 16 dimensions has a standard deviation of 1/4, its mean over 400 rows one of 0.0125:
    0.08 is more than 6 of them, a false-alarm rate of 1e-9.
    """
    layer = QuantumLayer(3, 2)
    inputs = th.randn(400, layer.ansatz.n_inputs, requires_grad=True)
    weights = th.randn(400, 3)
    gradients = {}
    for gradient in ("qtdnn", "noise"):
        layer.gradient = gradient
        bits = layer.surrogate(inputs)
        (gradients[gradient],) = th.autograd.grad((bits * weights).sum(), inputs)
    assert th.allclose(gradients["noise"].norm(dim=1), gradients["qtdnn"].norm(dim=1), rtol=1e-4)
    assert abs(float(th.cosine_similarity(gradients["noise"], gradients["qtdnn"]).mean())) < 0.08
    layer.gradient = "noise"
    values = layer.surrogate(inputs)
    layer.gradient = "qtdnn"
    assert th.equal(values, layer.surrogate(inputs)), "the values are the qtDNN's"
