"""
Compiled CPU kernels of the full engine, values and gradient: the same rewriting of the circuit as the torch path, one circuit
after the other, so that a statevector of the paper's size stays in the first-level cache.

Every loop runs over memory in order, so that the compiler can vectorize it. The rotations use a constant geometry: the leading
qubit is rotated by reading the two halves of the state, and written back as the last qubit. After one rotation per qubit the
order is restored. Source of that layout: Pease, "An adaptation of the fast Fourier transform for parallel processing", J. ACM
15, 1968.

Everything is in one file because numba's cache of machine code checks only a function's own file: a kernel elsewhere that
calls these would run old code after a change of this file.
"""

import numpy as np

from sb3_quantum.circuits.jit import jit

#: qubits of a block of the state that stays in the first-level cache for a whole layer; an even number, so that a block is
#: back in its place after the rotations
BLOCK_QUBITS = 10


@jit
def _finite(inputs):
    """
    Tell whether all numbers are finite, by their bits: the compiler may assume that there are no NaN, so comparisons would not
    work.
    """
    exponent = np.int32(0x7F800000)
    patterns = inputs.view(np.int32)
    found = 0
    for row in range(patterns.shape[0]):
        for column in range(patterns.shape[1]):
            found += (patterns[row, column] & exponent) == exponent
    return found == 0


@jit
def _gates(inputs, cos, sin, turn_cos, turn_sin, cz, angles):
    """
    Compute the gates of one circuit.

    :param inputs: circuit inputs, not wrapped, ``(n_inputs,)``
    :param cos: filled with the cosines of theta / 2, ``(n_layers, n_qubits)``
    :param sin: filled with its sines
    :param turn_cos: filled with the cosines of the rotations about z between a layer and the next, ``(n_layers, n_qubits)``
    :param turn_sin: filled with their sines
    :param cz: filled with the qubits of the CZ, ``(n_layers, 2)``
    :param angles: workspace, ``(n_inputs,)``, float64
    """
    n_layers, n_qubits = cos.shape
    width = 2 * n_qubits + 2
    # The remainder modulo a whole turn in single precision, as torch computes it. Up to 1e9 this arithmetic is exact; beyond,
    # single precision cannot resolve angles, and the result only has to be finite
    turn = np.float64(np.float32(2 * np.pi))
    for place in range(len(inputs)):
        angle = np.float64(inputs[place])
        angles[place] = angle - np.floor(angle / turn) * turn if abs(angle) < 1e9 else angle % turn
    for layer in range(n_layers):
        place = layer * width
        for qubit in range(n_qubits):
            half_angle = np.float32(0.5 * angles[place + 2 * qubit])
            cos[layer, qubit], sin[layer, qubit] = np.cos(half_angle), np.sin(half_angle)
            # RZ(phi) of this layer, RZ(-phi) of the next, and D of both, which rotates by pi
            if layer < n_layers - 1:
                angle = np.float32(angles[place + 2 * qubit + 1] - angles[place + width + 2 * qubit + 1])
                turn_cos[layer, qubit], turn_sin[layer, qubit] = -np.cos(angle), -np.sin(angle)
        for end in range(2):
            cz[layer, end] = int(np.rint(inputs[place + 2 * n_qubits + end]) % np.float32(n_qubits))


@jit
def _product_state(cos, sin, real, imag):
    """Apply the first layer to the state 0, doubling the state qubit by qubit."""
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
def _phases(turn_cos, turn_sin, near, far, block, real, imag):
    """
    Compute RZ, D and the CZ of the qubits ``near <= far`` (none if they are equal) between two layers: one phase per basis
    state of a block. ``block`` contains the bits of the qubits beyond the block, which are constant in it.
    """
    inside = 0
    while (1 << inside) < len(real):
        inside += 1
    start_real, start_imag = np.float32(1.0), np.float32(0.0)
    for qubit in range(inside, len(turn_cos)):
        if (block >> (qubit - inside)) & 1:
            c, s = turn_cos[qubit], turn_sin[qubit]
            start_real, start_imag = c * start_real - s * start_imag, c * start_imag + s * start_real
    flipped = -1
    if near < far and far >= inside and (block >> (far - inside)) & 1:
        if near < inside:
            flipped = near
        elif (block >> (near - inside)) & 1:
            start_real, start_imag = -start_real, -start_imag
    real[0], imag[0] = start_real, start_imag
    half = 1
    for qubit in range(inside):
        c, s = turn_cos[qubit], turn_sin[qubit]
        if qubit == flipped:
            c, s = -c, -s
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
    """Multiply the state by the phases."""
    for state in range(len(real)):
        a, b, c, d = real[state], imag[state], phase_real[state], phase_imag[state]
        real[state] = a * c - b * d
        imag[state] = a * d + b * c


