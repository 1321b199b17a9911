"""
Is the qtDNN's gradient the circuit's gradient, and what does that cost? The defaults beside ``PAPER``, on Humanoid-v4.

Offline: circuit inputs are held still, the qtDNN of every recipe is fitted for the same time, taking turns, and the cosine
between its gradient and the exact one (random w, live angles) is measured on held-out states: of a random policy in front of
fresh networks, and of policies that were trained with either recipe.

Live: the zoo trains with four environments, and ``FidelityCallback`` measures while it does. ``--logs`` reads what such
runs printed instead of running them.

    python benchmarks/tangent_fidelity.py --quick                                  # a minute
    python benchmarks/tangent_fidelity.py --json fidelity.json --plot fidelity.png # hours: two seeds, 200,000 steps, and PAPER
    python benchmarks/tangent_fidelity.py --data fidelity.json --plot fidelity.png # draws what is there
"""

import argparse
import inspect
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from sb3_quantum import PAPER, MlpPolicy, QuantumTD3
from sb3_quantum.common.durable import write_text
from sb3_quantum.layers import circuit_statistics, gradient_fidelity
from sb3_quantum.plots.figure import WIDTH, new_figure, tidy_axes
from sb3_quantum.plots.style import COLOURS
from sb3_quantum.zoo import hyperparams_path

DATA = Path(__file__).parent / "data" / "humanoid_states.npz"
DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(QuantumTD3).parameters.items()}
#: what is compared: arguments of QuantumTD3
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER,
    # What the defaults would be without the mean field
    "no prior": dict(
        qtdnn_gradient_steps=2, probe_std=0.2, policy_kwargs=dict(qtdnn_prior="none", qtdnn_arch=[512])
    ),
}  # fmt: skip
RECIPE_COLOURS = dict(zip(RECIPES, COLOURS, strict=False))
#: the floors below which a cosine says nothing, and environments (with one update per step of them all) of the live runs
FLOORS = {"marginal_std": 0.2, "input_std": 0.15}
STEPS_PER_UPDATE = 4
HELD_OUT, BATCH = 256, 256
CALLBACK = "callback:[{{'sb3_quantum.qtd3.FidelityCallback': {{'freq': {freq}}}}}]"
#: the zoo's options that leave the algorithm's own defaults of what the shipped settings change
LIVE_DEFAULTS = [
    "-params", f"n_envs:{STEPS_PER_UPDATE}", "learning_starts:10000", "buffer_size:1000000", "learning_rate:0.0003",
    "qf_learning_rate:None", "tau:0.005", "policy_delay:2", "gamma:0.99", "batch_size:256", "qtdnn_batch_size:128",
    "policy_kwargs:dict()",
]  # fmt: skip
LIVE_KEYS = {
    "cosine": "qtdnn/cosine",
    "cosine_random": "qtdnn/cosine_random",
    "cosine_prednn": "qtdnn/cosine_prednn",
    "cosine_prior": "qtdnn/cosine_prior",
    "norm_ratio": "qtdnn/norm_ratio",
    "marginal_std": "quantum/marginal_std",
    "input_std": "quantum/input_std",
    "entropy": "quantum/entropy",
    "entanglement": "quantum/entanglement",
    "use_q_shuffled": "quantum/use_q_shuffled",
    "training_return": "rollout/ep_rew_mean",
}


@dataclass
class Fit:
    """One recipe's qtDNN, the pairs to which it is fitted, and the measurements so far."""

    recipe: str
    states: str
    policy: MlpPolicy
    inputs: th.Tensor
    targets: th.Tensor
    held_out: th.Tensor
    arguments: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def update(self) -> None:
        """Do to the qtDNN what one ``train()`` step does."""
        probed = self.arguments["probe_std"] > 0
        pairs = len(self.inputs) // 2 if probed else len(self.inputs)
        rows = th.randint(pairs, (BATCH,))
        if probed:  # the mini-batch's pairs, and their probes behind them
            rows = th.cat([rows, rows + pairs])
        inputs, targets = self.inputs[rows], self.targets[rows]
        start = time.perf_counter()
        self.layer.fit_surrogate(inputs, targets, self.arguments["qtdnn_gradient_steps"], self.arguments["qtdnn_batch_size"])
        self.seconds.append(time.perf_counter() - start)

    def measure(self) -> None:
        """Add a point to the curve."""
        weights = th.randn(HELD_OUT, self.layer.ansatz.n_qubits, generator=th.Generator().manual_seed(0))
        cosine = gradient_fidelity(self.layer, self.held_out, weights)["cosine"]
        self.curve.append({"updates": len(self.seconds), "ms": 1e3 * sum(self.seconds), "cosine": cosine})

    @property
    def layer(self) -> Any:
        return self.policy.quantum_layer

    @property
    def spent(self) -> float:
        return sum(self.seconds)


