"""
A compiled CPU kernel for the gradient of the statevector backend. Several circuits run side by side, one in each lane of the
processor's vector registers: the first qubits' strides are too short to vectorize within one circuit. Arrays are
``(..., lanes)``, and the innermost loops run over the lanes.
"""

import numpy as np

from sb3_quantum.circuits.jit import jit

#: circuits side by side, at most; 32 measured best of 8, 16, 32 and 64
LANES = 32
#: beyond so many qubits the states of as many circuits leave the cache, and one runs at a time
LANE_QUBITS = 12


@jit
def _phases(turn_cos, turn_sin, first, second, phase_real, phase_imag):
    """RZ, D and the CZ of the indices ``first`` and ``second`` between two layers: one phase per basis state and lane."""
    n_qubits, lanes = turn_cos.shape
    phase_real[0, :] = 1.0
    phase_imag[0, :] = 0.0
    for qubit in range(n_qubits):
        half = 1 << qubit
        for state in range(half):
            for lane in range(lanes):
                a, b = phase_real[state, lane], phase_imag[state, lane]
                c, s = turn_cos[qubit, lane], turn_sin[qubit, lane]
                phase_real[half + state, lane] = c * a - s * b
                phase_imag[half + state, lane] = c * b + s * a
    for lane in range(lanes):
        i = int(np.rint(first[lane]) % np.float32(n_qubits))
        j = int(np.rint(second[lane]) % np.float32(n_qubits))
        if i != j:
            both = (1 << i) | (1 << j)
            for state in range(len(phase_real)):
                if (state & both) == both:
                    phase_real[state, lane] = -phase_real[state, lane]
                    phase_imag[state, lane] = -phase_imag[state, lane]


@jit
def _multiply(real, imag, phase_real, phase_imag, sign):
    """Multiply with the phases (``sign`` 1) or their conjugates (-1)."""
    size, lanes = real.shape
    for state in range(size):
        for lane in range(lanes):
            a, b = real[state, lane], imag[state, lane]
            c, d = phase_real[state, lane], sign * phase_imag[state, lane]
            real[state, lane] = a * c - b * d
            imag[state, lane] = a * d + b * c


@jit
def _rotate(cos, sin, array):
    """The real factor K of a layer's rotations, qubit by qubit, on real or imaginary parts. It is its own inverse."""
    size, lanes = array.shape
    for qubit in range(len(cos)):
        half = 1 << qubit
        for start in range(0, size, 2 * half):
            for low in range(start, start + half):
                for lane in range(lanes):
                    a, b = array[low, lane], array[low + half, lane]
                    c, s = cos[qubit, lane], sin[qubit, lane]
                    array[low, lane] = c * a + s * b
                    array[low + half, lane] = s * a - c * b


@jit
def _cross(state, gradient, qubit, total):
    """Add ``gradient_high * state_low - gradient_low * state_high`` over a qubit's pairs, on real or imaginary parts."""
    size, lanes = state.shape
    half = 1 << qubit
    for start in range(0, size, 2 * half):
        for low in range(start, start + half):
            for lane in range(lanes):
                total[lane] += gradient[low + half, lane] * state[low, lane] - gradient[low, lane] * state[low + half, lane]


@jit
def _trigonometry(inputs, cos, sin, turn_cos, turn_sin):
    """Half-angle cosines and sines of the thetas, and those of the turns about z between the layers, ``inputs`` by lanes."""
    n_layers, n_qubits, lanes = cos.shape
    width = 2 * n_qubits + 2
    turn = np.float32(2 * np.pi)
    for layer in range(n_layers):
        for qubit in range(n_qubits):
            place = layer * width + 2 * qubit
            for lane in range(lanes):
                half_angle = np.float32(0.5) * (inputs[place, lane] % turn)
                cos[layer, qubit, lane], sin[layer, qubit, lane] = np.cos(half_angle), np.sin(half_angle)
                # RZ(phi) of this layer, RZ(-phi) of the next, and D of both, which turns by pi
                if layer < n_layers - 1:
                    angle = inputs[place + 1, lane] % turn - inputs[place + 1 + width, lane] % turn + np.float32(np.pi)
                    turn_cos[layer, qubit, lane], turn_sin[layer, qubit, lane] = np.cos(angle), np.sin(angle)


