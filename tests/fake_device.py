"""
A device without hardware: tensors "on" it say ``meta``, hold values all the same, and refuse what CUDA refuses. It finds
tensors that were left on the CPU beside networks on a GPU, and hidden trips to numpy.

``pytest --fake-device`` runs the tests as where a GPU is, so that ``device="auto"`` means this one.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch as th
from stable_baselines3.common.utils import get_device
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from sb3_quantum.circuits.tracing import in_graph

FAKE = th.device("meta")
aten = th.ops.aten
#: what takes tensors of two devices on CUDA too: copies, and indices, which may be on the CPU
MIXED = {aten.copy_.default, aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default, aten._to_copy.default}


class DeviceTensor(th.Tensor):
    """
    A tensor on the fake device.

    :param inner: its values, on the CPU
    """

    inner: th.Tensor

    @staticmethod
    def __new__(cls, inner: th.Tensor) -> "DeviceTensor":
        tensor = th.Tensor._make_wrapper_subclass(
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=FAKE
        )
        tensor.inner = inner.detach()
        return tensor

    def __repr__(self, **kwargs: Any) -> str:
        return f"DeviceTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _to_cpu(value: Any) -> Any:
    """The values, or the CPU in the fake device's place."""
    if isinstance(value, DeviceTensor):
        return value.inner
    return th.device("cpu") if isinstance(value, th.device) and value == FAKE else value


def _wrap(value: Any) -> Any:
    return DeviceTensor(value) if isinstance(value, th.Tensor) and not isinstance(value, DeviceTensor) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the values of its tensors."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, th.Tensor)]
    placed = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    # A number on the CPU goes with tensors of any device
    if placed and func not in MIXED and any(not isinstance(tensor, DeviceTensor) and tensor.dim() > 0 for tensor in tensors):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got some on the fake one and some on the CPU"
        )
    device = kwargs.get("device")
    here = bool(placed) if device is None else th.device(device) == FAKE
    if func is aten.copy_.default or func is aten.index.Tensor:
        here = isinstance(args[0], DeviceTensor)
    out = func(*tree_map(_to_cpu, args), **tree_map(_to_cpu, kwargs))
    if func is aten.copy_.default:
        return args[0]
    if not here:
        return out
    return return_and_correct_aliasing(func, args, kwargs, tree_map(_wrap, out)) if placed else tree_map(_wrap, out)


class _Operations(TorchDispatchMode):
    """Makes new tensors on the fake device where it is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if any(issubclass(kind, DeviceTensor) for kind in types) or (device is not None and th.device(device) == FAKE):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _Functions(TorchFunctionMode):
    """What never reaches an operation: numbers from Python and numpy, and ``.tolist()``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (th.tensor, th.as_tensor, th.asarray) and kwargs.get("device") is not None:
            device = th.device(kwargs["device"])
            if device == FAKE:
                return func(*args, **{**kwargs, "device": "cpu"}).to(FAKE)
        if func is th.Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].inner.tolist()
        return func(*args, **kwargs)


def _get_device(device: th.device | str = "auto") -> th.device:
    return FAKE if str(device) in ("auto", "cuda") else get_device(device)


def _save(obj: Any, *args: Any, **kwargs: Any) -> Any:
    return _th_save(tree_map(_to_cpu, obj), *args, **kwargs)


def _load(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
    fake = map_location is not None and th.device(map_location) == FAKE
    loaded = _th_load(*args, map_location="cpu" if fake else map_location, **kwargs)
    return tree_map(_wrap, loaded) if fake else loaded


_th_save, _th_load = th.save, th.load


@contextlib.contextmanager
def fake_device() -> Iterator[th.device]:
    """
    Have a device for a while, and SB3 choose it for ``"auto"``.

    :return: a context, with the device
    """
    optimizer = sys.modules["torch.optim.optimizer"]
    fused = [*optimizer._get_fused_kernels_supported_devices(), FAKE.type]
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith(("stable_baselines3.", "sb3_quantum.")) and getattr(module, "get_device", None) is get_device:
                stack.enter_context(mock.patch.object(module, "get_device", _get_device))
            # A dispatch mode is all that this device is made of, and to the package a sign that a graph is recorded
            if name.startswith("sb3_quantum.") and getattr(module, "in_graph", None) is in_graph:
                stack.enter_context(mock.patch.object(module, "in_graph", lambda tensor: False))
        stack.enter_context(mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: fused))
        stack.enter_context(mock.patch.object(th, "save", _save))
        stack.enter_context(mock.patch.object(th, "load", _load))
        stack.enter_context(_Functions())
        stack.enter_context(_Operations())
        yield FAKE
