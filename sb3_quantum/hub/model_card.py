"""Model cards."""

import warnings
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np
import torch as th
from huggingface_hub import EvalResult, ModelCardData, constants

from sb3_quantum import __version__
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common import interquartile_mean, interval
from sb3_quantum.hub.report import Report
from sb3_quantum.layers import CLAIMS
from sb3_quantum.plots.circuit import circuit_figure
from sb3_quantum.qtd3 import QuantumTD3

#: beside the repository's other files
DIAGRAM, VIDEO = "circuit.png", "replay.mp4"
_READ_ME_ABOUT = {
    "cosine": "cosine between the qtDNN's gradient and the circuit's own, mean over the states; 1 is perfect, 0 is noise",
    "cosine_prednn": "the same for the summed gradient that reaches the network before the circuit",
    "cosine_prior": "the same for the prior alone, which needs no fit: what the qtDNN has to keep or beat",
    "norm_ratio": "length of the qtDNN's gradient over that of the circuit's, median",
    "input_std": "spread of an angle over the states, in radians; a frozen circuit has 0",
    "marginal_std": "spread of an expected bit over the states",
    "entanglement": "Meyer-Wallach, 0 (independent qubits) to 1",
    "use_action_shuffled": "mean change of the action when the circuit's outputs are those of other states; 0: it is ignored",
}


def draw(model: QuantumTD3, path: Path) -> bool:
    """
    Draw the circuit for the environment's current state.

    :param model: the model
    :param path: the picture's file
    :return: whether there is a picture: not without a circuit, without the extra ``plots``, or if drawing fails
    """
    block, env = model.policy.block, model.get_env()
    if block.backend is None or env is None:
        return False
    observations, _ = model.policy.obs_to_tensor(env.reset())  # type: ignore[arg-type]
    with th.no_grad():
        inputs, _ = model.policy.deployed_actor.encode(observations)
    try:
        circuit_figure(block.ansatz, inputs[:1]).savefig(path, dpi=120)
    except Exception as error:
        warnings.warn(f"the model card has no drawing of the circuit: {error}", stacklevel=2)
        return False
    return True


def model_card(
    model: QuantumTD3,
    report: Report,
    env_id: str,
    repo_id: str,
    env_kwargs: dict[str, Any] | None = None,
    hyperparameters: dict[str, Any] | None = None,
    from_zoo: bool = False,
    diagram: bool = False,
    video: bool = False,
    safe: bool = True,
) -> str:
    """
    Write the model card, with the metadata that the Hub indexes.

    :param model: the model
    :param report: its evaluation
    :param env_id: id of the environment
    :param repo_id: ``"owner/name"`` on the Hub
    :param env_kwargs: keyword arguments of the environment
    :param hyperparameters: the hyperparameters; none are shown if ``None``
    :param from_zoo: whether the files for ``rl_zoo3.load_from_hub`` are published too
    :param diagram: whether there is a drawing of the circuit
    :param video: whether there is a video
    :param safe: whether there is a form without pickle
    :return: Markdown, with YAML metadata first
    """
    parts = [
        f"# QuantumTD3 agent playing {env_id}",
        _introduction(model),
        *(
            [f'<video src="{constants.ENDPOINT}/{repo_id}/resolve/main/{VIDEO}" controls autoplay loop muted></video>']
            if video
            else []
        ),
        "## Evaluation",
        _evaluation(report),
        *_circuit(model, diagram),
        *_fidelity(model, report),
        "## Training",
        _training(model),
        "## Usage",
        _usage(env_id, repo_id, env_kwargs or {}, from_zoo, safe),
    ]
    if hyperparameters:
        parts += ["## Hyperparameters", f"```python\n{pformat(dict(hyperparameters))}\n```"]
    if env_kwargs:
        parts += ["## Environment arguments", f"```python\n{pformat(env_kwargs)}\n```"]
    return f"---\n{_metadata(model, report, env_id).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(model: QuantumTD3, report: Report, env_id: str) -> ModelCardData:
    quantum = ["quantum-machine-learning", "qiskit"] if model.policy.block.backend is not None else []
    return ModelCardData(
        library_name="stable-baselines3",
        pipeline_tag="reinforcement-learning",
        tags=[env_id, "deep-reinforcement-learning", "reinforcement-learning", "stable-baselines3", "sb3-quantum", *quantum],
        model_name="QuantumTD3",
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=env_id,
                dataset_name=env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=f"{report.mean:.2f} +/- {report.std:.2f}",
                verified=False,
            )
        ],
    )


def _introduction(model: QuantumTD3) -> str:
    block = model.policy.block
    what = f"{block.summary} sits between two classical networks of its actor"
    if block.backend is None:
        what = f'in place of the quantum circuit its actor has the block `"{block.name}"`: {block.summary}'
    return (
        f"TD3 with a hybrid actor ([arXiv 2503.09119](https://arxiv.org/abs/2503.09119)): {what}. Trained with sb3-quantum "
        f"{__version__}, a plugin for [Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and the "
        "[RL Zoo](https://github.com/DLR-RM/rl-baselines3-zoo). No quantum hardware is needed to run it."
    )


def _evaluation(report: Report) -> str:
    low, high = interval(np.array([report.returns]))
    last = report.first_seed + len(report.returns) - 1
    policy = "deterministic policy" if report.deterministic else "stochastic policy"
    backend = "" if report.backend is None else f", circuits on the `{report.backend}` backend"
    return (
        "| mean return | standard deviation | interquartile mean | its 95 % bootstrap interval | episodes |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| **{report.mean:.2f}** | {report.std:.2f} | {interquartile_mean(np.array(report.returns)):.2f} | "
        f"{low:.2f} to {high:.2f} | {len(report.returns)} |\n\n"
        f"One model; its episodes were reset with seeds {report.first_seed} to {last}; {policy}{backend}; {report.date}. "
        "Every return is in `results.json`."
    )


