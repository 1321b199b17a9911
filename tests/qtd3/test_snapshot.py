"""
What is learned must not change when the code gets faster: seeded trainings against figures kept from an earlier version.

    python -m tests.qtd3.test_snapshot        # writes them anew, for a change that is meant to change what is learned
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum import PAPER, QuantumTD3

SNAPSHOT = Path(__file__).with_name("snapshot.json")
#: Largest deviation, relative to 1 + |figure|. One thread against two moves a figure by 4e-5 at the most, an Intel processor
#: against an AMD one by 2e-5 (all cases but PAPER). A discount of 0.989 instead of 0.99 moves one by 1.6e-3, a tiny-batch of
#: one row less by 2e-3, an actor without the qtDNN's gradient by 0.1
TOLERANCE = 3e-4
#: Updates of a training. PAPER's free angles make its circuit a hash function: parameters that differ by 1e-7 at the start
#: differ by 3e-5 after 20 updates, by 1e-4 after 30, by 8e-4 after 45 and by 0.1 after 60. Its 20 take 160 tiny-batches
UPDATES, UPDATES_OF_PAPER = 60, 20
#: Adam's first steps have the gradient's sign and hardly its size, so that rounding, of the stored pairs to half precision
#: above all, grows a thousandfold where the gradient is small. A larger epsilon keeps the comparison sharp
STEADY = dict(qtdnn_optimizer_kwargs=dict(eps=1e-2))
SMALL: dict[str, Any] = dict(learning_starts=100, buffer_size=500, batch_size=64, seed=0)
CASES: dict[str, dict[str, Any]] = {
    "default": dict(policy_kwargs=STEADY),
    "paper": {**PAPER, "policy_kwargs": {**PAPER["policy_kwargs"], **STEADY}},
    "zeros": dict(policy_kwargs=dict(block="zeros")),
    "fc": dict(policy_kwargs=dict(block="fc")),
    "probes": dict(
        probe_std=0.3,
        fit_targets="sample",
        qtdnn_recent_pairs=50,
        policy_kwargs=dict(readout="mean", n_qubits=4, **STEADY),
    ),
    "raw": dict(policy_kwargs=dict(qtdnn_features="raw", encoding="raw", n_layers=3, **STEADY)),
}


def figures(case: str) -> dict[str, list[float]]:
    """Norm of every parameter after a short training, its inner product with a fixed vector, and some actions."""
    th.set_num_threads(1)
    updates = UPDATES_OF_PAPER if case == "paper" else UPDATES
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", **{**CASES[case], **SMALL}).learn(SMALL["learning_starts"] + updates)
    assert model._n_updates == updates
    generator = np.random.default_rng(0)
    observations = generator.normal(size=(4, 3)).astype(np.float32)
    result = {"actions": model.predict(observations, deterministic=True)[0].ravel().tolist()}
    for name, parameter in model.policy.named_parameters():
        value = parameter.detach().double().cpu().numpy().ravel()
        result[name] = [float(np.linalg.norm(value)), float(value @ generator.normal(size=value.size))]
    return result


@pytest.mark.parametrize("case", CASES)
def test_training_learns_what_it_always_did(case: str) -> None:
    expected = json.loads(SNAPSHOT.read_text())[case]
    actual = figures(case)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps({case: figures(case) for case in CASES}, indent=1))
