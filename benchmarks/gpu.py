"""
The circuit and the update on a GPU: circuits per second of every engine, milliseconds, launches and waits of an update beside
SB3's TD3, and environment steps per second of a training. Within four minutes on a machine with one GPU and no network.

Without a GPU it only counts what an update would ask of one (benchmarks/launches.py).

    python -m benchmarks.gpu --json benchmarks/results/gpu.json
    python -m benchmarks.gpu --quick         # seconds: fewer sizes and shorter measurements
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks.launches import PARTS, count_update, to_meta
from sb3_quantum import QuantumTD3
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit, fused
from sb3_quantum.common.durable import write_text
from sb3_quantum.study import make_model, read_study

#: seconds that all of it may take; what does not fit is left out, and named
BUDGET = 220.0
LAYERS, BATCH = 10, 256
QUBITS, ROWS = (2, 4, 6, 8, 10, 12, 14, 16), (1, 16, 256, 4096, 65_536)
#: what the issue asks for, on an H200
WANTED = "wanted at 10 qubits: 5,000,000 circuits/s at 4,096 rows, at most 60 us a call up to 256 rows"


class HumanoidShaped(gym.Env[np.ndarray, np.ndarray]):
    """Environment with random observations of Humanoid-v4's shape. Updates take as long, and it needs no warm-up."""

    observation_space = spaces.Box(-np.inf, np.inf, (376,))
    action_space = spaces.Box(-0.4, 0.4, (17,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observation(), float(self.np_random.normal()), False, self._steps >= 100, {}

    def _observation(self) -> np.ndarray:
        return self.np_random.normal(size=376).astype(np.float32)


def make(algorithm: type[OffPolicyAlgorithm], device: str, batch_size: int = BATCH, **kwargs: Any) -> OffPolicyAlgorithm:
    """
    :param algorithm: TD3 or QuantumTD3
    :param device: device of its networks
    :param batch_size: rows of a mini-batch
    :param kwargs: further arguments
    :return: a model with the paper's networks, or SB3's of the same widths, whose buffer holds enough rows
    """
    if algorithm is TD3:
        kwargs["policy_kwargs"] = dict(net_arch=[256, 256])
    sizes: dict[str, Any] = dict(buffer_size=2000, learning_starts=30, batch_size=batch_size, seed=0)
    return algorithm("MlpPolicy", HumanoidShaped(), device=device, **sizes, **kwargs).learn(32)


def counted() -> dict[str, dict[str, Any]]:
    """
    :return: launches of an update by part, copies and waits, counted: of SB3's TD3, and of QuantumTD3 by torch's operations
        and, where Triton is installed, with this package's kernels, also on a circuit whose prior is that of pairs
    """
    bricks = dict(policy_kwargs=dict(circuit="brickwork"))
    cases: dict[str, tuple[type[OffPolicyAlgorithm], bool, dict[str, Any]]] = {
        "td3": (TD3, False, {}),
        "qtd3, torch": (QuantumTD3, False, {}),
        "bricks, torch": (QuantumTD3, False, bricks),
    }
    if find_spec("triton") is not None:
        cases["qtd3"], cases["bricks"] = (QuantumTD3, True, {}), (QuantumTD3, True, bricks)
    found = {}
    for name, (algorithm, kernels, kwargs) in cases.items():
        model = make(algorithm, "cpu", **kwargs)
        to_meta(model)
        counter = count_update(model, BATCH, kernels)
        by_part = {part: sum(names.values()) / 2 for part, names in counter.launches.items()}
        total, copies, waits = counter.total() / 2, counter.copies.total() / 2, counter.waits.total() / 2
        names: Counter[str] = sum(counter.launches.values(), Counter())
        found[name] = dict(launches=total, copies=copies, waits=waits, by_part=by_part, kernels=dict(names.most_common()))
    return found


def print_counted(found: dict[str, dict[str, Any]]) -> None:
    """
    :param found: results of :func:`counted`
    """
    print(f"Counted, not measured: an update at batch {BATCH}, the mean of one with and one without the actor's step")
    print(f"{'':14s}{'launches':>9s}{'copies':>8s}{'waits':>7s}" + "".join(f"{part:>9s}" for part in PARTS))
    for name, row in found.items():
        parts = "".join(f"{row['by_part'].get(part, 0):9.1f}" for part in PARTS)
        print(f"{name:14s}{row['launches']:9.1f}{row['copies']:8.1f}{row['waits']:7.1f}{parts}", flush=True)


def seconds_a_call(call: Callable[[], Any], least: float) -> float:
    """
    :param call: the calls to time, several calls between two waits for the device
    :param least: seconds to spend on it
    :return: median seconds of a call
    """
    call()
    th.cuda.synchronize()
    start = time.perf_counter()
    call()
    th.cuda.synchronize()
    repeats = max(1, min(50, int(least / 5 / (time.perf_counter() - start))))
    found: list[float] = []
    while len(found) < 3 or (sum(found) * repeats < least and len(found) < 50):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        th.cuda.synchronize()
        found.append((time.perf_counter() - start) / repeats)
    return statistics.median(found)


def circuits(quick: bool, deadline: float) -> list[dict[str, Any]]:
    """
    Time measurements with one bitstring per circuit and different CZ gates in every row, and gradients at a batch of 256.

    :param quick: fewer sizes
    :param deadline: when to stop, on ``time.perf_counter``
    :return: a row for every width, batch and engine: microseconds a call, circuits per second, and how far values and
        gradients are from double precision's
    """
    found: list[dict[str, Any]] = []
    print(f"\ncircuits of {LAYERS} layers ({WANTED})")
    print(f"{'qubits':>6s}{'rows':>7s}  {'engine':8s}{'us a call':>11s}{'circuits/s':>13s}{'error':>10s}{'gradient':>10s}")
    for n_qubits in (4, 10) if quick else QUBITS:
        circuit = PaperCircuit(n_qubits, LAYERS)
        generator = th.Generator().manual_seed(n_qubits)
        for rows in (1, BATCH) if quick else ROWS:
            inputs = (3 * th.randn(rows, circuit.n_inputs, generator=generator)).cuda()
            for engine in ("triton", "torch"):
                if time.perf_counter() > deadline:
                    print("the rest is left out: no time")
                    return found
                backend = StatevectorBackend(circuit, seed=0, engine=engine)
                if engine == "torch" and rows << n_qubits > 2**24:
                    continue  # seconds a call
                seconds = seconds_a_call(lambda b=backend, x=inputs: b.measure(x), 0.1)  # type: ignore[misc]
                row = dict(qubits=n_qubits, rows=rows, engine=backend.get_state()["engine"], us=seconds * 1e6)
                row.update(circuits_per_second=rows / seconds, **_errors(backend, inputs[:8]))
                found.append(row)
                print(
                    f"{n_qubits:6d}{rows:7d}  {row['engine']:8s}{row['us']:11.1f}{row['circuits_per_second']:13,.0f}"
                    f"{row['error']:10.1e}{row['gradient_error']:10.1e}",
                    flush=True,
                )
    return found


def _errors(backend: StatevectorBackend, inputs: th.Tensor) -> dict[str, float]:
    """Compute the largest deviations of expected bits and their gradient from the compiled engine in double precision."""
    witness = StatevectorBackend(backend.ansatz, engine="split")
    found = []
    for engine, values in ((backend, inputs), (witness, inputs.cpu().double())):
        leaf = values.detach().requires_grad_()
        expected = engine.expected_bits(leaf)
        (slope,) = th.autograd.grad(expected.sum(), leaf)
        found.append((expected.detach().cpu().double(), slope.cpu().double()))
    differences = [float((one - other).abs().max()) for one, other in zip(*found, strict=True)]
    return dict(error=differences[0], gradient_error=differences[1])


def updates(quick: bool, deadline: float) -> list[dict[str, Any]]:
    """
    :param quick: one batch size
    :param deadline: when to stop
    :return: milliseconds of an update, what the profiler saw of it, and its time as a multiple of TD3's
    """
    cases: dict[str, tuple[type[OffPolicyAlgorithm], dict[str, Any]]] = {
        "td3": (TD3, {}),
        "qtd3": (QuantumTD3, {}),
        "no kernels": (QuantumTD3, {}),
        "zeros": (QuantumTD3, dict(policy_kwargs=dict(block="zeros"))),
        "exact": (QuantumTD3, dict(gradient="exact")),
    }
    found: list[dict[str, Any]] = []
    print("\nupdates (wanted: at most 150 launches, and 1.5 times TD3's time at a batch of 256)")
    print(f"{'batch':>6s}  {'':10s}{'ms':>8s}{'ratio':>7s}{'launches':>10s}{'waits':>7s}{'copies':>8s}{'busy ms':>9s}")
    for batch_size in (BATCH,) if quick else (BATCH, 128, 1024, 4096):
        models = {name: make(kind, "cuda", batch_size, **kwargs) for name, (kind, kwargs) in cases.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for name, model in models.items():
            with _kernels(name):
                model.train(6, batch_size)  # compiles
        for _ in range(3 if quick else 7):  # in turns, so that a busy machine slows all alike
            for name, model in models.items():
                th.cuda.synchronize()
                start = time.perf_counter()
                with _kernels(name):
                    model.train(20, batch_size)
                th.cuda.synchronize()
                times[name].append((time.perf_counter() - start) / 20 * 1e3)
        for name, model in models.items():
            if time.perf_counter() > deadline:
                print("the rest is left out: no time")
                return found
            ms = statistics.median(times[name])
            row: dict[str, Any] = dict(batch=batch_size, name=name, ms=ms, ratio=ms / statistics.median(times["td3"]))
            with _kernels(name):
                row.update(_profile(model, batch_size))
            found.append(row)
            print(
                f"{batch_size:6d}  {name:10s}{ms:8.2f}{row['ratio']:7.2f}{row['launches']:10.1f}{row['waits']:7.1f}"
                f"{row['copies']:8.1f}{row['busy_ms']:9.2f}",
                flush=True,
            )
    return found


def _kernels(name: str) -> Any:
    """Return the context in which a case of :func:`updates` runs."""
    return mock.patch.object(fused, "DEVICES", ()) if name == "no kernels" else nullcontext()


def _profile(model: OffPolicyAlgorithm, batch_size: int) -> dict[str, float]:
    """Profile ten updates with CUDA's own profiler; figures are per update."""
    from torch.profiler import ProfilerActivity, profile

    th.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        model.train(10, batch_size)
        th.cuda.synchronize()
    launches = waits = copies = 0
    busy = 0.0
    for event in profiler.events():
        launches += event.name.startswith(("cudaLaunchKernel", "cuLaunchKernel"))
        waits += event.name in ("cudaStreamSynchronize", "cudaEventSynchronize")
        copies += event.name.startswith("cudaMemcpy")
        if event.device_type == th.autograd.DeviceType.CUDA:
            busy += event.device_time
    return dict(launches=launches / 10, waits=waits / 10, copies=copies / 10, busy_ms=busy / 10 / 1e3)


def training(seconds: float) -> dict[str, Any]:
    """
    :param seconds: seconds of training on each device
    :return: environment steps per second with the shipped settings, on the GPU and on this machine's CPU
    """
    study = read_study("wall_clock")
    found: dict[str, Any] = dict(environment=study.environment.id)
    for device in ("cuda", "cpu"):
        made = make_model(study.arm("shipped"), study.environment, 0, buffer_size=20_000, learning_starts=200)
        with TemporaryDirectory() as folder:  # a study's models are on the CPU
            made.save(f"{folder}/model")
            model = QuantumTD3.load(f"{folder}/model", env=made.env, device=device)
        model.learn(400)
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            model.learn(400, reset_num_timesteps=False)
            steps += 400
        found[device] = steps / (time.perf_counter() - start)
    print(f"\nsteps per second of a training with the shipped settings, {found['environment']}:", end=" ")
    print(f"{found['cuda']:,.0f} on the GPU, {found['cpu']:,.0f} on {th.get_num_threads()} threads of the CPU", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and shorter measurements")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(arguments)
    os.environ["MUJOCO_GL"] = "disable"  # nothing is drawn, and a machine may lack what drawing needs
    start = time.perf_counter()
    figures: dict[str, Any] = dict(torch=th.__version__, counted=counted())
    print_counted(figures["counted"])
    if not th.cuda.is_available():
        print("\nThere is no GPU here: nothing was measured. What is above was counted on the CPU.")
    else:
        figures["gpu"] = th.cuda.get_device_name()
        print(f"\n{figures['gpu']}, torch {th.__version__}, Triton {'yes' if find_spec('triton') else 'no'}")
        figures["circuits"] = circuits(args.quick, start + 0.5 * BUDGET)
        figures["updates"] = updates(args.quick, start + 0.8 * BUDGET)
        figures["training"] = training(2 if args.quick else 15)
    print(f"{time.perf_counter() - start:.0f} seconds")
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
