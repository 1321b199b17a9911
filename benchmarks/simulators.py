"""
How long does one shot of the circuit take, beside Aer, PennyLane's lightning.qubit, qulacs, TensorCircuit-NG, prism-q and
PyQrack?

From a float32 tensor of circuit inputs to one bitstring per circuit, in microseconds per circuit. Every simulator takes part
in several forms (``simulator_forms.py``, ``splitting_forms.py``), and its figure at a size is that of its fastest form there.
All take turns in one process and use the same inputs and as many cores. Every circuit of a batch has CZ gates of its own, as
they are inputs like the angles; figures for batches that share them, which lets some peers bind angles to one circuit, stand
apart. Before it is timed, every form has to agree with ours in its probabilities and to return bits in order.

With construction, everything from the tensor on is timed, but for the compilation by jax. Without, a peer finds its circuits,
tapes or arrays made; for ours there is nothing to be made beforehand, and both columns are the same call, measured twice.

``ours`` is the engine that splits, ``full`` that of version 0.1.0. What holds all basis states takes part up to 2**20
amplitudes of a batch, ``full`` up to 2**24. ``aer_state`` and ``lightning_bindings`` are what the two packages have below the
interface that they document.

    python benchmarks/simulators.py --quick                                           # less than a minute
    python benchmarks/simulators.py --json simulators.json --plot simulators.png      # some minutes
    python benchmarks/simulators.py --data simulators.json --plot simulators.png      # draws what is there

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
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from simulator_forms import FORMS as STATEVECTOR_FORMS
from simulator_forms import Form, LightningQNode, Ours, TensorCircuit, make_inputs
from simulator_parts import arithmetic, seconds
from splitting_forms import SPLITTING_FORMS, PyQrackHybrid

from sb3_quantum.common.durable import write_text
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS, STYLES

FORMS = [*STATEVECTOR_FORMS, *SPLITTING_FORMS]
SIZES = [
    *((10, batch) for batch in (1, 4, 16, 256)),
    *((n_qubits, 1) for n_qubits in (2, 4, 6, 8, 12, 14, 16, 20, 30, 60, 127)),
    *((16, 256), (20, 8), (127, 256)),
]
#: the same with CZ gates in common
SHARED_SIZES = [(10, 1), (10, 16), (10, 256), (16, 1)]
QUICK_SIZES = [(10, 1), (10, 256), (16, 256), (20, 8), (127, 256)]
#: left out by --quick: behind another form of the same engine, at batch 256 at least, and slow to set up or to run
SLOW_FORMS = (LightningQNode, TensorCircuit, PyQrackHybrid)
#: seconds that are timed at once at least
PIECE = 0.02
TOLERANCE = 1e-4
#: how many times faster per circuit than another engine, by size
WANTED = {
    "aer": {"10,1": 80.0, "10,256": 500.0},
    "full": {"10,1": 2.0, "10,256": 3.0, "16,256": 100.0, "20,8": 5000.0},
}
#: how much longer 127 qubits may take than 10, in a batch of 256
WANTED_WIDE = 12.0
#: packages whose versions are stated
PACKAGES = [
    "numba",
    "numpy",
    "torch",
    "qiskit",
    "qiskit-aer",
    "pennylane-lightning",
    "qulacs",
    "tensorcircuit-ng",
    "jax",
    "prism-q",
    "pyqrack-cpu",
    "pyqrack",
]
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


def measure(
    forms: Sequence[type[Form]],
    n_qubits: int,
    batch: int,
    rounds: int,
    shared: bool = False,
    slower: float = 8.0,
    patience: float = math.inf,
) -> list[dict[str, Any]]:
    """
    Time every form at one size, taking turns; those far behind their engine's fastest one in a first call are left out.

    :param forms: the calls to time
    :param n_qubits: number of qubits of the circuits
    :param batch: number of circuits at once
    :param rounds: turns
    :param shared: whether the circuits of a batch have their CZ gates in common
    :param slower: how much slower than its engine's fastest form another one may be and take part
    :param patience: seconds of a call from which on it is timed once
    :return: a row per form with its medians in microseconds per circuit
    """
    ansatz, patterns, inputs = make_inputs(n_qubits, batch, shared=shared)
    forms = [form for form in forms if (shared or not form.shared_only) and form.takes(n_qubits, batch)]
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
        first[form] = seconds(calls[form][0])
        if first[form] < patience:
            first[form] = min(first[form], *(seconds(calls[form][0]) for _ in range(2)))
    fastest = {form.engine: min(first[other] for other in forms if other.engine == form.engine) for form in forms}
    kept = [form for form in forms if first[form] <= slower * fastest[form.engine]]
    times: dict[type[Form], list[list[float]]] = {form: [] for form in kept}
    for turn in range(rounds):
        for form in kept:
            if turn > 0 and first[form] >= patience:
                continue
            often = max(int(PIECE / first[form]), 1)
            times[form].append([seconds(call, often) for call in calls[form]])
    rows = []
    for form in kept:
        built_too, prebuilt = 1e6 * np.median(times[form], axis=0) / batch
        best = 1e6 * np.min(times[form], axis=0)[0] / batch
        row = {"us": float(built_too), "prebuilt_us": float(prebuilt), "best_us": float(best)}
        rows.append({"engine": form.engine, "form": form.form, **row})
    return rows


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
    :param rows: rows of all sizes, as from :func:`measure`
    :param key: key of the figure
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
    for engine, wanted in WANTED.items():
        for size in sorted(set(wanted) & set(figures.get(engine, {}))):
            ratio = figures[engine][size] / ours[size]
            reached = "reaches" if ratio >= wanted[size] else "misses"
            lines.append(f"{size}: {ratio:,.1f}x {engine} per circuit, {reached} {wanted[size]:,.0f}x")
    if "10,256" in ours and "127,256" in ours:
        ratio = ours["127,256"] / ours["10,256"]
        reached = "within" if ratio <= WANTED_WIDE else "above"
        lines.append(f"127 qubits: {ratio:.1f} times the time of 10 in a batch of 256, {reached} {WANTED_WIDE:.0f}")
    own = ("ours", "full")
    peers = {(e, size): us / ours[size] for e, sizes in figures.items() if e not in own for size, us in sizes.items()}
    behind = [f"{engine} at {size} ({ratio:.2f}x)" for (engine, size), ratio in peers.items() if ratio <= 1]
    lines.append(
        "ahead of every measured peer at every size: "
        + (f"no, not of {', '.join(behind)}" if behind else "yes" if peers else "none measured")
    )
    return lines + [f"no verdict on {engine}, which is missing: {reason}" for engine, reason in missing.items()]


def plot(figures: dict[str, dict[str, float]], path: Path) -> None:
    """
    :param figures: with construction, as from :func:`table`
    :param path: path of the image
    """
    figure = new_figure(WIDTH, 5.2, layout="constrained")
    sizes_of, batches_of = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
    peers = [engine for engine in figures if engine not in ("ours", "full")]
    colours = [colour for colour in COLOURS if colour != "#000000"]
    for engine, sizes in figures.items():
        points = sorted((*map(int, size.split(",")), us) for size, us in sizes.items())
        ours: dict[str, Any] = dict(marker="o", linewidth=2.5, color="black", zorder=3)
        style = {"ours": ours, "full": {**ours, "linestyle": ":", "linewidth": 1.6}}.get(engine)
        if style is None:
            place = peers.index(engine)
            style = dict(
                marker=".", linewidth=1.3, color=colours[place % len(colours)], linestyle=STYLES[place // len(colours)]
            )
        alone, batches = [p for p in points if p[1] == 1], [p for p in points if p[0] == 10]
        sizes_of.plot([p[0] for p in alone], [p[2] for p in alone], label=engine, **style)
        batches_of.plot([p[1] for p in batches], [p[2] for p in batches], **style)
    for axes, label, ticks in (
        (sizes_of, "qubits (batch 1)", [2, 4, 8, 16, 30, 60, 127]),
        (batches_of, "batch (10 qubits)", [1, 4, 16, 64, 256]),
    ):
        axes.set(xscale="log", yscale="log")
        axes.minorticks_off()
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        tidy_axes(axes, label)
    sizes_of.set_ylabel("microseconds per circuit,\nwith construction")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)


def report(results: dict[str, Any], missing: dict[str, str]) -> None:
    """
    :param results: contents of the JSON file
    :param missing: as from :func:`installed`
    """
    for title, key in (
        ("With construction", "median_us"),
        ("Without", "median_us_prebuilt"),
        ("With construction, CZ gates in common", "median_us_shared_cz"),
        ("With construction, the best round", "best_us"),
    ):
        if not results[key]:
            continue
        sizes = list(results[key]["ours"])
        print(
            f"\n{title}, microseconds per circuit, {results['threads']} threads\n{'qubits,batch':20s}"
            + "".join(f"{s:>10s}" for s in sizes)
        )
        for engine, figures in results[key].items():
            print(f"{engine:20s}" + "".join(f"{figures[size]:10.1f}" if size in figures else f"{'-':>10s}" for size in sizes))
    print()
    for name, figure in results["arithmetic"].items():
        print(f"{name}: {json.dumps(figure, default=float)}")
    print(*verdicts(results["median_us"], missing), sep="\n")
    print("By the best rounds:", *verdicts(results["best_us"], {}), sep="\n")
    if results["median_us_shared_cz"]:
        print("With CZ gates in common:", *verdicts(results["median_us_shared_cz"], {}), sep="\n")


def run(
    sizes: Sequence[tuple[int, int]],
    rounds: int,
    forms: Sequence[type[Form]] = FORMS,
    shared_sizes: Sequence[tuple[int, int]] = (),
    parts: bool = True,
    **options: Any,
) -> tuple[dict[str, Any], dict[str, str]]:
    """
    :param sizes: qubits and batch size
    :param rounds: turns
    :param forms: the calls to time, ours among them
    :param shared_sizes: likewise, of batches whose circuits have their CZ gates in common
    :param parts: whether to find out where the time goes
    :param options: options of :func:`measure`
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
        # On a machine that others use, their work only adds time
        "best_us": table(own, "best_us"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES if name in there}},
        "missing_peers": sorted(missing),
        "threads": th.get_num_threads(),
        "date": str(date.today()),
        "forms": rows,
        "arithmetic": arithmetic(4 * rounds) if parts else {},
    }
    return results, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="five sizes, few rounds, within a minute")
    parser.add_argument("--threads", type=int, default=2, help="cores that every simulator may use")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--data", type=Path, help="measure nothing, read this file of a full run")
    parser.add_argument("--plot", type=Path, help="also draw them here")
    args = parser.parse_args()
    if args.data is not None:
        if args.plot is not None:
            plot(json.loads(args.data.read_text())["median_us"], args.plot)
        return
    # Peers read these when they are loaded, which is not before :func:`installed`; jax only looks at the cores that it may use
    os.environ.update(OMP_NUM_THREADS=str(args.threads), QULACS_NUM_THREADS=str(args.threads), JAX_PLATFORMS="cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    th.set_num_threads(args.threads)
    if args.quick:
        forms = [form for form in FORMS if form not in SLOW_FORMS]
        results, missing = run(QUICK_SIZES, 2, forms, parts=False, slower=2.0, patience=0.5)
    else:
        results, missing = run(SIZES, 7, shared_sizes=SHARED_SIZES, patience=1.0)
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
