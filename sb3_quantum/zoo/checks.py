"""Reject hyperparameters that neither rl_zoo3 nor QuantumTD3 reads, before a run starts."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sb3_quantum.backends import BACKENDS, Backend, of_other_backends
from sb3_quantum.circuits.checks import parameters, unknown_names
from sb3_quantum.qtd3 import QuantumTD3

#: hyperparameters that rl_zoo3 reads itself
ZOO_KEYS = (
    "callback",
    "env_kwargs",
    "env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "n_envs",
    "n_timesteps",
    "noise_std",
    "noise_type",
    "normalize",
    "vec_env_wrapper",
)
#: arguments of the algorithm that rl_zoo3 passes from its own options
OPTIONS = ("device", "env", "seed", "tensorboard_log", "verbose")


def _refuse(what: str, given: Iterable[Any], known: Collection[str], elsewhere: Mapping[str, str]) -> None:
    """Raise an error for unknown keys, with the nearest known names."""
    message = unknown_names(given, known, elsewhere)
    if message:
        raise ValueError(f"{what} of qtd3: {message}")


def _policy_class(policy: Any) -> type:
    """Return the class of a policy's name."""
    if isinstance(policy, type):
        return policy
    _refuse("policy", [policy], QuantumTD3.policy_aliases, {})
    return QuantumTD3.policy_aliases[policy]


def check_hyperparams(hyperparams: dict[str, Any]) -> None:
    """
    Refuse hyperparameters that neither rl_zoo3 nor ``QuantumTD3`` reads.

    :param hyperparams: an environment's hyperparameters from a YAML or Python file, with those of the command line
    :raises ValueError: if there is one; the message names it and the nearest known name
    """
    algorithm = set(parameters(QuantumTD3) or ())
    inside = parameters(QuantumTD3.policy_aliases["MlpPolicy"]) or ()
    elsewhere = {key: "it belongs into policy_kwargs" for key in inside}
    elsewhere.update({key: f"it is the option --{key.replace('_', '-')}" for key in OPTIONS})
    _refuse("hyperparameters", hyperparams, algorithm.difference(OPTIONS).union(ZOO_KEYS), elsewhere)
    named = hyperparams.get("noise_type") is not None
    if named != ("noise_type" in hyperparams) or named != ("noise_std" in hyperparams):
        raise ValueError("hyperparameters of qtd3: noise_type and noise_std must be given together; noise_std: 0 is no noise")


def check_kwargs(hyperparams: dict[str, Any]) -> None:
    """
    Refuse keyword arguments that the policy or the backend does not have.

    :param hyperparams: the hyperparameters that rl_zoo3 passes to the algorithm
    :raises ValueError: if there is one, or if there is no such policy; the message names it and the nearest known name
    """
    policy = _policy_class(hyperparams["policy"])
    beside = {key: "it belongs beside policy_kwargs" for key in parameters(QuantumTD3) or ()}
    # Made or passed by the algorithm
    reserved = {"observation_space", "action_space", "lr_schedule", "backend", "backend_kwargs", "gradient"}
    backend = hyperparams.get("backend", "statevector")
    checked: list[tuple[str, type[Any], set[str], Mapping[str, str]]] = [("policy_kwargs", policy, reserved, beside)]
    if not isinstance(backend, Backend) and backend in BACKENDS:
        checked.append(("backend_kwargs", BACKENDS[backend], {"ansatz"}, of_other_backends(BACKENDS[backend])))
    for name, cls, theirs, elsewhere in checked:
        known, given = parameters(cls), hyperparams.get(name)
        if known is not None and isinstance(given, dict):
            _refuse(name, given, set(known) - theirs, elsewhere)
