"""Numbers of numpy and torch are accepted like Python's. An error names the value and what is accepted."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.circuits.checks import (
    check_choice,
    check_flag,
    check_int,
    check_number,
    check_widths,
    parameters,
    shown,
    unknown_names,
)


@pytest.mark.parametrize("three", [3, np.int64(3), np.uint8(3), np.array(3), th.tensor(3)])
def test_integers(three: Any) -> None:
    found = check_int("n", three)
    assert (found, type(found)) == (3, int)
    assert check_int("n", three, least=None, most=3) == 3
    assert check_number("x", three) == 3


@pytest.mark.parametrize("wrong", [0, -1, 3.0, np.float32(3), True, np.True_, "3", None, [3], np.array([3]), np.nan, 10**30])
def test_what_is_no_integer(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^n must be an integer >= 1 and <= 9, got "):
        check_int("n", wrong, most=9)


@pytest.mark.parametrize("half", [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5), np.array(0.5), th.tensor(0.5)])
def test_numbers(half: Any) -> None:
    found = check_number("x", half, least=0, above=0, most=1)
    assert (found, type(found)) == (0.5, float)


@pytest.mark.parametrize(
    "wrong", [0, -0.1, 1.5, np.nan, np.inf, True, np.True_, "0.5", None, [0.5], 1j, 10**400, np.array([0.5])]
)
def test_what_is_no_number(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^x must be a number > 0 and <= 1 \(radians\), got "):
        check_number("x", wrong, above=0, most=1, unit="radians")


def test_a_number_that_yaml_reads_as_text() -> None:
    for check in (check_int, check_number):
        with pytest.raises(ValueError, match=r"got '1e-3', which is a string \(YAML reads 1e-3 as one"):
            check("x", "1e-3")
    with pytest.raises(ValueError, match=r"^x must be a finite number, got 'many'$"):
        check_number("x", "many")


@pytest.mark.parametrize("wrong", [0, 1, "True", None, np.array([True])])
def test_flags(wrong: Any) -> None:
    assert check_flag("flag", np.True_) is True and check_flag("flag", False) is False
    with pytest.raises(ValueError, match=r"^flag must be True or False, got "):
        check_flag("flag", wrong)


@pytest.mark.parametrize("wrong", ["c", None, 3, ["a"], {}, np.array(["a"])])
def test_choices(wrong: Any) -> None:
    assert type(check_choice("kind", np.str_("a"), ("a", "b"))) is str
    with pytest.raises(ValueError, match=r"^kind=.* is unknown, accepted are 'a', 'b'$"):
        check_choice("kind", wrong, ("a", "b"))


@pytest.mark.parametrize("widths", [[64, 32], (64, 32), np.array([64, 32]), [np.int32(64), np.array(32)]])
def test_widths(widths: Any) -> None:
    assert check_widths("arch", widths) == [64, 32] and {type(width) for width in check_widths("arch", widths)} == {int}
    assert check_widths("arch", widths[:0]) == []


@pytest.mark.parametrize("wrong", [64, "64", None, {"pi": [64]}, {64}, [0], [64.0], ["64"], [True], [[64]]])
def test_what_are_no_widths(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^arch(\[0\])? must be (a list of integers|an integer) >= 1, got "):
        check_widths("arch", wrong)


def test_names() -> None:
    say: Callable[..., str] = unknown_names
    elsewhere = {"n_qubits": "it belongs into policy_kwargs"}
    assert say(["tau"], ["tau"], {}) == ""
    assert say(["taau"], ["tau"], {}) == "'taau' is unknown, did you mean 'tau'?"
    assert say(["n_qubits"], ["tau"], elsewhere) == "'n_qubits' is unknown, it belongs into policy_kwargs"
    assert (
        say(["nqubits"], ["tau"], elsewhere) == "'nqubits' is unknown, did you mean 'n_qubits'? it belongs into policy_kwargs"
    )
    assert say([5], ["tau", "gamma"], {}) == "'5' is unknown, accepted are gamma, tau"
    assert parameters(PaperCircuit) == ["n_qubits", "n_layers", "n_cz"]


def test_messages_stay_on_one_line() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown(Odd()) == "an instance of Odd"
    assert "\n" not in shown(np.zeros((9, 9))) and len(shown(list(range(1000)))) == 80


def test_a_circuit_and_a_backend_of_numpy_numbers_are_plain() -> None:
    ansatz = PaperCircuit(np.int64(3), np.int32(2))  # type: ignore[arg-type]
    assert ansatz == PaperCircuit(3, 2) and type(ansatz.n_qubits) is int and "int64" not in repr(ansatz)
    backend = StatevectorBackend(ansatz, max_circuits=np.int64(7), max_chip_seconds=np.float32(0.5))  # type: ignore[arg-type]
    assert json.loads(json.dumps(backend.kwargs)) == backend.kwargs and backend.limits["circuits"] == 7