@jit
def _rotate(real, imag, new_real, new_imag, c, s):
    """Apply the real factor K of a layer's rotations to the leading qubit, which becomes the last one."""
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
def _rotate_far(array, half, c, s):
    """
    Apply the real factor K to a qubit beyond a block, in place: ``half`` is the distance between the two states of a pair.
    """
    for start in range(0, len(array), 2 * half):
        low, high = array[start : start + half], array[start + half : start + 2 * half]
        for state in range(half):
            a, b = low[state], high[state]
            low[state] = c * a + s * b
            high[state] = s * a - c * b


@jit
def _workspace(n_inputs, n_qubits):
    """Allocate memory for one circuit at a time: 16 bytes per basis state and a little for the gates."""
    n_layers = n_inputs // (2 * n_qubits + 2)
    gates = np.empty((4, n_layers, n_qubits), np.float32)
    memory = np.empty((4 << n_qubits) + 16, np.float32)
    # Vectors that do not straddle cache lines of 64 bytes: 8 % faster
    start = (-memory.ctypes.data % 64) // 4
    states = memory[start : start + (4 << n_qubits)].reshape((4, 1 << n_qubits))
    return gates, np.empty((n_layers, 2), np.int64), np.empty(n_inputs), states


@jit
def _evolve(inputs, workspace):
    """Run one circuit. Returns real and imaginary parts of the final state, and two arrays of that size that are free."""
    gates, cz, angles, states = workspace
    cos, sin, turn_cos, turn_sin = gates[0], gates[1], gates[2], gates[3]
    real, imag, other_real, other_imag = states[0], states[1], states[2], states[3]
    _gates(inputs, cos, sin, turn_cos, turn_sin, cz, angles)
    _product_state(cos[0], sin[0], real, imag)
    n_qubits = cos.shape[1]
    inside = min(n_qubits, BLOCK_QUBITS)
    size = 1 << inside
    for layer in range(1, len(cos)):
        near, far = min(cz[layer - 1, 0], cz[layer - 1, 1]), max(cz[layer - 1, 0], cz[layer - 1, 1])
        for block in range(1 << (n_qubits - inside)):
            a, b = real[block * size : (block + 1) * size], imag[block * size : (block + 1) * size]
            other_a, other_b = other_real[:size], other_imag[:size]
            _phases(turn_cos[layer - 1], turn_sin[layer - 1], near, far, block, other_a, other_b)
            _multiply(a, b, other_a, other_b)
            for qubit in range(inside - 1, -1, -1):
                _rotate(a, b, other_a, other_b, cos[layer, qubit], sin[layer, qubit])
                a, b, other_a, other_b = other_a, other_b, a, b
        if inside % 2 == 1:
            real, imag, other_real, other_imag = other_real, other_imag, real, imag
        for qubit in range(inside, n_qubits):
            _rotate_far(real, 1 << qubit, cos[layer, qubit], sin[layer, qubit])
            _rotate_far(imag, 1 << qubit, cos[layer, qubit], sin[layer, qubit])
    return real, imag, other_real, other_imag


@jit
def _square(real, imag, out):
    """Probabilities of all basis states."""
    for state in range(len(real)):
        out[state] = real[state] * real[state] + imag[state] * imag[state]


@jit
def _block_sums(probabilities, sums):
    """Sum over consecutive blocks of basis states."""
    size = len(probabilities) // len(sums)
    for block in range(len(sums)):
        total = np.float32(0.0)
        for state in range(block * size, (block + 1) * size):
            total += probabilities[state]
        sums[block] = total


@jit
def _sample(probabilities, sums, uniform):
    """
    Draw by the inverse CDF: return the first state whose cumulative probability exceeds ``uniform`` times the sum. Whole
    blocks are skipped by their sums; a state of probability zero is never returned.
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
def _ones(values, out):
    """Sum, for every qubit, over the states in which it is 1; the values are folded, qubit by qubit, onto the first one."""
    half = len(values) // 2
    for qubit in range(len(out) - 1, -1, -1):
        low, high = values[:half], values[half : 2 * half]
        total = np.float32(0.0)
        for state in range(half):
            total += high[state]
            low[state] += high[state]
        out[qubit] = total
        half //= 2


@jit
def _marginals(probabilities, out):
    """Compute the probability of reading 1 on every qubit; the probabilities of the states are overwritten."""
    _ones(probabilities, out)
    for qubit in range(len(out)):
        out[qubit] = min(out[qubit] / probabilities[0], np.float32(1.0))


@jit
def probabilities(inputs: np.ndarray, n_qubits: int, out: np.ndarray) -> None:
    """
    Probabilities of all basis states; for the rewriting of the circuit see
    :class:`~sb3_quantum.backends.statevector.StatevectorBackend`.

    :param inputs: circuit inputs, not wrapped, ``(batch, n_inputs)``, float32, in the layout of
        :class:`~sb3_quantum.circuits.PaperCircuit`
    :param n_qubits: qubits of the circuit
    :param out: filled with the probabilities, ``(batch, 2**n_qubits)``, float32
    """
    workspace = _workspace(inputs.shape[1], n_qubits)
    for row in range(inputs.shape[0]):
        real, imag, _, _ = _evolve(inputs[row], workspace)
        _square(real, imag, out[row])


@jit
def measure(inputs: np.ndarray, n_qubits: int, uniforms: np.ndarray, bits: np.ndarray, expected: np.ndarray) -> bool:
    """
    Measure circuits, one after the other: no array grows with the batch times the states.

    :param inputs: as in :func:`probabilities`
    :param n_qubits: qubits of the circuit
    :param uniforms: random numbers in [0, 1), ``(batch, shots)``, float64
    :param bits: filled with the measured bits, ``(batch, shots, n_qubits)``, float32
    :param expected: filled with the probabilities of reading 1, ``(batch, n_qubits)``, float32
    :return: ``False``, and nothing is filled, if an input is NaN or infinite
    """
    if not _finite(inputs):
        return False
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
    return True


@jit
def _unrotate(old, new, c, s):
    """Undo a rotation's step through memory: the last qubit is rotated back and becomes the leading one."""
    half = len(old) // 2
    for state in range(half):
        a, b = old[2 * state], old[2 * state + 1]
        new[state] = c * a + s * b
        new[half + state] = s * a - c * b


