"""
How long does one shot of the circuit take, beside Aer, PennyLane's lightning.qubit, qulacs and TensorCircuit-NG?

From a float32 tensor of circuit inputs to one bitstring per circuit, in microseconds per circuit. Every simulator takes part
in several forms (``simulator_forms.py``), and its figure at a size is that of its fastest form there. All take turns in one
process and use the same inputs and as many cores. Every circuit of a batch has CZ gates of its own, as they are inputs like
the angles; figures for batches that share them, which lets some peers bind angles to one circuit, stand apart. Before it is
timed, every form has to agree with ours in its probabilities and to return bits in order.

With construction, everything from the tensor on is timed, but for the compilation by jax. Without, a peer finds its circuits,
tapes or arrays made; for ours there is nothing to be made beforehand, and both columns are the same call, measured twice.

``aer_state`` and ``lightning_bindings`` are what the two packages have below the interface that they document.

    python benchmarks/simulators.py --quick                                           # less than a minute
    python benchmarks/simulators.py --json simulators.json --plot simulators.png      # some minutes

Peers are what ``pip install "sb3-quantum[simulators]"`` brings. There is no verdict on one that is not installed.
"""

import argparse
import importlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numba import njit
from simulator_forms import FORMS, Form, LightningQNode, Ours, TensorCircuit, make_inputs

from sb3_quantum.backends import kernel
from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import new_figure

SIZES = [(10, 1), (10, 4), (10, 16), (10, 256), *((n_qubits, 1) for n_qubits in (2, 4, 6, 8, 12, 14, 16))]
#: the same with CZ gates in common
SHARED_SIZES = [(10, 1), (10, 16), (10, 256), (16, 1)]
QUICK_SIZES = [(10, 1), (10, 256), (4, 1)]
#: left out by --quick: behind another form of the same engine, at batch 256 at least, and slow to set up or to run
SLOW_FORMS = (LightningQNode, TensorCircuit)
#: seconds that are timed at once at least
PIECE = 0.02
TOLERANCE = 1e-4
#: how many times faster than Aer per circuit, 10 qubits, by batch size
WANTED = {1: 80, 256: 150}
#: packages whose versions are stated
PACKAGES = ["numba", "numpy", "torch", "qiskit", "qiskit-aer", "pennylane-lightning", "qulacs", "tensorcircuit-ng", "jax"]
FIRST_CALL = """
import time, torch as th
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit
ansatz = PaperCircuit()
backend = StatevectorBackend(ansatz)
start = time.perf_counter()
backend.sample(th.zeros(1, ansatz.n_inputs))
print(time.perf_counter() - start)
"""
MEMORY = """
import torch as th
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
small, large = PaperCircuit(2, 2), PaperCircuit(20, 10)
StatevectorBackend(small).sample(th.zeros(4, small.n_inputs))
before = peak()
StatevectorBackend(large).sample(th.rand(4, large.n_inputs))
print((peak() - before) / 1024)
"""


def verify(form: type[Form]) -> None:
    """
    :param form: to be compared with ours on small circuits
    :raises AssertionError: if it runs another circuit or has its qubits in another order
    """
    ansatz, patterns, inputs = make_inputs(3, 4, n_layers=3, shared=form.shared_only)
    candidate = form(ansatz, patterns)
    # Where its order of basis states puts ours
    places = [(1 << int(q)) for q in range(3)] @ candidate.bits(np.arange(8)).T
    probabilities = np.empty((4, 8))
    probabilities[:, places] = candidate.probabilities(inputs)
    error = np.abs(probabilities - Ours(ansatz, patterns).probabilities(inputs)).max()
    assert error < TOLERANCE, f"{form.engine}, {form.form}: probabilities are off by {error:.1e}"
    # Angles of 0 and pi leave nothing to chance
    angles, indices = ansatz.split(inputs)
    flips = (angles > 0).reshape(4, 3, 3, 2)
    flips[..., 1] = False
    bits = np.asarray(candidate.run(candidate.build(ansatz.join(math.pi * flips.flatten(1), indices).float())))
    assert (bits == (flips[..., 0].sum(1) % 2).numpy()).all(), f"{form.engine}, {form.form}: bits are wrong or out of order"


