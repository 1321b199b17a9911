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
def probabilities(
    cos: np.ndarray, sin: np.ndarray, turn_cos: np.ndarray, turn_sin: np.ndarray, index: np.ndarray, out: np.ndarray
) -> None:
    """
    Probabilities of all basis states; :class:`~sb3_quantum.backends.statevector.StatevectorBackend` says how the circuit is
    rewritten.

    :param cos: cos(theta / 2), ``(batch, n_layers, n_qubits)``, float32
    :param sin: sin(theta / 2), the same shape
    :param turn_cos: cosine of every qubit's merged phase between two layers, ``(batch, n_layers - 1, n_qubits)``, float32
    :param turn_sin: its sine
    :param index: qubits of the CZ gates, ``(batch, n_layers, 2)``, int64
    :param out: filled with the probabilities, ``(batch, 2**n_qubits)``, float32
    """
    batch, n_layers, n_qubits = cos.shape
    size = 1 << n_qubits
    real = np.empty(size, dtype=np.float32)
    imag = np.empty(size, dtype=np.float32)
    phase_real = np.empty(size, dtype=np.float32)
    phase_imag = np.empty(size, dtype=np.float32)
    for row in range(batch):
        # The first layer: a product state, doubled qubit by qubit
        real[0] = 1.0
        for qubit in range(n_qubits):
            c, s, half = cos[row, 0, qubit], sin[row, 0, qubit], 1 << qubit
            for state in range(half):
                real[half + state] = s * real[state]
                real[state] = c * real[state]
        imag[:] = 0.0
        for layer in range(1, n_layers):
            # RZ, D and CZ between two layers: one phase per basis state
            phase_real[0], phase_imag[0] = 1.0, 0.0
            for qubit in range(n_qubits):
                c, s, half = turn_cos[row, layer - 1, qubit], turn_sin[row, layer - 1, qubit], 1 << qubit
                for state in range(half):
                    phase_real[half + state] = c * phase_real[state] - s * phase_imag[state]
                    phase_imag[half + state] = c * phase_imag[state] + s * phase_real[state]
            i, j = index[row, layer - 1, 0], index[row, layer - 1, 1]
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
                c, s, half = cos[row, layer, qubit], sin[row, layer, qubit], 1 << qubit
                for start in range(0, size, 2 * half):
                    for low in range(start, start + half):
                        high = low + half
                        a, b = real[low], real[high]
                        real[low], real[high] = c * a + s * b, s * a - c * b
                        a, b = imag[low], imag[high]
                        imag[low], imag[high] = c * a + s * b, s * a - c * b
        for state in range(size):
            out[row, state] = real[state] * real[state] + imag[state] * imag[state]
