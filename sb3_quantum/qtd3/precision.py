"""What to say where networks were made half or double precision, and torch or numpy refuse in words of their own."""

import re

import torch as th
from torch import nn

#: how torch, numpy and numba speak of number types
OF_TYPES = re.compile("dtype|scalar ?type|float16|half|double", re.IGNORECASE)


def explain_precision(policy: nn.Module, error: BaseException) -> None:
    """
    Name the networks' precision as the cause of an error, if it is.

    :param policy: the policy
    :param error: what was raised while it was used
    :raises ValueError: if parameters are not float32, and the error is one that this leads to
    """
    if not isinstance(error, RuntimeError | TypeError) or not OF_TYPES.search(str(error)):
        return
    for name, parameter in policy.named_parameters():
        # The quantum layer computes in float32 whatever its own precision is
        if parameter.is_floating_point() and parameter.dtype != th.float32 and not name.startswith("quantum_layer."):
            raise ValueError(
                f"the policy's parameter {name!r} is {parameter.dtype}, and accepted is torch.float32, which policy.float() "
                f"restores; th.autocast computes in half precision without changing parameters (torch says: {error})"
            ) from error
