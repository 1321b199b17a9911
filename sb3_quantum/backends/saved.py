"""Decide which parts of a file's backend are used: no machine, account or address that the user did not ask for."""

import warnings
from typing import Any

from sb3_quantum.backends.noise import ERRORS
from sb3_quantum.backends.statevector import StatevectorBackend

#: keyword arguments that are numbers and names; they cannot reach beyond this process
HARMLESS = {
    "statevector": {"shots", "engine"},
    "aer": {"shots", "noise", "method", "precision", "max_job_size", "cache_size"},
    "sampler": {
        "shots", "sampler", "optimization_level", "seed_transpiler", "cache_size", "max_retries", "retry_delay"
    },
}  # fmt: skip
_LIMITS = {"max_circuits", "max_shots", "max_chip_seconds"}


def saved_backend(name: str, kwargs: dict[str, Any] | None, own: bool) -> tuple[str, dict[str, Any], list[str]]:
    """
    Return the parts of a file's backend that may be used.

    Numbers and names of local simulators are used. The address of a Dask scheduler and IBM's service are not; the circuits
    then run in this process. If the file may be a stranger's, chips (fake ones too) and whole noise models are not used
    either; a model that needs them runs on the exact simulator.

    :param name: name of the backend
    :param kwargs: its keyword arguments
    :param own: whether the file is the user's own, a zip on this machine
    :return: name and keyword arguments to use, and the parts left out
    """
    kwargs = dict(kwargs or {})
    if own and (name not in ("aer", "ibm") or (name == "ibm" and str(kwargs.get("chip")).startswith("Fake"))):
        return name, kwargs, []
    noise, sampler = kwargs.get("noise"), kwargs.get("sampler", "statevector")
    elsewhere = [f"backend={name!r}"] if name not in HARMLESS else []
    if not own and isinstance(noise, dict) and not noise.keys() <= set(ERRORS):
        elsewhere.append(f"noise of {', '.join(map(repr, list(noise)[:3]))}")
    if not own and name == "sampler" and sampler not in ("statevector", "aer"):
        elsewhere.append(f"sampler={str(sampler)[:40]!r}")
    if elsewhere:
        return StatevectorBackend.name, {}, elsewhere
    left_out = {"executor"} if own else kwargs.keys() - HARMLESS[name] - _LIMITS
    dropped = [f"{key}={str(kwargs.pop(key))[:80]!r}" for key in sorted(left_out & kwargs.keys())]
    return name, kwargs, dropped


def asked_backend(path: Any, saved: dict[str, Any], kwargs: dict[str, Any], own: bool = True) -> dict[str, Any]:
    """
    Complete the keyword arguments of ``load`` by the backend to use.

    :param path: path of the file, for the warning
    :param saved: the file's settings: ``backend`` and ``backend_kwargs`` among them
    :param kwargs: the keyword arguments. ``backend`` alone has that backend's own defaults
    :param own: see :func:`saved_backend`
    :return: the keyword arguments, with a backend unless the file's is used unchanged
    """
    if "backend" in kwargs:
        return {"backend_kwargs": None, **kwargs}
    backend, backend_kwargs = saved.get("backend"), saved.get("backend_kwargs")
    if "backend_kwargs" in kwargs:
        return kwargs
    used: tuple[str, dict[str, Any]] = (StatevectorBackend.name, {})
    if isinstance(backend, dict):
        # A pickled object: SB3 writes its description beside it
        name = next((name for name in ("aer", "ibm") if f"backends.{name}." in str(backend.get(":type:"))), "")
        far = str(backend.get("_executor", None)) != "None" if name == "aer" else name == "ibm" and not backend.get("local")
        left_out = [f"a {backend.get(':type:')}"] if far else []
    elif isinstance(backend, str) and isinstance(backend_kwargs, dict | None):
        used_name, used_kwargs, left_out = saved_backend(backend, backend_kwargs, own)
        used = (used_name, used_kwargs)
    else:
        return kwargs
    if not left_out:
        return kwargs
    warnings.warn(
        f"{path} names {', '.join(left_out)}, which a file must not choose: circuits run on this machine, on the backend "
        f"{used[0]!r}; pass backend= and backend_kwargs= to run them elsewhere",
        stacklevel=4,
    )
    return {**kwargs, "backend": used[0], "backend_kwargs": used[1]}


def zip_arguments(path: Any, saved: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Complete the keyword arguments of ``load`` for SB3's zip, see :func:`asked_backend`. A pickled backend that will not be
    used is not unpickled.

    :param path: path of the file
    :param saved: the file's settings, as JSON
    :param args: the further arguments of ``TD3.load``: env, device, custom_objects
    :param kwargs: its keyword arguments
    :return: the keyword arguments to load with
    """
    kwargs = asked_backend(path, saved, kwargs)
    if "backend" not in kwargs or len(args) >= 3:
        return kwargs
    named = {name: kwargs[name] for name in ("backend", "backend_kwargs")}
    return {**kwargs, "custom_objects": {**named, **(kwargs.get("custom_objects") or {})}}
