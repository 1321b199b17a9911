"""The correlations of all pairs of qubits."""

from sb3_quantum.priors.cumulants import CumulantPrior


class PairCorrelations(CumulantPrior):
    """
    Expected bits with the correlations of all pairs of qubits, without those of three: the second order of the cumulant
    expansion. Exact while no three qubits are correlated in a way that is not due to pairs, and close for several layers of a
    dense circuit, where the mean field is not. ``O(n_qubits)`` operations a gate of two qubits, ``O(n_qubits**2)`` memory.
    """

    name = "pair_correlations"
    order = 2
