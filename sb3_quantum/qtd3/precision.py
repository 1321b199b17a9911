"""Explain errors that come from networks in half or double precision."""

import re

import torch as th
from torch import nn

#: words of torch, numpy and numba for number types
OF_TYPES = re.compile("dtype|scalar ?type|float16|half|double", re.IGNORECASE)


def explain_precision(policy: nn.Module, error: BaseException) -> None:
    """
    Raise an error that names the networks' precision, if that caused an error.

    :param policy: the policy
    :param error: the error that its use raised
    :raises ValueError: if parameters are not float32, and the error can come from that
    """
    if not isinstance(error, RuntimeError | TypeError) or not OF_TYPES.search(str(error)):
        return
    for name, parameter in policy.named_parameters():
        # The quantum layer computes in float32, whatever its own precision
        if parameter.is_floating_point() and parameter.dtype != th.float32 and not name.startswith("quantum_layer."):
            raise ValueError(
                f"the policy's parameter {name!r} is {parameter.dtype}, and accepted is torch.float32, which policy.float() "
                f"restores; th.autocast computes in half precision without changing parameters (torch says: {error})"
            ) from error
