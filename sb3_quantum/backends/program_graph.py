"""
Exact simulation of any program in torch's operations: on any device, in any precision, differentiable any number of times, and
without a branch or an index that depends on a value, so that it can be traced and exported. It uses real numbers, because ONNX
lacks complex ones. Compiled engines, and engines for one family, are faster.
"""

import torch as th

from sb3_quantum.circuits import Circuit, Gate, Program

#: the product of two gates, each ``(a, b, c, d)`` of ``a - i (b X + c Y + d Z)``: for each of the four its terms (i, j, sign)
_PRODUCTS = {
    0: ((0, 0, 1.0), (1, 1, -1.0), (2, 2, -1.0), (3, 3, -1.0)),
    1: ((0, 1, 1.0), (1, 0, 1.0), (2, 3, 1.0), (3, 2, -1.0)),
    2: ((0, 2, 1.0), (2, 0, 1.0), (3, 1, 1.0), (1, 3, -1.0)),
    3: ((0, 3, 1.0), (3, 0, 1.0), (1, 2, 1.0), (2, 1, -1.0)),
}


def amplitudes(circuit: Circuit, inputs: th.Tensor) -> th.Tensor:
    """
    Compute final states.

    Consecutive one-qubit gates are merged before they act on the state.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
    :return: real and imaginary parts, ``(batch, 2, 2**n_qubits)``, little-endian as in Qiskit
    """
    wrapped = circuit.wrap(inputs).to(inputs.dtype)
    return evolve(circuit.program, circuit.gate_angles(wrapped), circuit.split(wrapped)[1].detach())


def evolve(program: Program, angles: th.Tensor, chosen: th.Tensor) -> th.Tensor:
    """
    Run a program and return final states.

    :param program: the gates
    :param angles: the gates' angles in radians, ``(batch, n_angles)``
    :param chosen: the qubits that rows choose, as numbers of the angles' type, ``(batch, 2 * n_choices)``
    :return: as :func:`amplitudes`
    """
    n_qubits = program.n_qubits
    cos, sin = (angles / 2).cos(), (angles / 2).sin()
    whole = angles.cos(), angles.sin()
    table = bit_table(n_qubits, angles)
    structure = _structure(angles)

    one = th.ones_like(angles.sum(1))
    state = th.stack([one, th.zeros_like(one)], dim=1)
    state = th.cat([state.unsqueeze(2), state.unsqueeze(2).expand(-1, -1, 2**n_qubits - 1) * 0], dim=2)
    pending: dict[int, th.Tensor] = {}
    for gate in program.gates:
        if gate.name == "rzz":
            for qubit in gate.qubits:
                state = _flush(state, pending, qubit)
            parity = (1 - 2 * table[gate.qubits[0]]) * (1 - 2 * table[gate.qubits[1]])
            c, s = cos[:, gate.angles[0], None], sin[:, gate.angles[0], None] * parity
            state = th.stack([state[:, 0] * c + state[:, 1] * s, state[:, 1] * c - state[:, 0] * s], dim=1)
        elif gate.name == "cz" and gate.choice is None:
            for qubit in gate.qubits:
                state = _flush(state, pending, qubit)
            state = state * (1 - 2 * table[gate.qubits[0]] * table[gate.qubits[1]])
        elif gate.name == "cz":
            for qubit in range(n_qubits):
                state = _flush(state, pending, qubit)
            assert gate.choice is not None
            state = state * _chosen_signs(chosen[:, 2 * gate.choice : 2 * gate.choice + 2], table).unsqueeze(1)
        else:
            (qubit,) = gate.qubits
            turn = _quaternion(gate, cos, sin, *whole)
            before = pending.get(qubit)
            pending[qubit] = turn if before is None else th.einsum("bi,bj,ijk->bk", turn, before, structure)
    for qubit in range(n_qubits):
        state = _flush(state, pending, qubit)
    return state


