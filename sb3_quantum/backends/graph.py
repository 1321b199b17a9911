"""
Exact simulation of the paper's circuit as a graph of torch's operations that can be traced, exported, transformed and
differentiated any number of times. It works for any batch size, without a branch or an index that depends on a value, and
without complex numbers, which ONNX lacks. The statevector backend's engines are faster.
"""

import math

import numpy as np
import torch as th

from sb3_quantum.backends.threads import memory_bytes
from sb3_quantum.circuits import PaperCircuit

#: qubits whose rotations are merged into one matrix: at most 32 x 32, a good size for a batched matrix product
GROUP = 5
#: up to this number of qubits, all of them are one state
WHOLE_QUBITS = 16
#: a whole turn in single precision, the modulus of the other engines
SINGLE_TURN = float(np.float32(2 * math.pi))


def expected_bits(ansatz: PaperCircuit, inputs: th.Tensor) -> th.Tensor:
    """
    Compute the probability of reading 1 on every qubit.

    Up to :data:`WHOLE_QUBITS` qubits are one state. In a wider circuit only the ends of CZ gates are: two qubits for every CZ
    that counts, whichever qubits of the circuit they are. All others are sequences of rotations.

    :param ansatz: the circuit's shape
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
    :return: ``(batch, n_qubits)``, in [0, 1]
    :raises ValueError: if the state does not fit into this machine's memory
    """
    n_qubits = ansatz.n_qubits
    ends = 2 * (ansatz.n_layers - 1) * ansatz.n_cz
    theta, phi, index = _gates(ansatz, inputs)  # (batch, n_layers, n_qubits) twice, (batch, n_layers, n_cz, 2)
    half = (theta / 2).to(inputs.dtype)
    if n_qubits <= WHOLE_QUBITS or ends >= n_qubits:
        _check_memory(ansatz, n_qubits, inputs)
        return _one_state(n_qubits, ansatz.n_layers, half, phi, index)
    alone = _alone(ansatz.n_layers, half, phi.to(inputs.dtype))
    if ends == 0:
        return alone
    _check_memory(ansatz, ends, inputs)
    # Compared, not looked up: which qubit each end is, (batch, ends, n_qubits), and which ends are the same qubit
    pairs = index[:, :-1].flatten(1)
    where = (pairs[..., None] == th.arange(n_qubits, dtype=pairs.dtype, device=pairs.device)).to(half.dtype)
    same = (pairs[:, :, None] == pairs[:, None]).to(half.dtype)
    # Of equal ends, the first is the qubit, and the others are idle
    first = (same.tril(-1).sum(2) == 0).to(half.dtype)
    places = th.arange(ends, dtype=half.dtype, device=half.device)
    place = th.matmul(same, (first * places)[..., None]).squeeze(2)
    few = th.cat([place, place[:, :1].expand(-1, 2 * ansatz.n_cz)], dim=1).reshape(-1, ansatz.n_layers, ansatz.n_cz, 2)
    chosen = where.transpose(1, 2)
    turned = th.matmul(half, chosen), th.matmul(phi, chosen.to(phi.dtype))
    joined = _one_state(ends, ansatz.n_layers, *turned, few.to(index.dtype))
    kept = where * first[..., None]
    return alone * (1 - kept.sum(1)) + (kept * joined[..., None]).sum(1)


def _check_memory(ansatz: PaperCircuit, n_qubits: int, inputs: th.Tensor) -> None:
    # State, phases of all layers, and a row of the table for every qubit
    numbers = 4 + 2 * (ansatz.n_layers - 1) + n_qubits
    needed, available = 2**n_qubits * numbers * inputs.element_size(), memory_bytes()
    if needed > available:
        raise ValueError(
            f"a graph of {ansatz} holds {n_qubits} qubits as one state, because any of them may be joined, and needs "
            f"{needed / 2**30:,.0f} GiB per row, but this machine has {available / 2**30:,.0f} GiB of memory; use fewer "
            "layers or CZ gates (two qubits are held for every CZ before the last layer), or run the circuit outside the "
            "graph"
        )


