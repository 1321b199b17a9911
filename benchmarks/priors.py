"""
Measure each prior of the qtDNN before any fit: the cosine between its gradient and the exact one, and its cost.

Circuits are rotations of all qubits in every layer, and CZ gates between them: pairs drawn independently, as indices
from a network are (``free``), a random perfect matching in each layer (``matching``), or neighbours (``bricks``). Angles have
a uniform bias, and their deviations lie in 20 directions with a spread of 0.2 or 0.5 rad; gradients are those of random
combinations of the expected bits. The witness is exact at every width: each bit is simulated with the qubits in its past only.

    python benchmarks/priors.py                # 15 minutes
    python benchmarks/priors.py --quick        # 20 seconds
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch as th
from torch.nn import functional as F

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits import BrickworkCircuit, Circuit, PaperCircuit
from sb3_quantum.common.durable import write_text
from sb3_quantum.priors import PRIORS, make_prior

Pairs = list[list[tuple[int, int]]]

DIRECTIONS = 20
#: qubits, layers, CZ gates of a layer and how they are drawn
CIRCUITS = [(10, 10, 1, "free"), (10, 5, 5, "free"), (10, 5, 5, "matching"), (10, 5, 5, "bricks")]
CIRCUITS += [(10, 10, 5, "free"), (10, 10, 5, "matching"), (10, 10, 5, "bricks")]
GROWTH = [(n, 5, n // 2, "matching") for n in (10, 14, 20, 30, 40)] + [(n, 8, n // 2, "bricks") for n in (10, 14, 20, 30, 40)]
#: of outputs that are simulated: on wide circuits not all of them
N_OUTPUTS = 10


def make_case(
    n_qubits: int, n_layers: int, n_cz: int, kind: str, spread: float, rows: int, seed: int
) -> tuple[Circuit, th.Tensor, Pairs]:
    """
    :param kind: ``"free"``, ``"matching"`` or ``"bricks"``
    :param spread: spread of the angles over the rows, in radians
    :return: circuit, inputs ``(rows, n_inputs)``, and each layer's pairs of qubits, which are the same in all rows
    """
    generator = th.Generator().manual_seed(seed)
    circuit: Circuit = BrickworkCircuit(n_qubits, n_layers) if kind == "bricks" else PaperCircuit(n_qubits, n_layers, n_cz)
    bias = math.pi * (2 * th.rand(circuit.n_angles, generator=generator) - 1)
    directions = th.randn(DIRECTIONS, circuit.n_angles, generator=generator)
    deviations = th.randn(rows, DIRECTIONS, generator=generator) @ directions
    angles = bias + deviations * (spread / deviations.square().mean().sqrt())
    if kind == "bricks":
        pairs = [[(q, q + 1) for q in range(layer % 2, n_qubits - 1, 2)] for layer in range(n_layers)]
        return circuit, angles, pairs
    shape = (n_layers, n_cz, 2)
    if kind == "free":
        chosen = th.randint(n_qubits, shape, generator=generator)
    else:
        chosen = th.stack([th.randperm(n_qubits, generator=generator)[: 2 * n_cz] for _ in range(n_layers)]).reshape(shape)
    inputs = circuit.join(angles, chosen.flatten().expand(rows, -1))
    return circuit, inputs, [[(int(i), int(j)) for i, j in layer if i != j] for layer in chosen]


def past(outputs: Sequence[int], pairs: Pairs) -> list[set[int]]:
    """
    :return: for each layer, the qubits whose rotations in it the outputs depend on
    """
    qubits, cones = set(outputs), []
    for layer in range(len(pairs) - 1, -1, -1):
        cones.append(set(qubits))
        if layer > 0:
            # CZ gates of a layer commute: whoever is joined to one of these counts, and no more
            qubits |= {q for pair in pairs[layer - 1] if set(pair) & cones[-1] for q in pair}
    return cones[::-1]


def exact_gradient(angles: th.Tensor, pairs: Pairs, outputs: Sequence[int], weights: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    Expectation values of Z on some outputs and the gradient of their weighted sum, by the adjoint method on the qubits in
    their past.

    :param angles: ``(rows, n_layers, n_qubits, 2)``
    :param weights: ``(rows, n_outputs)``
    :return: ``(rows, n_outputs)``, and a gradient of the shape of the angles
    """
    cones = past(outputs, pairs)
    place = {qubit: position for position, qubit in enumerate(sorted(cones[0]))}
    rows, size = len(angles), 1 << len(place)
    basis = th.arange(size)
    state = th.zeros(rows, size, dtype=th.complex64)
    state[:, 0] = 1

    def rotate(state: th.Tensor, layer: int, qubit: int, sign: float) -> th.Tensor:
        theta, phi = angles[:, layer, qubit, 0], angles[:, layer, qubit, 1]
        cos, sin = (theta / 2).cos()[:, None, None], sign * (theta / 2).sin()
        lower, raised = (-1j * sin * th.polar(th.ones_like(phi), s * phi) for s in (-1, 1))
        low, high = state.reshape(rows, -1, 2, 1 << place[qubit]).unbind(2)
        return th.stack([cos * low + lower[:, None, None] * high, raised[:, None, None] * low + cos * high], 2).reshape(
            rows, size
        )

    def torque(state: th.Tensor, adjoint: th.Tensor, qubit: int) -> th.Tensor:
        one, other = (part.reshape(rows, -1, 2, 1 << place[qubit]) for part in (adjoint.conj(), state))
        m = th.einsum("bxiy,bxjy->bij", one, other)
        return th.stack([(m[:, 0, 1] + m[:, 1, 0]).imag, (m[:, 1, 0] - m[:, 0, 1]).real, (m[:, 0, 0] - m[:, 1, 1]).imag])

    signs: list[th.Tensor] = []
    for layer, cone in enumerate(cones):
        for qubit in sorted(cone):
            state = rotate(state, layer, qubit, 1.0)
        sign = th.ones(size)
        for i, j in pairs[layer]:
            if layer < len(pairs) - 1 and {i, j} & cones[layer + 1]:
                sign *= 1 - 2 * ((basis >> place[i]) & (basis >> place[j]) & 1)
        state, signs = state * sign, [*signs, sign]
    observed = th.stack([1.0 - 2 * ((basis >> place[output]) & 1) for output in outputs])
    adjoint, gradient = state * (weights @ observed), th.zeros_like(angles)
    values = state.abs().square() @ observed.T
    for layer in range(len(cones) - 1, -1, -1):
        state, adjoint = state * signs[layer], adjoint * signs[layer]
        for qubit in sorted(cones[layer]):
            phi = angles[:, layer, qubit, 1]
            behind = torque(state, adjoint, qubit)
            state, adjoint = rotate(state, layer, qubit, -1.0), rotate(adjoint, layer, qubit, -1.0)
            gradient[:, layer, qubit, 0] = phi.cos() * behind[0] + phi.sin() * behind[1]
            gradient[:, layer, qubit, 1] = behind[2] - torque(state, adjoint, qubit)[2]
    return values, gradient


