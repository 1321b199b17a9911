"""A compiled CPU kernel for the statevector backend: the same arithmetic as its torch path, one circuit after the other."""

import numpy as np
from numba import njit


def _compile(function):
    """Compile on first use, and keep the machine code on disk where numba finds a folder it may write to."""
    try:
        return njit(cache=True, fastmath=True, nogil=True)(function)
    except RuntimeError:  # "cannot cache function": neither the package's nor the user's cache folder is writable
        return njit(fastmath=True, nogil=True)(function)


@_compile
def probabilities(inputs: np.ndarray, n_qubits: int, out: np.ndarray) -> None:  # noqa: C901  (loops are what it is)
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
    size = 1 << n_qubits
    turn = np.float32(2 * np.pi)
    cos = np.empty((n_layers, n_qubits), dtype=np.float32)
    sin = np.empty((n_layers, n_qubits), dtype=np.float32)
    turn_cos = np.empty((n_layers, n_qubits), dtype=np.float32)
    turn_sin = np.empty((n_layers, n_qubits), dtype=np.float32)
    real = np.empty(size, dtype=np.float32)
    imag = np.empty(size, dtype=np.float32)
    phase_real = np.empty(size, dtype=np.float32)
    phase_imag = np.empty(size, dtype=np.float32)
    for row in range(inputs.shape[0]):
        for layer in range(n_layers):
            for qubit in range(n_qubits):
                place = layer * width + 2 * qubit
                half_angle = np.float32(0.5) * (inputs[row, place] % turn)
                cos[layer, qubit], sin[layer, qubit] = np.cos(half_angle), np.sin(half_angle)
                # RZ(phi) of this layer, RZ(-phi) of the next, and D of both, which turns by pi
                if layer < n_layers - 1:
                    angle = inputs[row, place + 1] % turn - inputs[row, place + 1 + width] % turn + np.float32(np.pi)
                    turn_cos[layer, qubit], turn_sin[layer, qubit] = np.cos(angle), np.sin(angle)
        # The first layer: a product state, doubled qubit by qubit
        real[0] = 1.0
        for qubit in range(n_qubits):
            c, s, half = cos[0, qubit], sin[0, qubit], 1 << qubit
            for state in range(half):
                real[half + state] = s * real[state]
                real[state] = c * real[state]
        imag[:] = 0.0
        for layer in range(1, n_layers):
            # RZ, D and CZ between two layers: one phase per basis state
            phase_real[0], phase_imag[0] = 1.0, 0.0
            for qubit in range(n_qubits):
                c, s, half = turn_cos[layer - 1, qubit], turn_sin[layer - 1, qubit], 1 << qubit
                for state in range(half):
                    phase_real[half + state] = c * phase_real[state] - s * phase_imag[state]
                    phase_imag[half + state] = c * phase_imag[state] + s * phase_real[state]
            i = int(np.rint(inputs[row, layer * width - 2]) % np.float32(n_qubits))
            j = int(np.rint(inputs[row, layer * width - 1]) % np.float32(n_qubits))
            if i != j:
                both = (1 << i) | (1 << j)
                for state in range(size):
                    sign = np.float32(-1.0) if (state & both) == both else np.float32(1.0)
                    phase_real[state] *= sign
                    phase_imag[state] *= sign
            for state in range(size):
                a, b = real[state], imag[state]
                real[state] = a * phase_real[state] - b * phase_imag[state]
                imag[state] = a * phase_imag[state] + b * phase_real[state]
            # The real factor K of the rotations, qubit by qubit
            for qubit in range(n_qubits):
                c, s, half = cos[layer, qubit], sin[layer, qubit], 1 << qubit
                for start in range(0, size, 2 * half):
                    for low in range(start, start + half):
                        high = low + half
                        a, b = real[low], real[high]
                        real[low], real[high] = c * a + s * b, s * a - c * b
                        a, b = imag[low], imag[high]
                        imag[low], imag[high] = c * a + s * b, s * a - c * b
        for state in range(size):
            out[row, state] = real[state] * real[state] + imag[state] * imag[state]
