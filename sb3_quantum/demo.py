"""
``python -m sb3_quantum.demo``: a training of about a minute in which the agent visibly learns, and two pictures of it.

It trains on Pendulum-v1 with the classical links cut: everything that the policy knows about an observation passes through a
circuit of 4 qubits and 3 layers, whose expected bits the PostDNN sees. ``runs.png`` shows return and gradient cosine,
``circuit.png`` the circuit of one observation.

    python -m sb3_quantum.demo
    python -m sb3_quantum.demo --steps 20000 --seed 1 --folder demo-1
"""

import argparse
import sys
from pathlib import Path
from typing import Any

#: Keyword arguments of QuantumTD3 for Pendulum-v1: ``QuantumTD3("MlpPolicy", "Pendulum-v1", **DEMO).learn(8_000)``
DEMO: dict[str, Any] = dict(
    learning_rate=2e-3,
    qf_learning_rate=2e-3,
    gamma=0.98,
    batch_size=64,
    learning_starts=500,
    buffer_size=20_000,
    action_noise=0.1,
    policy_kwargs=dict(n_qubits=4, n_layers=3, n_links=0, readout="mean", net_arch=[64, 64]),
)
ENV = "Pendulum-v1"
STEPS = 8_000
#: reset seed of the evaluations' first episode, far from those of the training
_EVALUATION_SEED = 10_000


def train(steps: int = STEPS, seed: int = 0, folder: Path = Path("demo")) -> Any:
    """
    Train the agent of the demonstration, with a progress bar if its packages are installed.

    :param steps: environment steps
    :param seed: seed of everything random
    :param folder: folder of the monitor file, the fidelity and the model
    :return: the model, a :class:`~sb3_quantum.QuantumTD3`
    """
    import gymnasium as gym
    from stable_baselines3.common.monitor import Monitor

    from sb3_quantum import FidelityCallback, QuantumTD3

    folder.mkdir(parents=True, exist_ok=True)
    model = QuantumTD3("MlpPolicy", Monitor(gym.make(ENV), str(folder / "0")), seed=seed, **DEMO)
    model.learn(steps, callback=FidelityCallback(freq=500), progress_bar=_has_bar())
    model.save(folder / "model")
    return model


def _has_bar() -> bool:
    """Tell whether SB3 can draw a progress bar."""
    try:
        import rich  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return True


def draw(model: Any, folder: Path) -> list[Path]:
    """
    Draw the training and the circuit of one observation.

    :param model: return value of :func:`train`
    :param folder: its folder
    :return: the images
    :raises ImportError: if matplotlib or pylatexenc is missing
    """
    from sb3_quantum.plots import circuit_figure, load_run, runs_figure

    runs, circuit = folder / "runs.png", folder / "circuit.png"
    runs_figure([load_run(folder, "QuantumTD3, links cut")], title=ENV).savefig(runs)
    obs, _ = model.policy.obs_to_tensor(model.env.observation_space.sample())
    inputs, _ = model.actor.encode(obs)
    ansatz = model.policy.quantum_layer.ansatz
    figure = circuit_figure(ansatz, inputs.detach(), "The circuit of one observation", layers_per_row=2)
    figure.savefig(circuit)
    return [runs, circuit]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_quantum.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything is written (default: %(default)s)")
    args = parser.parse_args()
    if args.steps < 1:
        sys.exit(f"error: --steps must be >= 1, got {args.steps}")
    import torch as th

    from sb3_quantum.circuits.wording import counted

    # Threads gain nothing with networks this small, and on a busy machine they wait for each other
    th.set_num_threads(1)
    print(
        f"{ENV}, {counted(args.steps, 'step')}, everything through 4 qubits. The first circuits are compiled, which takes "
        "some seconds."
    )
    model = train(args.steps, args.seed, args.folder)

    import gymnasium as gym

    from sb3_quantum.common import returns_of

    returns = returns_of(model, lambda: gym.make(ENV), episodes=10, first_seed=_EVALUATION_SEED)
    print(f"mean return of 10 episodes: {returns.mean():.0f} (random actions: about -1200, solved: about -150)")
    images: list[Path] = []
    try:
        images = draw(model, args.folder)
    except ImportError as error:  # the training is useful without pictures
        print(f"no pictures: {error}")
    print(f"written: {', '.join(map(str, [*images, args.folder / 'model.zip']))}")


if __name__ == "__main__":
    main()
