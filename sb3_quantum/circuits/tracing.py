"""When compiled loops must step aside: torch records, transforms or differentiates again what they would only calculate."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch as th
from torch.autograd import forward_ad

#: what a tensor whose numbers compiled loops may read has in place of operations of its own
_PLAIN = th.Tensor.__torch_dispatch__
_AS_IT_IS = nullcontext()
# Found once: these questions are asked several times for every single circuit
_is_compiling = th.compiler.is_compiling
_is_tracing, _transforms = th._C._is_tracing, th._C._functorch.peek_interpreter_stack
_n_modes, any_autocast = th._C._len_torch_dispatch_stack, th._C._is_any_autocast_enabled


def in_graph(tensor: th.Tensor) -> bool:
    """
    Whether what happens to a tensor must consist of torch's operations: in ``torch.jit.trace``, ``torch.onnx.export``,
    ``torch.export``, ``torch.compile``, ``torch.func`` and forward-mode differentiation, under fake tensors and other dispatch
    modes, and for subclasses of tensors. A compiled loop would put its result there as a constant.

    A third of a microsecond where the answer is no.

    :param tensor: what is about to be read
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
    :return: whether ``torch.compile`` is at work and nothing else, which takes a break in its graph where Python must run
    """
    return th.compiler.is_dynamo_compiling() and not th.compiler.is_exporting()


def is_recorded(tensor: th.Tensor) -> bool:
    """
    Whether there are no numbers to look at, or what is done to them will be repeated without Python, where numpy's randomness
    or a chip's answer would be a constant. Not so in profilers and the like, which only look on.

    :param tensor: what is about to be read
    :return: whether nothing but torch's operations can be right
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
    :return: whether ``torch.func`` or forward-mode differentiation is at work, to which ``requires_grad`` says nothing
    """
    return th._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def width(tensor: th.Tensor) -> int:
    """
    The size of the second axis, which ``torch.jit.trace`` would warn of because it is the same in every run of the trace. That
    is what it shall be.

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
    Vector-Jacobian product by autograd, for the ``backward`` of a compiled function where it is to be differentiated again
    (``create_graph=True``): the compiled gradient would be a constant to autograd.

    :param function: the same function in torch's operations
    :param inputs: what it is taken at
    :param gradient: what the Jacobian is multiplied with, of the shape of the function's outputs
    :return: of the shape of the inputs, differentiable in inputs and gradient
    """
    with th.enable_grad(), full_precision(inputs):
        return th.autograd.grad(function(inputs), inputs, gradient, create_graph=True)[0]


def full_precision(tensor: th.Tensor) -> AbstractContextManager[Any]:
    """
    A context without autocast: an angle of 8 or 11 bits is another circuit.

    :param tensor: what is worked with in it
    :return: to be entered
    """
    # The second question is twice as fast, but the first one is what torch.compile understands
    compiling = _is_compiling()
    if th.is_autocast_enabled(tensor.device.type) if compiling else any_autocast():
        return th.autocast(tensor.device.type, enabled=False)
    return _AS_IT_IS


def computable(name: str, tensor: th.Tensor) -> th.Tensor:
    """
    Half precision as single precision, in which it is worked with; the caller casts back.

    :param name: the argument's name, for the message
    :param tensor: what was given
    :return: in single or double precision
    :raises ValueError: if it is no tensor of real floating-point numbers
    """
    if type(tensor) is th.Tensor and tensor.dtype == th.float32:
        return tensor
    if not isinstance(tensor, th.Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, th.Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a torch tensor of floating-point numbers, got {kind}")
    return tensor if tensor.dtype in (th.float32, th.float64) else tensor.float()