@jit
def _fold(real, imag, grad_real, grad_imag, per_state, out, place, width):
    """
    Gradient of the turns about z before the layer whose inputs start at ``place``. A turn changes the phase of the states in
    which its qubit is 1; they are folded qubit by qubit.
    """
    size, lanes = real.shape
    for state in range(size):
        for lane in range(lanes):
            a = grad_imag[state, lane] * real[state, lane]
            per_state[state, lane] = a - grad_real[state, lane] * imag[state, lane]
    half, qubit = size // 2, (width - 2) // 2 - 1
    while half > 0:
        for low in range(half):
            for lane in range(lanes):
                value = per_state[half + low, lane]
                out[place - width + 2 * qubit + 1, lane] += value
                out[place + 2 * qubit + 1, lane] -= value
                per_state[low, lane] += value
        half, qubit = half // 2, qubit - 1


@jit
def gradient(inputs: np.ndarray, n_qubits: int, weights: np.ndarray, out: np.ndarray) -> None:
    """
    Gradient of ``(weights * probabilities).sum()`` by the adjoint method: the final state and its gradient are carried back
    through the circuit, gate by gate, because every gate can be undone.

    Source: Jones and Gacon, "Efficient calculation of gradients in classical simulations of variational quantum algorithms",
    arXiv 2009.02823.

    :param inputs: circuit inputs as they come, ``(batch, n_inputs)``, float32
    :param n_qubits: qubits of the circuit
    :param weights: ``(batch, 2**n_qubits)``, float32
    :param out: filled with the gradient, ``(batch, n_inputs)``, float32; zero at the CZ indices
    """
    width, size = 2 * n_qubits + 2, 1 << n_qubits
    n_layers = inputs.shape[1] // width
    if inputs.shape[0] == 0:
        return
    lanes = min(LANES, inputs.shape[0]) if n_qubits <= LANE_QUBITS else 1
    block, found = np.empty((2, inputs.shape[1], lanes), dtype=np.float32)
    cos, sin, turn_cos, turn_sin = np.empty((4, n_layers, n_qubits, lanes), dtype=np.float32)
    real, imag, grad_real, grad_imag, phase_real, phase_imag = np.empty((6, size, lanes), dtype=np.float32)
    total = np.empty(lanes, dtype=np.float32)
    one = np.float32(1.0)
    for begin in range(0, inputs.shape[0], lanes):
        # The last block is filled up with copies of the last row
        for lane in range(lanes):
            block[:, lane] = inputs[min(begin + lane, inputs.shape[0] - 1)]
        _trigonometry(block, cos, sin, turn_cos, turn_sin)

        # Forward. The first layer is a product state, doubled qubit by qubit
        real[0, :] = 1.0
        imag[:] = 0.0
        for qubit in range(n_qubits):
            for state in range(1 << qubit):
                for lane in range(lanes):
                    value = real[state, lane]
                    real[(1 << qubit) + state, lane] = sin[0, qubit, lane] * value
                    real[state, lane] = cos[0, qubit, lane] * value
        for layer in range(1, n_layers):
            first, second = block[layer * width - 2], block[layer * width - 1]
            _phases(turn_cos[layer - 1], turn_sin[layer - 1], first, second, phase_real, phase_imag)
            _multiply(real, imag, phase_real, phase_imag, one)
            _rotate(cos[layer], sin[layer], real)
            _rotate(cos[layer], sin[layer], imag)

        # Backward
        for lane in range(lanes):
            row = min(begin + lane, inputs.shape[0] - 1)
            for state in range(size):
                weight = np.float32(2.0) * weights[row, state]
                grad_real[state, lane], grad_imag[state, lane] = weight * real[state, lane], weight * imag[state, lane]
        found[:] = 0.0
        for layer in range(n_layers - 1, -1, -1):
            place = layer * width
            for qubit in range(n_qubits):
                # K turns by half its angle: dK psi = (-psi_high, psi_low) / 2, whatever the other qubits do
                total[:] = 0.0
                _cross(real, grad_real, qubit, total)
                _cross(imag, grad_imag, qubit, total)
                found[place + 2 * qubit] = np.float32(0.5) * total
            if layer > 0:
                for array in (real, imag, grad_real, grad_imag):
                    _rotate(cos[layer], sin[layer], array)
                first, second = block[place - 2], block[place - 1]
                _phases(turn_cos[layer - 1], turn_sin[layer - 1], first, second, phase_real, phase_imag)
                _multiply(real, imag, phase_real, phase_imag, -one)
                _multiply(grad_real, grad_imag, phase_real, phase_imag, -one)
                # The turns commute with the phases, so they can be looked at before these; and the phases are free now
                _fold(real, imag, grad_real, grad_imag, phase_real, found, place, width)
        for lane in range(min(lanes, inputs.shape[0] - begin)):
            out[begin + lane] = found[:, lane]