def fidelity(case: tuple[int, int, int, str], spread: float, rows: int, seeds: int) -> dict[str, Any]:
    """
    :return: means over the seeds: norm of the exact gradient, spread of the marginals, and each prior's cosine
    """
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        circuit, inputs, pairs = make_case(*case, spread, rows, seed)
        generator = th.Generator().manual_seed(seed)
        outputs = th.randperm(circuit.n_qubits, generator=generator)[:N_OUTPUTS].tolist()
        weights = th.zeros(rows, circuit.n_qubits)
        weights[:, outputs] = th.randn(rows, len(outputs), generator=generator)
        angles = circuit.split(inputs)[0].reshape(rows, circuit.n_layers, circuit.n_qubits, 2)
        # Together where the whole circuit is small, one by one where their own pasts are smaller
        groups = [outputs] if circuit.n_qubits <= 14 else [[output] for output in outputs]
        parts = [exact_gradient(angles, pairs, group, weights[:, group]) for group in groups]
        # A bit is (1 - z) / 2
        flat = -0.5 * th.stack([gradient for _, gradient in parts]).sum(0).flatten(1)
        live = (flat.abs() > 1e-7).any(0)
        found.setdefault("gradient_norm", []).append(float(flat.norm(dim=1).mean()))
        found.setdefault("marginal_std", []).append(float(th.cat([values for values, _ in parts], dim=1).std(0).mean() / 2))
        found.setdefault("past", []).append(max(len(past([output], pairs)[0]) for output in outputs))
        for name in PRIORS:
            if name != "none":
                leaf = inputs.clone().requires_grad_(True)
                (ours,) = th.autograd.grad((make_prior(name, circuit).bits(leaf) * weights).sum(), leaf)
                cosine = F.cosine_similarity(circuit.split(ours)[0][:, live], flat[:, live], eps=1e-20).mean()
                found.setdefault(name, []).append(float(cosine))
    return {key: sum(values) / len(values) for key, values in found.items()}


