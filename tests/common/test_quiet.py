"""Drivers are kept quiet as long as they work."""

import os
import sys

import pytest

from sb3_quantum.common.quiet import quiet


def noise() -> None:
    print("encoder")
    print("renderer", file=sys.stderr)
    # As a library in C does
    os.write(1, b"driver\n")
    os.write(2, b"other driver\n")


def test_nothing_is_shown_of_what_works(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        noise()
    print("after")
    os.write(2, b"still there\n")
    assert capfd.readouterr() == ("after\n", "still there\n")


def test_everything_is_shown_of_what_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), quiet():
        noise()
        raise ValueError("broken")
    out, err = capfd.readouterr()
    assert out == "" and sorted(err.splitlines()) == ["driver", "encoder", "other driver", "renderer"]
    assert sys.stdout is not None and os.write(1, b"") == 0
