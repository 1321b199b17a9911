"""
Measure where the mean-field prior ends: on deeper circuits, and on devices that err.

Depth: circuits of ten qubits at uniformly random angles and CZ indices, so that entanglement grows with the layers; cosine
between the mean field's and the exact gradient of random combinations of the expected bits.

Device: one that reads every expected bit p as 0.1 + 0.6 p. The qtDNN is fitted to what the device gives on inputs that vary in
24 directions, and compared with the device's own gradient on held-out inputs.

    python benchmarks/mean_field.py            # a minute
"""

import argparse
import json
import math
from functools import partial
from pathlib import Path

import torch as th

from sb3_quantum import QuantumLayer
from sb3_quantum.circuits import PaperCircuit, mean_field_bits
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import circuit_statistics, gradient_fidelity

ROWS = 256
POOL = 20_000
FITS = (0, 200, 1000, 4000)


def depth(n_layers: int) -> dict[str, float]:
    """
    :param n_layers: number of layers of circuits with ten qubits
    :return: entanglement and the mean field's fidelity
    """
    th.manual_seed(0)
    layer = QuantumLayer(10, n_layers)
    ansatz = layer.ansatz
    inputs = ansatz.join(2 * math.pi * th.rand(ROWS, ansatz.n_angles), 10 * th.rand(ROWS, ansatz.n_indices))
    fidelity = gradient_fidelity(layer, inputs, th.randn(ROWS, 10), partial(mean_field_bits, ansatz))
    exact = layer.backend.expected_bits(inputs)
    return {
        "entanglement": circuit_statistics(ansatz, inputs)["entanglement"],
        "bit_error": float((mean_field_bits(ansatz, inputs) - exact).abs().mean()),
        "bit_std": float(exact.std()),
        **fidelity,
    }


def device() -> list[dict[str, float]]:
    """
    :return: error of the bits, cosine and norm ratio of the gradient, after each of FITS
    """
    th.manual_seed(0)
    layer = QuantumLayer()
    ansatz = layer.ansatz
    bias = ansatz.join(th.rand(1, ansatz.n_angles) - 0.5, 10 * th.rand(1, ansatz.n_indices))
    scale = ansatz.join(th.full((1, ansatz.n_angles), 0.5), th.full((1, ansatz.n_indices), 0.25))
    directions = th.randn(24, ansatz.n_inputs) / 24**0.5

    def run(inputs: th.Tensor) -> th.Tensor:
        return 0.1 + 0.6 * layer.backend.expected_bits(inputs)

    held_out = bias + scale * (th.randn(ROWS, 24) @ directions)
    weights = th.randn(ROWS, 10)
    pool = bias + scale * (th.randn(POOL, 24) @ directions)
    targets = run(pool)
    rows, done = [], 0
    for fits in FITS:
        if fits > done:
            layer.fit_surrogate(pool, targets, fits - done, 128)
            done = fits
        gradients = []
        for function in (layer.surrogate, run):
            leaf = held_out.clone().requires_grad_(True)
            (gradient,) = th.autograd.grad((function(leaf) * weights).sum(), leaf)
            gradients.append(ansatz.split(gradient)[0])
        rows.append(
            {
                "fits": fits,
                "bit_error": float((layer.surrogate(held_out) - run(held_out)).abs().mean()),
                "cosine": float(th.cosine_similarity(gradients[0], gradients[1]).mean()),
                "norm_ratio": float((gradients[0].norm(dim=1) / gradients[1].norm(dim=1)).median()),
            }
        )
    return rows


def print_table(rows: list[dict[str, float]]) -> None:
    """
    :param rows: with the same keys
    """
    print(" ".join(f"{key:>13s}" for key in rows[0]))
    for row in rows:
        print(" ".join(f"{value:13d}" if isinstance(value, int) else f"{value:13.4f}" for value in row.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=[2, 5, 10, 20, 30, 50])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    by_depth = [{"n_layers": n_layers, **depth(n_layers)} for n_layers in args.layers]
    print(f"Random circuits, {PaperCircuit().n_qubits} qubits")
    print_table(by_depth)
    on_device = device()
    print("\nA device that reads p as 0.1 + 0.6 p, tiny-batches of 128")
    print_table(on_device)
    if args.json is not None:
        write_text(args.json, json.dumps({"depth": by_depth, "device": on_device}, indent=1) + "\n")


if __name__ == "__main__":
    main()