def expected_bits(circuit: Circuit, inputs: th.Tensor) -> th.Tensor:
    """
    Compute the probability of reading 1 on every qubit.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
    :return: ``(batch, n_qubits)``, in [0, 1]
    """
    probabilities = amplitudes(circuit, inputs).square().sum(1)
    return th.matmul(probabilities, bit_table(circuit.n_qubits, inputs).t()).clamp(0, 1)


def bit_table(n_qubits: int, like: th.Tensor) -> th.Tensor:
    """
    Return the bits of every basis state.

    :param n_qubits: qubits
    :param like: a tensor of the result's type and device
    :return: ``(n_qubits, 2**n_qubits)``, qubit m in row m
    """
    states = th.arange(2**n_qubits, dtype=like.dtype, device=like.device)
    return th.stack([th.floor(states / 2**m) - 2 * th.floor(states / 2 ** (m + 1)) for m in range(n_qubits)])


def _structure(like: th.Tensor) -> th.Tensor:
    """Return the structure constants of the product of two one-qubit gates, ``(4, 4, 4)``."""
    rows = [[[0.0] * 4 for _ in range(4)] for _ in range(4)]
    for k, terms in _PRODUCTS.items():
        for i, j, sign in terms:
            rows[i][j][k] = sign
    return th.tensor(rows, dtype=like.dtype, device=like.device)


def _quaternion(gate: Gate, cos: th.Tensor, sin: th.Tensor, whole_cos: th.Tensor, whole_sin: th.Tensor) -> th.Tensor:
    """Write a one-qubit gate as ``a - i (b X + c Y + d Z)``, ``(batch, 4)``."""
    if gate.fixed is not None:
        return cos.new_tensor(gate.fixed).expand(cos.shape[0], 4)
    angle = gate.angles[0]
    c, s = cos[:, angle], sin[:, angle]
    nothing = th.zeros_like(c)
    if gate.name == "r":
        phi = gate.angles[1]
        return th.stack([c, s * whole_cos[:, phi], s * whole_sin[:, phi], nothing], dim=1)
    places = {"rx": (c, s, nothing, nothing), "ry": (c, nothing, s, nothing), "rz": (c, nothing, nothing, s)}
    return th.stack(places[gate.name], dim=1)


def _flush(state: th.Tensor, pending: dict[int, th.Tensor], qubit: int) -> th.Tensor:
    """Apply a qubit's pending gate, as a real matrix on the real and imaginary parts of both its values."""
    if qubit not in pending:
        return state
    a, b, c, d = pending.pop(qubit).unbind(1)
    # [[a - i d, -c - i b], [c - i b, a + i d]]; rows and columns: real and imaginary part at 0, and then at 1
    rows = [a, d, -c, b, -d, a, -b, -c, c, b, a, -d, -b, c, d, a]
    matrix = th.stack(rows, dim=1).reshape(-1, 4, 4)
    size = state.shape[2]
    parts = state.reshape(-1, 2, size // 2 ** (qubit + 1), 2, 2**qubit)  # (batch, part, high, bit, low)
    columns = parts.permute(0, 3, 1, 2, 4).reshape(-1, 4, size // 2)
    turned = th.matmul(matrix, columns).reshape(-1, 2, 2, size // 2 ** (qubit + 1), 2**qubit)
    return turned.permute(0, 2, 3, 1, 4).reshape(-1, 2, size)


def _chosen_signs(pair: th.Tensor, table: th.Tensor) -> th.Tensor:
    """Compute the signs of a CZ between the qubits ``pair``, ``(batch, 2)``; these are compared, not looked up."""
    qubits = th.arange(table.shape[0], dtype=table.dtype, device=table.device)
    bits = th.matmul((pair[..., None] == qubits).to(table.dtype), table)  # (batch, 2, 2**n_qubits)
    different = (pair[:, :1] != pair[:, 1:]).to(table.dtype)
    return 1 - 2 * bits[:, 0] * bits[:, 1] * different
