"""Check what a subclass of ``Backend`` declares and returns, so that an error names the mistake in it."""

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import shown

if TYPE_CHECKING:
    from sb3_quantum.backends.base import Backend


def check_declaration(cls: "type[Backend]") -> None:
    """
    Check the class attributes of a backend.

    :param cls: the backend's class
    :raises TypeError: if one is missing or has the wrong type; the message says what is accepted
    """
    families = cls.circuits if isinstance(cls.circuits, tuple) else (cls.circuits,)
    for attribute, good, accepted in (
        ("name", isinstance(getattr(cls, "name", None), str), "a string"),
        ("exact", _is_flag(cls, "exact"), "True if expected bits are exact, or False if they are averages over shots"),
        ("differentiable", _is_flag(cls, "differentiable"), "True if autograd passes through expected_bits, or False"),
        (
            "circuits",
            all(inspect.isclass(family) and issubclass(family, Circuit) for family in families),
            "a tuple of subclasses of Circuit, the families that it runs gate by gate",
        ),
    ):
        if not good:
            found = f"got {shown(getattr(cls, attribute))}" if hasattr(cls, attribute) else "it is missing"
            raise TypeError(f"{cls.__name__}.{attribute} must be {accepted}; {found}")


def _is_flag(cls: "type[Backend]", attribute: str) -> bool:
    """Tell whether a class attribute is a boolean, or a property that computes one for every instance."""
    return isinstance(inspect.getattr_static(cls, attribute, None), bool | property)


def check_measured(backend: "Backend", measured: Any, rows: int, shots: int) -> None:
    """
    Check the shapes of what ``_run`` returned.

    :param backend: the backend
    :param measured: the returned value
    :param rows: number of circuits
    :param shots: shots per circuit; bits are not looked at if 0
    :raises TypeError: if it is not a pair of arrays of these shapes; the message says what was returned
    """
    qubits = backend.ansatz.n_qubits
    wanted = ((rows, shots, qubits), (rows, qubits))
    pair = isinstance(measured, tuple | list) and len(measured) == 2
    found = [tuple(part.shape) if isinstance(part, np.ndarray | th.Tensor) else None for part in measured] if pair else []
    if pair and found[1] == wanted[1] and (shots == 0 or found[0] == wanted[0]):
        return
    returned = f"an instance of {type(measured).__name__}"
    if pair:
        returned = " and ".join(str(shape or type(part).__name__) for shape, part in zip(found, measured, strict=True))
    raise TypeError(
        f"{type(backend).__name__}._run must return bits {wanted[0]} and expected bits {wanted[1]}, as arrays or tensors; "
        f"it returned {returned}"
    )
