"""Commands of the zoo as processes of their own: fresh ones, and copies of this one, which has imported everything already."""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from multiprocessing.context import ForkProcess
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


def quick_zoo(folder: Path, *words: str, expect: int = 0, **environment: str) -> str:
    """
    As :func:`zoo`, without the seconds of imports that a fresh interpreter takes: in a forked copy of this one. For tests of
    what a command does; that a fresh one finds qtd3 is what others are there for.
    """
    with tempfile.TemporaryFile() as file:
        process = begin_zoo(folder, *words, output=file.fileno(), **environment)
        process.join()
        file.seek(0)
        printed = file.read().decode()
    assert process.exitcode == expect, printed
    return printed


def begin_zoo(folder: Path, *words: str, output: int | None = None, **environment: str) -> ForkProcess:
    """A process that :func:`quick_zoo` would wait for; what it prints goes to a file's descriptor, or nowhere."""
    importlib.import_module(words[0])
    sys.stdout.flush()
    sys.stderr.flush()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(folder, words, output, environment))
    process.start()
    return process


def _run(folder: Path, words: tuple[str, ...], output: int | None, environment: dict[str, str]) -> None:
    """In the child, which it ends: the module as a script."""
    output = os.open(os.devnull, os.O_WRONLY) if output is None else output
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    os.chdir(folder)
    os.environ.update(environment)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    sys.argv, sys.orig_argv = [words[0], *words[1:]], [sys.executable, "-m", *words]
    code = 0
    try:
        warnings.simplefilter("ignore", RuntimeWarning)  # of runpy: the module has been imported
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
