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


def draw_bits(expected_bits: th.Tensor) -> th.Tensor:
    """
    Draw independent bits b from a surrogate's expected bits p. Their gradient is that of the loss at b times
    ``1 / (2 (1 - |b - p|))``, which is unbiased for a loss that is quadratic in each bit.

    Source: ZGR, the mean of the straight-through and DARN's estimators, Shekhovtsov 2023, "Cold analysis of Rao-Blackwellized
    straight-through Gumbel-softmax gradient estimator", PMLR 202:30931.

    :param expected_bits: probabilities of reading 1, ``(batch, n_qubits)``
    :return: zeros and ones of torch's generator, ``(batch, n_qubits)``
    """
    p = expected_bits.detach()
    bits = th.bernoulli(p)
    if not expected_bits.requires_grad:
        return bits
    # The probability of the drawn bit. Drawn from p it is positive; rounding in half the precision may make it zero
    likelihood = (1 - (bits - p).abs()).clamp(min=th.finfo(p.dtype).eps)
    return bits + (expected_bits - p) / (2 * likelihood)  # adds exactly zero


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