def make_fit(recipe: str, states: str, data: dict[str, np.ndarray], seed: int) -> Fit:
    """
    Make the networks, circuit inputs and targets of one recipe.

    :param recipe: a key of RECIPES
    :param states: ``"random"`` or ``"trained"``
    :param data: arrays of DATA
    :param seed: seed of networks, bits and probes
    :return: ready to be fitted
    """
    th.manual_seed(seed)
    arguments = {**DEFAULTS, **RECIPES[recipe]}
    box = spaces.Box(-np.inf, np.inf, (data["random"].shape[1],))
    policy = MlpPolicy(
        box,
        spaces.Box(-1, 1, (17,)),
        lambda _: arguments["qtdnn_learning_rate"],
        **(arguments["policy_kwargs"] or {}),
    )
    assert policy.quantum_layer is not None
    ansatz = policy.ansatz
    if states == "random":
        observations = th.as_tensor(data["random"], dtype=th.float32)
        if policy.normalizer is not None:
            policy.normalizer.update(observations)
        with th.no_grad():
            inputs, _ = policy.actor.encode(observations)
    else:
        inputs = th.as_tensor(data["trained_paper" if recipe == "paper" else "trained_default"], dtype=th.float32)
    held_out, inputs = inputs[:HELD_OUT], inputs[HELD_OUT:]
    if arguments["probe_std"] > 0:
        angles, indices = ansatz.split(inputs)
        inputs = th.cat([inputs, ansatz.join(angles + arguments["probe_std"] * th.randn_like(angles), indices)])
    measurement = policy.quantum_layer.measure(inputs)
    targets = measurement.bits if arguments["fit_targets"] == "sample" else measurement.expected_bits
    assert targets is not None
    return Fit(recipe, states, policy, inputs, targets, held_out, arguments)


def offline(seconds: float, points: int, seed: int = 0) -> dict[str, Any]:
    """
    Fit every recipe for the same time and measure on held-out states.

    :param seconds: seconds of fitting for each recipe and kind of states
    :param points: measurements along the way
    :param seed: seed of networks, bits and probes
    :return: of the default and ``PAPER`` on the harder states; then every recipe on either kind of states
    """
    data = dict(np.load(DATA))
    results: dict[str, Any] = {}
    for states in ("random", "trained"):
        fits = [make_fit(recipe, states, data, seed) for recipe in RECIPES]
        for fit in fits:
            fit.measure()
            fit.layer.surrogate(fit.inputs)
        for point in range(1, points + 1):
            behind = fits
            while behind:
                for fit in behind:
                    fit.update()
                behind = [fit for fit in behind if fit.spent < seconds * point / points]
            for fit in fits:
                fit.measure()
        results[states] = {
            fit.recipe: {
                "cosine": fit.curve[-1]["cosine"],
                "updates": len(fit.seconds),
                "ms_per_update": 1e3 * float(np.median(fit.seconds)),
                "circuits_per_update": STEPS_PER_UPDATE * (2 if fit.arguments["probe_std"] > 0 else 1),
                **circuit_statistics(fit.layer.ansatz, fit.held_out),
                "curve": fit.curve,
            }
            for fit in fits
        }
    worst = min(results, key=lambda states: results[states]["default"]["cosine"])
    default = {states: results[states]["default"] for states in results}
    return {
        # The worse kind of states, and the lower spreads: what can be promised
        "default": default[worst]["cosine"],
        "paper": results[worst]["paper"]["cosine"],
        "fit_ms_ratio": default[worst]["ms_per_update"] / results[worst]["paper"]["ms_per_update"],
        "marginal_std": min(part["marginal_std"] for part in default.values()),
        "input_std": min(part["input_std"] for part in default.values()),
        "fit_seconds": seconds,
        **results,
    }


def print_offline(figures: dict[str, Any]) -> None:
    """
    :param figures: return value of :func:`offline`
    """
    print(f"Offline, {figures['fit_seconds']:g} s of fitting each, {HELD_OUT} held-out states")
    columns = ("cosine", "updates", "ms_per_update", "circuits_per_update", "marginal_std", "input_std", "entanglement")
    print(f"{'states':8s} {'recipe':9s} " + " ".join(f"{column:>13.13s}" for column in columns) + "  unfitted")
    for states in ("random", "trained"):
        for recipe, part in figures[states].items():
            values = " ".join(f"{part[column]:13.3f}" for column in columns)
            print(f"{states:8s} {recipe:9s} {values}  {part['curve'][0]['cosine']:8.3f}")


