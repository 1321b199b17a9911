"""Families of circuits by name."""

import inspect
from typing import Any

from sb3_quantum.circuits.base import Circuit
from sb3_quantum.circuits.brickwork import BrickworkCircuit
from sb3_quantum.circuits.checks import check_keywords, keywords_checked, meant, parameters, shown, unknown_names
from sb3_quantum.circuits.paper import PaperCircuit
from sb3_quantum.circuits.qiskit_circuit import QiskitCircuit

#: families by name; add your own to name it in files
CIRCUITS: dict[str, type[Circuit]] = {family.family: family for family in (PaperCircuit, BrickworkCircuit, QiskitCircuit)}


@keywords_checked({"n_cz": "it belongs into circuit_kwargs"})
def make_circuit(
    circuit: str | Circuit = "paper",
    n_qubits: int | None = None,
    n_layers: int | None = None,
    circuit_kwargs: dict[str, Any] | None = None,
) -> Circuit:
    """
    Make a circuit from its family's name and arguments, or check an instance.

    :param circuit: a key of :data:`CIRCUITS`, or an instance
    :param n_qubits: shorthand for the key of ``circuit_kwargs``; the family's default if ``None``
    :param n_layers: likewise
    :param circuit_kwargs: keyword arguments of the family
    :return: the circuit
    :raises ValueError: if the name or a keyword argument is unknown, or arguments contradict each other or an instance
    """
    short = {name: value for name, value in (("n_qubits", n_qubits), ("n_layers", n_layers)) if value is not None}
    for name, value in short.items():
        if isinstance(value, Circuit):
            raise ValueError(f"{name} must be an integer, got a circuit: pass it as circuit={value}")
    if isinstance(circuit, Circuit):
        if circuit_kwargs:
            raise ValueError(
                f"circuit_kwargs={circuit_kwargs!r} need the name of a circuit, but circuit is the instance {circuit}"
            )
        for name, value in short.items():
            if getattr(circuit, name) != value:
                raise ValueError(f"{name}={value!r} contradicts circuit={circuit}, which has {getattr(circuit, name)}")
        return circuit
    if not isinstance(circuit, str) or circuit not in CIRCUITS:
        raise unknown_circuit(circuit)
    kwargs = check_keywords("circuit_kwargs", circuit_kwargs)
    accepted = parameters(CIRCUITS[circuit]) or []
    for name, value in short.items():
        if name not in accepted:
            raise ValueError(f"{name}={value!r} is not an argument of circuit={circuit!r}, accepted are {accepted}")
        if kwargs.get(name, value) != value:
            raise ValueError(f"{name}={value!r} contradicts circuit_kwargs={kwargs!r}")
    wrong = unknown_names(kwargs, accepted, {})
    if wrong:
        raise ValueError(f"circuit_kwargs do not fit circuit={circuit!r}: {wrong}")
    missing = sorted(required(CIRCUITS[circuit]) - kwargs.keys() - short.keys())
    if missing:
        needed = ", ".join(map(repr, missing))
        raise ValueError(f"circuit={circuit!r} needs circuit_kwargs with {needed}, accepted are {', '.join(accepted)}")
    try:
        return CIRCUITS[circuit](**{**short, **kwargs})
    except TypeError as error:
        raise ValueError(f"circuit_kwargs={kwargs!r} do not fit circuit={circuit!r}: {error}") from error


def required(family: type[Circuit]) -> set[str]:
    """
    List the arguments that a family has no default for.

    :param family: the class
    :return: their names
    """
    named = inspect.signature(family).parameters.values()
    return {p.name for p in named if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def unknown_circuit(circuit: Any) -> ValueError:
    """
    Make the error for an unknown circuit.

    :param circuit: the value received
    :return: an error that says what is accepted, and how to use a Qiskit circuit
    """
    known = ", ".join(map(repr, CIRCUITS))
    hint = ""
    if isinstance(circuit, str) and "OPENQASM" in circuit:
        hint = "; for OpenQASM 3 text pass QiskitCircuit(text, inputs=..., weights=...)"
    elif type(circuit).__name__ == "QuantumCircuit":
        hint = "; for a circuit of Qiskit's pass QiskitCircuit(circuit, inputs=..., weights=...)"
    elif isinstance(circuit, type) and issubclass(circuit, Circuit):
        hint = f"; this is a class, pass an instance: {circuit.__name__}(...)"
    said = f"circuit={shown(circuit)} is unknown, accepted are {known} or a Circuit instance"
    return ValueError(f"{said}{hint}{meant([circuit], CIRCUITS)}")
