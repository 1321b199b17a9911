"""Readouts: from a measurement to the PostDNN's inputs."""

import torch as th

from sb3_quantum.backends import Measurement
from sb3_quantum.circuits.checks import check_choice

#: readouts by name
READOUTS = ("sample", "majority", "mean")


def check_readout(name: str, value: str) -> str:
    """
    Check the name of a readout.

    :param name: the argument's name, for the message
    :param value: a readout
    :return: the readout
    :raises ValueError: if it is not one of :data:`READOUTS`
    """
    return check_choice(name, value, READOUTS)


def read(measurement: Measurement, readout: str) -> th.Tensor:
    """
    Apply a readout to a measurement.

    :param measurement: the measurement of a batch of circuits
    :param readout: ``"sample"``: one sampled bitstring (the paper); ``"majority"``: for each bit the more likely value of its
        qubit (0 in a tie); ``"mean"``: the expected bits
    :return: ``(batch, n_qubits)``
    """
    if readout == "sample":
        assert measurement.bits is not None, "a bitstring must be drawn to be read out"
        return measurement.bits
    if readout == "majority":
        return (measurement.expected_bits > 0.5).to(measurement.expected_bits.dtype)
    return measurement.expected_bits
