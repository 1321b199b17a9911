"""
Evaluate the trained model of a study's cell on reset seeds of its own, and write the folder that is in models/.

The folder has the pickle-free form without the optimizers' state (a training that goes on from it starts Adam's moments anew),
the curve, ``results.json`` and a card. The agent is also played with its block's outputs replaced: by those of other states
(shuffled), zeros, or the circuit's mean field.

    python benchmarks/shipped_model.py logs/studies/humanoid_recipe/gamma98/6 --out models/qtd3-Humanoid-v4
"""

import argparse
import csv
import datetime
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.common import returns_of
from sb3_quantum.common.durable import write_text
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.qtd3.callbacks import measure_fidelity
from sb3_quantum.study import Cell, read_cell
from sb3_quantum.study.cell import CURVE
from sb3_quantum.study.interventions import recorded, replaced
from sb3_quantum.study.training import MODEL

REPLACED = ("shuffled", "zeros", "mean_field")
#: no evaluation in training, and none that chose anything, starts from these
FIRST_RESET_SEED = 50_000
#: episodes of each replacement
EPISODES_REPLACED = 20


def evaluate(model: QuantumTD3, env_id: str, episodes: int) -> dict[str, Any]:
    """
    :param model: what is shipped, as it was read back
    :param env_id: id of the environment
    :param episodes: number of episodes of the agent itself
    :return: returns of the agent and of its replacements, and the fidelity of its gradient on states that it met
    """

    def make_env() -> gym.Env[Any, Any]:
        return gym.make(env_id)

    with recorded(model) as pool:
        returns = returns_of(model, make_env, episodes, FIRST_RESET_SEED, deterministic=True)
    found: dict[str, Any] = {"returns": returns, "replaced": {}}
    for name in REPLACED:
        with replaced(model, name, pool, deterministic=True, seed=0):
            found["replaced"][name] = returns_of(model, make_env, EPISODES_REPLACED, FIRST_RESET_SEED, deterministic=True)
    places = np.random.default_rng(0).choice(len(pool.outputs), 256, replace=False)
    found["fidelity"] = measure_fidelity(model, pool.observations(places))
    return found


def card(env_id: str, cell: Cell, figures: dict[str, Any], found: dict[str, Any], settings: dict[str, Any], note: str) -> str:
    """
    :param env_id: id of the environment
    :param cell: cell of the training
    :param figures: contents of ``results.json``
    :param found: results of :func:`evaluate`
    :param settings: settings of the policy
    :param note: a sentence to add
    :return: the folder's README
    """
    rows = {
        "as it is": found["returns"],
        "bits of other states (shuffled)": found["replaced"]["shuffled"],
        "zeros": found["replaced"]["zeros"],
        "the circuit's mean field": found["replaced"]["mean_field"],
    }
    table = "\n".join(
        f"| {name} | {row.mean():,.0f} +- {row.std():,.0f} | {row.min():,.0f} | {len(row)} |" for name, row in rows.items()
    )
    fidelity = {key: found["fidelity"][key] for key in ("qtdnn/cosine", "quantum/marginal_std", "quantum/entanglement")}
    measured = ", ".join(f"`{key}` {value:.3f}" for key, value in fidelity.items())
    chosen = "\n".join(f"    {key}: {value!r}" for key, value in settings.items() if value is not None)
    returns = found["returns"]
    error = returns.std() / len(returns) ** 0.5
    study = cell.manifest["study"]
    return f"""# A QuantumTD3 agent for {env_id}

**{figures["mean"]:,.1f}** is its mean return over {figures["episodes"]} episodes from reset seeds {FIRST_RESET_SEED} and on,
which nothing was chosen on; standard error {error:.1f}, the worst {returns.min():,.0f}. It was trained for
{figures["cpu_minutes"]:.1f} CPU minutes of one thread: {figures["steps"]:,} steps of eight environments,
{figures["updates"]:,} updates, seed {figures["seed"]}. What acts are the actor's weights averaged over the training,
and the exact simulator's expected bits. Other seeds are in `results.json`.
{note}

![A Humanoid that walks, and the circuit of every step beside it](../../docs/images/humanoid.gif)

    MUJOCO_GL=egl python -m sb3_quantum.film models/qtd3-{env_id} --env {env_id} --env-kwargs "camera_name:'track'"

```python
import gymnasium as gym

from sb3_quantum.hub import load_safe

model = load_safe("models/qtd3-{env_id}")
observation, _ = gym.make("{env_id}").reset(seed=0)
action, _ = model.predict(observation, deterministic=True)
```

## What the circuit contributes

The same agent with something else in place of its circuit's outputs:

| the PostDNN sees | return, mean and standard deviation | worst | episodes |
| --- | --- | --- | --- |
{table}

That an agent needs what it was trained with does not say that it had to be a circuit: the mean field is a classical formula.
Whether an agent *trained* with it does as well is what the study `humanoid_links` asks. On 256 states that it met:
{measured}.

## How it was made

    python -m sb3_quantum.study run {study} --arms {cell.arm} --seeds {cell.seed}
    python benchmarks/shipped_model.py logs/studies/{study}/{cell.arm}/{cell.seed} --out models/qtd3-{env_id}

`curve.csv` is the training, `log.txt` the same row by row, `results.json` the figures. The optimizers' state is left out: a
training that goes on from here starts their moments anew. Policy:

{chosen}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path, help="folder of a complete cell")
    parser.add_argument("--note", default="", help="a sentence for the card, such as what became of the run afterwards")
    parser.add_argument("--env", default="Humanoid-v4")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    args = parser.parse_args()
    th.set_num_threads(1)
    cell = read_cell(args.cell)
    if cell.status != "complete":
        parser.error(f"{args.cell} is {cell.status}")
    trained = QuantumTD3.load(args.cell / MODEL, buffer_size=1)
    for optimizer in (trained.actor.optimizer, trained.critic.optimizer):
        optimizer.state.clear()
    save_safe(trained, args.out)
    model = load_safe(args.out, buffer_size=1)
    found = evaluate(model, args.env, args.episodes)
    with (args.cell / CURVE).open() as file:
        rows = list(csv.DictReader(file))
    figures = {
        "mean": round(float(found["returns"].mean()), 1),
        "episodes": args.episodes,
        "steps": trained.num_timesteps,
        "updates": trained._n_updates,
        "cpu_minutes": round(cell.manifest["cpu_minutes"], 2),
        "seed": cell.seed,
        "date": datetime.date.today().isoformat(),
    }
    seeds = {str(cell.seed): {"mean": figures["mean"], "cpu_minutes": figures["cpu_minutes"]}}
    replacements = {name: round(float(row.mean()), 1) for name, row in found["replaced"].items()}
    write_text(args.out / "results.json", json.dumps({**figures, "seeds": seeds, "replaced": replacements}, indent=1) + "\n")
    write_text(args.out / "curve.csv", "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    write_text(args.out / "log.txt", "".join(f"{row}\n" for row in rows))
    text = card(args.env, cell, figures, found, trained.policy.quantum_kwargs, args.note)
    write_text(args.out / "README.md", text)
    print(json.dumps(figures), replacements)


if __name__ == "__main__":
    main()
