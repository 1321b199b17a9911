"""
Where is a tangent hard? The map of circuits: qubits, layers and CZ gates a layer, against the cosine between the surrogate's
gradient and the exact one.

Two kinds of circuit inputs: ``uniform`` angles, fresh in every row, and ``trained``: as a policy with the rms encoding spreads
them, around a bias that is uniform, with a root mean square of 0.5 rad, on a manifold of 20 dimensions. A cosine is between
d(w . expected bits)/d(angles) of both, w normal, mean over states, live angles only. Beside it stands what tells a hard
circuit from a dead one: the norm of the exact gradient and the spread of the expected bits over the states (both vanish on a
barren plateau, which is no surrogate's fault), and Meyer-Wallach's entanglement.

Every prior is measured alone and after so many fits of the default recipe, with probes and without; a fit is what one update
of ``QuantumTD3`` does, on 256 recorded pairs.

    python benchmarks/frontier.py --quick --json frontier.json       # three circuits, within a minute
    python benchmarks/frontier.py --json benchmarks/results/frontier.json     # hours; goes on where it was cut
    python benchmarks/frontier.py --data benchmarks/results/frontier.json --plot docs/images/frontier.png
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from sb3_quantum import QuantumLayer, QuantumTD3
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import circuit_statistics, gradient_fidelity
from sb3_quantum.plots.figure import new_figure
from sb3_quantum.priors import PRIORS

#: circuits of --quick, which are also those of the issue's figures: qubits, layers, CZ gates a layer
QUICK = {"paper_10": (10, 10, 1), "dense_5": (10, 5, 5), "dense_10": (10, 10, 5)}
QUBITS, LAYERS, CZ = (4, 6, 8, 10, 12), (2, 3, 5, 7, 10, 15), (0, 1, 2, 3, 5)
#: recorded pairs, their share of an update, states of a measurement, dimensions and spread of the manifold in radians
PAIRS, BATCH, HELD_OUT, DIMENSIONS, SPREAD, INDEX_SPREAD = 4096, 256, 128, 20, 0.5, 0.25
FITS = (0, 500, 2000, 8000)
PROBE = 0.2


def trained_inputs(circuit: PaperCircuit, rows: int, rng: np.random.Generator) -> th.Tensor:
    """
    :param circuit: the circuit
    :param rows: states
    :param rng: where the randomness comes from
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
    :param rng: where the randomness comes from
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
    Everything about one circuit and one kind of inputs.

    :param shape: qubits, layers, CZ gates a layer
    :param kind: a key of INPUTS
    :param priors: to be measured
    :param fits: numbers of fits, in rising order
    :param seed: of everything
    :return: plain data
    """
    circuit, rng = PaperCircuit(*shape), np.random.default_rng(seed)
    inputs = INPUTS[kind](circuit, PAIRS + HELD_OUT, rng)
    held_out, inputs = inputs[:HELD_OUT], inputs[HELD_OUT:]
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
    targets = witness.measure(inputs, draw=False).expected_bits
    for prior in priors:
        for probed in (False, True):
            th.manual_seed(seed)
            layer = QuantumLayer(circuit=circuit, qtdnn_prior=prior, seed=0)
            near = inputs + circuit.join(PROBE * th.randn(PAIRS, circuit.n_angles), th.zeros(PAIRS, circuit.n_indices))
            near_targets = witness.measure(near, draw=False).expected_bits if probed else targets
            curve, done = {}, 0
            for many in fits:
                for _ in range(many - done):
                    rows = th.randint(PAIRS, (BATCH,))
                    pairs = th.cat([inputs[rows], near[rows]]) if probed else inputs[rows]
                    outputs = th.cat([targets[rows], near_targets[rows]]) if probed else targets[rows]
                    layer.fit_surrogate(pairs, outputs, batch_size=128)
                done = many
                curve[str(many)] = round(gradient_fidelity(layer, held_out, weights)["cosine"], 4)
            found["cosine"][f"{prior}{', probed' if probed else ''}"] = curve
    return found


def milliseconds(circuits: dict[str, tuple[dict[str, Any], str | None]], rounds: int = 15) -> dict[str, float]:
    """
    Time of an update of ``QuantumTD3`` with batches of 256; arms differ in circuit and prior, and take turns.

    :param circuits: for every arm a policy's ``circuit_kwargs`` and the prior, the library's own if ``None``
    :param rounds: updates of each
    :return: medians in milliseconds
    """
    models, times = {}, {name: [] for name in circuits}  # type: dict[str, QuantumTD3], dict[str, list[float]]
    for name, (circuit_kwargs, prior) in circuits.items():
        policy_kwargs = {"circuit_kwargs": circuit_kwargs, **({} if prior is None else {"qtdnn_prior": prior})}
        settings: dict[str, Any] = dict(buffer_size=1000, learning_starts=300, policy_kwargs=policy_kwargs, seed=0)
        models[name] = QuantumTD3("MlpPolicy", "Pendulum-v1", **settings).learn(303)
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.train(gradient_steps=1, batch_size=BATCH)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def quick() -> dict[str, Any]:
    """
    The three circuits of the issue, on inputs as a trained policy spreads them.

    :return: for each, means over three draws: cosine of the default prior alone, of the default recipe after 300 fits, and of
        the mean field; norm of the gradient, spread of the expected bits; milliseconds of an update
    """
    found: dict[str, Any] = {}
    times = milliseconds(
        {name: (dict(zip(("n_qubits", "n_layers", "n_cz"), shape, strict=True)), None) for name, shape in QUICK.items()}, 9
    )
    for name, shape in QUICK.items():
        rows = [_quick_row(PaperCircuit(*shape), seed) for seed in range(3)]
        row = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        found[name] = {key: round(value, 4) for key, value in row.items()} | {"ms_per_update": times[name]}
    return found


def _quick_row(circuit: PaperCircuit, seed: int) -> dict[str, float]:
    """What :func:`quick` says of one circuit, without the time, for one draw of biases and of states."""
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
    targets = witness.measure(inputs, draw=False).expected_bits
    for _ in range(300):
        rows = th.randint(PAIRS, (BATCH,))
        layer.fit_surrogate(inputs[rows], targets[rows], batch_size=128)
    row["fitted"] = gradient_fidelity(layer, held_out, weights)["cosine"]
    row["gradient_norm"] = float(gradient.norm(dim=1).mean())
    row["marginal_std"] = circuit_statistics(circuit, held_out)["marginal_std"]
    return row


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """
    Three maps for 10 qubits (cosine of the mean field and of pairs without a fit, norm of the exact gradient), layers across
    and CZ gates upwards; inputs as of a trained policy.

    :param rows: what :func:`measure_circuit` returned, over all shapes
    :param path: of the picture
    """
    chosen = [row for row in rows if row["qubits"] == 10 and row["inputs"] == "trained"]
    layers, gates = sorted({row["layers"] for row in chosen}), sorted({row["n_cz"] for row in chosen})

    def alone(prior: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: row["cosine"][prior]["0"]

    maps = [
        ("Mean field alone: cosine", alone("mean_field"), 0, 1),
        ("Pair correlations alone: cosine", alone("pair_correlations"), 0, 1),
    ]
    figure = new_figure(11, 3.6)
    axes = figure.subplots(1, 3)
    for axis, (title, value, low, high) in zip(
        axes, [*maps, ("Norm of the exact gradient", lambda row: row["gradient_norm"], 0, None)], strict=True
    ):
        grid = np.full((len(gates), len(layers)), np.nan)
        for row in chosen:
            grid[gates.index(row["n_cz"]), layers.index(row["layers"])] = value(row)
        image = axis.imshow(grid, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high)
        for (y, x), number in np.ndenumerate(grid):
            if np.isfinite(number):
                dark = (number - low) / ((high or np.nanmax(grid)) - low) < 0.6
                axis.text(x, y, f"{number:.2f}", ha="center", va="center", color="white" if dark else "black", fontsize=8)
        axis.set_xticks(range(len(layers)), [str(n) for n in layers])
        axis.set_yticks(range(len(gates)), [str(n) for n in gates])
        axis.set_xlabel("layers")
        axis.set_title(title, fontsize=10)
        figure.colorbar(image, ax=axis, shrink=0.85)
    axes[0].set_ylabel("CZ gates a layer")
    figure.suptitle("10 qubits, inputs as a trained policy spreads them (0.5 rad)", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three circuits, within a minute")
    parser.add_argument("--json", type=Path, help="write what was measured")
    parser.add_argument("--data", type=Path, help="measure nothing, read this file of a full run")
    parser.add_argument("--plot", type=Path, help="draw the map")
    parser.add_argument("--qubits", type=int, nargs="+", default=QUBITS)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--cz", type=int, nargs="+", default=CZ)
    parser.add_argument("--inputs", nargs="+", choices=sorted(INPUTS), default=sorted(INPUTS))
    parser.add_argument("--priors", nargs="+", choices=sorted(PRIORS), default=sorted(PRIORS))
    parser.add_argument("--fits", type=int, nargs="+", default=FITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    if args.quick:
        found: dict[str, Any] = quick()
        for name, row in found.items():
            print(name, row)
    elif args.data is not None:
        found = json.loads(args.data.read_text())
    else:
        found = {"circuits": []}
        done = set()
        if args.json is not None and args.json.exists():  # a run that was cut goes on
            found = json.loads(args.json.read_text())
            done = {(r["qubits"], r["layers"], r["n_cz"], r["inputs"], r["seed"]) for r in found["circuits"]}
        for kind in args.inputs:
            for shape in [(q, n, c) for q in args.qubits for n in args.layers for c in args.cz if 2 * c <= q]:
                for seed in args.seeds:
                    if (*shape, kind, seed) in done:
                        continue
                    found["circuits"].append(measure_circuit(shape, kind, args.priors, args.fits, seed))
                    print(json.dumps(found["circuits"][-1]), flush=True)
                    if args.json is not None:
                        write_text(args.json, json.dumps(found, indent=1) + "\n")
    if args.json is not None:
        write_text(args.json, json.dumps(found, indent=1) + "\n")
    if args.plot is not None:
        plot(found["circuits"], args.plot)


if __name__ == "__main__":
    main()