def seconds(function: Callable[[], Any], times: int = 1) -> float:
    """
    :param function: what to time
    :param times: how often it is called
    :return: of one call
    """
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def measure(
    forms: Sequence[type[Form]], n_qubits: int, batch: int, rounds: int, shared: bool = False, slower: float = 8.0
) -> list[dict[str, Any]]:
    """
    Time every form at one size, taking turns; those far behind their engine's fastest one in a first call are left out.

    :param forms: what to time
    :param n_qubits: of the circuits
    :param batch: how many at once
    :param rounds: turns
    :param shared: whether the circuits of a batch have their CZ gates in common
    :param slower: how much slower than its engine's fastest form another one may be and take part
    :return: a row per form with its medians in microseconds per circuit
    """
    ansatz, patterns, inputs = make_inputs(n_qubits, batch, shared=shared)
    forms = [form for form in forms if shared or not form.shared_only]
    first: dict[type[Form], float] = {}
    calls: dict[type[Form], list[Callable[[], Any]]] = {}
    for form in forms:
        simulator = form(ansatz, patterns)
        built = simulator.build(inputs)
        simulator.run(built)
        calls[form] = [
            lambda simulator=simulator: simulator.run(simulator.build(inputs)),  # type: ignore[misc]
            lambda simulator=simulator, built=built: simulator.run(built),  # type: ignore[misc]
        ]
        first[form] = min(seconds(calls[form][0]) for _ in range(3))
    fastest = {form.engine: min(first[other] for other in forms if other.engine == form.engine) for form in forms}
    kept = [form for form in forms if first[form] <= slower * fastest[form.engine]]
    times: dict[type[Form], list[list[float]]] = {form: [] for form in kept}
    for _ in range(rounds):
        for form in kept:
            often = max(int(PIECE / first[form]), 1)
            times[form].append([seconds(call, often) for call in calls[form]])
    rows = []
    for form in kept:
        built_too, prebuilt = 1e6 * np.median(times[form], axis=0) / batch
        rows.append({"engine": form.engine, "form": form.form, "us": float(built_too), "prebuilt_us": float(prebuilt)})
    return rows


def flops(n_qubits: int, n_layers: int) -> int:
    """
    Floating-point operations of the compiled kernel for one circuit, without sines and cosines (a few hundred) and the CZ's
    signs.

    :param n_qubits: of the circuit
    :param n_layers: of the circuit
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
    """One part of what the kernel does for a circuit, again and again."""
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
    :return: where the time of one 10-qubit, 10-layer circuit goes, on one thread
    """
    ansatz, patterns, inputs = make_inputs(10, 1)
    row, uniforms = inputs.numpy(), np.array([[0.5]])
    bits, expected = np.empty((1, 1, 10), np.float32), np.empty((1, 10), np.float32)
    ours = Ours(ansatz, patterns)
    matrix = th.rand(1024, 1024)
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "public_us": (lambda: ours.run(inputs), 100),
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
    }


def child(code: str, **environment: str) -> float:
    """
    :param code: prints a number
    :param environment: further variables
    :return: the number
    """
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return float(run.stdout)


def installed(forms: Sequence[type[Form]]) -> tuple[list[type[Form]], dict[str, str]]:
    """
    :param forms: what one would like to time
    :return: those whose packages are there, and what is missing, with the reason
    """
    missing: dict[str, str] = {}
    for form in forms:
        try:
            importlib.import_module(form.package)
        except Exception as error:  # a broken peer must not stop the others
            missing[form.engine] = f"{type(error).__name__}: {error}"
    return [form for form in forms if form.engine not in missing], missing


