"""
Checks of arguments, one for each kind. They return plain Python values; errors name the argument, the value and what is
accepted.
"""

import difflib
import functools
import inspect
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

Init = TypeVar("Init", bound=Callable[..., None])
Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class")

#: characters of a wrong value that a message shows
SHOWN = 80
#: abbreviations within names, as optimizers and other libraries use them
ABBREVIATIONS = {"lr": "learning_rate", "bs": "batch_size"}


def shown(value: Any) -> str:
    """
    Format a value for a message: on one line, and shortened.

    :param value: anything
    :return: its representation
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"an instance of {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _plain(value: Any) -> Any:
    """Convert a number of numpy or torch to Python's; return anything else unchanged."""
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def plain_data(value: Any) -> Any:
    """
    Convert numpy's numbers to Python's and arrays to lists, also inside dictionaries, lists and tuples, for files and
    comparisons.

    :param value: anything
    :return: the converted value; anything else unchanged
    """
    if type(value) is dict:
        return {key: plain_data(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain_data(part) for part in value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def yaml_hint(value: Any) -> str:
    """
    Explain a number that YAML reads as a string, such as ``1e-3`` without a dot.

    :param value: the value received
    :return: a clause for a message; empty if it is no such string
    """
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return ", which is a string (YAML reads 1e-3 as one, and 1.0e-3 as a number)"


def check_int(name: str, value: Any, least: int | None = 1, most: int | None = None) -> int:
    """
    Check an integer, Python's or numpy's. Neither booleans nor whole floats count as integers.

    :param name: the argument's name, for the message
    :param value: the value received
    :param least: the smallest that is accepted; any if ``None``
    :param most: the largest that is accepted; any if ``None``
    :return: the same as an ``int``
    :raises ValueError: if it is something else
    """
    plain = _plain(value)
    try:
        number = None if isinstance(plain, bool) else operator.index(plain)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        bounds = "" if least is None else f" >= {least}"
        bounds += "" if most is None else f"{' and' if bounds else ''} <= {most}"
        raise ValueError(f"{name} must be an integer{bounds}, got {shown(value)}{yaml_hint(value)}")
    return number


def check_number(
    name: str,
    value: Any,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    unit: str = "",
) -> float:
    """
    Check a finite real number, Python's or numpy's. Booleans do not count as numbers.

    :param name: the argument's name, for the message
    :param value: the value received
    :param least: the smallest that is accepted
    :param above: an exclusive lower bound
    :param most: the largest that is accepted
    :param unit: its unit, for the message
    :return: the same as a ``float``, or as an ``int`` if it is one
    :raises ValueError: if it is something else
    """
    plain = _plain(value)
    good = isinstance(plain, int | float) and not isinstance(plain, bool) and _is_finite(plain)
    if good and least is not None:
        good = plain >= least
    if good and above is not None:
        good = plain > above
    if good and most is not None:
        good = plain <= most
    if not good:
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", least), (">", above), ("<=", most)) if bound is not None]
        kind = f"a number {' and '.join(bounds)}" if bounds else "a finite number"
        raise ValueError(f"{name} must be {kind}{f' ({unit})' if unit else ''}, got {shown(value)}{yaml_hint(value)}")
    return plain


def _is_finite(number: float) -> bool:
    """Tell whether a number is finite as a float; integers may be too large."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def check_flag(name: str, value: Any) -> bool:
    """
    Check a boolean, Python's or numpy's.

    :param name: the argument's name, for the message
    :param value: the value received
    :return: the same as a ``bool``
    :raises ValueError: if it is something else
    """
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise ValueError(f"{name} must be True or False, got {shown(value)}")
    return plain


def check_choice(name: str, value: Any, accepted: Iterable[str]) -> str:
    """
    Check that a value is one of a few names.

    :param name: the argument's name, for the message
    :param value: the value received
    :param accepted: the names
    :return: the same as a ``str``
    :raises ValueError: if it is something else
    """
    known = list(accepted)
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"{name}={shown(value)} is unknown, accepted are {', '.join(map(repr, known))}{meant([value], known)}"
        )
    return str(value)


def check_widths(name: str, value: Any) -> list[int]:
    """
    Check the widths of hidden layers; an empty list means no hidden layers.

    :param name: the argument's name, for the message
    :param value: the value received
    :return: the same as a list of ``int``
    :raises ValueError: if it is not a list of integers >= 1
    """
    # Arrays have a length and an order too, but are not a Sequence
    listed = value.tolist() if type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1 else value
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        raise ValueError(f"{name} must be a list of integers >= 1, got {shown(value)}")
    return [check_int(f"{name}[{i}]", width) for i, width in enumerate(listed)]


def check_instance(name: str, value: Any, kind: type) -> Any:
    """
    Check that a value is an instance of a class.

    :param name: the argument's name, for the message
    :param value: the value received
    :param kind: the class
    :return: the value
    :raises ValueError: if it is something else
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be an instance of {kind.__qualname__}, got {shown(value)}")
    return value


def check_factory(name: str, value: Any, parent: type) -> Any:
    """
    Check a class, or a function that makes instances, such as a ``functools.partial``.

    :param name: the argument's name, for the message
    :param value: the value received
    :param parent: required base of a class
    :return: the value
    :raises ValueError: if it is something else
    """
    if not (issubclass(value, parent) if isinstance(value, type) else callable(value)):
        raise ValueError(f"{name} must be a subclass of {parent.__module__}.{parent.__qualname__}, got {shown(value)}")
    return value


def check_keywords(name: str, value: Any) -> dict[str, Any]:
    """
    Check a dictionary of keyword arguments; ``None`` is an empty one.

    :param name: the argument's name, for the message
    :param value: the value received
    :return: the same as a ``dict``
    :raises ValueError: if it is not a mapping with names as keys
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} must be a dictionary of keyword arguments, got {shown(value)}")
    return dict(value)


def parameters(cls: type) -> list[str] | None:
    """
    List the keyword arguments of a class, with those of its bases if its constructor passes keyword arguments on.

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


def unknown_names(given: Iterable[Any], known: Collection[str], elsewhere: Mapping[str, str]) -> str:
    """
    Write a message about unknown names.

    :param given: names that were given
    :param known: names that are accepted
    :param elsewhere: where other names belong, by name
    :return: a sentence with the nearest known names; empty if all names are known
    """
    messages = []
    for key in sorted({str(key) for key in given} - set(known)):
        written_out = "_".join(ABBREVIATIONS.get(word, word) for word in key.split("_"))
        # Compare with all names: one that belongs elsewhere may be nearer than any that belongs here
        names = {*known, *elsewhere}
        of_qf = written_out.replace("critic_", "qf_")
        close = [of_qf] if of_qf in names else difflib.get_close_matches(written_out, names, n=1)
        if key in elsewhere:
            hint = elsewhere[key]
        elif close and close[0] in known:
            hint = f"did you mean {close[0]!r}?"
        elif close:
            hint = f"did you mean {close[0]!r}? {elsewhere[close[0]]}"
        else:
            hint = f"accepted are {', '.join(sorted(set(known))) or 'none'}"
        messages.append(f"{key!r} is unknown, {hint}")
    return "; ".join(messages)


def meant(given: Iterable[Any], known: Collection[str]) -> str:
    """
    Suggest the nearest known name, as the end of a sentence.

    :param given: unknown names, or anything else
    :param known: names that are accepted
    :return: the suggestion; empty if no name is near
    """
    near = [match for name in given if isinstance(name, str) for match in difflib.get_close_matches(name, known, n=1)]
    return f"; did you mean {' and '.join(map(repr, near))}?" if near else ""


def names_checked(elsewhere: Mapping[str, str]) -> Callable[[Init], Init]:
    """
    Decorate a constructor so that an unknown keyword argument raises an error with the nearest known name.

    :param elsewhere: for arguments that it does not have, by name, where they belong
    :return: a decorator of ``__init__``; an unknown name raises a TypeError
    """

    def decorate(init: Init) -> Init:
        _, *own = inspect.signature(init).parameters.values()
        hands_on = any(p.kind is p.VAR_KEYWORD for p in own)
        known = [p.name for p in own if p.kind is not p.VAR_KEYWORD]

        @functools.wraps(init)
        def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
            # A subclass passes on what it does not know: the message lists what the subclass accepts, too
            names = parameters(type(self))
            if names is None:
                names = [*kwargs] if hands_on else []
            accepted = {n for n in (*known, *names) if not n.startswith("_") or n in kwargs}
            message = unknown_names(kwargs, accepted, elsewhere)
            if message:
                raise TypeError(f"{type(self).__name__}: {message}")
            init(self, *args, **kwargs)

        return checked_init  # type: ignore[return-value]

    return decorate


def fields_checked(cls: type[Class]) -> type[Class]:
    """
    Do for a dataclass what :func:`names_checked` does for a constructor that is written out.

    :param cls: the dataclass
    :return: the same class
    """
    setattr(cls, "__init__", names_checked({})(cls.__init__))  # noqa: B010
    return cls


def keywords_checked(elsewhere: Mapping[str, str]) -> Callable[[Function], Function]:
    """
    Decorate a function or a method so that an unknown keyword argument raises an error with the nearest known name.

    :param elsewhere: for arguments that it does not have, by name, where they belong
    :return: a decorator; an unknown name raises a TypeError
    """

    def decorate(function: Function) -> Function:
        known = [name for name in inspect.signature(function).parameters if name != "self"]

        @functools.wraps(function)
        def checked_function(*args: Any, **kwargs: Any) -> Any:
            message = unknown_names(kwargs, known, elsewhere)
            if message:
                raise TypeError(f"{function.__qualname__}: {message}")
            return function(*args, **kwargs)

        return checked_function  # type: ignore[return-value]

    return decorate
