"""How Aer simulates circuits that are wider than its statevectors."""

#: up to so many qubits Aer chooses by itself; its statevector in double precision takes 0.25 GiB there
WHOLE_QUBITS = 24


def aer_method(n_qubits: int, method: str = "automatic") -> str:
    """
    :param n_qubits: that the circuits use
    :param method: one of ``AerSimulator.available_methods()``
    :return: the same, but ``"matrix_product_state"`` for ``"automatic"`` where Aer would want all basis states
    """
    return "matrix_product_state" if method == "automatic" and n_qubits > WHOLE_QUBITS else method
