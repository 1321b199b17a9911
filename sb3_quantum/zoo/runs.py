"""Runs of the zoo in a folder: listing, comparing and locking them."""

import ast
import glob
import os
import re
import reprlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from sb3_quantum.common.durable import replacing

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

#: options of the zoo that change what is learned. Options that become hyperparameters (``-conf``, ``-params``, ``--trial-id``)
#: are in config.yml; ``--vec-env``, threads, device, logging, evaluation and saving are left out
OPTIONS = ("algo", "env", "gym_packages", "seed", "trained_agent")
#: hyperparameters for length, place and cost of the training, which do not change what is learned
NOT_IDENTITY = (
    "n_timesteps",
    "backend_kwargs.cache_size",
    "backend_kwargs.channel",
    "backend_kwargs.executor",
    "backend_kwargs.instance",
    "backend_kwargs.job_overhead",
    "backend_kwargs.max_chip_seconds",
    "backend_kwargs.max_circuits",
    "backend_kwargs.max_job_size",
    "backend_kwargs.max_retries",
    "backend_kwargs.max_shots",
    "backend_kwargs.mode",
    "backend_kwargs.retry_delay",
    "replay_buffer_kwargs.storage",
)
LOCK = ".lock"


class RunLockedError(RuntimeError):
    """Another process is training the run."""


class _PlainLoader(yaml.SafeLoader):
    """Loader that reads Python objects as plain data. Nothing is imported or called, because a run may come from the Hub."""


def _plain_object(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        value: Any = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    if suffix == "tuple":
        return value
    if suffix == "object/apply:collections.OrderedDict":
        return dict(*value)
    return {suffix: value}


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain_object)


