"""Measure where the time of one circuit goes, for ``simulators.py``: on our engine and on 0.1.0's, which stores all states."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from numba import njit
from simulator_forms import Full, Ours, make_inputs

from sb3_quantum.backends import kernel, split


def seconds(function: Callable[[], Any], times: int = 1) -> float:
    """
    :param function: the calls to time
    :param times: number of calls
    :return: of one call
    """
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def flops(n_qubits: int, n_layers: int) -> int:
    """
    Floating-point operations of the full engine's kernel for one circuit, without sines and cosines (a few hundred) and the
    CZ's signs.

    :param n_qubits: number of qubits of the circuit
    :param n_layers: number of layers of the circuit
    :return: additions and multiplications
    """
    states = 2**n_qubits
    # Between two layers: each qubit doubles the table of phases, 6 operations for a complex product with one new entry;
    # one complex product with every amplitude; per qubit two products and a sum for either component of every amplitude
    layer = 6 * (states - 1) + 6 * states + n_qubits * 2 * states * 3
    # The product state, squares, sums over blocks, and marginals by folding (two sums per pair, half as many pairs every time)
    return (n_layers - 1) * layer + 2 * (states - 1) + 3 * states + states + 2 * (states - 1)


@njit(fastmath=True)
def _part(part: int, times: int, inputs: np.ndarray, workspace: Any, expected: np.ndarray) -> None:
    """Repeat one part of what the kernel does for a circuit."""
    gates, cz, angles, states = workspace
    n_layers, n_qubits = gates.shape[1], gates.shape[2]
    for _ in range(times):
        if part == 0:
            kernel._gates(inputs, gates[0], gates[1], gates[2], gates[3], cz, angles)
        elif part == 4:
            kernel._square(states[0], states[1], states[2])
            kernel._marginals(states[2], expected)
        else:
            for layer in range(n_layers - 1):
                if part == 1:
                    kernel._phases(gates[2, layer], gates[3, layer], min(cz[layer]), max(cz[layer]), 0, states[2], states[3])
                elif part == 2:
                    kernel._multiply(states[0], states[1], states[2], states[3])
                else:
                    for qubit in range(n_qubits):
                        c, s = gates[0, layer, qubit], gates[1, layer, qubit]
                        kernel._rotate(states[0], states[1], states[2], states[3], c, s)


def arithmetic(rounds: int) -> dict[str, Any]:
    """
    :param rounds: repetitions, of which the median counts
    :return: where the time of one 10-qubit, 10-layer circuit goes, on one thread: of the full engine, and under ``"split"`` of
        the one that splits
    """
    ansatz, patterns, inputs = make_inputs(10, 1)
    row, uniforms = inputs.numpy(), np.array([[0.5]])
    bits, expected = np.empty((1, 1, 10), np.float32), np.empty((1, 10), np.float32)
    full, ours = Full(ansatz, patterns), Ours(ansatz, patterns)
    engine = ours.backend._split
    program = engine._kernels
    angles = np.empty((2, len(program.angle_columns)), np.float32)
    matrix = th.rand(1024, 1024)
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "split public": (lambda: ours.run(inputs), 100),
        "split kernel": (lambda: engine.measure(row, None, uniforms), 100),
        "split sines": (lambda: split._half_angles(row[0], program.angle_columns, angles[0], angles[1]), 100),
        "public_us": (lambda: full.run(inputs), 100),
        "kernel_us": (lambda: kernel.measure(row, 10, uniforms, bits, expected), 100),
        "gemm": (lambda: th.mm(matrix, matrix), 2),
    }
    workspace = kernel._workspace(row.shape[1], 10)
    parts = ["gates", "phases", "multiply", "rotate", "square and marginals"]
    for number, name in enumerate(parts):
        calls[name] = (lambda number=number: _part(number, 100, row[0], workspace, expected[0]), 1)  # type: ignore[misc]
    threads = th.get_num_threads()
    th.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, (call, often) in calls.items():
            # Gates and a state, and phases of modulus 1, so that no number grows or vanishes
            kernel._evolve(row[0], workspace)
            kernel._phases(workspace[0][2, 0], workspace[0][3, 0], 0, 1, 0, workspace[3][2], workspace[3][3])
            times[name].append(seconds(call, often))
    th.set_num_threads(threads)
    us = {name: 1e6 * float(np.median(values[1:])) for name, values in times.items()}  # the first call compiles
    operations, peak = flops(10, 10), 2e-3 * 1024**3 / (1e6 * min(times["gemm"]))
    return {
        "flops": operations,
        # A complex 2 x 2 matrix for every rotation: four complex products and two complex sums per pair of amplitudes
        "flops_gate_by_gate": 14 * 10 * 10 * 2**10,
        "gemm_gflops": peak,
        "limit_us": operations / peak / 1e3,
        "kernel_us": us["kernel_us"],
        "kernel_gflops": operations / us["kernel_us"] / 1e3,
        "public_us": us["public_us"],
        "overhead_us": us["public_us"] - us["kernel_us"],
        "parts_us": {name: us[name] / 100 for name in parts},
        "split": {
            "public_us": us["split public"],
            "kernel_us": us["split kernel"],
            "overhead_us": us["split public"] - us["split kernel"],
            "sines_us": us["split sines"],
        },
    }
