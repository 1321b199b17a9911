"""
The cumulant expansion of a circuit to first or second order: independent qubits, or with the correlations of all pairs.
"""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch as th

from sb3_quantum.circuits.fused import is_fused
from sb3_quantum.circuits.program import KINDS, Gate, Program
from sb3_quantum.circuits.tracing import in_graph, vjp
from sb3_quantum.priors import kernel
from sb3_quantum.priors.base import Prior

#: qubits of the widest circuit whose rows a GPU's kernel holds in registers
MOST_FUSED_QUBITS = 128
#: gates that do not change a measurement in Z if only such gates follow
_DIAGONAL = ("rz", "cz", "rzz")


class CumulantExpansion:
    r"""
    Compute expectation values of Z on every qubit in the cumulant expansion of the state.

    To first order the state is a product of single-qubit states after every gate, each a Bloch vector ``(x, y, z)``. One-qubit
    gates rotate it exactly. A CZ between i and j maps ``X_i`` to ``X_i Z_j``, whose expectation value is approximated by ``x_i
    z_j``.

    To second order the covariances of the Paulis of all pairs, ``D(P_i, Q_k) = <P_i Q_k> - <P_i><Q_k>``, are included, and
    only correlations of three qubits that do not follow from pairs (third cumulants) are dropped. Then ``<X_i Z_j> = x_i z_j +
    D(X_i, Z_j)`` is exact, and for a third qubit k, after the CZ, ::

        D(X_i, P_k) = x_i D(Z_j, P_k) + z_j D(X_i, P_k)

    The result is exact as long as no three qubits are correlated at once (as in a circuit of two qubits, or of separate
    pairs), and good while such correlations are weak.

    To second order, a two-qubit gate costs ``O(n_qubits)`` operations, and so does the rotation of a qubit before it. To first
    order, a gate costs ``O(1)``. The result is differentiable in the angles any number of times.

    Source: Kubo, "Generalized cumulant expansion method", J. Phys. Soc. Japan 17, 1100 (1962).

    :param program: the gates
    :param order: 1, the mean field, or 2, with the correlations of pairs
    :raises ValueError: if a gate is not one of :data:`~sb3_quantum.circuits.program.KINDS`
    """

    def __init__(self, program: Program, order: int):
        unknown = sorted({gate.name for gate in program.gates} - set(KINDS))
        if unknown:
            raise ValueError(f"a prior supports the gates {', '.join(KINDS)}, but the circuit has {', '.join(unknown)}")
        self.n_qubits, self.order = program.n_qubits, order
        # Gates after the last gate that is not diagonal do not change a measurement in Z
        last = max((place for place, gate in enumerate(program.gates) if gate.name not in _DIAGONAL), default=-1)
        self.gates, arrays = program.gates[: last + 1], program.arrays
        columns = arrays.kind, arrays.first, arrays.second, arrays.angle, arrays.choice
        #: rotations of the Bloch vector by fixed gates, ``(n_gates, 3, 3)``
        self.fixed = np.array([_fixed_turn(*fixed) for fixed in arrays.fixed[: last + 1]]).reshape(-1, 3, 3)
        #: the gates in the form of :mod:`sb3_quantum.priors.kernel`
        self.arrays = (*(column[: last + 1] for column in columns), self.fixed.astype(np.float32).reshape(-1, 9))

    def __call__(self, angles: th.Tensor, choices: th.Tensor) -> th.Tensor:
        """
        Compute the expectation values.

        :param angles: angles of the gates, in radians, ``(batch, n_angles)``
        :param choices: pairs of qubits that every row chooses, ``(batch, n_choices, 2)``, int64
        :return: ``(batch, n_qubits)``; to second order not always within [-1, 1]
        """
        if angles.device.type == "cpu" and angles.dtype == th.float32 and not in_graph(angles):
            return _Compiled.apply(angles, choices, self)
        if self.n_qubits <= MOST_FUSED_QUBITS and is_fused(angles):
            from sb3_quantum.priors.fused_cumulants import FusedExpansion  # which needs Triton

            return FusedExpansion.apply(angles, choices, self)
        return self.in_torch(angles, choices)

    def in_torch(self, angles: th.Tensor, choices: th.Tensor) -> th.Tensor:
        """
        Compute the expectation values with torch's operations, on any device and in any precision.

        :param angles: ``(batch, n_angles)``
        :param choices: ``(batch, n_choices, 2)``
        :return: ``(batch, n_qubits)``
        """
        batch, n_qubits = angles.shape[0], self.n_qubits
        choices = choices.clamp(0, n_qubits - 1)  # NaN is not an index
        mean = th.cat([angles.new_zeros(batch, n_qubits, 2), angles.new_ones(batch, n_qubits, 1)], dim=2)
        # (batch, qubit, axis, other qubit, its axis)
        pair = angles.new_zeros(batch, n_qubits, 3, n_qubits, 3) if self.order > 1 else None
        waiting: dict[int, th.Tensor] = {}
        for gate, fixed in zip(self.gates, self.fixed, strict=True):
            if gate.name not in ("cz", "rzz"):
                qubit, turn = gate.qubits[0], _turn(gate, angles, fixed)
                waiting[qubit] = turn @ waiting[qubit] if qubit in waiting else turn
                continue
            mean, pair = _flush(mean, pair, waiting)
            waiting = {}
            if gate.choice is None:
                i, j = (angles.new_full((batch,), qubit, dtype=th.long) for qubit in gate.qubits)
            else:
                i, j = choices[:, gate.choice].unbind(1)
            mean, pair = _entangle(mean, pair, i, j, angles[:, gate.angles[0]] if gate.name == "rzz" else None)
        return _flush(mean, None, waiting)[0][..., 2]

    def operations(self) -> int:
        """
        Bound the multiply-adds of a row; with the gradient there are three times as many.
        """
        width = 3 * self.n_qubits if self.order > 1 else 0
        waiting, total = [0] * self.n_qubits, 0
        for gate in self.gates:
            if gate.name not in ("cz", "rzz"):
                waiting[gate.qubits[0]] += 1
                total += 27
                continue
            # Whichever qubits are chosen, each waiting qubit is rotated once before its next two-qubit gate
            ends = gate.qubits or sorted(range(self.n_qubits), key=lambda qubit: -waiting[qubit])[:2]
            total += sum(9 + 9 * width for qubit in ends if waiting[qubit]) + 4 + (8 if gate.name == "cz" else 12) * width
            for qubit in ends:
                waiting[qubit] = 0
        return total


