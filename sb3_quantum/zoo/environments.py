"""
Rebuild the environment of a saved model as in training: the zoo's wrappers, frame stack and keyword arguments, and the
statistics of ``VecNormalize``, from the files beside the model.
"""

import argparse
import ast
import importlib
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from sb3_quantum.common import trained_with_vec_normalize

#: file names of the statistics in the zoo and in SB3's examples
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")


class _StoreKwargs(argparse.Action):
    """Parse the zoo's form of a dictionary, ``key:value``; a value that is not a Python literal is a string."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        kwargs = {}
        for pair in values:
            key, colon, value = pair.partition(":")
            if not (key and colon):
                parser.error(f"{option_string} takes key:value, got {pair!r}")
            try:
                kwargs[key] = ast.literal_eval(value)
            except (SyntaxError, ValueError):
                kwargs[key] = value
        setattr(namespace, self.dest, kwargs)


def add_environment_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the options ``--env``, ``--env-kwargs``, ``--gym-packages`` and ``--vecnormalize``.

    :param parser: parser of a command that runs saved models
    """
    parser.add_argument("--env", required=True, help="id of the environment")
    parser.add_argument(
        "--env-kwargs",
        nargs="+",
        action=_StoreKwargs,
        default={},
        metavar="KEY:VALUE",
        help="keyword arguments of the environment, on top of those that the run was trained with",
    )
    parser.add_argument("--gym-packages", nargs="+", default=[], help="modules to import, which register environments")
    parser.add_argument(
        "--vecnormalize",
        type=Path,
        help="statistics that VecNormalize.save wrote (a pickle); by default they are looked for beside the model",
    )


def environment_of(
    model: BaseAlgorithm,
    path: Path,
    env_id: str,
    env_kwargs: dict[str, Any] | None = None,
    gym_packages: list[str] | None = None,
    vecnormalize: Path | None = None,
) -> Callable[[], gym.Env | VecEnv]:
    """
    Return a function that makes the environment of a saved model. A folder beside the model with the environment's name
    identifies a run of the zoo; then keyword arguments, packages, wrappers and frame stack come from its ``config.yml`` and
    ``args.yml``.

    :param model: the model, loaded without an environment
    :param path: its file
    :param env_id: id of the environment
    :param env_kwargs: keyword arguments in addition to the run's
    :param gym_packages: modules to import first, in addition to the run's
    :param vecnormalize: file with the statistics of ``VecNormalize``; if ``None``, searched for beside the model
    :return: a function that makes one environment, with all wrappers
    :raises ImportError: if a package is missing, or the run has wrappers and rl_zoo3 is missing
    :raises ValueError: if the model was trained with ``VecNormalize`` and its statistics are not found or cannot be read
    """
    module, _, env_id = env_id.rpartition(":")
    folders = [folder / env_id.replace("/", "-") for folder in (path.resolve().parent, path.resolve().parent.parent)]
    config, arguments = (_read(folders, name) for name in ("config.yml", "args.yml"))
    for package in [*(arguments.get("gym_packages") or []), *(gym_packages or []), *([module] if module else [])]:
        importlib.import_module(package)
    kwargs = {**(arguments.get("env_kwargs") or config.get("env_kwargs") or {}), **(env_kwargs or {})}

    trained = trained_with_vec_normalize(model)
    if vecnormalize is None and trained is not False:
        places = [folder / STATISTICS[0] for folder in folders] + _beside(path)
        vecnormalize = next((place for place in places if place.is_file()), None)
        if vecnormalize is None and (trained or config.get("normalize")):
            raise ValueError(
                f"{path} was trained with VecNormalize, and the statistics are neither beside it nor in {folders[0]}; "
                "name the file that VecNormalize.save wrote: --vecnormalize PATH"
            )
    n_stack = config.get("frame_stack", 0)
    wrapped = {key for key in ("env_wrapper", "vec_env_wrapper") if config.get(key)}
    if vecnormalize is None and not n_stack and not wrapped:
        return lambda: gym.make(env_id, **kwargs)

    def make() -> VecEnv:
        wrapper, vec_wrapper = (_wrapper(config, key) for key in ("env_wrapper", "vec_env_wrapper"))
        # With an id, SB3 would also ask for a render mode
        env: VecEnv = make_vec_env(
            partial(gym.make, env_id), wrapper_class=wrapper, env_kwargs=kwargs, vec_env_cls=DummyVecEnv
        )
        env = env if vec_wrapper is None else vec_wrapper(env)
        env = env if vecnormalize is None else _normalized(env, vecnormalize)
        return VecFrameStack(env, n_stack) if n_stack else env

    return make


def _read(folders: list[Path], name: str) -> dict[str, Any]:
    """Read a YAML file of the zoo from the first folder that has it; empty if none has."""
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f'{path} belongs to a run of the zoo; reading it needs rl_zoo3: pip install "sb3-quantum[zoo]"'
        ) from error
    # With Python tags for ordered dictionaries: read as the zoo reads its own files
    return dict(yaml.load(path.read_text(), Loader=yaml.UnsafeLoader))


def _beside(path: Path) -> list[Path]:
    """List the possible files with the statistics of a model outside the zoo, a checkpoint's own first."""
    checkpoint = re.sub(r"_(\d+_steps)$", r"_vecnormalize_\1", path.stem)
    own = [checkpoint] if checkpoint != path.stem else []
    names = [*(f"{name}.pkl" for name in (*own, f"{path.stem}_vecnormalize", f"{path.stem}_vec_normalize")), *STATISTICS]
    return [path.parent / name for name in names]


def _wrapper(config: dict[str, Any], key: str) -> Any:
    """Return the zoo's function that wraps an environment, ``None`` without wrappers."""
    if not config.get(key):
        return None
    try:
        from rl_zoo3.utils import get_wrapper_class
    except ImportError as error:
        raise ImportError(f'the run has {key}={config[key]!r}, which needs rl_zoo3: pip install "sb3-quantum[zoo]"') from error
    return get_wrapper_class(config, key)


def _normalized(env: VecEnv, path: Path) -> VecNormalize:
    """Wrap the environment with the saved statistics, which are not updated. Rewards are not normalized."""
    try:
        normalized = VecNormalize.load(str(path), env)
    except (AssertionError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"--vecnormalize {path} does not fit this environment: {error}") from error
    normalized.training = normalized.norm_reward = False
    return normalized
