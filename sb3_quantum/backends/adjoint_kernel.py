"""
A compiled CPU kernel for the gradient of the statevector backend. It runs the circuit as :mod:`sb3_quantum.backends.kernel`
does, and then undoes it in the same memory order.
"""

import numpy as np

from sb3_quantum.backends.kernel import _evolve, _multiply, _phases, _workspace
from sb3_quantum.circuits.jit import jit


@jit
def _unrotate(old, new, c, s):
    """The inverse of a rotation's step through memory: the last qubit is rotated back and becomes the leading one."""
    half = len(old) // 2
    for state in range(half):
        a, b = old[2 * state], old[2 * state + 1]
        new[state] = c * a + s * b
        new[half + state] = s * a - c * b


@jit
def _cross(state, gradient):
    """``gradient_1 * state_0 - gradient_0 * state_1`` summed over the pairs of the last qubit, on real or imaginary parts."""
    total = np.float32(0.0)
    for pair in range(len(state) // 2):
        total += gradient[2 * pair + 1] * state[2 * pair] - gradient[2 * pair] * state[2 * pair + 1]
    return total


@jit
def _fold(real, imag, grad_real, grad_imag, per_state, turns):
    """
    Gradient of one layer's turns about z, ``(n_qubits,)``. A turn changes the phase of the states in which its qubit is 1;
    they are folded qubit by qubit.
    """
    for state in range(len(real)):
        per_state[state] = grad_imag[state] * real[state] - grad_real[state] * imag[state]
    half = len(real)
    for qubit in range(len(turns) - 1, -1, -1):
        half //= 2
        low, high = per_state[:half], per_state[half : 2 * half]
        total = np.float32(0.0)
        for state in range(half):
            total += high[state]
            low[state] += high[state]
        turns[qubit] = total


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
    width = 2 * n_qubits + 2
    workspace = _workspace(inputs.shape[1], n_qubits)
    gates, cz = workspace[0], workspace[1]
    cos, sin, turn_cos, turn_sin = gates[0], gates[1], gates[2], gates[3]
    gradients = np.empty((4, 1 << n_qubits), np.float32)
    turns = np.empty(n_qubits, np.float32)
    for row in range(inputs.shape[0]):
        real, imag, free_a, free_b = _evolve(inputs[row], workspace)
        grad_real, grad_imag, free_c, free_d = gradients[0], gradients[1], gradients[2], gradients[3]
        for state in range(len(real)):
            weight = np.float32(2.0) * weights[row, state]
            grad_real[state] = weight * real[state]
            grad_imag[state] = weight * imag[state]
        out[row] = 0.0
        for layer in range(len(cos) - 1, -1, -1):
            place = layer * width
            for qubit in range(n_qubits):
                # K turns by half its angle: dK psi = (-psi_1, psi_0) / 2, whatever the other qubits do
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
                # The turns commute with the phases, so that they can be looked at on either side of them
                _fold(real, imag, grad_real, grad_imag, free_a, turns)
                for qubit in range(n_qubits):
                    out[row, place - width + 2 * qubit + 1] += turns[qubit]
                    out[row, place + 2 * qubit + 1] -= turns[qubit]
                # Conjugate phases: the turns run backwards
                _phases(turn_cos[before], -turn_sin[before], cz[before, 0], cz[before, 1], free_a, free_b)
                _multiply(real, imag, free_a, free_b)
                _multiply(grad_real, grad_imag, free_a, free_b)
