"""Correlations of all pairs of qubits."""

from sb3_quantum.priors.cumulants import CumulantPrior


class PairCorrelations(CumulantPrior):
    """
    Prior with the correlations of all pairs of qubits, without those of three: the cumulant expansion to second order.

    It is exact as long as no three qubits are correlated beyond what follows from pairs, and close for several layers of a
    dense circuit, where the mean field is not. It takes ``O(n_qubits)`` operations per two-qubit gate and ``O(n_qubits**2)``
    memory.
    """

    name = "pair_correlations"
    order = 2
