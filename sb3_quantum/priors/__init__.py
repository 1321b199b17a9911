"""Priors of the qtDNN by name."""

from typing import TYPE_CHECKING

from sb3_quantum.circuits.checks import check_choice
from sb3_quantum.priors.base import PRIOR_MARGIN, Prior
from sb3_quantum.priors.cumulants import CumulantExpansion, CumulantPrior
from sb3_quantum.priors.mean_field import MeanField
from sb3_quantum.priors.none import NoPrior
from sb3_quantum.priors.pair_correlations import PairCorrelations

if TYPE_CHECKING:
    from sb3_quantum.circuits import Circuit

#: every prior that can be named; one of your own is named by adding it
PRIORS: dict[str, type[Prior]] = {prior.name: prior for prior in (NoPrior, MeanField, PairCorrelations)}


def make_prior(prior: str, circuit: "Circuit") -> Prior:
    """
    :param prior: a key of :data:`PRIORS`
    :param circuit: that it approximates
    :return: the prior
    :raises ValueError: if the name is unknown, or the prior does not know such circuits
    """
    return PRIORS[check_choice("qtdnn_prior", prior, tuple(PRIORS))](circuit)


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
]