def read_settings(path: Path) -> dict[str, Any]:
    """
    Read ``config.yml`` or ``args.yml`` of a run.

    :param path: the file
    :return: its contents, with Python objects as plain data
    :raises OSError: if there is no such file
    :raises ValueError: if it is not such a file; the message names the file
    """
    try:
        settings = yaml.load(path.read_text(), _PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(settings, dict) or not settings:
        raise ValueError(f"{path} is damaged: it holds no settings")
    return settings


def write_settings(folder: Path, settings: Mapping[str, Any], args: Mapping[str, Any], command: str) -> None:
    """
    Write ``config.yml``, ``args.yml`` and ``command.txt`` as rl_zoo3 does, but durably.

    :param folder: the folder
    :param settings: hyperparameters that the zoo read
    :param args: options of the command line
    :param command: the command line
    """
    texts = {"config.yml": yaml.dump(settings), "args.yml": yaml.dump(args), "command.txt": command}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(text)


def _evaluated(node: ast.expr) -> Any:
    """Evaluate an expression like ``dict(a=1, b=[2, 3])``; anything but ``dict`` and literals stays text."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return {str(keyword.arg): _evaluated(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {key.value: _evaluated(value) for key, value in zip(node.keys, node.values, strict=True)}  # type: ignore[union-attr]
    if isinstance(node, ast.List | ast.Tuple):
        return [_evaluated(element) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _value(value: Any) -> Any:
    """Evaluate a hyperparameter: YAML files write dictionaries as strings, which the zoo evaluates."""
    if isinstance(value, str) and re.match(r"\s*(dict\s*\(|\{)", value):
        try:
            return _evaluated(ast.parse(value.strip(), mode="eval").body)
        except SyntaxError:
            return value
    return value


def identity(settings: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what identifies a run: algorithm, environment, seed and every setting that changes what is learned.

    :param settings: hyperparameters, as in ``config.yml``
    :param args: options of the command line, as in ``args.yml``. Without ``seed``, any seed will do
    :return: values by name; those inside of dictionaries as ``policy_kwargs.n_qubits``
    """
    # To YAML and back, so that files and objects in memory are comparable
    settings, args = (yaml.load(yaml.dump(dict(mapping)), _PlainLoader) for mapping in (settings, args))
    values: dict[str, Any] = {name: args[name] for name in OPTIONS if args.get(name) not in (None, "", [])}
    if values.get("gym_packages"):
        values["gym_packages"] = sorted(values["gym_packages"])
    # Those of the command line are in config.yml only if the file had some
    everything = {"env_kwargs": args.get("env_kwargs"), **settings}
    for name, raw in everything.items():
        value = _value(raw)
        if isinstance(value, dict):
            values.update({f"{name}.{key}": inner for key, inner in value.items()})
        # None is the default of these arguments
        elif value is not None or not name.endswith("_kwargs"):
            values[name] = value
    # rl_zoo3 adds the algorithm's discount factor to its own dictionary
    if "gamma" in values and values.get("normalize.gamma") == values["gamma"]:
        del values["normalize.gamma"]
    return {name: value for name, value in values.items() if name not in NOT_IDENTITY}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """
    Describe how two runs differ.

    :param theirs: identity of a run in a folder
    :param ours: identity of the run that is asked for
    :return: a sentence for every setting that differs, e.g. ``seed is 0 there and 1 here``
    """

    def words(values: Mapping[str, Any], name: str) -> str:
        return reprlib.repr(values[name]) if name in values else "not given"

    names = sorted({*theirs, *ours} - (set() if "seed" in ours else {"seed"}))
    different = [name for name in names if name not in theirs or name not in ours or theirs[name] != ours[name]]
    # Settings that were asked for explicitly come first
    different.sort(key=lambda name: name not in OPTIONS)
    return [f"{name} is {words(theirs, name)} there and {words(ours, name)} here" for name in different]


def runs(folder: Path, env_name: str) -> list[Path]:
    """
    List an environment's runs.

    :param folder: folder of an algorithm's runs, e.g. ``logs/qtd3``
    :param env_name: name of the environment, as in the zoo's file names
    :return: the runs' folders, ``<environment>_<number>`` with or without the suffix of ``--uuid``, newest first
    """
    found = []
    for path in folder.glob(f"{glob.escape(env_name)}_*"):
        match = re.fullmatch(r"_(\d+)(_[0-9a-f-]{36})?", path.name.removeprefix(env_name))
        if match and path.is_dir():
            found.append((int(match[1]), path.stat().st_mtime, path))
    return [path for _, _, path in sorted(found, reverse=True)]


class Lock:
    """
    Lock on a run. The operating system releases it when the process ends, for whatever reason.

    :param run: the run's folder, which gets a hidden file
    :raises RunLockedError: if another process holds the lock; the message names the process
    """

    def __init__(self, run: Path):
        self.file: IO[str] | None = (run / LOCK).open("a+")
        try:
            if fcntl is not None:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            holder = self.file.read().strip() or "unknown"
            self.release()
            raise RunLockedError(
                f"{run} is being trained by process {holder}; wait for it, end it, or ask for another run, "
                f"e.g. with another --seed"
            ) from None
        except OSError as error:
            warnings.warn(f"{run} could not be locked ({error}); do not train it in two processes", stacklevel=2)
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()

    def release(self) -> None:
        """Release the lock. The file stays, because other processes may have it open."""
        if self.file is not None:
            self.file.close()
            self.file = None


@contextmanager
def choosing(folder: Path) -> Iterator[None]:
    """
    Keep other processes from choosing among the runs of a folder in the meantime.

    :param folder: folder of an algorithm's runs
    """
    if fcntl is None:
        yield
        return
    # The folder itself, so that there is no file beside the runs
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def matching(found: Iterable[Path], env_name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """
    Compare runs with the one asked for.

    :param found: the runs' folders
    :param env_name: name of the environment, as in the zoo's file names
    :param wanted: see :func:`identity`
    :return: each folder, and how it differs (``None`` if it is the same run)
    """
    for run in found:
        try:
            settings, args = (read_settings(run / env_name / name) for name in ("config.yml", "args.yml"))
            different = differences(identity(settings, args), wanted)
        except FileNotFoundError as error:
            yield run, f"has no {Path(error.filename).name}"
        except (OSError, ValueError) as error:
            yield run, f"cannot be told from others ({error})"
        else:
            yield run, f"is another run: {'; '.join(different)}" if different else None