def milliseconds(function: Callable[[], Any], rounds: int = 15) -> float:
    """
    :return: the fastest round's time of this thread
    """
    times = []
    for _ in range(rounds + 1):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return 1e3 * min(times[1:])


def costs(case: tuple[int, int, int, str], batches: Sequence[int]) -> dict[str, Any]:
    """
    :return: for each prior its operations, and for each size of a batch the milliseconds without and with the gradient
    """
    found: dict[str, Any] = {}
    for name in PRIORS:
        if name == "none":
            continue
        for batch in batches:
            circuit, inputs, _ = make_case(*case, 0.5, batch, 0)
            prior, leaf = make_prior(name, circuit), inputs.clone().requires_grad_(True)

            def with_gradient() -> None:
                th.autograd.grad(prior.bits(leaf).sum(), leaf)  # noqa: B023

            values = milliseconds(lambda: prior.bits(inputs))  # noqa: B023
            found.setdefault(name, {"operations": prior.operations()})[str(batch)] = [values, milliseconds(with_gradient)]
    return found


def update_times(rounds: int, updates: int) -> dict[str, float]:
    """
    Time whole updates (``train()``) with Humanoid-v4's sizes, in turns: the default, and dense circuits with either prior.

    :return: fastest round's milliseconds per update
    """
    arms: dict[str, dict[str, Any]] = {"default": {}}
    for prior in ("mean_field", "pair_correlations"):
        for layers in (5, 10):
            arms[f"dense_{layers}, {prior}"] = dict(n_layers=layers, circuit_kwargs=dict(n_cz=5), qtdnn_prior=prior)
    models = {
        name: QuantumTD3(
            "MlpPolicy", "Humanoid-v4", buffer_size=2000, learning_starts=600, seed=0, policy_kwargs=kwargs or None
        ).learn(620)
        for name, kwargs in arms.items()
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.thread_time()
            model.train(updates, 128)
            times[name].append(1e3 * (time.thread_time() - start) / updates)
    return {name: min(values) for name, values in times.items()}


def table(cases: Sequence[tuple[int, int, int, str]], spreads: Sequence[float], rows: int, seeds: int) -> list[dict[str, Any]]:
    """
    Measure and print one line for each case and spread.
    """
    names = [name for name in PRIORS if name != "none"]
    print("qubits layers  CZ pairs    spread  norm  marginal std  past  " + "  ".join(f"{name:>17s}" for name in names))
    lines = []
    for case in cases:
        for spread in spreads:
            line = {"circuit": list(case), "spread": spread, **fidelity(case, spread, rows, seeds)}
            lines.append(line)
            shown = f"{case[0]:6d} {case[1]:6d} {case[2]:3d} {case[3]:9s} {spread:5.1f} {line['gradient_norm']:5.2f}"
            cosines = "  ".join(f"{line[name]:17.3f}" for name in names)
            print(f"{shown} {line['marginal_std']:13.3f} {line['past']:5.1f}  {cosines}", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four qubits, a few states")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    th.set_num_threads(1)
    figures: dict[str, Any] = {}
    if args.quick:
        figures["fidelity"] = table([(4, 5, 2, "free"), (4, 5, 2, "bricks")], [0.5], 8, 1)
        figures["costs"] = {"4x5": costs((4, 5, 2, "free"), (8,))}
    else:
        figures["fidelity"] = table(CIRCUITS, (0.2, 0.5), 128, 8)
        figures["growth"] = table(GROWTH, (0.5,), 4, 2)
        figures["costs"] = {
            f"{case[0]}x{case[1]}, {case[2]} CZ": costs(case, (128, 256)) for case in [*CIRCUITS[::2], *GROWTH]
        }
        figures["update_ms"] = update_times(8, 10)
    for name, cost in figures["costs"].items():
        for prior, values in cost.items():
            times = ", ".join(f"batch {b}: {v[0]:.2f} / {v[1]:.2f} ms" for b, v in values.items() if b != "operations")
            print(f"{name}, {prior}: {values['operations']} operations; {times} without and with the gradient")
    for name, value in figures.get("update_ms", {}).items():
        print(f"{name}: {value:.1f} ms an update")
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
