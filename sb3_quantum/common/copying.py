"""Copies of batches to a GPU in one piece: each copy from pageable memory makes the GPU wait."""

from collections.abc import Sequence

import torch as th

#: alignment of every tensor in bytes
_ALIGNMENT = 16


def to_device(tensors: Sequence[th.Tensor], device: th.device) -> list[th.Tensor]:
    """
    Copy tensors to a device; to a GPU in one asynchronous copy through page-locked memory.

    :param tensors: tensors on the CPU, of any types and shapes
    :param device: the device
    :return: the tensors on the device, parts of one block of memory; unchanged if the device is the CPU
    """
    if device.type == "cpu":
        return list(tensors)
    ends, end = [], 0
    for tensor in tensors:
        ends.append(end := -(-end // _ALIGNMENT) * _ALIGNMENT + tensor.numel() * tensor.element_size())
    # Returned to torch's pool, which knows when the copy is complete
    packed = th.empty(end, dtype=th.uint8, pin_memory=device.type == "cuda")
    places = [slice(end - tensor.numel() * tensor.element_size(), end) for tensor, end in zip(tensors, ends, strict=True)]
    for tensor, place in zip(tensors, places, strict=True):
        packed[place].view(tensor.dtype).view(tensor.shape).copy_(tensor)
    there = packed.to(device, non_blocking=True)
    return [there[place].view(tensor.dtype).view(tensor.shape) for tensor, place in zip(tensors, places, strict=True)]
