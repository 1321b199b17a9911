"""From the PreDNN's outputs to the circuit's inputs."""

from typing import Any

import torch as th
from torch import nn

from sb3_quantum.circuits import Ansatz


class RawEncoding(nn.Module):
    """
    The paper's: the PreDNN's outputs are the circuit's inputs, as they come.

    :param ansatz: the circuit's shape
    """

    def __init__(self, ansatz: Ansatz):
        super().__init__()
        self.ansatz = ansatz

    def forward(self, outputs: th.Tensor) -> th.Tensor:
        """
        :param outputs: the PreDNN's outputs, ``(batch, n_inputs)``
        :return: circuit inputs, ``(batch, n_inputs)``
        """
        return outputs


class RMSEncoding(nn.Module):
    """
    Angles of bounded spread: ``angles = bias + angle_scale * z / rms(z)``, with z a row of the PreDNN's angle outputs.

    Free angles grow in training until they wrap around, and then the circuit is a hash function of the state, whose slope no
    surrogate can learn. Here the root mean square of their deviation from a learnable bias is ``angle_scale`` in every state.
    The CZ indices are treated the same way, apart from the angles and on their own scale, in index units.

    :param ansatz: the circuit's shape
    :param angle_scale: s, in radians
    :param index_scale: the same for the CZ indices, in index units
    :param bias_range: the angles' bias starts uniform in +- this, in radians; that of the indices starts uniform in
        [0, n_qubits)
    :raises ValueError: if a scale is not positive, or ``bias_range`` is negative
    """

    def __init__(self, ansatz: Ansatz, angle_scale: float = 0.5, index_scale: float = 0.25, bias_range: float = 0.0):
        super().__init__()
        for name, value in (("angle_scale", angle_scale), ("index_scale", index_scale)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        if not bias_range >= 0:
            raise ValueError(f"bias_range must be >= 0 (radians), got {bias_range!r}")
        self.ansatz = ansatz
        self.angle_scale = angle_scale
        self.index_scale = index_scale
        self.angle_bias = nn.Parameter(th.empty(ansatz.n_angles).uniform_(-bias_range, bias_range))
        self.index_bias = nn.Parameter(th.empty(ansatz.n_indices).uniform_(0, ansatz.n_qubits))

    def forward(self, outputs: th.Tensor) -> th.Tensor:
        """
        :param outputs: the PreDNN's outputs, ``(batch, n_inputs)``
        :return: circuit inputs, ``(batch, n_inputs)``
        """
        angles, indices = self.ansatz.split(outputs)
        angles = self.angle_bias + self.angle_scale * nn.functional.rms_norm(angles, angles.shape[1:])
        indices = self.index_bias + self.index_scale * nn.functional.rms_norm(indices, indices.shape[1:])
        return self.ansatz.join(angles, indices)


#: encodings by name
ENCODINGS: dict[str, type[nn.Module]] = {"raw": RawEncoding, "rms": RMSEncoding}


def make_encoding(name: str, ansatz: Ansatz, kwargs: dict[str, Any] | None = None) -> nn.Module:
    """
    Make an encoding from its name.

    :param name: a key of :data:`ENCODINGS`
    :param ansatz: the circuit's shape
    :param kwargs: keyword arguments of the encoding's class
    :return: a module that maps ``(batch, n_inputs)`` to ``(batch, n_inputs)``
    :raises ValueError: if the name is unknown
    """
    if name not in ENCODINGS:
        raise ValueError(f"encoding={name!r} is unknown, accepted are {', '.join(map(repr, ENCODINGS))}")
    return ENCODINGS[name](ansatz, **(kwargs or {}))
