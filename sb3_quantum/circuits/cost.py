"""How long the circuit takes on a chip: from gate times to seconds of chip time."""

from dataclasses import dataclass

from sb3_quantum.circuits.ansatz import Ansatz


@dataclass(frozen=True)
class ChipTimes:
    """
    What one shot of a circuit takes its time for.

    :param rotation: one rotation of a qubit in seconds; those of one layer run at the same time
    :param cz: one CZ in seconds
    :param readout: measuring all qubits in seconds
    :param reset: bringing all qubits back to 0 before the next shot in seconds
    :param job: what every job costs on top in seconds, whatever is in it
    """

    rotation: float
    cz: float
    readout: float
    reset: float = 0.0
    job: float = 0.0


#: gate and readout times by name of the chip
CHIPS: dict[str, ChipTimes] = {
    "paper": ChipTimes(rotation=20e-9, cz=20e-9, readout=100e-9),
}


def shot_seconds(ansatz: Ansatz, times: ChipTimes) -> float:
    """
    Chip time of one shot of one circuit, every layer with its CZ.

    :param ansatz: the circuit's shape
    :param times: of the chip
    :return: seconds: 0.5e-6 for the paper's circuit and chip
    """
    return ansatz.n_layers * (times.rotation + times.cz) + times.readout + times.reset


def job_seconds(ansatz: Ansatz, circuits: int, shots: int, times: ChipTimes, jobs: int = 1) -> float:
    """
    Chip time of a batch of circuits.

    :param ansatz: the circuit's shape
    :param circuits: how many, over all jobs
    :param shots: per circuit
    :param times: of the chip
    :param jobs: batches that they are handed over in
    :return: seconds
    """
    return circuits * shots * shot_seconds(ansatz, times) + jobs * times.job
