"""
Measure the priors of a circuit on the states that a trained policy visits, not on random inputs.

For each model: on states of its own episodes, the cosine between the gradient of each prior and the exact one, both of the
actor loss, the same for the fitted qtDNN, the norm of the exact gradient, and statistics of the circuit.

    python -m sb3_quantum.study run pendulum_circuits --arms mean-deep
    python benchmarks/live_priors.py logs/studies/pendulum_circuits/mean-deep/*/model.zip --json live.json
"""

import argparse
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import gradient_fidelity
from sb3_quantum.priors import PRIORS, make_prior
from sb3_quantum.qtd3.callbacks import measure_fidelity

FIRST_RESET_SEED = 10_000


def live(model: QuantumTD3, env_id: str, n_states: int = 256, episodes: int = 4) -> dict[str, float]:
    """
    Measure the priors on states that a trained policy visits.

    :param model: a trained model
    :param env_id: id of the environment
    :param n_states: states, drawn of those of its episodes
    :param episodes: that it plays
    :return: for each prior the cosine between its gradient and the exact one, of the actor loss; the same for the qtDNN
        (``cosine``); norm of the exact gradient of random combinations of the bits; statistics of the circuit
    """
    env, states = gym.make(env_id), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=FIRST_RESET_SEED + episode)
        ended = False
        while not ended:
            states.append(observation)
            observation, _, terminated, truncated, _ = env.step(model.predict(observation, deterministic=True)[0])
            ended = terminated or truncated
    chosen = np.random.default_rng(0).choice(len(states), min(n_states, len(states)), replace=False)
    observations = th.as_tensor(np.array(states)[chosen])
    measured = measure_fidelity(model, observations)
    layer = model.policy.quantum_layer
    assert layer is not None
    inputs, links = (part.detach() for part in model.actor.encode(observations))
    expected = layer.surrogate(inputs).detach().requires_grad_(True)
    loss = -model.critic.q1_forward(observations, model.actor.decode(expected, links)).mean()
    (weights,) = th.autograd.grad(loss, expected)
    priors = {name: make_prior(name, layer.ansatz).bits for name in PRIORS if name != "none"}
    found = {name: gradient_fidelity(layer, inputs, weights, bits)["cosine"] for name, bits in priors.items()}
    keys = ("qtdnn/cosine", "quantum/marginal_std", "quantum/input_std", "quantum/entanglement", "quantum/use_q_shuffled")
    found |= {key.split("/")[1]: measured[key] for key in keys}
    leaf = inputs.clone().requires_grad_(True)
    random = th.randn(weights.shape, generator=th.Generator().manual_seed(0))
    (gradient,) = th.autograd.grad((StatevectorBackend(layer.ansatz).expected_bits(leaf) * random).sum(), leaf)
    return {**found, "gradient_norm": float(gradient.norm(dim=1).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="zip files")
    parser.add_argument("--env", default="Pendulum-v1", help="what they play")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    th.set_num_threads(1)
    found = {}
    for path in args.models:
        row = live(QuantumTD3.load(path, buffer_size=1), args.env)
        found[str(path)] = {key: round(value, 4) for key, value in row.items()}
        print(path, found[str(path)], flush=True)
    if args.json is not None:
        write_text(args.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
