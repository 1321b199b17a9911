"""Batches on their way to a GPU: each copy from memory that the system may move makes the GPU wait, so all go in one."""

from collections.abc import Sequence

import torch as th

#: bytes that every tensor begins at a multiple of
_ALIGNMENT = 16


def to_device(tensors: Sequence[th.Tensor], device: th.device) -> list[th.Tensor]:
    """
    Copy tensors to a device: by way of page-locked memory, in one copy that nobody waits for, if it is a GPU.

    :param tensors: on the CPU, of any types and shapes
    :param device: where to
    :return: the same there, parts of one block of memory; as they are, if they are to stay on the CPU
    """
    if device.type == "cpu":
        return list(tensors)
    ends, end = [], 0
    for tensor in tensors:
        ends.append(end := -(-end // _ALIGNMENT) * _ALIGNMENT + tensor.numel() * tensor.element_size())
    # Given back to torch's own pool, which knows when the copy has been made
    packed = th.empty(end, dtype=th.uint8, pin_memory=device.type == "cuda")
    places = [slice(end - tensor.numel() * tensor.element_size(), end) for tensor, end in zip(tensors, ends, strict=True)]
    for tensor, place in zip(tensors, places, strict=True):
        packed[place].view(tensor.dtype).view(tensor.shape).copy_(tensor)
    there = packed.to(device, non_blocking=True)
    return [there[place].view(tensor.dtype).view(tensor.shape) for tensor, place in zip(tensors, places, strict=True)]
