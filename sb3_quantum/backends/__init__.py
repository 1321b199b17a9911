from typing import Any

from sb3_quantum.backends.aer import AerBackend
from sb3_quantum.backends.base import Backend, BackendError, BudgetError, Measurement, Usage
from sb3_quantum.backends.checker import check_backend
from sb3_quantum.backends.circuit_checker import check_circuit
from sb3_quantum.backends.ibm import IBMBackend
from sb3_quantum.backends.jobs import JobError
from sb3_quantum.backends.sampler import SamplerBackend
from sb3_quantum.backends.statevector import StatevectorBackend
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_keywords, keywords_checked, meant, parameters, shown, unknown_names

#: backends by name
BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (StatevectorBackend, AerBackend, SamplerBackend, IBMBackend)
}

#: keyword arguments of all backends, which ``backend_kwargs`` may contain
BACKEND_ARGUMENTS = tuple(sorted({name for cls in BACKENDS.values() for name in parameters(cls) or ()} - {"ansatz"}))


@keywords_checked({name: "it belongs into kwargs" for name in BACKEND_ARGUMENTS})
def make_backend(spec: "str | Backend", ansatz: Circuit, kwargs: dict[str, Any] | None = None) -> Backend:
    """
    Make a backend from its name and keyword arguments, or check an instance.

    :param spec: a key of :data:`BACKENDS`, or an instance
    :param ansatz: the circuit it will run
    :param kwargs: keyword arguments of the backend's class
    :return: the backend
    :raises ValueError: if the name is unknown, if an instance was made for another circuit or comes with keyword arguments,
        or if it does not run this circuit
    """
    if isinstance(spec, Backend):
        if spec.ansatz != ansatz:
            raise ValueError(f"backend was made for {spec.ansatz}, but the layer's circuit is {ansatz}")
        if kwargs:
            raise instance_with_kwargs(spec, kwargs)
        return spec
    if not isinstance(spec, str) or spec not in BACKENDS:
        raise unknown_backend(spec)
    kwargs = check_keywords("backend_kwargs", kwargs)
    known = set(parameters(BACKENDS[spec]) or kwargs) - {"ansatz"}
    message = unknown_names(kwargs, known, of_other_backends(BACKENDS[spec]))
    if message:
        raise ValueError(f"backend_kwargs do not fit the backend {spec!r}: {message}")
    try:
        return BACKENDS[spec](ansatz, **kwargs)
    except TypeError as error:
        # Names only: a value may be a client that holds a token
        raise ValueError(f"backend_kwargs {sorted(kwargs)} do not fit the backend {spec!r}: {error}") from error


def of_other_backends(backend: type[Backend]) -> dict[str, str]:
    """
    List the keyword arguments that a backend lacks and others have, such as ``noise``, which only Aer has.

    :param backend: the backend's class
    :return: by name, whose argument it is, as the end of a message
    """
    own, found = parameters(backend) or (), {}
    for name in BACKEND_ARGUMENTS:
        owners = [repr(other.name) for other in BACKENDS.values() if name in (parameters(other) or ())]
        if name not in own:
            found[name] = f"it is an argument of backend={' and '.join(owners)}"
    return found


def unknown_backend(spec: Any) -> ValueError:
    """
    Make the error for an unknown backend.

    :param spec: the value received
    :return: an error that says what is accepted, and which extra of this package it needs
    """
    known = [
        f"{name!r}" + (f' (pip install "sb3-quantum[{backend.extra}]")' if backend.extra else "")
        for name, backend in BACKENDS.items()
    ]
    own = isinstance(spec, type) and issubclass(spec, Backend)
    hint = f"; this is a class, pass an instance: {spec.__name__}(circuit)" if own else ""
    said = f"backend={shown(spec)} is unknown, accepted are {', '.join(known)} or a Backend instance"
    return ValueError(f"{said}{hint}{meant([spec], BACKENDS)}")


def instance_with_kwargs(backend: Backend, kwargs: dict[str, Any]) -> ValueError:
    """
    Make the error for keyword arguments beside an instance, which has its own.

    :param backend: the instance
    :param kwargs: ``backend_kwargs``; the message contains only the names, because a value may hold a token
    :return: an error that says where they belong
    """
    named = f"backend_kwargs {sorted(kwargs)} need the name of a backend, but backend is an instance"
    return ValueError(f"{named}; pass them to {type(backend).__name__}(...)")


__all__ = [
    "BACKENDS",
    "BACKEND_ARGUMENTS",
    "AerBackend",
    "Backend",
    "BackendError",
    "BudgetError",
    "IBMBackend",
    "JobError",
    "Measurement",
    "SamplerBackend",
    "StatevectorBackend",
    "Usage",
    "check_backend",
    "check_circuit",
    "make_backend",
]
