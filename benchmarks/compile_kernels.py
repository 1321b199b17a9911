"""
Compile the GPU kernels to machine code, without a GPU. Print whether the compiler accepts them, how long it takes, and what
the code needs of a multiprocessor. Registers per thread and shared memory per block limit how many blocks run side by side;
a stack holds what does not fit into registers.

    python -m benchmarks.compile_kernels                         # for the widths and GPUs that the docs speak of
    python -m benchmarks.compile_kernels --qubits 10 --capability 9.0
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sb3_quantum.backends import fused_engine, fused_kernel
from sb3_quantum.circuits import fused, mean_field_kernel
from sb3_quantum.layers import encoding_kernel
from sb3_quantum.priors import cumulants_kernel

#: type of an argument by its name; all others are integers
FLOATS = ("margin", "angle_scale", "index_scale")
TABLES = ("table", "flag", "place")
POINTERS: tuple[str, ...] = (
    "inputs",
    "fixed",
    "scratch",
    "bits",
    "expected",
    "weights",
    "out",
    "features",
    "states",
    "slopes",
    "gradient",
)
POINTERS += ("angles", "outputs", "angle_bias", "index_bias", "is_angle", "factors", "of_angles", "of_indices")


def type_of(name: str) -> str:
    """
    :param name: name of a kernel's argument
    :return: its type, as Triton spells it
    """
    if name in ("uniforms", "choices"):
        return "*fp64" if name == "uniforms" else "*i64"
    return "*fp32" if name in POINTERS else "*i32" if name in TABLES else "fp32" if name in FLOATS else "i32"


def compiled(kernel: Any, capability: int, warps: int, **constants: Any) -> str:
    """
    Compile one kernel.

    :param kernel: the kernel
    :param capability: compute capability, times ten
    :param warps: number of warps of a block
    :param constants: compile-time constants
    :return: a line with the result
    """
    start = time.perf_counter()
    types = {name: "constexpr" if name in constants else type_of(name) for name in kernel.arg_names}
    source = ASTSource(kernel, signature=types, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(made.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True)
    registers, stack = re.findall(r"(?:REG|STACK):(\d+)", usage.stdout + usage.stderr)[:2]
    return f"{warps:6d}{registers:>11s}{made.metadata.shared:9d}{stack:>7s}{seconds:9.1f}"


def kernels(n_qubits: int) -> list[tuple[str, Any, int, dict[str, Any]]]:
    """
    :param n_qubits: qubits of the circuit, the paper's with as many layers
    :return: name, kernel, warps and constants of all that an update or a measurement of it launches
    """
    qubits = fused.power_of_2(n_qubits)
    found: list[tuple[str, Any, int, dict[str, Any]]] = []
    for name in ("measure", "gradient"):
        warps, constants = fused_engine.constants_of(name, n_qubits)
        constants.update(dict(PLANAR=True), **(dict(QUBITS=qubits, DRAWN=True) if name == "measure" else {}))
        found.append((name, getattr(fused_kernel, name), warps, constants))
    found.append(("features", mean_field_kernel._features, 1, dict(QUBITS=qubits, KEPT=True)))
    found.append(("features' gradient", mean_field_kernel._gradient, 1, dict(QUBITS=qubits)))
    return found


def others(n_qubits: int) -> list[tuple[str, Any, int, dict[str, Any]]]:
    """
    :param n_qubits: qubits of the circuit, the paper's with as many layers
    :return: as :func:`kernels`, of the encoding and of the prior of other circuits
    """
    width = 2 * n_qubits * (n_qubits + 1)
    constants, warps = dict(WIDTH=fused.power_of_2(width)), encoding_kernel.warps_of(width)
    blocks = dict(COLUMNS=encoding_kernel.COLUMNS, ROWS=encoding_kernel.ROWS)
    pairs: dict[str, Any] = dict(WIDTH=4 * fused.power_of_2(n_qubits), PAIRS=True)
    return [
        ("encoding", encoding_kernel._encode, warps, constants),
        ("encoding's gradient", encoding_kernel._encode_backward, warps, constants),
        ("biases' gradient", encoding_kernel._sum_rows, 4, blocks),
        ("pair correlations", cumulants_kernel.values, 1, pairs),
        ("their gradient", cumulants_kernel.gradient, 1, pairs),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", default=[4, 8, 10, 12, 14])
    parser.add_argument("--capability", nargs="+", default=["8.0", "9.0"])
    args = parser.parse_args()
    for capability in args.capability:
        print(f"{'kernel':22s}{'qubits':>7s}{'warps':>6s}{'registers':>11s}{'shared':>9s}{'stack':>7s}{'seconds':>9s}")
        listed = [(n_qubits, kernel) for n_qubits in args.qubits for kernel in kernels(n_qubits)]
        for n_qubits, (name, kernel, warps, constants) in [*listed, *((10, kernel) for kernel in others(10))]:
            line = compiled(kernel, int(float(capability) * 10), warps, **constants)
            print(f"{name:22s}{n_qubits:7d}{line}  capability {capability}", flush=True)


if __name__ == "__main__":
    main()