def table(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """
    :param rows: of all sizes, as from :func:`measure`
    :param key: of the figure
    :return: by engine and size, the fastest form's
    """
    figures: dict[str, dict[str, float]] = {}
    for row in rows:
        sizes = figures.setdefault(row["engine"], {})
        sizes[row["size"]] = min(row[key], sizes.get(row["size"], math.inf))
    return figures


def verdicts(figures: dict[str, dict[str, float]], missing: dict[str, str]) -> list[str]:
    """
    :param figures: with construction, as from :func:`table`
    :param missing: as from :func:`installed`
    :return: lines
    """
    lines, ours = [], figures["ours"]
    for batch, wanted in WANTED.items():
        for engine in ("aer", "aer_state"):
            if (size := f"10,{batch}") in figures.get(engine, {}):
                ratio = figures[engine][size] / ours[size]
                reached = "reaches" if ratio >= wanted else "misses"
                lines.append(f"batch {batch}: {ratio:.1f}x {engine} per circuit, {reached} {wanted}x")
    peers = {(e, size): us / ours[size] for e, sizes in figures.items() if e != "ours" for size, us in sizes.items()}
    behind = [f"{engine} at {size} ({ratio:.2f}x)" for (engine, size), ratio in peers.items() if ratio <= 1]
    lines.append(
        "ahead of every measured peer at every size: "
        + (f"no, not of {', '.join(behind)}" if behind else "yes" if peers else "none measured")
    )
    return lines + [f"no verdict on {engine}, which is missing: {reason}" for engine, reason in missing.items()]


def plot(figures: dict[str, dict[str, float]], path: Path) -> None:
    """
    :param figures: with construction, as from :func:`table`
    :param path: of the image
    """
    figure = new_figure(11, 4.6, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for engine, sizes in figures.items():
        points = sorted((*map(int, size.split(",")), us) for size, us in sizes.items())
        style = dict(marker="o", lw=2.5, color="black", zorder=3) if engine == "ours" else dict(marker=".", lw=1.3)
        alone, batches = [p for p in points if p[1] == 1], [p for p in points if p[0] == 10]
        axes[0].plot([p[0] for p in alone], [p[2] for p in alone], label=engine, **style)
        axes[1].plot([p[1] for p in batches], [p[2] for p in batches], **style)
    axes[0].set(xlabel="qubits (batch 1)", ylabel="microseconds per circuit, with construction", yscale="log")
    axes[1].set(xlabel="circuits in a batch (10 qubits)", xscale="log", xticks=[1, 4, 16, 64, 256])
    axes[1].set_xticklabels(["1", "4", "16", "64", "256"])
    axes[1].minorticks_off()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=7)
    figure.savefig(path, dpi=120)


def report(results: dict[str, Any], missing: dict[str, str]) -> None:
    """
    :param results: what goes into the JSON file
    :param missing: as from :func:`installed`
    """
    for title, key in (
        ("With construction", "median_us"),
        ("Without", "median_us_prebuilt"),
        ("With construction, CZ gates in common", "median_us_shared_cz"),
    ):
        if not results[key]:
            continue
        sizes = list(results[key]["ours"])
        print(
            f"\n{title}, microseconds per circuit, {results['threads']} threads\n{'qubits,batch':20s}"
            + "".join(f"{s:>10s}" for s in sizes)
        )
        for engine, figures in results[key].items():
            print(f"{engine:20s}" + "".join(f"{figures[size]:10.1f}" for size in sizes))
    print()
    for name, figure in results["arithmetic"].items():
        print(f"{name}: {json.dumps(figure, default=float)}")
    print(*verdicts(results["median_us"], missing), sep="\n")
    if results["median_us_shared_cz"]:
        print("With CZ gates in common:", *verdicts(results["median_us_shared_cz"], {}), sep="\n")


def run(
    sizes: Sequence[tuple[int, int]],
    rounds: int,
    forms: Sequence[type[Form]] = FORMS,
    shared_sizes: Sequence[tuple[int, int]] = (),
    **options: Any,
) -> tuple[dict[str, Any], dict[str, str]]:
    """
    :param sizes: qubits and batch size
    :param rounds: turns
    :param forms: what to time, ours among them
    :param shared_sizes: likewise, of batches whose circuits have their CZ gates in common
    :param options: of :func:`measure`
    :return: what goes into the JSON file, and what is missing
    """
    forms, missing = installed(forms)
    for form in forms:
        verify(form)
    rows: list[dict[str, Any]] = []
    for shared, these in ((False, sizes), (True, shared_sizes)):
        for n_qubits, batch in these:
            found = measure(forms, n_qubits, batch, rounds, shared, **options)
            rows += [{"size": f"{n_qubits},{batch}", "shared_cz": shared, **row} for row in found]
            print(f"{n_qubits} qubits, batch {batch}" + (", CZ gates in common" if shared else ""), flush=True)
    own, common = ([row for row in rows if row["shared_cz"] == shared] for shared in (False, True))
    there = {distribution.name.lower().replace("_", "-") for distribution in distributions()}
    results = {
        "median_us": table(own, "us"),
        "median_us_prebuilt": table(own, "prebuilt_us"),
        "median_us_shared_cz": table(common, "us"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES if name in there}},
        "missing_peers": sorted(missing),
        "threads": th.get_num_threads(),
        "date": str(date.today()),
        "forms": rows,
        "arithmetic": arithmetic(4 * rounds),
    }
    return results, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sizes, few rounds")
    parser.add_argument("--threads", type=int, default=2, help="cores that every simulator may use")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--plot", type=Path, help="also draw them here")
    args = parser.parse_args()
    # Peers read these when they are loaded, which is not before :func:`installed`; jax only looks at the cores that it may use
    os.environ.update(OMP_NUM_THREADS=str(args.threads), QULACS_NUM_THREADS=str(args.threads), JAX_PLATFORMS="cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    th.set_num_threads(args.threads)
    if args.quick:
        results, missing = run(QUICK_SIZES, 2, [form for form in FORMS if form not in SLOW_FORMS], slower=2.0)
    else:
        results, missing = run(SIZES, 7, shared_sizes=SHARED_SIZES)
        with tempfile.TemporaryDirectory() as folder:
            results["first_call_s"] = {kind: child(FIRST_CALL, NUMBA_CACHE_DIR=folder) for kind in ("compiled", "cached")}
        results["memory_20_qubits_mb"] = child(MEMORY)
    report(results, missing)
    if args.json is not None:
        write_text(args.json, json.dumps(results, indent=1) + "\n")
    if args.plot is not None:
        plot(results["median_us"], args.plot)


if __name__ == "__main__":
    main()
