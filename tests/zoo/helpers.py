"""Commands of the zoo as subprocesses."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = "policy_kwargs:dict(n_qubits=3,n_layers=2,qtdnn_arch=[16],net_arch=[16,16])"


def command(folder: Path, *words: str, expect: int = 0, **environment: str) -> str:
    """Run a command in a folder, in an activated environment, and return what it printed."""
    # The zoo calls "python" itself
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.environ["PATH"])])
    done = subprocess.run(
        words,
        cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def zoo(folder: Path, *words: str, expect: int = 0, **environment: str) -> str:
    """Run ``python -m ...`` in a folder and return what it printed."""
    return command(folder, sys.executable, "-m", *words, expect=expect, **environment)
