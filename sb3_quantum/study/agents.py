"""Evaluation of trained agents: their returns, also with altered outputs of their block."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_quantum.common import returns_of
from sb3_quantum.qtd3 import QuantumTD3, measure_fidelity
from sb3_quantum.study.interventions import Pool, applies, information, recorded, replaced
from sb3_quantum.study.spec import Evaluation

#: number of states on which the gradient is compared
N_STATES = 256


def acts_deterministically(model: OffPolicyAlgorithm, evaluation: Evaluation) -> bool:
    """
    Decide whether an evaluation acts deterministically.

    :param model: a model of any algorithm
    :param evaluation: evaluation settings of a study
    :return: the argument of ``predict``: as the file says, or as the model was trained, on one sampled bitstring if it was
    """
    if evaluation.deterministic is not None:
        return evaluation.deterministic
    return getattr(model.policy, "readout", "mean") != "sample"


@contextmanager
def own_weights(model: QuantumTD3) -> Iterator[None]:
    """
    Predict with the weights that learn, also if averaged ones are deployed.

    :param model: a model
    """
    average, model.policy.actor_average = model.policy.actor_average, None
    try:
        yield
    finally:
        model.policy.actor_average = average


def _averages(model: OffPolicyAlgorithm) -> bool:
    return isinstance(model, QuantumTD3) and model.policy.deployed_actor is not model.policy.actor


def evaluate_point(model: OffPolicyAlgorithm, make_env: Callable[[], gym.Env], evaluation: Evaluation) -> dict[str, float]:
    """
    Evaluate a model for a point of its curve. The training's generators stay unchanged.

    :param model: the model in training
    :param make_env: makes an environment
    :param evaluation: evaluation settings of the study
    :return: ``return``, ``worst`` and ``own_return``, the latter NaN without averaged weights
    """

    def returns() -> np.ndarray:
        deterministic = acts_deterministically(model, evaluation)
        return returns_of(model, make_env, evaluation.point_episodes, evaluation.point_first_seed, deterministic)

    deployed, own = returns(), float("nan")
    if _averages(model):
        assert isinstance(model, QuantumTD3)
        with own_weights(model):
            own = float(returns().mean())
    return {"return": round(float(deployed.mean()), 2), "worst": round(float(deployed.min()), 2), "own_return": round(own, 2)}


def evaluate(model: OffPolicyAlgorithm, make_env: Callable[[], gym.Env], evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """
    Evaluate a trained model. All agents and ablations meet the same initial states.

    :param model: the trained model
    :param make_env: makes an environment
    :param evaluation: evaluation settings of the study
    :param seed: seed of the evaluation's random numbers
    :return: ``returns`` of the episodes, ``deterministic``, and, if the evaluation asks for them and the model has them,
        ``own_returns``, ``ablations`` (returns by name), ``fidelity``, ``information``
    """
    deterministic = acts_deterministically(model, evaluation)

    def returns() -> list[float]:
        model.set_random_seed(seed)
        values = returns_of(model, make_env, evaluation.episodes, evaluation.first_seed, deterministic)
        return [round(float(value), 2) for value in values]

    found: dict[str, Any] = {"deterministic": deterministic, "first_seed": evaluation.first_seed}
    watched = isinstance(model, QuantumTD3) and bool(evaluation.ablations or evaluation.fidelity)
    with recorded(model) if watched and isinstance(model, QuantumTD3) else nullcontext(Pool()) as pool:
        found["returns"] = returns()
    if not isinstance(model, QuantumTD3):
        return found
    if _averages(model):
        with own_weights(model):
            found["own_returns"] = returns()
    for name in evaluation.ablations:
        if applies(name, model):
            with replaced(model, name, pool, deterministic, seed):
                found.setdefault("ablations", {})[name] = returns()
    if evaluation.fidelity:
        found.update(_looked_at(model, pool, seed))
    return found


def _looked_at(model: QuantumTD3, pool: Pool, seed: int) -> dict[str, Any]:
    """Measure the information in the block's bits on the visited states, and the fidelity of the gradient."""
    block = model.policy.deployed_actor.block
    exact = block.backend is None or block.backend.exact
    found: dict[str, Any] = {}
    chosen = np.random.default_rng(seed).permutation(len(pool.outputs))[:N_STATES]
    try:
        if block.draws("sample") and exact:
            with th.no_grad():
                found["information"] = round(information(block.run(pool.inputs, "mean")), 4)
        if block.backend is not None and block.fitted:
            measured = measure_fidelity(model, pool.observations(chosen))
            found["fidelity"] = {key: round(value, 5) for key, value in measured.items()}
    # A failure must not lose the cell
    except Exception as error:
        warnings.warn(f"the circuit was not measured: {type(error).__name__}: {error}", stacklevel=2)
    return found
