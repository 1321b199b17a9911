"""
When kernels in Triton take the place of torch's operations: on a GPU, where a chain of small operations is mostly waiting for
the next launch. Triton comes with torch's CUDA build.
"""

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch as th

from sb3_quantum.circuits.tracing import in_graph

#: kinds of devices that the kernels are for
DEVICES = ("cuda",)
#: what Triton supports of NVIDIA's, by compute capability
CAPABILITY = (8, 0)
#: qubits of the widest circuit whose state fits into the registers of a GPU's block of threads
MOST_QUBITS = 14


def is_fused(tensor: th.Tensor) -> bool:
    """
    Whether a tensor is worked with by kernels: single precision, on a GPU that Triton compiles for, and in no graph.

    :param tensor: what is about to be read
    :return: whether
    """
    device = tensor.device
    return device.type in DEVICES and tensor.dtype == th.float32 and _compiles(device) and not in_graph(tensor)


def is_interpreted() -> bool:
    """
    :return: whether Triton's interpreter is asked for (``TRITON_INTERPRET=1``), which runs kernels on a CPU, for tests: it
        takes half a millisecond for an operation
    """
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None


def has_room(inputs: th.Tensor, n_qubits: int, named: bool) -> bool:
    """
    Whether the kernel of the statevector runs a circuit.

    :param inputs: circuit inputs
    :param n_qubits: qubits of the circuit
    :param named: whether the kernel was asked for by name: if so, on a CPU too where Triton's interpreter is asked for
    :return: whether
    """
    if n_qubits > MOST_QUBITS:
        return False
    if is_fused(inputs):
        return True
    return named and inputs.is_cpu and inputs.dtype == th.float32 and is_interpreted() and not in_graph(inputs)


def launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """
    Launch a kernel: one place, so that launches can be counted.

    :param kernel: compiled by Triton
    :param programs: how many of them run side by side; nothing is launched for none
    :param arguments: of the kernel, tensors and numbers
    :param constants: what it is compiled for, and ``num_warps``
    """
    if programs:
        with th.cuda.device_of(arguments[0]):
            kernel[(programs,)](*arguments, **constants)


def power_of_2(size: int) -> int:
    """
    :param size: at least 1
    :return: the next power of 2, which Triton's blocks are
    """
    return 1 << (size - 1).bit_length()


@lru_cache
def _compiles(device: th.device) -> bool:
    """Whether Triton is there and can compile for a device: it also needs a C compiler when it is first used."""
    if device.type != "cuda" or find_spec("triton") is None or th.cuda.get_device_capability(device) < CAPABILITY:
        return False
    try:
        from sb3_quantum.circuits import fused_trial

        return fused_trial.works(device)
    except Exception as error:  # whatever a compiler may say
        warnings.warn(
            f"Triton cannot compile for {device} ({type(error).__name__}: {str(error)[:200]}), so torch's operations are used "
            "there, which are slower; it needs a C compiler",
            stacklevel=2,
        )
        return False
