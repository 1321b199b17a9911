"""
Does the qtDNN's gradient teach the circuit anything? Pendulum-v1 with the classical links cut, against controls.

With ``n_links=0`` everything that the policy knows of the observation passes through the circuit. The arms are trained on the
same seeds and differ in how the circuit is differentiated, ``paper`` in what it says:

- ``default``: the library's defaults
- ``frozen``: the circuit's inputs stay what they were at the start, random quantum features under a trained PostDNN
- ``noise``: the gradient that reaches the circuit's inputs is replaced by Gaussian noise of equal norm
- ``exact``: autograd through the statevector in place of the qtDNN
- ``unfitted``: the qtDNN is never fitted, so that its mean-field prior is all there is
- ``paper``: ``PAPER``'s qtDNN, fit, encoding and raw observations, under the same PROTOCOL

Other circuits: ``--circuit dense`` has five CZ gates in every layer, between qubits that the policy chooses, ``deep`` has 14
layers of them between fixed neighbours: there the mean field's gradient has a cosine of 0.5 when a training begins. Both have
one more arm, ``no_entanglement``, the same rotations without a CZ. ``wide`` has 127 qubits.

Two readouts, in training and in evaluation: the expected bits (``mean``, 20,000 steps) and one sampled bitstring
(``sample``, 40,000 steps). Each run writes its model and a JSON file, and is skipped when that is there already;
``--report`` trains nothing and prints the table of what there is. ``--live`` asks the trained models of the default arm for
the cosines of the priors on states of their own episodes, and writes them to ``live.json``.

    python benchmarks/links_cut.py --out logs/links_cut
    python benchmarks/links_cut.py --out benchmarks/results/links_cut --report     # the published runs
    python benchmarks/links_cut.py --circuit dense --out logs/links_cut_dense
    python benchmarks/links_cut.py --circuit dense --out logs/links_cut_dense --live
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

from sb3_quantum import PAPER, QuantumTD3
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.common import interquartile_mean, interval, returns_of
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import gradient_fidelity
from sb3_quantum.priors import PRIORS, make_prior
from sb3_quantum.qtd3.callbacks import measure_fidelity

ENV = "Pendulum-v1"
#: steps of a training by readout
STEPS = {"mean": 20_000, "sample": 40_000}
#: the zoo's settings for TD3 on Pendulum-v1, but for an earlier start, fewer updates and smaller batches, so that the exact
#: gradient can be afforded
PROTOCOL: dict[str, Any] = dict(
    gamma=0.98,
    learning_rate=1e-3,
    qf_learning_rate=1e-3,
    buffer_size=200_000,
    batch_size=64,
    learning_starts=1000,
    train_freq=2,
    gradient_steps=1,
    action_noise=0.1,
)
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "frozen": dict(gradient="frozen"),
    "noise": dict(gradient="noise"),
    "exact": dict(gradient="exact"),
    "unfitted": dict(qtdnn_learning_rate=0.0),
    "paper": PAPER,
    "no_entanglement": dict(policy_kwargs=dict(circuit="paper", circuit_kwargs=dict(n_cz=0))),
}
#: the policy's arguments of each circuit
CIRCUITS: dict[str, dict[str, Any]] = {
    "paper": {},
    "dense": dict(n_layers=10, circuit_kwargs=dict(n_cz=5)),
    "deep": dict(circuit="brickwork", n_layers=14),
    "wide": dict(n_qubits=127),
}
#: what the others are compared with
TESTED = "default"
EPISODES, FIRST_RESET_SEED = 100, 10_000


def train(arm: str, readout: str, seed: int, steps: int, circuit: str = "paper") -> QuantumTD3:
    """
    Train one model.

    :param arm: a key of ARMS
    :param readout: ``"mean"`` or ``"sample"``
    :param seed: of everything
    :param steps: environment steps, those before learning starts included
    :param circuit: a key of CIRCUITS
    :return: the final model
    """
    settings = {**ARMS[arm], **PROTOCOL}
    settings["policy_kwargs"] = {
        **CIRCUITS[circuit],
        **settings.get("policy_kwargs", {}),
        "n_links": 0,
        "readout": readout,
        "eval_readout": readout,
    }
    return QuantumTD3("MlpPolicy", ENV, seed=seed, **settings).learn(steps)


def run(folder: Path, arm: str, readout: str, seed: int, steps: int, episodes: int, circuit: str = "paper") -> dict[str, Any]:
    """
    Train and evaluate one model, unless that was done before.

    :param folder: where the model and the figures go
    :param arm: a key of ARMS
    :param readout: ``"mean"`` or ``"sample"``
    :param seed: of everything
    :param steps: environment steps
    :param episodes: to evaluate
    :param circuit: a key of CIRCUITS
    :return: the figures
    """
    path = folder / f"{readout}-{arm}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    start = time.perf_counter()
    model = train(arm, readout, seed, steps, circuit)
    seconds = time.perf_counter() - start
    model.save(path.with_suffix(".zip"))
    model.set_random_seed(seed)
    # "mean" is what deterministic predictions read; the others draw a fresh bitstring in every step
    returns = returns_of(model, lambda: gym.make(ENV), episodes, FIRST_RESET_SEED, deterministic=readout == "mean")
    figures = {
        "arm": arm,
        "readout": readout,
        "seed": seed,
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "seconds": round(seconds),
        "returns": [round(float(value), 2) for value in returns],
    }
    write_text(path, json.dumps(figures) + "\n")
    return figures


def live(model: QuantumTD3, n_states: int = 256, episodes: int = 4) -> dict[str, float]:
    """
    What the priors are worth where a trained policy goes.

    :param model: a trained model
    :param n_states: states, drawn of those of its episodes
    :param episodes: that it plays
    :return: for each prior the cosine between its gradient and the exact one, of the actor loss; the same for the qtDNN
        (``cosine``); norm of the exact gradient of random combinations of the bits; statistics of the circuit
    """
    env, states = gym.make(ENV), []
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


def report(folder: Path) -> None:
    """
    Print every arm's means per seed and interval, and whether the tested one's clears it.

    :param folder: where the figures are
    """
    for readout in STEPS:
        intervals: dict[str, tuple[float, float]] = {}
        print(
            f"\nreadout={readout!r}, {STEPS[readout]} steps: mean return per seed; IQM over seeds and episodes, 95 % interval"
        )
        for arm in ARMS:
            runs = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{readout}-{arm}-*.json"))]
            if not runs:
                continue
            returns = np.array([figures["returns"] for figures in runs])
            intervals[arm] = interval(returns)
            means = "  ".join(f"{figures['seed']}: {row.mean():7.1f}" for figures, row in zip(runs, returns, strict=True))
            low, high = intervals[arm]
            print(f"  {arm:9s} {interquartile_mean(returns):8.1f} [{low:8.1f}, {high:8.1f}]   {means}")
        for arm, (_, high) in intervals.items():
            if TESTED in intervals and arm != TESTED:
                cleared = intervals[TESTED][0] > high
                print(f"  {TESTED}'s interval {'clears' if cleared else 'does not clear'} that of {arm}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("logs/links_cut"), help="folder of models and figures")
    parser.add_argument("--circuit", choices=CIRCUITS, default="paper")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="all by default; no_entanglement with dense circuits only")
    parser.add_argument("--readouts", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="instead of 20,000 and 40,000, to try the script out")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--live", action="store_true", help="measure the models that there are")
    parser.add_argument("--report", action="store_true", help="print what there is")
    args = parser.parse_args()
    arms = args.arms or [arm for arm in ARMS if args.circuit in ("dense", "deep") or arm != "no_entanglement"]
    th.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        report(args.out)
        return
    if args.live:
        models = {path.stem: path for path in sorted(args.out.glob(f"*-{TESTED}-*.zip"))}
        measured = {name: live(QuantumTD3.load(path)) for name, path in models.items()}
        rounded = {name: {key: round(value, 4) for key, value in row.items()} for name, row in measured.items()}
        print("\n".join(f"{name}: {row}" for name, row in rounded.items()))
        write_text(args.out / "live.json", json.dumps(rounded, indent=1) + "\n")
        return
    for readout in args.readouts:
        for arm in arms:
            for seed in args.seeds:
                figures = run(args.out, arm, readout, seed, args.steps or STEPS[readout], args.episodes, args.circuit)
                mean = np.mean(figures["returns"])
                print(f"{readout:6s} {arm:9s} seed {seed}: {mean:8.1f}  ({figures['seconds']} s)", flush=True)


if __name__ == "__main__":
    main()
