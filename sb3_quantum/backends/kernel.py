"""A compiled CPU kernel for the statevector backend: the same arithmetic as its torch path, one circuit after the other."""

import numpy as np

from sb3_quantum.circuits.jit import jit


@jit
def _trigonometry(inputs, n_qubits, cos, sin, turn_cos, turn_sin):
    """Half-angle cosines and sines of one circuit's thetas, and those of its turns about z between the layers."""
    width, n_layers = 2 * n_qubits + 2, len(cos)
    turn = np.float32(2 * np.pi)
    for layer in range(n_layers):
        for qubit in range(n_qubits):
            place = layer * width + 2 * qubit
            half_angle = np.float32(0.5) * (inputs[place] % turn)
            cos[layer, qubit], sin[layer, qubit] = np.cos(half_angle), np.sin(half_angle)
            # RZ(phi) of this layer, RZ(-phi) of the next, and D of both, which turns by pi
            if layer < n_layers - 1:
                angle = inputs[place + 1] % turn - inputs[place + 1 + width] % turn + np.float32(np.pi)
                turn_cos[layer, qubit], turn_sin[layer, qubit] = np.cos(angle), np.sin(angle)


@jit
def _product_state(cos, sin, real, imag):
    """The first layer on the state 0, doubled qubit by qubit."""
    real[0] = 1.0
    for qubit in range(len(cos)):
        c, s, half = cos[qubit], sin[qubit], 1 << qubit
        for state in range(half):
            real[half + state] = s * real[state]
            real[state] = c * real[state]
    imag[:] = 0.0


@jit
def _phases(turn_cos, turn_sin, first, second, phase_real, phase_imag):
    """RZ, D and the CZ of the indices ``first`` and ``second`` between two layers: one phase per basis state."""
    n_qubits = len(turn_cos)
    phase_real[0], phase_imag[0] = 1.0, 0.0
    for qubit in range(n_qubits):
        c, s, half = turn_cos[qubit], turn_sin[qubit], 1 << qubit
        for state in range(half):
            phase_real[half + state] = c * phase_real[state] - s * phase_imag[state]
            phase_imag[half + state] = c * phase_imag[state] + s * phase_real[state]
    i = int(np.rint(first) % np.float32(n_qubits))
    j = int(np.rint(second) % np.float32(n_qubits))
    if i != j:
        both = (1 << i) | (1 << j)
        for state in range(len(phase_real)):
            sign = np.float32(-1.0) if (state & both) == both else np.float32(1.0)
            phase_real[state] *= sign
            phase_imag[state] *= sign


@jit
def _multiply(real, imag, phase_real, phase_imag, sign):
    """Multiply with the phases (``sign`` 1) or their conjugates (-1)."""
    for state in range(len(real)):
        a, b, c, d = real[state], imag[state], phase_real[state], sign * phase_imag[state]
        real[state] = a * c - b * d
        imag[state] = a * d + b * c


@jit
def _rotate(cos, sin, real, imag):
    """The real factor K of a layer's rotations, qubit by qubit. It is its own inverse."""
    for qubit in range(len(cos)):
        c, s, half = cos[qubit], sin[qubit], 1 << qubit
        for start in range(0, len(real), 2 * half):
            for low in range(start, start + half):
                high = low + half
                a, b = real[low], real[high]
                real[low], real[high] = c * a + s * b, s * a - c * b
                a, b = imag[low], imag[high]
                imag[low], imag[high] = c * a + s * b, s * a - c * b


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
    width = 2 * n_qubits + 2
    n_layers = inputs.shape[1] // width
    cos, sin, turn_cos, turn_sin = np.empty((4, n_layers, n_qubits), dtype=np.float32)
    real, imag, phase_real, phase_imag = np.empty((4, 1 << n_qubits), dtype=np.float32)
    for row in range(inputs.shape[0]):
        _trigonometry(inputs[row], n_qubits, cos, sin, turn_cos, turn_sin)
        _product_state(cos[0], sin[0], real, imag)
        for layer in range(1, n_layers):
            first, second = inputs[row, layer * width - 2], inputs[row, layer * width - 1]
            _phases(turn_cos[layer - 1], turn_sin[layer - 1], first, second, phase_real, phase_imag)
            _multiply(real, imag, phase_real, phase_imag, np.float32(1.0))
            _rotate(cos[layer], sin[layer], real, imag)
        for state in range(len(real)):
            out[row, state] = real[state] * real[state] + imag[state] * imag[state]