class CumulantPrior(Prior):
    """
    Prior from the cumulant expansion to some order.

    Gates are inspected when first needed: a file's settings are checked by building the networks, and may ask for any number
    of gates.

    :param circuit: the circuit to approximate
    """

    #: of the expansion
    order: ClassVar[int]

    @cached_property
    def expansion(self) -> CumulantExpansion:
        """The expansion of the circuit's gates."""
        return CumulantExpansion(self.circuit.program, self.order)

    def bits(self, inputs: th.Tensor) -> th.Tensor:
        z = self.expansion(self.circuit.gate_angles(inputs), self.circuit.choices(inputs))
        return ((1 - z) / 2).clamp(0, 1)

    def operations(self) -> int:
        return self.expansion.operations()


class _Compiled(th.autograd.Function):
    """:class:`CumulantExpansion` and its derivative on the CPU, compiled."""

    @staticmethod
    def forward(ctx: Any, angles: th.Tensor, choices: th.Tensor, expansion: CumulantExpansion) -> th.Tensor:
        cos, sin = angles.cos(), angles.sin()
        # Compiled loops do not check where they write, and NaN is not an index
        choices = choices.clamp(0, expansion.n_qubits - 1).contiguous()
        out = angles.new_empty(len(angles), expansion.n_qubits)
        arrays = cos.numpy(), sin.numpy(), choices.numpy(), out.numpy()
        kernel.values(expansion.arrays, expansion.n_qubits, expansion.order, *arrays)
        ctx.expansion = expansion
        ctx.save_for_backward(angles, cos, sin, choices)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        angles, cos, sin, choices = ctx.saved_tensors
        expansion = ctx.expansion
        if th.is_grad_enabled():  # create_graph
            return vjp(lambda leaf: expansion.in_torch(leaf, choices), angles, grad_outputs[0]), None, None
        gradient = th.empty_like(cos)
        arrays = cos.numpy(), sin.numpy(), choices.numpy(), grad_outputs[0].contiguous().numpy(), gradient.numpy()
        kernel.gradient(expansion.arrays, expansion.n_qubits, expansion.order, *arrays)
        return gradient, None, None


def _fixed_turn(a: float, b: float, c: float, d: float) -> list[list[float]]:
    """Compute the rotation of the Bloch vector by the unitary ``a - i (b X + c Y + d Z)``."""
    return [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]


def _turn(gate: Gate, angles: th.Tensor, fixed: np.ndarray) -> th.Tensor:
    """Compute the rotation of the Bloch vector by a one-qubit gate, ``(batch, 3, 3)``."""
    if gate.name == "fixed":
        return angles.new_tensor(fixed).expand(angles.shape[0], 3, 3)
    angle = angles[:, gate.angles[0]]
    c, s = angle.cos(), angle.sin()
    zero, one = th.zeros_like(c), th.ones_like(c)
    if gate.name == "r":
        phi = angles[:, gate.angles[1]]
        x, y, k = phi.cos(), phi.sin(), 1 - c
        rows = ((c + k * x * x, k * x * y, s * y), (k * x * y, c + k * y * y, -s * x), (-s * y, s * x, c))
    elif gate.name == "rx":
        rows = ((one, zero, zero), (zero, c, -s), (zero, s, c))
    elif gate.name == "ry":
        rows = ((c, zero, s), (zero, one, zero), (-s, zero, c))
    else:
        rows = ((c, -s, zero), (s, c, zero), (zero, zero, one))
    return th.stack([th.stack(row, dim=1) for row in rows], dim=1)


