"""Chip time of circuits: from gate times to seconds per shot, per update and per training."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from sb3_quantum.circuits.base import Circuit
from sb3_quantum.circuits.checks import check_choice, check_int, fields_checked, keywords_checked

#: gradient methods whose chip time is counted, see :func:`gradient_circuits`
COUNTED_GRADIENTS = ("qtdnn", "spsa", "finite_differences", "parameter_shift", "paper")


@fields_checked
@dataclass(frozen=True)
class ChipTimes:
    """
    Gate, readout, reset and job times of a chip.

    :param rotation: one rotation of a qubit in seconds; the rotations of a layer run in parallel
    :param cz: one CZ in seconds
    :param readout: measuring all qubits in seconds
    :param reset: resetting all qubits before the next shot in seconds, waiting included
    :param job: overhead of every job in seconds
    :param source: source of the figures
    :raises ValueError: if a time is negative or not finite
    """

    rotation: float
    cz: float
    readout: float
    reset: float = 0.0
    job: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("rotation", "cz", "readout", "reset", "job"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(f"{name} must be a number of seconds >= 0, got {value!r}")


_IBM_SOURCE = (
    "{name} in qiskit-ibm-runtime 0.51, calibrated {date}: medians of sx (two per rotation, rz is virtual), cz and measure, "
    "and default_rep_delay; job: IBM's guide 'Workload usage'"
)

#: gate and readout times by name of the chip
CHIPS: dict[str, ChipTimes] = {
    "paper": ChipTimes(
        rotation=20e-9,
        cz=20e-9,
        readout=100e-9,
        source="arXiv 2503.09119: one pulse per rotation, no reset, any two qubits connected",
    ),
    # Heron r2
    "ibm_fez": ChipTimes(
        rotation=2 * 24e-9,
        cz=84e-9,
        readout=1560e-9,
        reset=250e-6,
        job=2.0,
        source=_IBM_SOURCE.format(name="FakeFez", date="2025-02-26"),
    ),
    # Heron r3
    "ibm_aachen": ChipTimes(
        rotation=2 * 32e-9,
        cz=68e-9,
        readout=2584e-9,
        reset=250e-6,
        job=2.0,
        source=_IBM_SOURCE.format(name="FakeAachen", date="2026-04-17"),
    ),
    # Nighthawk r1
    "ibm_berlin": ChipTimes(
        rotation=2 * 32e-9,
        cz=68e-9,
        readout=2400e-9,
        reset=4e-3,
        job=2.0,
        source=_IBM_SOURCE.format(name="FakeBerlin", date="2026-04-17"),
    ),
    "google_willow": ChipTimes(
        rotation=25e-9,
        cz=42e-9,
        readout=600e-9,
        reset=160e-9,
        source="device specification willow_pink_d7v1-2024_08_16 in cirq-google 1.7: phased_xz, cz, meas, reset; no waiting",
    ),
}


def shot_seconds(ansatz: Circuit, times: ChipTimes) -> float:
    """
    Compute the chip time of one shot of one circuit, with all CZ gates of every layer.

    :param ansatz: the circuit's shape
    :param times: gate times of the chip
    :return: seconds: 0.5e-6 for the paper's circuit and chip
    """
    return ansatz.seconds(times) + times.readout + times.reset


def job_seconds(ansatz: Circuit, circuits: int, shots: int, times: ChipTimes, jobs: int = 1) -> float:
    """
    Compute the chip time of a batch of circuits.

    :param ansatz: the circuit's shape
    :param circuits: number of circuits, over all jobs
    :param shots: per circuit
    :param times: gate times of the chip
    :param jobs: batches that they are handed over in
    :return: seconds
    """
    return circuits * shots * shot_seconds(ansatz, times) + jobs * times.job


@keywords_checked({})
def gradient_circuits(ansatz: Circuit, method: str, batch_size: int, n_directions: int = 1) -> int:
    """
    Count the circuits that one actor gradient runs on a chip, without the forward pass. A circuit gives all its expected bits
    at once, and its CZ indices are discrete, so only the angles are shifted.

    - ``"qtdnn"``: none, the gradient goes through the qtDNN
    - ``"spsa"``: two per row and random direction
    - ``"finite_differences"``: central ones, two per row and angle
    - ``"parameter_shift"``: two per row and theta, four per row and phi
    - ``"paper"``: as arXiv 2503.09119 counts, one per row, input (CZ indices too) and output

    :param ansatz: the circuit's shape
    :param method: one of :data:`COUNTED_GRADIENTS`
    :param batch_size: rows
    :param n_directions: number of directions of SPSA
    :return: circuits
    :raises ValueError: if the method is unknown or a number is not a positive integer
    """
    _check_method(method)
    batch_size, n_directions = check_int("batch_size", batch_size), check_int("n_directions", n_directions)
    if method == "parameter_shift":
        return batch_size * ansatz.n_shifted
    per_row = {
        "qtdnn": 0,
        "spsa": 2 * n_directions,
        "finite_differences": 2 * ansatz.n_angles,
        "paper": ansatz.n_inputs * ansatz.n_qubits,
    }
    return batch_size * per_row[method]


@keywords_checked({})
def gradient_seconds(
    ansatz: Circuit, method: str, batch_size: int, shots: int, times: ChipTimes, n_directions: int = 1
) -> float:
    """
    Compute the chip time of one actor gradient, as one job.

    :param ansatz: the circuit's shape
    :param method: one of :data:`COUNTED_GRADIENTS`
    :param batch_size: rows
    :param shots: per circuit
    :param times: gate times of the chip
    :param n_directions: number of directions of SPSA
    :return: seconds: 281.6 as the paper counts, 76.8 by the parameter-shift rule, for its circuit, chip, 256 rows, 1000 shots
    :raises ValueError: as :func:`gradient_circuits`
    """
    shots = check_int("shots", shots)
    circuits = gradient_circuits(ansatz, method, batch_size, n_directions)
    return job_seconds(ansatz, circuits, shots, times, jobs=int(circuits > 0))


@fields_checked
@dataclass(frozen=True)
class TrainingPlan:
    """
    Size of a training. The defaults are the paper's setting as we read it, over the 2,000,000 steps at which results on
    Humanoid are reported.

    :param steps: environment steps, one circuit each
    :param updates: updates of the critics; one per environment step if ``None``
    :param policy_delay: critic updates per actor update
    :param batch_size: rows of an update
    :param shots: per circuit in updates
    :param acting_shots: per circuit that acts; the paper's agent needs one sampled bitstring
    :param n_directions: number of directions of SPSA
    :raises ValueError: if one of them is not a positive integer
    """

    steps: int = 2_000_000
    updates: int | None = None
    policy_delay: int = 2
    batch_size: int = 256
    shots: int = 1000
    acting_shots: int = 1
    n_directions: int = 1

    def __post_init__(self) -> None:
        for name, value in tuple(vars(self).items()):
            if name != "updates" or value is not None:
                object.__setattr__(self, name, check_int(name, value))

    @property
    def critic_updates(self) -> int:
        """Updates of the critics."""
        return self.steps if self.updates is None else self.updates

    @property
    def actor_updates(self) -> int:
        """Updates of the actor, which need the circuit's gradient."""
        return self.critic_updates // self.policy_delay


