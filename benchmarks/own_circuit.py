"""
What a circuit of one's own costs: the paper's circuit, with the CZ gates of one row, as a family and as a ``QiskitCircuit``.

The two take turns in one process and one thread; the fastest of the rounds counts.

    python benchmarks/own_circuit.py            # half a minute
"""

import argparse
import time
from functools import partial
from typing import Any

import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import Circuit, PaperCircuit, QiskitCircuit


def both(n_qubits: int, n_layers: int) -> tuple[PaperCircuit, th.Tensor, QiskitCircuit]:
    """
    :param n_qubits: number of qubits of the circuits
    :param n_layers: number of layers of the circuits
    :return: the family, one row of its CZ indices, ``(1, n_indices)``, and the same circuit with these as Qiskit's
    """
    family, generator = PaperCircuit(n_qubits, n_layers), th.Generator().manual_seed(0)
    indices = n_qubits * th.rand(1, family.n_indices, generator=generator)
    row = family.join(th.zeros(1, family.n_angles), indices)
    template = family.template(family.structures(row)[0]).remove_final_measurements(inplace=False)
    assert template is not None
    return family, indices, QiskitCircuit(template)


def milliseconds(circuits: dict[Circuit, th.Tensor], gradient: bool, rounds: int) -> list[float]:
    """
    :param circuits: and their inputs
    :param gradient: expected bits and their gradient, or the bits alone
    :param rounds: number of rounds of each
    :return: the fastest of each
    """

    def call(backend: StatevectorBackend, inputs: th.Tensor) -> Any:
        if not gradient:
            return backend.expected_bits(inputs)
        leaf = inputs.clone().requires_grad_(True)
        return th.autograd.grad(backend.expected_bits(leaf).sum(), leaf)

    calls = [partial(call, StatevectorBackend(circuit), inputs) for circuit, inputs in circuits.items()]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):  # the first one compiles
        for place, function in enumerate(calls):
            start = time.perf_counter()
            function()
            times[place].append(1e3 * (time.perf_counter() - start))
    return [min(values[1:]) for values in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, default=10)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    th.set_num_threads(1)
    family, indices, own = both(args.qubits, args.layers)
    generator = th.Generator().manual_seed(1)
    for batch in (1, 16, 256):
        angles = th.randn(batch, family.n_angles, generator=generator)
        circuits: dict[Circuit, th.Tensor] = {family: family.join(angles, indices.expand(batch, -1)), own: angles}
        for gradient in (False, True):
            ours, theirs = milliseconds(circuits, gradient, args.rounds)
            what = "gradient" if gradient else "bits"
            print(
                f"batch {batch:3d}, {what:8s}: family {ours:.3f} ms, of one's own {theirs:.3f} ms, {theirs / ours:.2f} times"
            )


if __name__ == "__main__":
    main()