def _alone(n_layers: int, half: th.Tensor, phi: th.Tensor) -> th.Tensor:
    """Compute the bits of qubits without CZ: rotations one after the other, as ``a - i (b X + c Y + d Z)``."""
    cos, sin = th.cos(half), th.sin(half)
    x, y = sin * th.cos(phi), sin * th.sin(phi)
    a, b, c, d = cos[:, 0], x[:, 0], y[:, 0], th.zeros_like(x[:, 0])
    for layer in range(1, n_layers):
        e, f, g = cos[:, layer], x[:, layer], y[:, layer]
        a, b, c, d = e * a - f * b - g * c, e * b + f * a + g * d, e * c + g * a - f * d, e * d + f * c - g * b
    return (b.square() + c.square()).clamp(0, 1)


def _one_state(n_qubits: int, n_layers: int, half: th.Tensor, phi: th.Tensor, index: th.Tensor) -> th.Tensor:
    """
    Compute the bits of all qubits from one state.

    The circuit is rewritten as in :class:`~sb3_quantum.backends.StatevectorBackend`: between two layers of real rotations
    there is one product of phases. Real and imaginary parts are separate.

    :param n_qubits: qubits; sizes are arguments because those of a traced tensor are not numbers
    :param n_layers: layers
    :param half: half of theta, ``(batch, n_layers, n_qubits)``
    :param phi: the other angle, in double precision
    :param index: the qubits of each CZ, ``(batch, n_layers, n_cz, 2)``
    :return: as :func:`expected_bits`
    """
    cos, sin = th.cos(half), th.sin(half)
    table = _bit_table(n_qubits, half)

    # First layer: a product of cos |0> - i sin |1>, whose phases are merged into those that follow
    state = th.ones_like(cos[:, 0, :1])
    for qubit in range(n_qubits):
        state = th.cat([state * cos[:, 0, qubit, None], state * sin[:, 0, qubit, None]], dim=-1)
    probabilities = state.square()
    if n_layers > 1:
        real, imag = _diagonals(phi, index, table)  # (batch, n_layers - 1, 2**n_qubits)
        state = th.stack([state * real[:, 0], state * imag[:, 0]], dim=1)  # (batch, 2, 2**n_qubits)
        # Groups of qubits, the most significant first, as the axes of a statevector are ordered
        groups = [slice(start, min(start + GROUP, n_qubits)) for start in reversed(range(0, n_qubits, GROUP))]
        rotations = th.stack([cos, sin, sin, -cos], dim=-1).unflatten(-1, (2, 2))
        factors = [kron(rotations[:, 1:, group]) for group in groups]  # symmetric, (batch, n_layers - 1, size, size)
        for layer in range(n_layers - 1):
            if layer > 0:
                a, b, c, d = state[:, 0], state[:, 1], real[:, layer], imag[:, layer]
                state = th.stack([a * c - b * d, a * d + b * c], dim=1)
            for factor in factors:
                # The leading qubits are rotated and become the last ones; a full cycle restores the order
                size = factor.shape[-1]
                leading = state.reshape(-1, 2, size, 2**n_qubits // size).transpose(2, 3)
                state = th.matmul(leading, factor[:, layer, None]).reshape(-1, 2, 2**n_qubits)
        probabilities = state.square().sum(1)
    if n_qubits <= WHOLE_QUBITS:
        return th.matmul(probabilities, table.t()).clamp(0, 1)
    # Sum over one half of the qubits and then over the other: a sum of a million numbers loses digits
    low = n_qubits // 2
    square = probabilities.reshape(-1, 2 ** (n_qubits - low), 2**low)
    halves = (square.sum(1), table[:low, : 2**low]), (square.sum(2), table[: n_qubits - low, : 2 ** (n_qubits - low)])
    return th.cat([th.matmul(sums, bits.t()) for sums, bits in halves], dim=1).clamp(0, 1)


def _gates(ansatz: PaperCircuit, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """
    Do what :meth:`PaperCircuit.gates` does, with the angles in double precision, as in the compiled kernels, and the indices
    as floats.
    """
    layers = inputs.reshape(-1, ansatz.n_layers, ansatz.layer_width)
    angles = layers[..., : 2 * ansatz.n_qubits].double()
    turn = SINGLE_TURN if inputs.dtype == th.float32 else 2 * math.pi
    angles = angles - th.floor(angles / turn) * turn
    rounded = th.round(layers[..., 2 * ansatz.n_qubits :])
    index = rounded - th.floor(rounded / ansatz.n_qubits) * ansatz.n_qubits
    index = index.clamp(0, ansatz.n_qubits - 1).unflatten(-1, (ansatz.n_cz, 2))
    return angles[..., 0::2], angles[..., 1::2], index


def _bit_table(n_qubits: int, like: th.Tensor) -> th.Tensor:
    """Return the bits of every basis state, ``(n_qubits, 2**n_qubits)``, qubit m in row m."""
    states = th.arange(2**n_qubits, dtype=like.dtype, device=like.device)
    return th.stack([th.floor(states / 2**m) - 2 * th.floor(states / 2 ** (m + 1)) for m in range(n_qubits)])


def _diagonals(phi: th.Tensor, index: th.Tensor, table: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Compute real and imaginary parts of the phases between two layers, ``(batch, n_layers - 1, 2**n_qubits)``."""
    # RZ(phi) of one layer, RZ(-phi) of the next, and D of both: (-i)^2 = -1 for every qubit that is 1
    turns = (phi[:, :-1] - phi[:, 1:]).to(table.dtype)
    cos, sin = -th.cos(turns), -th.sin(turns)
    # The CZ is a sign where both its qubits are 1; its qubits are compared, not looked up
    n_qubits = table.shape[0]
    qubits = th.arange(n_qubits, dtype=table.dtype, device=table.device)
    real = th.ones_like(cos[..., :1] * table[0])
    for gate in range(index.shape[2]):
        pair = index[:, :-1, gate]
        chosen = (pair[..., None] == qubits).to(table.dtype)  # (batch, n_layers - 1, 2, n_qubits)
        bits = th.matmul(chosen, table)
        different = (pair[..., 0] != pair[..., 1]).to(table.dtype)
        real = real * (1 - 2 * bits[:, :, 0] * bits[:, :, 1] * different[..., None])
    imag = th.zeros_like(real)
    for qubit in range(n_qubits):
        c = 1 + table[qubit] * (cos[..., qubit, None] - 1)
        s = table[qubit] * sin[..., qubit, None]
        real, imag = real * c - imag * s, real * s + imag * c
    return real, imag


def kron(factors: th.Tensor) -> th.Tensor:
    """
    Compute the Kronecker product of matrices or column vectors; the last factor is the most significant.

    :param factors: ``(batch, n_layers, n, 2, width)``, width 2 for matrices and 1 for vectors
    :return: ``(batch, n_layers, 2**n, width**n)``
    """
    product = factors[:, :, 0]
    for qubit in range(1, factors.shape[2]):
        factor = factors[:, :, qubit, :, None, :, None]
        product = (factor * product[:, :, None, :, None, :]).flatten(-4, -3).flatten(-2, -1)
    return product


def outer(vectors: list[th.Tensor]) -> th.Tensor:
    """
    Compute the Kronecker product of column vectors; the first factor is the most significant.

    :param vectors: each ``(batch, n_layers, size, 1)``
    :return: ``(batch, n_layers, product of the sizes)``
    """
    product = vectors[0].squeeze(-1)
    for vector in vectors[1:]:
        product = (product.unsqueeze(-1) * vector.mT).flatten(2)
    return product