def _flush(mean: th.Tensor, pair: th.Tensor | None, waiting: dict[int, th.Tensor]) -> tuple[th.Tensor, th.Tensor | None]:
    """Rotate qubits by their pending gates."""
    if not waiting:
        return mean, pair
    nothing = th.eye(3, dtype=mean.dtype, device=mean.device).expand(mean.shape[0], 3, 3)
    turns = th.stack([waiting.get(qubit, nothing) for qubit in range(mean.shape[1])], dim=1)
    mean = (turns @ mean[..., None])[..., 0]  # (batch, n_qubits, 3)
    if pair is not None:
        pair = th.einsum("biac,bicjd,bjed->biaje", turns, pair, turns)
    return mean, pair


def _entangle(
    mean: th.Tensor, pair: th.Tensor | None, i: th.Tensor, j: th.Tensor, angle: th.Tensor | None
) -> tuple[th.Tensor, th.Tensor | None]:
    """
    Apply CZ gates, or RZZ gates if there is an angle, between the qubits i and j, ``(batch,)``; none where they are equal.
    """
    batch, n_qubits, _ = mean.shape
    rows = th.arange(batch, device=mean.device)
    # An RZZ rotates (X_i, Y_i) by its angle into (Y_i Z_j, -X_i Z_j); a CZ replaces them by (X_i Z_j, Y_i Z_j)
    if angle is None:
        keep, swap = th.zeros_like(mean[:, 0, 0]), th.eye(2, dtype=mean.dtype, device=mean.device).expand(batch, 2, 2)
    else:
        keep, sin = angle.cos(), angle.sin()
        none = th.zeros_like(sin)
        swap = th.stack([none, -sin, sin, none], dim=1).reshape(batch, 2, 2)
    gate = (i != j)[:, None]
    both = mean[rows, i], mean[rows, j]  # (batch, 3) each
    if pair is None:
        block = both[0][:, :, None] * both[1][:, None, :]
    else:
        block = both[0][:, :, None] * both[1][:, None, :] + pair[rows, i, :, j]  # (batch, axis of i, axis of j)
    # Bloch vectors of both qubits after the gate
    new = []
    for one, products in ((both[0], block[:, :2, 2]), (both[1], block[:, 2, :2])):
        xy = keep[:, None] * one[:, :2] + (swap @ products[..., None])[..., 0]
        new.append(th.cat([xy, one[:, 2:]], dim=1))
    first, second = (index[:, None, None].expand(batch, 1, 3) for index in (i, j))
    turned = mean.scatter(1, first, new[0][:, None]).scatter(1, second, new[1][:, None])
    turned = th.where(gate[:, :, None], turned, mean)
    if pair is None:
        return turned, None
    # 1. Covariances with all other qubits, (batch, axis, other qubit, its axis)
    covariances = pair[rows, i], pair[rows, j]
    sides = []
    for side in (0, 1):
        one, mine, other, theirs = both[side], covariances[side], both[1 - side], covariances[1 - side]
        products = one[:, :2, None, None] * theirs[:, 2:] + other[:, 2, None, None, None] * mine[:, :2]
        xy = keep[:, None, None, None] * mine[:, :2] + th.einsum("bac,bckd->bakd", swap, products)
        sides.append(th.cat([xy, mine[:, 2:]], dim=1))
    # 2. Covariances between the two qubits, exactly
    inner = block[:, :2, :2]
    if angle is None:
        flipped = th.stack([th.stack([inner[:, 1, 1], -inner[:, 1, 0]], 1), th.stack([-inner[:, 0, 1], inner[:, 0, 0]], 1)], 1)
    else:
        flipped = inner
    right = keep[:, None] * block[:, :2, 2] + (swap @ both[0][:, :2, None])[..., 0]
    left = keep[:, None] * block[:, 2, :2] + (swap @ both[1][:, :2, None])[..., 0]
    block = th.cat([th.cat([flipped, right[:, :, None]], 2), th.cat([left[:, None], block[:, 2:, 2:]], 2)], 1)
    block = block - new[0][:, :, None] * new[1][:, None, :]
    # 3. Put both into the rows and columns of i and j
    numbers = th.arange(n_qubits, device=mean.device)
    is_i, is_j = ((numbers == index[:, None])[:, None, :, None] for index in (i, j))
    sides[0] = th.where(is_i, 0.0, th.where(is_j, block[:, :, None, :], sides[0]))
    sides[1] = th.where(is_j, 0.0, th.where(is_i, block.mT[:, :, None, :], sides[1]))
    along = [index[:, None, None, None, None] for index in (i, j)]
    whole = pair
    for row, place in zip(sides, along, strict=True):
        whole = whole.scatter(1, place.expand(batch, 1, 3, n_qubits, 3), row[:, None])
    for row, place in zip(sides, along, strict=True):
        whole = whole.scatter(3, place.expand(batch, n_qubits, 3, 1, 3), row.permute(0, 2, 3, 1)[:, :, :, None])
    return turned, th.where(gate[:, :, None, None, None], whole, pair)
