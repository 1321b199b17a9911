"""Inputs with any number of leading dimensions."""

import torch as th


def as_rows(inputs: th.Tensor, *widths: int) -> tuple[th.Tensor, "th.Size | None"]:
    """
    Flatten leading dimensions into rows. An input that does not fit is returned unchanged, for the checks that name its type
    or shape.

    :param inputs: ``(batch, width)``, ``(width,)`` or ``(..., width)``
    :param widths: accepted sizes of the last dimension
    :return: ``(rows, width)``, and the leading dimensions of the results; ``None`` if nothing was flattened
    """
    if not isinstance(inputs, th.Tensor) or inputs.dim() in (0, 2) or inputs.shape[-1] not in widths:
        return inputs, None
    rows = inputs.unsqueeze(0) if inputs.dim() == 1 else inputs.flatten(0, -2)
    return rows, inputs.shape[:-1]
