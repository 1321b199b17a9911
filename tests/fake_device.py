"""
A device without hardware: tensors "on" it say ``lazy``, hold values all the same, and refuse what CUDA refuses. It finds
tensors that were left on the CPU beside networks on a GPU, and hidden trips to numpy.

``pytest --fake-device`` runs the tests as where a GPU is, so that ``device="auto"`` means this one.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch as th
from stable_baselines3.common.utils import get_device
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_map

from sb3_quantum.circuits import tracing

#: a kind of device that torch knows and builds for CPUs do not have
FAKE = th.device("lazy")
aten = th.ops.aten
#: what torch makes new tensors and copies from
NEW = [aten.empty.memory_format, aten.empty_strided.default, aten.arange.default, aten.arange.start, aten.arange.start_step]
NEW += [aten.eye.default, aten.eye.m, aten.tril_indices.default, aten.triu_indices.default]
#: what takes tensors of two devices on CUDA too
COPIES = (aten.copy_.default, aten._to_copy.default)
#: what takes indices on the CPU for tensors on CUDA too
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
#: what does not take a number on the CPU for tensors on CUDA, as all else does
JOINED = (aten.cat.default, aten.stack.default)

#: what torch only marks on a tensor, where this device's tensors would show no mark
MARKS = {aten._conj.default: th.conj_physical, aten._neg_view.default: th.neg}


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

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (self.inner, self.requires_grad, isinstance(self, th.nn.Parameter))

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


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    """A function of everything in an operation's arguments or results, which are lists and tuples at most."""
    return type(value)([_each(function, part) for part in value]) if type(value) in (list, tuple) else function(value)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the values of its tensors."""
    placed: list[DeviceTensor] = []
    others: list[Any] = []

    def sort(value: Any) -> None:
        if isinstance(value, th.Tensor | th.Generator):
            (placed if isinstance(value, DeviceTensor) else others).append(value)

    _each(sort, [*args, *kwargs.values()])
    if placed and others and func not in COPIES:
        if func in INDEXED and isinstance(args[0], DeviceTensor):
            others = [other for other in others if not any(other is index for index in args[1])]
        for other in others:
            if isinstance(other, th.Generator):
                raise RuntimeError(f"Expected a generator on the fake device, but {func} got one on the CPU")
            if other.dim() > 0 or func in JOINED:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but {func} got some on the fake one and some on the CPU"
                )
    if func is aten.copy_.default:
        here = isinstance(args[0], DeviceTensor)
    else:
        here = bool(placed) if kwargs.get("device") is None else _is_fake(kwargs["device"])
    if func in MARKS:
        return DeviceTensor(MARKS[func](args[0].inner))
    out = func(*_each(_to_cpu, args), **{key: _each(_to_cpu, value) for key, value in kwargs.items()})
    if any(tensor.shape != tensor.inner.shape for tensor in placed):
        raise NotImplementedError(f"{func} resizes a tensor, which the fake device cannot do")
    if func is aten.copy_.default:
        return args[0]
    if not here:
        return out
    return return_and_correct_aliasing(func, args, kwargs, _each(_wrap, out))


def _new(operation: Any) -> Callable[..., th.Tensor]:
    """An operation that makes a new tensor, on this device."""
    return lambda *args, device=None, **kwargs: DeviceTensor(operation(*args, device="cpu", **kwargs))


class _Functions(TorchFunctionMode):
    """What torch does past all operations: numbers from Python and numpy, and ``.tolist()``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is th.Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].inner.tolist()
        if func in (th.tensor, th.as_tensor, th.asarray) and _is_fake(kwargs.get("device")):
            requires_grad = kwargs.pop("requires_grad", False)
            made = func(*args, **{**kwargs, "device": getattr(args[0], "device", "cpu")}).to(FAKE)
            return made.requires_grad_() if requires_grad else made
        return func(*args, **kwargs)


def _is_fake(device: Any) -> bool:
    return isinstance(device, str | th.device) and th.device(device) == FAKE


def _get_device(device: th.device | str = "auto") -> th.device:
    return FAKE if str(device) in ("auto", "cuda") else get_device(device)


def _save(obj: Any, *args: Any, **kwargs: Any) -> Any:
    return _th_save(tree_map(_to_cpu, obj), *args, **kwargs)


def _load(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
    fake = _is_fake(map_location)
    _LOADED_TO.append(_wrap if fake or map_location is None else _to_cpu)
    try:
        loaded = _th_load(*args, map_location="cpu" if fake else map_location, **kwargs)
    finally:
        _LOADED_TO.pop()
    return tree_map(_wrap, loaded) if fake else loaded


def _rebuild(values: th.Tensor, requires_grad: bool, is_parameter: bool) -> th.Tensor:
    """Inside a pickled module; what is loaded to the CPU stays there."""
    tensor = _LOADED_TO[-1](values)
    return th.nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)


def _apply(module: th.nn.Module, *args: Any, **kwargs: Any) -> th.nn.Module:
    """A move that leaves a module its parameters, as one to CUDA does: optimizers hold them."""
    swaps = th.__future__.get_swap_module_params_on_conversion()
    th.__future__.set_swap_module_params_on_conversion(True)
    try:
        return _th_apply(module, *args, **kwargs)
    finally:
        th.__future__.set_swap_module_params_on_conversion(swaps)


def _autocast(context: th.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
    """Known to the CPU only, so that what is computed on this device stays in single precision."""
    _th_autocast(context, "cpu" if device_type == FAKE.type else device_type, *args, **kwargs)


def _of_values(question: Callable[[th.Tensor], bool]) -> Callable[[th.Tensor], bool]:
    """A question about a tensor, asked of the values that are on this device."""
    return lambda tensor: question(_to_cpu(tensor))


_th_save, _th_load, _th_apply = th.save, th.load, th.nn.Module._apply
_th_autocast = th.autocast.__init__
_LOADED_TO = [_wrap]
_QUESTIONS = (tracing.in_graph, tracing.is_recorded)


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
            # A subclass is all that this device is made of, and to the package a sign that a graph is recorded
            if name.startswith("sb3_quantum."):
                for question in _QUESTIONS:
                    if getattr(module, question.__name__, None) is question:
                        stack.enter_context(mock.patch.object(module, question.__name__, _of_values(question)))
        stack.enter_context(mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: fused))
        stack.enter_context(mock.patch.object(th, "save", _save))
        stack.enter_context(mock.patch.object(th, "load", _load))
        stack.enter_context(mock.patch.object(th.nn.Module, "_apply", _apply))
        stack.enter_context(mock.patch.object(th.autocast, "__init__", _autocast))
        library = th.library.Library("aten", "IMPL")
        stack.callback(library._destroy)
        for operation in NEW:
            library.impl(operation, _new(operation), "Lazy")
        stack.enter_context(_Functions())
        yield FAKE