@jit
def _cross(state, gradient):
    """Sum ``gradient_1 * state_0 - gradient_0 * state_1`` over the pairs of the last qubit, on real or imaginary parts."""
    total = np.float32(0.0)
    for pair in range(len(state) // 2):
        total += gradient[2 * pair + 1] * state[2 * pair] - gradient[2 * pair] * state[2 * pair + 1]
    return total


@jit
def _turn_gradient(real, imag, grad_real, grad_imag, per_state, turns):
    """
    Compute the gradient of one layer's rotations about z, ``(n_qubits,)``, which change the phase of the states where their
    qubit is 1.
    """
    for state in range(len(real)):
        per_state[state] = grad_imag[state] * real[state] - grad_real[state] * imag[state]
    _ones(per_state, turns)


@jit
def gradient(inputs: np.ndarray, n_qubits: int, weights: np.ndarray, out: np.ndarray) -> None:
    """
    Compute the gradient of ``(weights * probabilities).sum()`` by the adjoint method: the final state and its gradient are
    carried back through the circuit, gate by gate, because every gate can be undone.

    Source: Jones and Gacon, "Efficient calculation of gradients in classical simulations of variational quantum algorithms",
    arXiv 2009.02823.

    :param inputs: circuit inputs as they come, ``(batch, n_inputs)``, float32
    :param n_qubits: qubits of the circuit
    :param weights: ``(batch, 2**n_qubits)``, float32
    :param out: filled with the gradient, ``(batch, n_inputs)``, float32; zero at the CZ indices
    """
    width = 2 * n_qubits + 2
    workspace = _workspace(inputs.shape[1], n_qubits)
    gates, cz = workspace[0], workspace[1]
    cos, sin, turn_cos, turn_sin = gates[0], gates[1], gates[2], gates[3]
    gradients = np.empty((4, 1 << n_qubits), np.float32)
    turns = np.empty(n_qubits, np.float32)
    for row in range(inputs.shape[0]):
        real, imag, free_a, free_b = _evolve(inputs[row], workspace)  # the final state, then its gradient
        grad_real, grad_imag, free_c, free_d = gradients[0], gradients[1], gradients[2], gradients[3]
        for state in range(len(real)):
            weight = np.float32(2.0) * weights[row, state]
            grad_real[state] = weight * real[state]
            grad_imag[state] = weight * imag[state]
        out[row] = 0.0
        for layer in range(len(cos) - 1, -1, -1):
            place = layer * width
            for qubit in range(n_qubits):
                # 1. K rotates by half its angle: dK psi = (-psi_1, psi_0) / 2, whatever the other qubits do
                out[row, place + 2 * qubit] = np.float32(0.5) * (_cross(real, grad_real) + _cross(imag, grad_imag))
                c, s = cos[layer, qubit], sin[layer, qubit]
                _unrotate(real, free_a, c, s)
                _unrotate(imag, free_b, c, s)
                _unrotate(grad_real, free_c, c, s)
                _unrotate(grad_imag, free_d, c, s)
                real, imag, free_a, free_b = free_a, free_b, real, imag
                grad_real, grad_imag, free_c, free_d = free_c, free_d, grad_real, grad_imag
            if layer > 0:
                before = layer - 1
                # 2. The rotations about z commute with the phases, so their gradient may be computed on either side of them
                _turn_gradient(real, imag, grad_real, grad_imag, free_a, turns)
                for qubit in range(n_qubits):
                    out[row, place - width + 2 * qubit + 1] += turns[qubit]
                    out[row, place + 2 * qubit + 1] -= turns[qubit]
                # 3. Conjugate phases undo the rotations
                near, far = min(cz[before, 0], cz[before, 1]), max(cz[before, 0], cz[before, 1])
                _phases(turn_cos[before], -turn_sin[before], near, far, 0, free_a, free_b)
                _multiply(real, imag, free_a, free_b)
                _multiply(grad_real, grad_imag, free_a, free_b)
