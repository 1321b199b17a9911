"""
Map where a tangent is hard: the cosine between the surrogate's gradient and the exact one, over qubits, layers and CZ gates
per layer.

Two kinds of circuit inputs: ``uniform`` angles, fresh in every row, and ``trained``: as a policy with the rms encoding spreads
them, around a bias that is uniform, with a root mean square of 0.5 rad, on a manifold of 20 dimensions. A cosine is between
d(w . expected bits)/d(angles) of both, w normal, mean over states, live angles only. Beside it stands what tells a hard
circuit from a dead one: the norm of the exact gradient and the spread of the expected bits over the states (both vanish on a
barren plateau, which is no surrogate's fault), and Meyer-Wallach's entanglement.

A full run has three parts. ``map``: every prior without a fit, over all shapes. ``curves``: three circuits, every prior after
so many fits of the default recipe, with probes and without; a fit is what one update of ``QuantumTD3`` does, on 256 recorded
pairs. ``growth``: cosine and cost of the priors from 10 to 40 qubits, against a witness that is exact there too.

    python benchmarks/frontier.py --quick --json frontier.json       # three circuits, within a minute
    python benchmarks/frontier.py --json benchmarks/results/frontier.json     # hours; goes on where it was cut
    python benchmarks/frontier.py --data benchmarks/results/frontier.json --plot docs/images
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from frontier_figures import draw_growth, draw_map
from priors import costs, fidelity

from sb3_quantum import QuantumLayer, QuantumTD3
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import circuit_statistics, gradient_fidelity
from sb3_quantum.priors import PRIORS

#: circuits of --quick, which are also those of the issue's figures: qubits, layers, CZ gates a layer
QUICK = {"paper_10": (10, 10, 1), "dense_5": (10, 5, 5), "dense_10": (10, 10, 5)}
QUBITS, LAYERS, SEEDS = (4, 6, 8, 10, 12), (2, 3, 5, 7, 10, 15), (0, 1, 2)
#: circuits that grow: layers, and how pairs of qubits are drawn (see ``priors.py``); ``free`` ones have one CZ gate a layer
GROWING = {"paper": (10, "free"), "matching": (5, "matching"), "bricks": (8, "bricks")}
WIDTHS = (10, 14, 20, 30, 40)
PARTS = ("map", "curves", "growth")
#: recorded pairs, their share of an update, states of a measurement, dimensions and spread of the manifold in radians
PAIRS, BATCH, HELD_OUT, DIMENSIONS, SPREAD, INDEX_SPREAD = 4096, 256, 128, 20, 0.5, 0.25
FITS = (0, 500, 2000, 8000)
PROBE = 0.2
QUICK_PAIRS, QUICK_FITS = 1024, 100


def trained_inputs(circuit: PaperCircuit, rows: int, rng: np.random.Generator) -> th.Tensor:
    """
    :param circuit: the circuit
    :param rows: states
    :param rng: source of randomness
    :return: circuit inputs as a trained policy with the rms encoding spreads them, ``(rows, n_inputs)``
    """

    def spread(width: int, scale: float) -> np.ndarray:
        deviation = np.tanh(latent @ rng.normal(size=(DIMENSIONS, 64)) / np.sqrt(DIMENSIONS)) @ rng.normal(size=(64, width))
        return scale * deviation / np.sqrt(np.square(deviation).mean(1, keepdims=True))

    latent = rng.normal(size=(rows, DIMENSIONS))
    angles = rng.uniform(-np.pi, np.pi, circuit.n_angles) + spread(circuit.n_angles, SPREAD)
    indices = np.zeros((rows, 0))
    if circuit.n_indices:
        indices = rng.uniform(0, circuit.n_qubits, circuit.n_indices) + spread(circuit.n_indices, INDEX_SPREAD)
    return circuit.join(th.as_tensor(angles), th.as_tensor(indices)).float()


def uniform_inputs(circuit: PaperCircuit, rows: int, rng: np.random.Generator) -> th.Tensor:
    """
    :param circuit: the circuit
    :param rows: states
    :param rng: source of randomness
    :return: circuit inputs without any order, ``(rows, n_inputs)``
    """
    angles = rng.uniform(-np.pi, np.pi, (rows, circuit.n_angles))
    indices = rng.uniform(0, circuit.n_qubits, (rows, circuit.n_indices))
    return circuit.join(th.as_tensor(angles), th.as_tensor(indices)).float()


INPUTS = {"trained": trained_inputs, "uniform": uniform_inputs}


def measure_circuit(
    shape: tuple[int, int, int], kind: str, priors: Sequence[str], fits: Sequence[int], seed: int
) -> dict[str, Any]:
    """
    Measure one circuit with one kind of inputs.

    :param shape: qubits, layers, CZ gates a layer
    :param kind: a key of INPUTS
    :param priors: names of the priors to measure
    :param fits: numbers of fits, in rising order, 0 first
    :param seed: seed of everything
    :return: plain data
    """
    circuit, rng = PaperCircuit(*shape), np.random.default_rng(seed)
    fitted = max(fits) > 0
    inputs = INPUTS[kind](circuit, PAIRS + HELD_OUT, rng)
    held_out, inputs = inputs[:HELD_OUT], inputs[HELD_OUT:] if fitted else inputs[:0]
    weights = th.as_tensor(rng.normal(size=(HELD_OUT, circuit.n_qubits))).float()
    witness = QuantumLayer(circuit=circuit, gradient="exact", qtdnn_prior="none", seed=0)
    leaf = held_out.clone().requires_grad_(True)
    (gradient,) = th.autograd.grad((witness.surrogate(leaf) * weights).sum(), leaf)
    statistics_ = circuit_statistics(circuit, held_out)
    found: dict[str, Any] = {
        "qubits": shape[0],
        "layers": shape[1],
        "n_cz": shape[2],
        "inputs": kind,
        "seed": seed,
        "gradient_norm": float(gradient.norm(dim=1).mean()),
        **{name: statistics_[name] for name in ("marginal_std", "entanglement", "input_std")},
        "cosine": {},
    }
    targets = witness.measure(inputs, draw=False).expected_bits if fitted else th.zeros(0)
    for prior in priors:
        for probed in (False, True) if fitted else (False,):
            th.manual_seed(seed)
            layer = QuantumLayer(circuit=circuit, qtdnn_prior=prior, seed=0)
            rows = len(inputs)
            near = inputs + circuit.join(PROBE * th.randn(rows, circuit.n_angles), th.zeros(rows, circuit.n_indices))
            near_targets = witness.measure(near, draw=False).expected_bits if probed else targets
            curve, done = {}, 0
            for many in fits:
                for _ in range(many - done):
                    drawn = th.randint(PAIRS, (BATCH,))
                    pairs = th.cat([inputs[drawn], near[drawn]]) if probed else inputs[drawn]
                    outputs = th.cat([targets[drawn], near_targets[drawn]]) if probed else targets[drawn]
                    layer.fit_surrogate(pairs, outputs, batch_size=128)
                done = many
                curve[str(many)] = round(gradient_fidelity(layer, held_out, weights)["cosine"], 4)
            found["cosine"][f"{prior}{', probed' if probed else ''}"] = curve
    return found


def milliseconds(circuits: dict[str, tuple[dict[str, Any], str | None]], rounds: int = 15) -> dict[str, float]:
    """
    Time an update of ``QuantumTD3`` with batches of 256. Arms differ in circuit and prior, and take turns.

    :param circuits: for every arm a policy's ``circuit_kwargs`` and the prior, the library's own if ``None``
    :param rounds: updates of each
    :return: the fastest of each, in milliseconds of the processor, so that other work beside it counts for little
    """
    models, times = {}, {name: [] for name in circuits}  # type: dict[str, QuantumTD3], dict[str, list[float]]
    for name, (circuit_kwargs, prior) in circuits.items():
        policy_kwargs = {"circuit_kwargs": circuit_kwargs, **({} if prior is None else {"qtdnn_prior": prior})}
        settings: dict[str, Any] = dict(buffer_size=1000, learning_starts=60, policy_kwargs=policy_kwargs, seed=0)
        models[name] = QuantumTD3("MlpPolicy", "Pendulum-v1", **settings).learn(63)
    for _ in range(rounds):
        for name, model in models.items():
            start = time.process_time()
            model.train(gradient_steps=1, batch_size=BATCH)
            times[name].append(1e3 * (time.process_time() - start))
    return {name: round(min(values), 2) for name, values in times.items()}


def quick() -> dict[str, Any]:
    """
    Measure three circuits, on inputs as a trained policy spreads them.

    :return: for each, means over three draws: cosine of the default prior alone, of the default recipe after QUICK_FITS fits,
        and of the mean field; norm of the gradient, spread of the expected bits; milliseconds of an update
    """
    found: dict[str, Any] = {}
    times = milliseconds(
        {name: (dict(zip(("n_qubits", "n_layers", "n_cz"), shape, strict=True)), None) for name, shape in QUICK.items()}, 25
    )
    for name, shape in QUICK.items():
        rows = [_quick_row(PaperCircuit(*shape), seed) for seed in range(3)]
        row = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        found[name] = {key: round(value, 4) for key, value in row.items()} | {"ms_per_update": times[name]}
    return found


def _quick_row(circuit: PaperCircuit, seed: int) -> dict[str, float]:
    """Compute the row of :func:`quick` for one circuit, without the time, for one draw of biases and states."""
    rng = np.random.default_rng(seed)
    inputs = trained_inputs(circuit, PAIRS + HELD_OUT, rng)
    held_out, inputs = inputs[:HELD_OUT], inputs[HELD_OUT:]
    weights = th.as_tensor(rng.normal(size=(HELD_OUT, circuit.n_qubits))).float()
    th.manual_seed(seed)
    witness = QuantumLayer(circuit=circuit, gradient="exact", qtdnn_prior="none", seed=0)
    leaf = held_out.clone().requires_grad_(True)
    (gradient,) = th.autograd.grad((witness.surrogate(leaf) * weights).sum(), leaf)
    layer = QuantumLayer(circuit=circuit, seed=0)
    mean_field = PRIORS["mean_field"](circuit)
    row = {"prior": gradient_fidelity(layer, held_out, weights)["cosine"]}
    row["mean_field"] = gradient_fidelity(layer, held_out, weights, mean_field.bits)["cosine"]
    inputs = inputs[:QUICK_PAIRS]
    targets = witness.measure(inputs, draw=False).expected_bits
    for _ in range(QUICK_FITS):
        rows = th.randint(len(inputs), (BATCH,))
        layer.fit_surrogate(inputs[rows], targets[rows], batch_size=128)
    row["fitted"] = gradient_fidelity(layer, held_out, weights)["cosine"]
    row["gradient_norm"] = float(gradient.norm(dim=1).mean())
    row["marginal_std"] = circuit_statistics(circuit, held_out)["marginal_std"]
    return row


def measure_growth(name: str, n_qubits: int, rows: int = 4, seeds: int = 4) -> dict[str, Any]:
    """
    Measure the cosine and cost of the priors on a circuit that may be wide.

    :param name: a key of GROWING
    :param n_qubits: its width
    :param rows: states
    :param seeds: circuits
    :return: plain data: means over the circuits, operations of each prior and milliseconds of 128 gradients
    """
    layers, kind = GROWING[name]
    case = (n_qubits, layers, 1 if kind == "free" else n_qubits // 2, kind)
    found = {"circuit": name, "qubits": n_qubits, "layers": layers, "n_cz": case[2], **fidelity(case, SPREAD, rows, seeds)}
    for prior, cost in costs(case, (128,)).items():
        found[f"{prior}_operations"], found[f"{prior}_ms"] = cost["operations"], round(cost["128"][1], 2)
    return found


def gates_of(n_qubits: int) -> list[int]:
    """
    :param n_qubits: qubits of a circuit
    :return: numbers of CZ gates a layer that are measured, from none to as many as fit
    """
    return sorted({n for n in (0, 1, 2, 3, n_qubits // 2) if 2 * n <= n_qubits})


def missing(part: str, args: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """
    Measure the rows that are missing.

    :param part: one of PARTS
    :param args: arguments of the command
    :param rows: the existing rows
    :return: the other rows, one after the other
    """
    if part == "growth":
        known = {(row["circuit"], row["qubits"]) for row in rows}
        for name, width in itertools.product(GROWING, args.widths):
            if (name, width) not in known:
                yield measure_growth(name, width)
        return
    curves = part == "curves"
    shapes = [(q, n, c) for q in args.qubits for n in args.layers for c in args.cz or gates_of(q) if 2 * c <= q]
    # A curve with fewer fits than are asked for is measured anew
    wanted = {str(many) for many in (args.fits if curves else (0,))}
    done = {
        (row["qubits"], row["layers"], row["n_cz"], row["inputs"], row["seed"])
        for row in rows
        if all(wanted <= curve.keys() for curve in row["cosine"].values())
    }
    seeds = args.seeds[:1] if curves else args.seeds
    for kind, shape, seed in itertools.product(args.inputs, QUICK.values() if curves else shapes, seeds):
        if (*shape, kind, seed) not in done:
            yield measure_circuit(shape, kind, args.priors, args.fits if curves else (0,), seed)


def same_circuit(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """
    :param one: a row of any part
    :param other: another one of the same part
    :return: whether both are of the same circuit, inputs and seed
    """
    return all(one.get(key) == other.get(key) for key in ("circuit", "qubits", "layers", "n_cz", "inputs", "seed"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three circuits, within a minute")
    parser.add_argument("--json", type=Path, help="write what was measured")
    parser.add_argument("--data", type=Path, help="measure nothing, read this file of a full run")
    parser.add_argument("--plot", type=Path, help="draw the figures into this folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--qubits", type=int, nargs="+", default=QUBITS, help="of the map")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, help="of the map")
    parser.add_argument("--cz", type=int, nargs="+", help="of the map: gates a layer, by default 0, 1, 2, 3 and all")
    parser.add_argument("--inputs", nargs="+", choices=sorted(INPUTS), default=sorted(INPUTS))
    parser.add_argument("--priors", nargs="+", choices=sorted(PRIORS), default=sorted(PRIORS))
    parser.add_argument("--fits", type=int, nargs="+", default=FITS, help="of the curves")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the map; curves are of the first one")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="of the growth")
    args = parser.parse_args()
    th.set_num_threads(1)
    found: dict[str, Any] = {}
    if args.data is not None:
        found = json.loads(args.data.read_text())
    else:
        if args.json is not None and args.json.exists() and not args.quick:  # a run that was cut goes on
            found = json.loads(args.json.read_text())
        if not QUICK.keys() <= found.keys():
            found.update(quick())
            for name in QUICK:
                print(name, found[name], flush=True)
        for part in () if args.quick else args.parts:
            rows = found.setdefault(part, [])
            for row in missing(part, args, rows):
                rows[:] = [known for known in rows if not same_circuit(known, row)] + [row]
                print(json.dumps(row), flush=True)
                if args.json is not None:
                    write_text(args.json, json.dumps(found, indent=1) + "\n")
    if args.json is not None:
        write_text(args.json, json.dumps(found, indent=1) + "\n")
    if args.plot is not None:
        for kind in sorted({row["inputs"] for row in found.get("map", [])}):
            draw_map(found["map"], kind, args.plot / f"frontier_{kind}.png")
        draw_growth(found.get("growth", []), found.get("curves", []), args.plot / "frontier_growth.png")


if __name__ == "__main__":
    main()