def update_times(rounds: int, updates: int) -> dict[str, float]:
    """
    Time whole updates (``train()``) of every recipe with Humanoid-v4's sizes, in turns.

    :param rounds: turns
    :param updates: number of updates in a turn
    :return: median milliseconds per update
    """
    models = {
        recipe: QuantumTD3("MlpPolicy", "Humanoid-v4", buffer_size=2000, learning_starts=600, seed=0, **arguments).learn(620)
        for recipe, arguments in RECIPES.items()
    }
    pieces: dict[str, list[float]] = {recipe: [] for recipe in RECIPES}
    for _ in range(rounds):
        for recipe, model in models.items():
            start = time.perf_counter()
            model.train(updates, BATCH)
            pieces[recipe].append(1e3 * (time.perf_counter() - start) / updates)
    return {recipe: float(np.median(values)) for recipe, values in pieces.items()}


def train_live(arguments: list[str], steps: int, freq: int, seed: int, folder: Path) -> str:
    """
    Train through the zoo.

    :param arguments: further arguments of the zoo's command line; they end in those of ``-params``
    :param steps: environment steps
    :param freq: environment steps between two measurements
    :param seed: seed of the training
    :param folder: where the zoo keeps the model
    :return: what it printed
    """
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "qtd3", "--env", "Humanoid-v4", "--seed", str(seed)]
    command += ["-n", str(steps), "--eval-freq", "-1", "--num-threads", str(th.get_num_threads()), "-f", str(folder)]
    command += [*arguments, CALLBACK.format(freq=freq)]
    print("$", " ".join(command[2:]), flush=True)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_log(text: str) -> list[dict[str, float]]:
    """
    Read the measurements from what a training printed.

    :param text: SB3's tables
    :return: one row per measurement: step, update and :data:`LIVE_KEYS`
    """
    rows = []
    for table in re.split(r"^-{10,}$", text, flags=re.MULTILINE):
        section, found = "", {}
        for name, value in re.findall(r"^\| (.{2,}?) \| (.*?) \|$", table, flags=re.MULTILINE):
            if name.strip().endswith("/"):
                section = name.strip()
            else:
                found[section + name.strip()] = value.strip()
        if "qtdnn/cosine" in found:
            row = {"step": int(found["time/total_timesteps"]), "update": int(found["train/n_updates"])}
            rows.append({**row, **{ours: float(found[key]) for ours, key in LIVE_KEYS.items() if key in found}})
    return rows


def print_live(name: str, rows: list[dict[str, float]]) -> None:
    """
    :param name: name of the run
    :param rows: return value of :func:`read_log`
    """
    columns = [*LIVE_KEYS]
    print(f"\nLive, {name}\n{'step':>8s} {'update':>7s} " + " ".join(f"{column:>13.13s}" for column in columns) + "  counts")
    for row in rows:
        counts = all(row[key] >= floor for key, floor in FLOORS.items()) and row["use_q_shuffled"] > 0
        values = " ".join(f"{row.get(column, np.nan):13.4f}" for column in columns)
        print(f"{row['step']:8d} {row['update']:7d} {values}  {'yes' if counts else 'no'}")


def plot(figures: dict[str, Any], path: Path) -> None:
    """
    Plot the cosine along the trainings, and below it against fitting time.

    :param figures: everything that was measured
    :param path: path of the image
    """
    figure = new_figure(WIDTH, 5, layout="constrained")
    panels = figure.subplot_mosaic([["live", "live"], ["random", "trained"]], height_ratios=(3, 2.4), sharey=True)
    label = "cosine with the\nexact gradient"
    for name, rows in figures["live_runs"].items():
        recipe, _, seed = name.partition(", ")
        style = "--" if seed != "seed 0" else "-"
        steps, cosines = [row["step"] / 1000 for row in rows], [row["cosine"] for row in rows]
        panels["live"].plot(steps, cosines, style, label=name, marker="o", markersize=4, color=RECIPE_COLOURS[recipe])
    panels["live"].set_title("in training on Humanoid-v4", loc="left", fontsize="medium")
    tidy_axes(panels["live"], "thousand environment steps", label)
    panels["live"].legend(frameon=False, loc="center right")
    for states in ("random", "trained"):
        for recipe, part in figures["offline"][states].items():
            seconds, cosines = [point["ms"] / 1000 for point in part["curve"]], [point["cosine"] for point in part["curve"]]
            panels[states].plot(seconds, cosines, "o-", markersize=4, label=recipe, color=RECIPE_COLOURS[recipe])
        panels[states].set_title(f"offline, {states} policy", loc="left", fontsize="medium")
        tidy_axes(panels[states], "seconds of fitting", label if states == "random" else "")
    panels["random"].legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.7))
    panels["live"].set_ylim(-0.1, 1.05)
    figure.savefig(path)


