"""
Run a trained model that is too wide for a statevector, on Aer's matrix product state and on a fake chip of its size.

States of one episode become circuits. What is compared, on every backend: the bits of every qubit, and the parity of every set
of qubits that CZ gates have joined, with the probabilities of our own engine, by exact binomial tests that are corrected for
their number. A backend without noise that is right fails with a probability of FALSE_ALARM. A chip's noise is no error: there
the transpiled circuits are run once more without noise, which tests routing and the order of the qubits, and with noise the
mean bits have to go with the exact ones.

    python -m sb3_quantum.study run pendulum_circuits --arms mean-wide --seeds 0
    python benchmarks/wide.py logs/studies/pendulum_circuits/mean-wide/0/model.zip --chip FakeSherbrooke --json wide.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from scipy.stats import binom

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import AerBackend, IBMBackend, StatevectorBackend
from sb3_quantum.backends.split_graph import blocks
from sb3_quantum.circuits import Circuit
from sb3_quantum.common.durable import write_text

#: of all binomial tests of a backend together
FALSE_ALARM = 1e-6
ENV, RESET_SEED = "Pendulum-v1", 10_000


def circuits(model: QuantumTD3, n_states: int) -> th.Tensor:
    """
    :param model: a model with a circuit
    :param n_states: how many
    :return: circuit inputs at states of one episode, ``(n_states, n_inputs)``
    """
    env, states = gym.make(ENV), []
    observation, _ = env.reset(seed=RESET_SEED)
    over = False
    while not over:
        states.append(observation)
        observation, _, terminated, truncated, _ = env.step(model.predict(observation, deterministic=True)[0])
        over = terminated or truncated
    chosen = np.linspace(0, len(states) - 1, n_states).astype(int)
    with th.no_grad():
        observations, _ = model.policy.obs_to_tensor(np.array(states)[chosen])
        return model.policy.deployed_actor.encode(observations)[0]


def p_value(circuit: Circuit, inputs: th.Tensor, bits: np.ndarray) -> float:
    """
    Compute how likely a correct backend is to differ so much from our engine.

    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param bits: the measured bits, ``(batch, shots, n_qubits)``
    :return: the smallest p-value of all tests, times their number; 1 at most
    """
    shots, wanted, found = bits.shape[1], [], []
    for rows, qubits, amplitudes in blocks(circuit, inputs.double()):
        probabilities = amplitudes.square().sum(1).numpy()
        table = (np.arange(probabilities.shape[1])[:, None] >> np.arange(qubits.shape[1])) & 1
        ours = bits[rows.numpy()[:, None], :, qubits.numpy()].astype(int)  # (block, qubit, shot)
        wanted += [probabilities @ table, (probabilities @ (table.sum(1) % 2))[:, None]]
        found += [ours.sum(2), (ours.sum(1) % 2).sum(1)[:, None]]
    expected = np.concatenate([part.ravel() for part in wanted]).clip(0, 1)
    counts = np.concatenate([part.ravel() for part in found])
    both = np.minimum(binom.cdf(counts, shots, expected), binom.sf(counts - 1, shots, expected))
    return float(min(1.0, 2 * both.min() * len(both)))


def episode(model: QuantumTD3) -> float:
    """
    :param model: on any backend
    :return: the return of one episode
    """
    env, total, over = gym.make(ENV), 0.0, False
    observation, _ = env.reset(seed=RESET_SEED)
    while not over:
        observation, reward, terminated, truncated, _ = env.step(model.predict(observation, deterministic=True)[0])
        total, over = total + float(reward), terminated or truncated
    return total


def on_aer(model: QuantumTD3, inputs: th.Tensor, shots: int) -> dict[str, Any]:
    """
    :param model: a model with a circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param shots: per circuit
    :return: what was found on Aer's matrix product state
    """
    circuit = model.policy.ansatz
    backend = AerBackend(circuit, seed=0, method="matrix_product_state")
    bits = backend.sample(inputs, shots=shots).numpy()
    returns = {"ours": episode(model)}
    model.set_backend("aer", {"method": "matrix_product_state", "shots": 100})
    returns["aer, 100 shots"] = episode(model)
    model.set_backend("statevector")
    return {"p_value": p_value(circuit, inputs, bits), "shots": shots, "returns": returns}


def on_chip(circuit: Circuit, inputs: th.Tensor, chip: str, shots: int, noisy_shots: int) -> dict[str, Any]:
    """
    :param circuit: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param chip: a class of ``qiskit_ibm_runtime.fake_provider``
    :param shots: per circuit without noise
    :param noisy_shots: per circuit with the chip's noise; each of them is a simulation
    :return: what was found on the fake chip
    """
    from qiskit_aer import AerSimulator

    backend = IBMBackend(circuit, seed=0, chip=chip)
    written = []
    bits = np.empty((len(inputs), shots, circuit.n_qubits), np.uint8)
    simulator = AerSimulator(method="matrix_product_state")
    for part in backend._templates.bind(inputs):
        counts = part.circuit.count_ops()
        twice = sum(number for name, number in counts.items() if name in ("ecr", "cz", "cx", "swap", "rzz"))
        written.append({"depth": part.circuit.depth(), "two_qubit_gates": int(twice)})
        for row, values in zip(part.rows, part.values, strict=True):
            bound = part.circuit.assign_parameters(values)
            memory = simulator.run(bound, shots=shots, memory=True, seed_simulator=int(row)).result().get_memory()
            bits[row] = [[int(bit) for bit in reversed(word)] for word in memory]
    noisy = backend.sample(inputs, shots=noisy_shots).double().mean(1)
    exact = StatevectorBackend(circuit).expected_bits(inputs).double()
    return {
        "chip": chip,
        "circuits": written,
        "cz_gates": [int((row[:, 0] != row[:, 1]).sum()) for row in circuit.choices(inputs)],
        "p_value_without_noise": p_value(circuit, inputs, bits),
        "shots": shots,
        "noisy_shots": noisy_shots,
        "correlation": float(np.corrcoef(noisy.flatten(), exact.flatten())[0, 1]),
        "mean_deviation": float((noisy - exact).abs().mean()),
        # What shots alone make of it, without noise
        "mean_deviation_of_shots": float((exact * (1 - exact) * 2 / (np.pi * noisy_shots)).sqrt().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="of Pendulum-v1, such as the study pendulum_circuits trains")
    parser.add_argument("--chip", help="a fake chip with as many qubits as the model has; none by default")
    parser.add_argument("--states", type=int, default=4)
    parser.add_argument("--shots", type=int, default=2000, help="per circuit, without noise")
    parser.add_argument("--noisy-shots", type=int, default=100, help="per circuit, with the chip's noise")
    parser.add_argument("--json", type=Path, help="also write the figures here, under the number of qubits")
    args = parser.parse_args()
    th.set_num_threads(1)
    model = QuantumTD3.load(args.model, buffer_size=1)
    inputs = circuits(model, args.states)
    found: dict[str, Any] = {"circuit": str(model.policy.ansatz), "aer": on_aer(model, inputs, args.shots)}
    if args.chip:
        found["chip"] = on_chip(model.policy.ansatz, inputs, args.chip, args.shots, args.noisy_shots)
    print(json.dumps(found, indent=1))
    values = [found["aer"]["p_value"], *([found["chip"]["p_value_without_noise"]] if args.chip else [])]
    print("agrees with our engine" if min(values) > FALSE_ALARM else "DIFFERS from our engine", f"at {FALSE_ALARM:g}")
    if args.json is not None:
        before = json.loads(args.json.read_text()) if args.json.exists() else {}
        write_text(args.json, json.dumps({**before, str(model.policy.ansatz.n_qubits): found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