def _circuit(model: QuantumTD3, diagram: bool) -> list[str]:
    block, policy = model.policy.block, model.policy
    readouts = {
        "readout when acting in training": f"`{policy.readout}`",
        "readout of the deterministic policy": f"`{policy.eval_readout}`",
    }
    if policy.quantum_kwargs["surrogate_readout"] == "sample":
        readouts["in updates"] = "bits drawn from the surrogate's expected bits"
    links = {"classical links beside it": policy.quantum_kwargs["n_links"]}
    if block.backend is None:
        arguments = {name: f"`{value}`" for name, value in (policy.quantum_kwargs["block_kwargs"] or {}).items()}
        drawn = readouts if block.draws("sample") else {}
        outputs = {"inputs": block.n_inputs, "outputs": block.n_outputs}
        return ["## Block", _table({"block": f"`{block.name}`", **arguments, **outputs, **links, **drawn})]
    ansatz = block.ansatz
    rows = {
        "family": f"`{ansatz.family}`",
        "qubits": ansatz.n_qubits,
        "layers": ansatz.n_layers,
        **ansatz.describe(),
        **links,
        "backend in training": f"`{model.backend if isinstance(model.backend, str) else model.backend.name}`",
        "shots per circuit": block.backend.shots,
        **readouts,
    }
    parts = ["## Circuit", _table(rows)]
    if diagram:
        parts.append(
            f"![The circuit at one state of the evaluation]({DIAGRAM})\n\nThe circuit at one state of the evaluation."
        )
    return parts


def _fidelity(model: QuantumTD3, report: Report) -> list[str]:
    if "qtdnn/cosine" not in report.fidelity:
        block = model.policy.block
        return [] if block.fitted else [f'The gradient of the block `"{block.name}"` is {CLAIMS[block.claim]}.']
    found = {key.split("/")[1]: value for key, value in report.fidelity.items()}
    untrained = model._n_updates == 0
    lines = ["| | | |", "| --- | --- | --- |"]
    lines += [f"| `{key}` | {found[key]:.3f} | {text} |" for key, text in _READ_ME_ABOUT.items() if key in found]
    return [
        "## Is the quantum layer trained?",
        "A sampled bitstring cannot be differentiated; a small network, the qtDNN, stands in for the circuit where a gradient "
        "is needed. Measured at the end of the training, on states of the evaluation, against exact simulation:",
        "\n".join(lines),
        *(
            ["**This model has made no update**: a cosine near 1 is due to the prior and says nothing about the agent."]
            * untrained
        ),
        "An agent also learns through the classical links beside the circuit, so a high return alone says nothing about the "
        "quantum layer."
        + ("" if model.gradient == "qtdnn" else f' This model is a control: `gradient="{model.gradient}"`.')
        + ("" if model.policy.averaging is None else " These figures are of the actor's own weights, which learn."),
    ]


def _weights(model: QuantumTD3) -> str:
    policy = model.policy
    if policy.averaging is None or policy.deployed_actor is policy.actor:
        return "the actor's own, after its last update"
    n_averaged, tau = policy.averaging.n_averaged, policy.averaging.tau
    return (
        f"the actor's, averaged over its {counted(n_averaged, 'update')} (exponentially, `actor_average_tau={tau}`); in "
        "training it acted with its own"
    )


def _training(model: QuantumTD3) -> str:
    rows: dict[str, Any] = {
        "environment steps": f"{model.num_timesteps:,}",
        "updates": f"{model._n_updates:,}",
        "seed": model.seed,
        "weights of this policy": _weights(model),
    }
    backend = model.policy.block.backend
    if backend is not None:
        usage = backend.usage
        rows["gradient of the quantum layer"] = f"`{model.gradient}`"
        rows["circuits run"] = f"{usage.circuits:,}"
        rows["bitstrings measured"] = f"{usage.shots:,}"
        rows["jobs"] = f"{usage.jobs:,}"
    return _table(rows)


def _usage(env_id: str, repo_id: str, env_kwargs: dict[str, Any], from_zoo: bool, safe: bool) -> str:
    arguments = "".join(f", {key}={value!r}" for key, value in env_kwargs.items() if key != "render_mode")
    pickle = "" if safe else ", allow_pickle=True"
    about = (
        "This reads `model.safetensors` and `model.json`; nothing from the repository is executed."
        if safe
        else "This model cannot be saved without pickle: loading it executes its author's code."
    )
    text = f"""```bash
pip install "sb3-quantum[hub]"
```

```python
import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_quantum.hub import load_from_hub

env = gym.make({env_id!r}{arguments})
model = load_from_hub({repo_id!r}, env=env{pickle})
mean, std = evaluate_policy(model, model.get_env(), n_eval_episodes=5)
print(f"{{mean:.1f}} +/- {{std:.1f}}")
```

{about}"""
    if from_zoo:
        owner, name = repo_id.split("/")
        text += f"""

With the RL Zoo, which loads SB3's zip, a pickle, and therefore asks whether you trust its author:

```bash
pip install "sb3-quantum[zoo]"
# Downloads the run into logs, and evaluates it
TRUST_REMOTE_CODE=True python -m rl_zoo3.load_from_hub --algo qtd3 --env {env_id} -orga {owner} -name {name} -f logs
python -m rl_zoo3.enjoy --algo qtd3 --env {env_id} -f logs
# Trains another one
python -m rl_zoo3.train --algo qtd3 --env {env_id} -f logs
```"""
    return text


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())])
