"""
A compiled CPU kernel for the statevector backend: the same rewriting of the circuit as its torch path, one circuit after the
other, so that a statevector of the paper's size stays in the first-level cache.

Every loop runs over memory in order, which is what lets a compiler vectorize it. The rotations do so by a constant geometry:
the leading qubit is rotated, reading the two halves of the state, and written back as the last one; after as many turns as
there are qubits the order is the old one. Source of that layout: Pease, "An adaptation of the fast Fourier transform for
parallel processing", J. ACM 15, 1968.
"""

import numpy as np

from sb3_quantum.circuits.jit import jit


@jit
def _gates(inputs, cos, sin, turn_cos, turn_sin, cz, turns):
    """
    The gates of one circuit.

    :param inputs: as they come, ``(n_inputs,)``
    :param cos: filled with the cosines of theta / 2, ``(n_layers, n_qubits)``
    :param sin: filled with its sines
    :param turn_cos: filled with the cosines of the turns about z between a layer and the next, ``(n_layers, n_qubits)``
    :param turn_sin: filled with their sines
    :param cz: filled with the qubits of the CZ, ``(n_layers, 2)``
    :param turns: workspace, ``(n_inputs,)``, float64
    """
    n_layers, n_qubits = cos.shape
    width = 2 * n_qubits + 2
    # The remainder modulo the single-precision turn, as torch has it in single precision. Up to 1e9 this arithmetic is exact;
    # beyond, single precision cannot tell one angle from another, and all that matters is that it stays finite
    turn = np.float64(np.float32(2 * np.pi))
    for place in range(len(inputs)):
        angle = np.float64(inputs[place])
        turns[place] = angle - np.floor(angle / turn) * turn if abs(angle) < 1e9 else angle % turn
    for layer in range(n_layers):
        place = layer * width
        for qubit in range(n_qubits):
            half_angle = np.float32(0.5 * turns[place + 2 * qubit])
            cos[layer, qubit], sin[layer, qubit] = np.cos(half_angle), np.sin(half_angle)
            # RZ(phi) of this layer, RZ(-phi) of the next, and D of both, which turns by pi
            if layer < n_layers - 1:
                angle = np.float32(turns[place + 2 * qubit + 1] - turns[place + width + 2 * qubit + 1])
                turn_cos[layer, qubit], turn_sin[layer, qubit] = -np.cos(angle), -np.sin(angle)
        for end in range(2):
            cz[layer, end] = int(np.rint(inputs[place + 2 * n_qubits + end]) % np.float32(n_qubits))


@jit
def _product_state(cos, sin, real, imag):
    """The first layer on the state 0, doubled qubit by qubit."""
    real[0] = 1.0
    half = 1
    for qubit in range(len(cos)):
        c, s = cos[qubit], sin[qubit]
        low, high = real[:half], real[half : 2 * half]
        for state in range(half):
            value = low[state]
            high[state] = s * value
            low[state] = c * value
        half *= 2
    imag[:] = 0.0


@jit
def _phases(turn_cos, turn_sin, first, second, real, imag):
    """RZ, D and the CZ of the qubits ``first`` and ``second`` between two layers: one phase per basis state."""
    near, far = min(first, second), max(first, second)
    real[0], imag[0] = 1.0, 0.0
    half = 1
    for qubit in range(len(turn_cos)):
        c, s = turn_cos[qubit], turn_sin[qubit]
        low_real, low_imag = real[:half], imag[:half]
        high_real, high_imag = real[half : 2 * half], imag[half : 2 * half]
        for state in range(half):
            high_real[state] = c * low_real[state] - s * low_imag[state]
        for state in range(half):
            high_imag[state] = c * low_imag[state] + s * low_real[state]
        if qubit == far and near < far:
            for state in range(half):
                sign = np.float32(1 - 2 * ((state >> near) & 1))
                high_real[state] *= sign
                high_imag[state] *= sign
        half *= 2


@jit
def _multiply(real, imag, phase_real, phase_imag):
    """Multiply the state with the phases."""
    for state in range(len(real)):
        a, b, c, d = real[state], imag[state], phase_real[state], phase_imag[state]
        real[state] = a * c - b * d
        imag[state] = a * d + b * c


@jit
def _rotate(real, imag, new_real, new_imag, c, s):
    """The real factor K of a layer's rotations on the leading qubit, which becomes the last one."""
    half = len(real) // 2
    for state in range(half):
        a, b = real[state], real[half + state]
        new_real[2 * state] = c * a + s * b
        new_real[2 * state + 1] = s * a - c * b
    for state in range(half):
        a, b = imag[state], imag[half + state]
        new_imag[2 * state] = c * a + s * b
        new_imag[2 * state + 1] = s * a - c * b


@jit
def _workspace(n_inputs, n_qubits):
    """Memory for one circuit at a time: 16 bytes per basis state and a little for the gates."""
    n_layers = n_inputs // (2 * n_qubits + 2)
    gates = np.empty((4, n_layers, n_qubits), np.float32)
    return gates, np.empty((n_layers, 2), np.int64), np.empty(n_inputs), np.empty((4, 1 << n_qubits), np.float32)


