"""
Repairs of faults that break commands of rl_zoo3 for any algorithm.

Each repair first checks that its fault is present.
"""

import functools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def repair_metadata(push_to_hub: ModuleType) -> None:
    """
    Restore ``generate_metadata``, which ``rl_zoo3.push_to_hub`` imports. It is now called ``_generate_metadata`` and returns
    an object instead of a dictionary.

    :param push_to_hub: the module ``huggingface_sb3.push_to_hub``
    """
    renamed = getattr(push_to_hub, "_generate_metadata", None)
    if renamed is None or hasattr(push_to_hub, "generate_metadata"):
        return

    @functools.wraps(renamed)
    def generate_metadata(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return renamed(*args, **kwargs).to_dict()

    setattr(push_to_hub, "generate_metadata", generate_metadata)  # noqa: B010


def repair_missing_file(huggingface_sb3: ModuleType) -> None:
    """
    Raise requests' ``HTTPError`` for a missing file. ``rl_zoo3.load_from_hub`` expects it for a model without normalization,
    but huggingface_hub no longer uses requests. The error is both kinds, so code that catches huggingface_hub's still works.

    :param huggingface_sb3: the package
    """
    from huggingface_hub import errors

    # Only an answer of the Hub shows that a file is missing
    missing: Any = getattr(errors, "RemoteEntryNotFoundError", None)
    original = huggingface_sb3.load_from_hub
    uses_requests = missing is None or any(base.__module__.split(".")[0] == "requests" for base in missing.__mro__)
    if uses_requests or hasattr(original, "_sb3_quantum"):
        return

    @functools.wraps(original)
    def load_from_hub(*args: Any, **kwargs: Any) -> str:
        try:
            return original(*args, **kwargs)
        except missing as error:
            from requests.exceptions import HTTPError

            both = type(missing.__name__, (missing, HTTPError), {})(str(error), response=error.response)
            both.response = error.response
            raise both from error

    load_from_hub._sb3_quantum = True  # type: ignore[attr-defined]
    setattr(huggingface_sb3, "load_from_hub", load_from_hub)  # noqa: B010


def repair_latest(utils: ModuleType) -> None:
    """
    Choose the newest run that has a model. Without ``--exp-id``, rl_zoo3 chooses the run with the highest number even if it
    has none, as after ``-optimize`` or a killed training.

    :param utils: the module ``rl_zoo3.utils``
    """
    original = utils.get_model_path
    if hasattr(original, "_sb3_quantum"):
        return

    @functools.wraps(original)
    def get_model_path(exp_id: int, folder: str, algo: str, env_name: Any, *args: Any, **kwargs: Any) -> tuple[str, str, str]:
        try:
            return original(exp_id, folder, algo, env_name, *args, **kwargs)
        except ValueError:
            if exp_id != 0:
                raise
            for number in _older_runs(Path(folder) / algo, str(env_name)):
                try:
                    found = original(number, folder, algo, env_name, *args, **kwargs)
                except ValueError:
                    continue
                print(f"The latest experiment has no such model, the newest that has one is id={number}")
                return found
            raise

    get_model_path._sb3_quantum = True  # type: ignore[attr-defined]
    setattr(utils, "get_model_path", get_model_path)  # noqa: B010


def _older_runs(folder: Path, env_name: str) -> list[int]:
    """List the numbers of an environment's runs except the newest, newest first."""
    names = [path.name for path in folder.glob("*_*") if path.is_dir()]
    matches = [re.fullmatch(rf"{re.escape(env_name)}_(\d+)", name) for name in names]
    return sorted((int(match[1]) for match in matches if match), reverse=True)[1:]


def repair_hub(utils: ModuleType) -> None:
    """
    Repair what ``rl_zoo3.push_to_hub`` and ``rl_zoo3.load_from_hub`` import from huggingface_sb3, before they do.

    :param utils: the module ``rl_zoo3.utils``, which has imported huggingface_sb3
    """
    # Functions of the same names hide these modules in their package
    repair_metadata(sys.modules["huggingface_sb3.push_to_hub"])
    repair_missing_file(sys.modules["huggingface_sb3"])
