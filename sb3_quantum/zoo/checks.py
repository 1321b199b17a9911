"""Whether somebody reads the hyperparameters that rl_zoo3 was given for qtd3: else it is an error, before anything is made."""

import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sb3_quantum.backends import BACKENDS, Backend
from sb3_quantum.qtd3 import QuantumTD3

#: what rl_zoo3 reads itself
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
#: arguments of the algorithm that rl_zoo3 has options for, and hands over itself
OPTIONS = ("device", "env", "seed", "tensorboard_log", "verbose")


def parameters(cls: type) -> list[str] | None:
    """
    Names that a class can be called with; its bases' count where a constructor hands keyword arguments on to them.

    :param cls: a class
    :return: the names, or ``None`` if it takes any
    """
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *rest = inspect.signature(vars(base)["__init__"]).parameters.values()
        names += [p.name for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and not p.name.startswith("_")]
        if not any(p.kind is p.VAR_KEYWORD for p in rest):
            return names
    return None


def _refuse(what: str, given: Iterable[Any], known: Collection[str], elsewhere: Mapping[str, str]) -> None:
    """Raise for keys that nobody reads, with what was probably meant."""
    messages = []
    for key in sorted({str(key) for key in given} - set(known)):
        close = difflib.get_close_matches(key, known, n=1)
        if key in elsewhere:
            hint = elsewhere[key]
        elif close:
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"accepted are {', '.join(sorted(known))}"
        messages.append(f"{key!r} is unknown, {hint}")
    if messages:
        raise ValueError(f"{what} of qtd3: {'; '.join(messages)}")


def _policy_class(policy: Any) -> type:
    """The class that a policy's name stands for."""
    if isinstance(policy, type):
        return policy
    _refuse("policy", [policy], QuantumTD3.policy_aliases, {})
    return QuantumTD3.policy_aliases[policy]


def check_hyperparams(hyperparams: dict[str, Any]) -> None:
    """
    Refuse hyperparameters that neither rl_zoo3 nor ``QuantumTD3`` has.

    :param hyperparams: an environment's, of a YAML or Python file, with those of the command line
    :raises ValueError: if there is one; the message names it, and what it is close to
    """
    algorithm = set(parameters(QuantumTD3) or ())
    inside = parameters(QuantumTD3.policy_aliases["MlpPolicy"]) or ()
    elsewhere = {key: "it belongs into policy_kwargs" for key in inside}
    elsewhere.update({key: f"it is the option --{key.replace('_', '-')}" for key in OPTIONS})
    _refuse("hyperparameters", hyperparams, algorithm.difference(OPTIONS).union(ZOO_KEYS), elsewhere)
    named = hyperparams.get("noise_type") is not None
    if named != ("noise_type" in hyperparams) or named != ("noise_std" in hyperparams):
        raise ValueError("hyperparameters of qtd3: noise_type and noise_std are given together, noise_std is 0 for no noise")


def check_kwargs(hyperparams: dict[str, Any]) -> None:
    """
    Refuse keyword arguments that the policy or the backend does not have.

    :param hyperparams: as rl_zoo3 hands them to the algorithm
    :raises ValueError: if there is one, or if there is no such policy; the message names it, and what it is close to
    """
    policy = _policy_class(hyperparams["policy"])
    beside = {key: "it belongs beside policy_kwargs" for key in parameters(QuantumTD3) or ()}
    # Made or handed over by the algorithm
    reserved = {"observation_space", "action_space", "lr_schedule", "backend", "backend_kwargs", "gradient"}
    backend = hyperparams.get("backend", "statevector")
    checked: list[tuple[str, type[Any], set[str], Mapping[str, str]]] = [("policy_kwargs", policy, reserved, beside)]
    if not isinstance(backend, Backend) and backend in BACKENDS:
        checked.append(("backend_kwargs", BACKENDS[backend], {"ansatz"}, {}))
    for name, cls, theirs, elsewhere in checked:
        known, given = parameters(cls), hyperparams.get(name)
        if known is not None and isinstance(given, dict):
            _refuse(name, given, set(known) - theirs, elsewhere)
