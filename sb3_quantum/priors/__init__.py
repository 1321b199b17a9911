"""Priors of the qtDNN by name."""

from typing import TYPE_CHECKING

from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.circuits.checks import check_choice
from sb3_quantum.priors.base import PRIOR_MARGIN, Prior
from sb3_quantum.priors.cumulants import CumulantExpansion, CumulantPrior
from sb3_quantum.priors.mean_field import MeanField
from sb3_quantum.priors.none import NoPrior
from sb3_quantum.priors.pair_correlations import PairCorrelations

if TYPE_CHECKING:
    from sb3_quantum.circuits import Circuit

#: priors by name; add your own to name it
PRIORS: dict[str, type[Prior]] = {prior.name: prior for prior in (NoPrior, MeanField, PairCorrelations)}


def suited_prior(circuit: "Circuit") -> str:
    """
    Choose the prior of ``"auto"``: the mean field where few gates join qubits, as in the paper's circuit, and pair
    correlations for all other circuits.

    Without gates that join qubits both are the same. Gates are not inspected, because a stranger's settings may ask for any
    number of them.

    :param circuit: the circuit to approximate
    :return: a key of :data:`PRIORS`
    """
    return MeanField.name if isinstance(circuit, PaperCircuit) and circuit.n_cz <= 1 else PairCorrelations.name


def make_prior(prior: str, circuit: "Circuit") -> Prior:
    """
    Make a prior from its name.

    :param prior: a key of :data:`PRIORS`, or ``"auto"``, see :func:`suited_prior`
    :param circuit: the circuit to approximate
    :return: the prior
    :raises ValueError: if the name is unknown, or the prior does not support the circuit
    """
    name = check_choice("qtdnn_prior", prior, ("auto", *PRIORS))
    return PRIORS[suited_prior(circuit) if name == "auto" else name](circuit)


__all__ = [
    "PRIORS",
    "PRIOR_MARGIN",
    "CumulantExpansion",
    "CumulantPrior",
    "MeanField",
    "NoPrior",
    "PairCorrelations",
    "Prior",
    "make_prior",
    "suited_prior",
]