@jit
def _evolve(inputs, workspace):
    """Run one circuit. Returns real and imaginary parts of the final state, and two arrays of that size that are free."""
    gates, cz, turns, states = workspace
    cos, sin, turn_cos, turn_sin = gates[0], gates[1], gates[2], gates[3]
    real, imag, other_real, other_imag = states[0], states[1], states[2], states[3]
    _gates(inputs, cos, sin, turn_cos, turn_sin, cz, turns)
    _product_state(cos[0], sin[0], real, imag)
    for layer in range(1, len(cos)):
        _phases(turn_cos[layer - 1], turn_sin[layer - 1], cz[layer - 1, 0], cz[layer - 1, 1], other_real, other_imag)
        _multiply(real, imag, other_real, other_imag)
        for qubit in range(cos.shape[1] - 1, -1, -1):
            _rotate(real, imag, other_real, other_imag, cos[layer, qubit], sin[layer, qubit])
            real, imag, other_real, other_imag = other_real, other_imag, real, imag
    return real, imag, other_real, other_imag


@jit
def _square(real, imag, out):
    """Probabilities of all basis states."""
    for state in range(len(real)):
        out[state] = real[state] * real[state] + imag[state] * imag[state]


@jit
def _block_sums(probabilities, sums):
    """Sums over consecutive blocks of basis states."""
    size = len(probabilities) // len(sums)
    for block in range(len(sums)):
        total = np.float32(0.0)
        for state in range(block * size, (block + 1) * size):
            total += probabilities[state]
        sums[block] = total


@jit
def _sample(probabilities, sums, uniform):
    """
    Inverse CDF: the first state whose cumulative probability exceeds ``uniform`` times the sum. Whole blocks are skipped by
    their sums; a state of probability zero is never returned.
    """
    size = len(probabilities) // len(sums)
    remaining = uniform * np.float64(sums.sum())
    block = state = 0
    for candidate in range(len(sums)):
        if sums[candidate] > 0:
            block = candidate
            if remaining < sums[candidate]:
                break
            remaining -= sums[candidate]
    for candidate in range(block * size, (block + 1) * size):
        if probabilities[candidate] > 0:
            state = candidate
            if remaining < probabilities[candidate]:
                break
            remaining -= probabilities[candidate]
    return state


@jit
def _marginals(probabilities, out):
    """Probability of reading 1 on every qubit; the probabilities are folded, qubit by qubit, and lost."""
    half, qubit = len(probabilities) // 2, len(out) - 1
    while half > 0:
        low, high = probabilities[:half], probabilities[half : 2 * half]
        total = np.float32(0.0)
        for state in range(half):
            total += high[state]
            low[state] += high[state]
        out[qubit] = total
        half, qubit = half // 2, qubit - 1
    for qubit in range(len(out)):
        out[qubit] = min(out[qubit] / probabilities[0], np.float32(1.0))


@jit
def probabilities(inputs: np.ndarray, n_qubits: int, out: np.ndarray) -> None:
    """
    Probabilities of all basis states; :class:`~sb3_quantum.backends.statevector.StatevectorBackend` says how the circuit is
    rewritten.

    :param inputs: circuit inputs as they come, ``(batch, n_inputs)``, float32, laid out and brought into range as
        :class:`~sb3_quantum.circuits.ansatz.Ansatz` says
    :param n_qubits: qubits of the circuit
    :param out: filled with the probabilities, ``(batch, 2**n_qubits)``, float32
    """
    workspace = _workspace(inputs.shape[1], n_qubits)
    for row in range(inputs.shape[0]):
        real, imag, _, _ = _evolve(inputs[row], workspace)
        _square(real, imag, out[row])


@jit
def measure(inputs: np.ndarray, n_qubits: int, uniforms: np.ndarray, bits: np.ndarray, expected: np.ndarray) -> None:
    """
    Measured bits and their probabilities, of circuit after circuit: no array grows with the batch times the states.

    :param inputs: as in :func:`probabilities`
    :param n_qubits: qubits of the circuit
    :param uniforms: random numbers in [0, 1), ``(batch, shots)``, float64
    :param bits: filled with the measured bits, ``(batch, shots, n_qubits)``, float32
    :param expected: filled with the probabilities of reading 1, ``(batch, n_qubits)``, float32
    """
    workspace = _workspace(inputs.shape[1], n_qubits)
    sums = np.empty(1 << (n_qubits // 2), np.float32)
    for row in range(inputs.shape[0]):
        real, imag, found, _ = _evolve(inputs[row], workspace)
        _square(real, imag, found)
        if uniforms.shape[1] > 0:
            _block_sums(found, sums)
        for shot in range(uniforms.shape[1]):
            state = _sample(found, sums, uniforms[row, shot])
            for qubit in range(n_qubits):
                bits[row, shot, qubit] = (state >> qubit) & 1
        _marginals(found, expected[row])