class TrainingRuns(NamedTuple):
    """
    Circuits and jobs of a training.

    :param acting: circuits of the agent's actions
    :param updates: circuits of the updates
    :param jobs: jobs of all circuits together
    """

    acting: int
    updates: int
    jobs: int


@keywords_checked({})
def training_runs(ansatz: Circuit, method: str, plan: TrainingPlan) -> TrainingRuns:
    """
    Count what a training with :class:`~sb3_quantum.qtd3.QuantumTD3` runs on a chip.

    Acting is one circuit and one job per step. Without a qtDNN the circuit also runs forward on every row: for the next
    actions of every critic update, and in every actor update. The paper's count leaves these out, and so does ``"paper"``.

    :param ansatz: the circuit's shape
    :param method: one of :data:`COUNTED_GRADIENTS`
    :param plan: size of the training
    :return: circuits and jobs
    :raises ValueError: if the method is unknown
    """
    circuits = plan.actor_updates * gradient_circuits(ansatz, method, plan.batch_size, plan.n_directions)
    jobs = plan.actor_updates if circuits else 0
    if method not in ("qtdnn", "paper"):
        forward = plan.critic_updates + plan.actor_updates
        circuits, jobs = circuits + forward * plan.batch_size, jobs + forward
    return TrainingRuns(plan.steps, circuits, plan.steps + jobs)


@keywords_checked({})
def training_seconds(ansatz: Circuit, method: str, plan: TrainingPlan, times: ChipTimes) -> float:
    """
    Compute the chip time of a whole training, acting included.

    :param ansatz: the circuit's shape
    :param method: one of :data:`COUNTED_GRADIENTS`
    :param plan: size of the training
    :param times: gate times of the chip
    :return: seconds
    :raises ValueError: if the method is unknown
    """
    runs = training_runs(ansatz, method, plan)
    acting = job_seconds(ansatz, runs.acting, plan.acting_shots, times, jobs=0)
    return acting + job_seconds(ansatz, runs.updates, plan.shots, times, runs.jobs)


def _check_method(method: str) -> None:
    """Check the name of a method."""
    check_choice("method", method, COUNTED_GRADIENTS)