def collect(default: Path, paper: Path) -> None:
    """
    Write DATA again.

    :param default: a model that was trained on Humanoid-v4 with the defaults
    :param paper: one that was trained with PAPER
    """
    import gymnasium as gym

    arrays: dict[str, np.ndarray] = {}
    for name, path in (("random", None), ("trained_default", default), ("trained_paper", paper)):
        model = None if path is None else QuantumTD3.load(path, buffer_size=1)
        env = gym.make("Humanoid-v4")
        env.action_space.seed(0)
        if model is not None:
            model.set_random_seed(0)
        noise, observations = np.random.default_rng(0), []
        obs, _ = env.reset(seed=0)
        # Every third state, and exploration noise as in training
        for step in range(3 * 5 * HELD_OUT):
            if model is None:
                action = env.action_space.sample()
            else:
                action = model.predict(obs)[0] + 0.4 * noise.normal(scale=0.1, size=17)
            obs, _, terminated, truncated, _ = env.step(np.clip(action, -0.4, 0.4))
            if step % 3 == 0:
                observations.append(obs)
            if terminated or truncated:
                obs, _ = env.reset()
        rows = np.array(observations)[noise.permutation(len(observations))]
        if model is not None:
            with th.no_grad():
                inputs, _ = model.actor.encode(th.as_tensor(rows, dtype=th.float32))
            angles, indices = model.policy.ansatz.split(inputs)
            # Angles as the replay buffer keeps them
            rows = model.policy.ansatz.join(model.policy.ansatz.wrap_angles(angles), indices).numpy()
        arrays[name] = rows.astype(np.float32 if name == "random" else np.float16)
    DATA.parent.mkdir(exist_ok=True)
    np.savez_compressed(DATA, **arrays)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within a minute: a second of fitting, 1,000 steps live")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps of a live training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the live trainings with the defaults")
    parser.add_argument("--logs", nargs="+", default=[], metavar="NAME=FILE", help="read live runs from these files")
    parser.add_argument("--folder", type=Path, default=Path("logs"), help="where the zoo keeps the models")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--data", type=Path, help="measure nothing, read this file of a full run")
    parser.add_argument("--plot", type=Path, help="draw them here")
    parser.add_argument("--collect", nargs=2, type=Path, metavar=("DEFAULT", "PAPER"), help="write the states anew")
    args = parser.parse_args()
    th.set_num_threads(1)
    if args.collect:
        collect(*args.collect)
        return
    if args.data is not None:
        if args.plot is not None:
            plot(json.loads(args.data.read_text()), args.plot)
        return

    figures: dict[str, Any] = {"offline": offline(1 if args.quick else 30, points=2 if args.quick else 10)}
    print_offline(figures["offline"])
    figures["update_ms"] = update_times(*((3, 5) if args.quick else (15, 20)))
    times = ", ".join(f"{recipe} {value:.1f}" for recipe, value in figures["update_ms"].items())
    print(f"Milliseconds per update (train()), one thread: {times}")

    runs: dict[str, list[dict[str, float]]] = {}
    for entry in args.logs:
        name, path = entry.split("=", 1)
        runs[name] = read_log(Path(path).read_text())
    if args.quick and not runs:
        runs["default, seed 0"] = read_log(train_live([*LIVE_DEFAULTS, "learning_starts:400"], 1000, 250, 0, args.folder))
    elif not runs:
        for seed in args.seeds:
            runs[f"default, seed {seed}"] = read_log(train_live(LIVE_DEFAULTS, args.steps + 100, 10_000, seed, args.folder))
        paper = ["-conf", str(hyperparams_path("qtd3-paper")), "-params", f"n_envs:{STEPS_PER_UPDATE}"]
        runs["paper, seed 0"] = read_log(train_live(paper, args.steps + 100, 10_000, 0, args.folder))
    for name, rows in runs.items():
        print_live(name, rows)
    figures["live"] = runs[next(iter(runs))]
    figures["live_runs"] = runs
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if args.plot is not None:
        plot(figures, args.plot)


if __name__ == "__main__":
    main()
