"""Which runs of the zoo there are in a folder, what makes one the same run as another, and who trains it now."""

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

#: options of the zoo that change what is learnt. Those that are hyperparameters in the end (``-conf``, ``-params``,
#: ``--trial-id``) are in config.yml; ``--vec-env``, threads, device, logging, evaluation and saving are left out
OPTIONS = ("algo", "env", "gym_packages", "seed", "trained_agent")
#: hyperparameters that say how long, where and at what expense is trained, but not what is learnt
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
    """Another process trains the run."""


class _PlainLoader(yaml.SafeLoader):
    """Reads tags of Python objects as plain data. Nothing is imported or called: a run may have come from the Hub."""


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
    :return: what it holds, Python objects in it as plain data
    :raises OSError: if there is no such file
    :raises ValueError: if it is not such a file; the message names it
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
    Write ``config.yml``, ``args.yml`` and ``command.txt`` as rl_zoo3 does, so that a power cut leaves the old or the new ones.

    :param folder: where they go
    :param settings: hyperparameters, as the zoo read them
    :param args: options of the command line
    :param command: the command line
    """
    texts = {"config.yml": yaml.dump(settings), "args.yml": yaml.dump(args), "command.txt": command}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with replacing(folder / name) as partial:
            partial.write_text(text)


def _evaluated(node: ast.expr) -> Any:
    """The value of an expression like ``dict(a=1, b=[2, 3])``; what is neither ``dict`` nor a literal stays text."""
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
    """A hyperparameter's value: YAML files write dictionaries as strings, which the zoo evaluates."""
    if isinstance(value, str) and re.match(r"\s*(dict\s*\(|\{)", value):
        try:
            return _evaluated(ast.parse(value.strip(), mode="eval").body)
        except SyntaxError:
            return value
    return value


def identity(settings: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a run is known by: algorithm, environment, seed and every setting that changes what is learnt.

    :param settings: hyperparameters, as in ``config.yml``
    :param args: options of the command line, as in ``args.yml``. Without ``seed``, any seed will do
    :return: values by name; those inside of dictionaries as ``policy_kwargs.n_qubits``
    """
    # Through YAML and back, so that files and objects in memory compare
    settings, args = (yaml.load(yaml.dump(dict(mapping)), _PlainLoader) for mapping in (settings, args))
    values: dict[str, Any] = {name: args[name] for name in OPTIONS if args.get(name) not in (None, "", [])}
    if values.get("gym_packages"):
        values["gym_packages"] = sorted(values["gym_packages"])
    # The command line's are in config.yml only if the file had some
    everything = {"env_kwargs": args.get("env_kwargs"), **settings}
    for name, raw in everything.items():
        value = _value(raw)
        if isinstance(value, dict):
            values.update({f"{name}.{key}": inner for key, inner in value.items()})
        # None is the default of every such argument
        elif value is not None or not name.endswith("_kwargs"):
            values[name] = value
    # rl_zoo3 adds the algorithm's discount factor to a dictionary of its own
    if "gamma" in values and values.get("normalize.gamma") == values["gamma"]:
        del values["normalize.gamma"]
    return {name: value for name, value in values.items() if name not in NOT_IDENTITY}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """
    :param theirs: identity of a run in a folder
    :param ours: identity of the run that is asked for
    :return: a sentence for every setting that differs, e.g. ``seed is 0 there and 1 here``
    """

    def words(values: Mapping[str, Any], name: str) -> str:
        return reprlib.repr(values[name]) if name in values else "not given"

    names = sorted({*theirs, *ours} - (set() if "seed" in ours else {"seed"}))
    different = [name for name in names if name not in theirs or name not in ours or theirs[name] != ours[name]]
    # What was asked for in so many words first
    different.sort(key=lambda name: name not in OPTIONS)
    return [f"{name} is {words(theirs, name)} there and {words(ours, name)} here" for name in different]


def runs(folder: Path, env_name: str) -> list[Path]:
    """
    :param folder: of an algorithm's runs, e.g. ``logs/qtd3``
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
    A lock on a run. It goes with the process that holds it, however that ends.

    :param run: the run's folder; a hidden file is made in it
    :raises RunLockedError: if another process holds it; the message says which
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
        """Let others have it. The file stays: whoever tries to lock it has it open already."""
        if self.file is not None:
            self.file.close()
            self.file = None


@contextmanager
def choosing(folder: Path) -> Iterator[None]:
    """
    Let no other process choose among the runs of a folder meanwhile.

    :param folder: of an algorithm's runs
    """
    if fcntl is None:
        yield
        return
    # The folder itself, so that nothing lies beside the runs
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def matching(found: Iterable[Path], env_name: str, wanted: Mapping[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """
    Compare runs with the one that is asked for.

    :param found: the runs' folders
    :param env_name: name of the environment, as in the zoo's file names
    :param wanted: see :func:`identity`
    :return: each folder, and why it is not the same run (``None`` if it is)
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
