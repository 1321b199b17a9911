"""
Gradients of the expected bits without a qtDNN: references to compare it with, as a chip would have to compute them, and
controls without a useful gradient.

All references are gradients with respect to the angles. The CZ indices are discrete: "exact", "parameter_shift" and "spsa"
give them zero, and only the qtDNN, which is smooth in them, has a slope there.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch as th

from sb3_quantum.backends import Backend
from sb3_quantum.circuits import Circuit, gradient_circuits
from sb3_quantum.circuits.checks import check_choice
from sb3_quantum.circuits.tracing import in_graph, is_recorded

#: ways to differentiate a quantum layer
GRADIENTS = ("qtdnn", "exact", "parameter_shift", "spsa", "noise", "frozen")
#: those that need a fitted qtDNN
FITTED_GRADIENTS = ("qtdnn", "noise", "frozen")
#: numbers in memory at once while shifted circuits are built
CHUNK = 2**23

Estimator = Callable[[Backend, th.Tensor, th.Tensor], th.Tensor]


def check_gradient(gradient: str, backend: Backend) -> str:
    """
    Check the name of a gradient, and that the backend supports it.

    :param gradient: one of :data:`GRADIENTS`
    :param backend: the backend that runs the circuits
    :return: the gradient's name
    :raises ValueError: if it is unknown, ``"exact"`` on a backend that autograd does not pass through, or
        ``"parameter_shift"`` for a circuit that the rule does not cover
    """
    check_choice("gradient", gradient, GRADIENTS)
    if gradient == "exact" and not backend.differentiable:
        raise ValueError(
            f'gradient="exact" needs a differentiable backend, and {backend.name!r} is not; '
            f'use "statevector", or another gradient'
        )
    if gradient == "parameter_shift":
        backend.ansatz.shift_rule()  # which refuses what it does not cover
    return gradient


def _shifted_rows(ansatz: Circuit) -> int:
    """Rows whose shifted circuits are run as one batch."""
    return max(CHUNK // max(ansatz.n_shifted * ansatz.n_inputs, 1), 1)


def circuits_per_gradient(ansatz: Circuit, gradient: str, batch_size: int) -> tuple[int, int]:
    """
    Count the circuits of one backward pass, without the forward pass.

    :param ansatz: the circuit's shape
    :param gradient: one of :data:`GRADIENTS`
    :param batch_size: rows
    :return: number of circuits, and of the jobs that they form
    """
    if gradient not in ("parameter_shift", "spsa"):
        return 0, 0
    jobs = -(-batch_size // _shifted_rows(ansatz)) if gradient == "parameter_shift" else 1
    return gradient_circuits(ansatz, gradient, batch_size), jobs


def parameter_shift(
    backend: Backend, inputs: th.Tensor, weights: th.Tensor, run: Callable[[th.Tensor], th.Tensor] | None = None
) -> th.Tensor:
    """
    Compute a vector-Jacobian product of the expected bits by the parameter-shift rule: exact on an exact backend, unbiased on
    shots.

    It runs ``n_shifted`` circuits per row, see :meth:`Circuit.shift_rule <sb3_quantum.circuits.Circuit.shift_rule>`.

    :param backend: the backend that runs the circuits
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param weights: weights that the Jacobian is multiplied by, ``(batch, n_qubits)``
    :param run: maps circuit inputs to expected bits; ``backend.expected_bits`` by default
    :return: ``(batch, n_inputs)``, zero at the CZ indices
    """
    run = backend.expected_bits if run is None else run
    columns, shifts, coefficients = (th.as_tensor(part, device=inputs.device) for part in backend.ansatz.shift_rule())
    shifts, coefficients = shifts.to(inputs.dtype), coefficients.to(inputs.dtype)
    rows, n_inputs = _shifted_rows(backend.ansatz), backend.ansatz.n_inputs
    steps = inputs.new_zeros(len(columns), n_inputs)  # (n_terms, n_inputs)
    steps[th.arange(len(columns), device=inputs.device), columns] = shifts
    gradients = []
    for part, vector in zip(inputs.split(rows), weights.split(rows), strict=True):
        shifted = (part.unsqueeze(1) + steps).reshape(-1, n_inputs)  # (rows * n_terms, n_inputs)
        values = run(shifted).reshape(len(part), len(columns), backend.ansatz.n_qubits)
        terms = coefficients * (values * vector.unsqueeze(1)).sum(2)  # (rows, n_terms)
        gradients.append(th.zeros_like(part).index_add(1, columns, terms))
    return th.cat(gradients)


def spsa(backend: Backend, inputs: th.Tensor, weights: th.Tensor, step: float = 0.1, n_directions: int = 1) -> th.Tensor:
    """
    Compute a vector-Jacobian product by simultaneous perturbation: all angles at once, in random directions of +-1.

    It runs two circuits per row and direction. Its expectation is the gradient plus a bias of order ``step ** 2``; its
    variance grows with the number of angles. Source: Spall, IEEE Trans. Automat. Contr. 37, 332 (1992).

    :param backend: the backend that runs the circuits; the directions come from its generator
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param weights: weights that the Jacobian is multiplied by, ``(batch, n_qubits)``
    :param step: step in radians
    :param n_directions: directions to average over
    :return: ``(batch, n_inputs)``, zero at the CZ indices
    :raises ValueError: if ``step`` or ``n_directions`` is not positive
    """
    numbers = isinstance(step, Real) and isinstance(n_directions, Integral)
    if not (numbers and 0 < step < math.inf and n_directions >= 1):
        raise ValueError(f"step must be > 0 and n_directions >= 1, got {step!r} and {n_directions!r}")
    ansatz, gradient = backend.ansatz, th.zeros_like(inputs)
    none = inputs.new_zeros(len(inputs), ansatz.n_indices)
    for _ in range(n_directions):
        signs = th.as_tensor(backend.generator.choice([-1.0, 1.0], size=(len(inputs), ansatz.n_angles)))
        direction = ansatz.join(signs.to(inputs), none)  # (batch, n_inputs), zero at the CZ indices
        values = backend.expected_bits(th.cat([inputs + step * direction, inputs - step * direction]))
        difference = values[: len(inputs)] - values[len(inputs) :]  # (batch, n_qubits)
        gradient += (difference * weights).sum(1, keepdim=True) / (2 * step) * direction
    return gradient / n_directions


class _Estimated(th.autograd.Function):
    """Expected bits whose gradient is estimated by running further circuits."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, backend: Backend, estimator: Estimator) -> th.Tensor:
        ctx.save_for_backward(inputs)
        ctx.backend, ctx.estimator = backend, estimator
        return backend.expected_bits(inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        if not th.is_grad_enabled():
            return ctx.estimator(ctx.backend, inputs, grad_outputs[0]), None, None
        if ctx.estimator is spsa:
            raise RuntimeError(
                'gradient="spsa" has no second derivatives (create_graph=True): an estimate cannot be differentiated; use '
                '"parameter_shift", "exact" or "qtdnn"'
            )
        # Shifted circuits shifted again: the same rule gives derivatives of any order
        backend, estimator = ctx.backend, ctx.estimator
        again = parameter_shift(backend, inputs, grad_outputs[0], lambda rows: _Estimated.apply(rows, backend, estimator))
        return again, None, None


def with_noisy_gradient(inputs: th.Tensor) -> th.Tensor:
    """
    Apply the identity, and replace its gradient by Gaussian noise of equal norm, row by row (the control
    ``gradient="noise"``).

    :param inputs: ``(batch, n)``
    :return: the same values; the noise comes from torch's global generator
    """
    return inputs if in_graph(inputs) and not inputs.requires_grad else _NoisyGradient.apply(inputs)


class _NoisyGradient(th.autograd.Function):
    """Autograd function of :func:`with_noisy_gradient`."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor) -> th.Tensor:
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> th.Tensor:
        noise = th.randn_like(grad_outputs[0])
        return noise * (grad_outputs[0].norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True))


def differentiable_bits(backend: Backend, inputs: th.Tensor, gradient: str) -> th.Tensor:
    """
    Compute the circuit's own expected bits, with a gradient that needs no qtDNN. The circuits that it runs are counted.

    :param backend: the backend that runs the circuits
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param gradient: ``"exact"`` (autograd through the simulator), ``"parameter_shift"`` or ``"spsa"``
    :return: ``(batch, n_qubits)``
    """
    # An estimate runs circuits, which a recorded graph cannot do
    if gradient == "exact" or (in_graph(inputs) and is_recorded(inputs)):
        return backend.expected_bits(inputs)
    estimators: dict[str, Estimator] = {"parameter_shift": parameter_shift, "spsa": spsa}
    return _Estimated.apply(inputs, backend, estimators[gradient])
