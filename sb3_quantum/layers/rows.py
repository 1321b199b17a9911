"""Inputs of any number of leading dimensions, as rows."""

import torch as th


def as_rows(inputs: th.Tensor, *widths: int) -> tuple[th.Tensor, "th.Size | None"]:
    """
    Flatten leading dimensions, as ``torch.nn.Linear`` takes them. What does not fit is handed on as it is, for the checks that
    name its type or its shape.

    :param inputs: ``(batch, width)``, ``(width,)`` or ``(..., width)``
    :param widths: what the last dimension may be
    :return: ``(rows, width)``, and the leading dimensions to give results; ``None`` where nothing was flattened
    """
    if not isinstance(inputs, th.Tensor) or inputs.dim() in (0, 2) or inputs.shape[-1] not in widths:
        return inputs, None
    rows = inputs.unsqueeze(0) if inputs.dim() == 1 else inputs.flatten(0, -2)
    return rows, inputs.shape[:-1]
