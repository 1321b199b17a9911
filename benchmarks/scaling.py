"""
Measure how the cost of a training grows with qubits, layers, environments and batch size, how much memory it takes, and what
an update would cost with the circuit's own gradient in place of the qtDNN's.

Along each axis everything else is at its default on Humanoid-v4, the points take turns, and medians are printed, with the
slope between the largest two points in doubly logarithmic terms: 1 is proportional, 0 is free.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json
    python benchmarks/scaling.py --quick          # fewer points
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import make_backend
from sb3_quantum.circuits import PaperCircuit, gradient_circuits
from sb3_quantum.common.durable import write_text

ENV = "Humanoid-v4"
WARM_UP = 300
#: axis -> points, and what else is printed of them than the update
AXES: dict[str, list[int]] = {
    "n_qubits": [2, 4, 6, 8, 10, 12, 14, 16],
    "n_layers": [1, 2, 5, 10, 20],
    "n_envs": [1, 2, 4, 8, 16],
    "batch_size": [64, 128, 256, 512, 1024, 2048],
}
QUICK_AXES = {"n_qubits": [2, 10], "n_layers": [1, 10], "n_envs": [1, 4], "batch_size": [64, 256]}
#: circuits that Aer runs in place of all those of a parameter-shift gradient; the time is scaled
AER_CIRCUITS = 600


def make(**changes: Any) -> QuantumTD3:
    """
    Make a model whose buffer is filled and whose code is compiled.

    :param changes: changes of n_qubits, n_layers, n_envs, batch_size or any argument of QuantumTD3
    :return: the model
    """
    policy_kwargs: dict[str, Any] = {name: changes.pop(name) for name in ("n_qubits", "n_layers") if name in changes}
    env = make_vec_env(ENV, changes.pop("n_envs", 1), seed=0)
    settings: dict[str, Any] = dict(buffer_size=20_000, learning_starts=WARM_UP, batch_size=256, seed=0)
    return QuantumTD3("MlpPolicy", env, policy_kwargs=policy_kwargs, **{**settings, **changes}).learn(WARM_UP + 20)


def milliseconds(function: Callable[[], Any], repeats: int) -> float:
    """
    :param function: the calls to time
    :param repeats: calls
    :return: milliseconds per call
    """
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats * 1e3


def along(axis: str, points: list[int], rounds: int) -> dict[int, dict[str, float]]:
    """
    Time every point of one axis, taking turns.

    :param axis: a key of AXES
    :param points: its values
    :param rounds: times that each is visited
    :return: median milliseconds of an update, and of a step's acting (environments excluded) per environment
    """
    models = {point: make(**{axis: point}) for point in points}
    found: dict[int, dict[str, list[float]]] = {point: {"update": [], "act": []} for point in points}
    for _ in range(rounds):
        for point, model in models.items():
            found[point]["update"].append(milliseconds(partial(model.train, 4, model.batch_size), 1) / 4)
            act = milliseconds(partial(model._sample_action, 0, model.action_noise, model.n_envs), 10)
            found[point]["act"].append(act / model.n_envs)
    return {point: {key: float(np.median(values)) for key, values in row.items()} for point, row in found.items()}


def exponent(rows: dict[int, dict[str, float]], key: str) -> float:
    """
    :param rows: rows of :func:`along`
    :param key: ``"update"`` or ``"act"``
    :return: slope between the largest two points, both axes logarithmic
    """
    (a, b), (x, y) = sorted(rows)[-2:], (rows[point][key] for point in sorted(rows)[-2:])
    return math.log(y / x) / math.log(b / a)


def memory() -> dict[str, float]:
    """
    :return: GB per million transitions of the buffer, and peak GB of a Humanoid-v4 process with a nearly empty one
    """
    found = {}
    for name, probe_std in (("buffer", 0.0), ("buffer_with_probes", 0.3)):
        model = make(buffer_size=1000, probe_std=probe_std)
        buffer = model.replay_buffer
        assert buffer is not None
        arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
        fields = [field for field in (buffer.circuit, buffer.probe) if field is not None]  # type: ignore[attr-defined]
        found[name] = (sum(array.nbytes for array in arrays) + sum(field.nbytes for field in fields)) / 1000 / 1e3
    code = "from scaling import make; import resource; make(buffer_size=1_000_000).learn(300, reset_num_timesteps=False);"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    found["process"] = int(done.stdout.split()[-1]) * 1024 / 1e9
    return found


def gradients(rounds: int) -> dict[str, float]:
    """
    Milliseconds of one update, averaged over an update with and one without the actor's step, by where the circuit's gradient
    comes from. Parameter shift on Aer is worked out from the time of fewer circuits: those of the next actions, of the actor's
    forward pass, and the shifted ones.

    :param rounds: times that each is visited; parameter shift once
    :return: milliseconds
    """
    models = {gradient: make(gradient=gradient, learning_starts=WARM_UP) for gradient in ("qtdnn", "exact")}
    found: dict[str, list[float]] = {gradient: [] for gradient in models}
    for _ in range(rounds):
        for gradient, model in models.items():
            found[gradient].append(milliseconds(partial(model.train, 4, 256), 1) / 4)
    shift = models["exact"]
    assert shift.policy.quantum_layer is not None
    shift.policy.quantum_layer.gradient = shift.gradient = "parameter_shift"
    found["parameter_shift"] = [milliseconds(lambda: shift.train(2, 256), 1) / 2]
    ansatz = PaperCircuit()
    aer = make_backend("aer", ansatz, None)
    inputs = th.randn(AER_CIRCUITS, ansatz.n_inputs)
    per_circuit = milliseconds(lambda: aer.measure(inputs, draw=False), 1) / AER_CIRCUITS
    circuits = 256 + (256 + gradient_circuits(ansatz, "parameter_shift", 256)) / 2
    median = {gradient: float(np.median(values)) for gradient, values in found.items()}
    return {**median, "parameter_shift_aer": median["qtdnn"] + circuits * per_circuit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer points and rounds, without parameter shift")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    th.set_num_threads(args.threads)
    rounds = 3 if args.quick else 9
    figures: dict[str, Any] = {"threads": args.threads, "axes": {}}
    for axis, points in (QUICK_AXES if args.quick else AXES).items():
        rows = along(axis, points, rounds)
        figures["axes"][axis] = rows
        print(f"\n{axis:12s}{'ms per update':>15s}{'ms to act, per environment':>30s}")
        for point, row in rows.items():
            print(f"{point:<12d}{row['update']:15.2f}{row['act']:30.3f}")
        print(f"{'exponent':12s}{exponent(rows, 'update'):15.2f}{exponent(rows, 'act'):30.2f}", flush=True)
    figures["memory_gb"] = memory()
    print("\nGB:", ", ".join(f"{name} {value:.2f}" for name, value in figures["memory_gb"].items()))
    if not args.quick:
        figures["gradient_ms"] = gradients(rounds)
        print("\nmilliseconds of one update, and ratio to the qtDNN's")
        for gradient, ms in figures["gradient_ms"].items():
            print(f"{gradient:20s}{ms:14.1f}{ms / figures['gradient_ms']['qtdnn']:12.1f}", flush=True)
    figures["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
