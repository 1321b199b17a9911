"""
Decide when Triton kernels replace torch's operations: on a GPU, where a chain of small operations mostly waits for the next
launch. Triton comes with torch's CUDA build.
"""

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch as th

from sb3_quantum.circuits.tracing import in_graph

#: types of devices that the kernels support
DEVICES = ("cuda",)
#: oldest compute capability of NVIDIA's that Triton supports
CAPABILITY = (8, 0)
#: qubits of the widest circuit whose state fits into the registers of a block of threads
MOST_QUBITS = 14


def is_fused(tensor: th.Tensor) -> bool:
    """
    Tell whether kernels process a tensor: in single precision, on a GPU that Triton compiles for, and outside graphs.

    :param tensor: the tensor to process
    :return: whether
    """
    device = tensor.device
    return device.type in DEVICES and tensor.dtype == th.float32 and _compiles(device) and not in_graph(tensor)


def is_interpreted() -> bool:
    """
    Tell whether Triton's interpreter is on (``TRITON_INTERPRET=1``). It runs kernels on a CPU, for tests, at half a
    millisecond per operation.
    """
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None


def has_room(inputs: th.Tensor, n_qubits: int, named: bool) -> bool:
    """
    Tell whether the statevector's kernel runs a circuit.

    :param inputs: circuit inputs
    :param n_qubits: qubits of the circuit
    :param named: whether the user named the kernel; then it also runs on a CPU with Triton's interpreter
    :return: whether
    """
    if n_qubits > MOST_QUBITS:
        return False
    if is_fused(inputs):
        return True
    return named and inputs.is_cpu and inputs.dtype == th.float32 and is_interpreted() and not in_graph(inputs)


def launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """
    Launch a kernel. This is the only place, so that launches can be counted.

    :param kernel: Triton's kernel
    :param programs: number of programs in parallel; nothing is launched for 0
    :param arguments: arguments of the kernel, tensors and numbers
    :param constants: compile-time constants, and ``num_warps``
    """
    if programs:
        with th.cuda.device_of(arguments[0]):
            kernel[(programs,)](*arguments, **constants)


def power_of_2(size: int) -> int:
    """
    Return the next power of 2, as the size of Triton's blocks.

    :param size: a number >= 1
    :return: the next power of 2
    """
    return 1 << (size - 1).bit_length()


@lru_cache
def _compiles(device: th.device) -> bool:
    """Tell whether Triton is installed and can compile for a device. On first use it also needs a C compiler."""
    if device.type != "cuda" or find_spec("triton") is None or th.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        from sb3_quantum.circuits import fused_trial

        return fused_trial.works(device)
    except Exception as error:  # a compiler may raise anything
        warnings.warn(
            f"Triton cannot compile for {device} ({type(error).__name__}: {str(error)[:200]}), so torch's operations are used "
            "there, which are slower; it needs a C compiler",
            stacklevel=2,
        )
        return False
