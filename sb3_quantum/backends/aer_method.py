"""Aer's simulation method for circuits wider than its statevectors."""

#: up to this number of qubits Aer chooses the method; its statevector then takes at most 0.25 GiB in double precision
WHOLE_QUBITS = 24


def aer_method(n_qubits: int, method: str = "automatic") -> str:
    """
    Choose a matrix product state for wide circuits.

    :param n_qubits: qubits that the circuits use
    :param method: one of ``AerSimulator.available_methods()``
    :return: the method, but ``"matrix_product_state"`` for ``"automatic"`` where Aer would need all basis states
    """
    return "matrix_product_state" if method == "automatic" and n_qubits > WHOLE_QUBITS else method
