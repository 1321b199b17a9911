"""Decide when compiled loops must be bypassed, because torch records, transforms or differentiates again."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch as th
from torch.autograd import forward_ad

#: marks of a tensor whose numbers compiled loops may read: it has no operations of its own
_PLAIN = th.Tensor.__torch_dispatch__
_AS_IT_IS = nullcontext()
# Looked up once: these checks run several times for every circuit
_is_compiling = th.compiler.is_compiling
_is_tracing, _transforms = th._C._is_tracing, th._C._functorch.peek_interpreter_stack
_n_modes, any_autocast = th._C._len_torch_dispatch_stack, th._C._is_any_autocast_enabled


def in_graph(tensor: th.Tensor) -> bool:
    """
    Tell whether only torch's operations may process a tensor: in ``torch.jit.trace``, ``torch.onnx.export``, ``torch.export``,
    ``torch.compile``, ``torch.func`` and forward-mode differentiation, under fake tensors and other dispatch modes, and for
    subclasses of tensors. The result of a compiled loop would be a constant there.

    It takes a third of a microsecond if the answer is no.

    :param tensor: the tensor to read
    :return: whether torch's own operations must be used
    """
    return (
        _is_compiling()
        or _is_tracing()
        or _transforms() is not None
        or _n_modes() > 0
        or forward_ad._current_level >= 0
        or (type(tensor) is not th.Tensor and getattr(type(tensor), "__torch_dispatch__", _PLAIN) is not _PLAIN)
    )


def leaves_graph() -> bool:
    """
    Tell whether ``torch.compile`` alone is at work, which breaks its graph where Python must run.
    """
    return th.compiler.is_dynamo_compiling() and not th.compiler.is_exporting()


def is_recorded(tensor: th.Tensor) -> bool:
    """
    Tell whether a tensor has no numbers to read, or its operations will be repeated without Python, where numpy's randomness
    or a chip's answer would be a constant. Profilers and the like, which only observe, do not count.

    :param tensor: the tensor to read
    :return: whether only torch's operations are right
    """
    return (
        th.compiler.is_exporting()
        or th._C._is_tracing()
        or is_transformed()
        or type(tensor).__torch_dispatch__ is not _PLAIN
        or th._C._get_dispatch_mode(th._C._TorchDispatchModeKey.PROXY) is not None
    )


def is_transformed() -> bool:
    """
    Tell whether ``torch.func`` or forward-mode differentiation is at work, which ``requires_grad`` does not show.
    """
    return th._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def width(tensor: th.Tensor) -> int:
    """
    Return the size of the second axis, without the warning of ``torch.jit.trace`` that it is constant, as it should be.

    :param tensor: ``(batch, width)``
    :return: the width
    """
    if _is_compiling() or not _is_tracing():
        return tensor.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.jit.TracerWarning)
        return int(tensor.shape[1])


def vjp(function: Callable[[th.Tensor], th.Tensor], inputs: th.Tensor, gradient: th.Tensor) -> th.Tensor:
    """
    Compute a vector-Jacobian product by autograd, for the ``backward`` of a compiled function that is differentiated again
    (``create_graph=True``). The compiled gradient would be a constant to autograd.

    :param function: the same function in torch's operations
    :param inputs: its inputs
    :param gradient: the vector, of the shape of the function's outputs
    :return: the product, of the shape of the inputs, differentiable in inputs and gradient
    """
    with th.enable_grad(), full_precision(inputs):
        return th.autograd.grad(function(inputs), inputs, gradient, create_graph=True)[0]


def full_precision(tensor: th.Tensor) -> AbstractContextManager[Any]:
    """
    Make a context without autocast; an angle of 8 or 11 bits would be another circuit.

    :param tensor: the tensor used in it
    :return: the context
    """
    # The second call is twice as fast, but torch.compile supports only the first
    compiling = _is_compiling()
    if th.is_autocast_enabled(tensor.device.type) if compiling else any_autocast():
        return th.autocast(tensor.device.type, enabled=False)
    return _AS_IT_IS


def computable(name: str, tensor: th.Tensor) -> th.Tensor:
    """
    Cast half precision to single precision; the caller casts results back.

    :param name: the argument's name, for the message
    :param tensor: the value received
    :return: the tensor in single or double precision
    :raises ValueError: if it is not a tensor of real floating-point numbers
    """
    if type(tensor) is th.Tensor and tensor.dtype == th.float32:
        return tensor
    if not isinstance(tensor, th.Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, th.Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a torch tensor of floating-point numbers, got {kind}")
    return tensor if tensor.dtype in (th.float32, th.float64) else tensor.float()
