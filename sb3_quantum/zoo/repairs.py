"""
Repairs of faults that keep commands of rl_zoo3 from working, for any algorithm.

Each looks for its fault first and leaves alone what has none.
"""

import functools
import sys
from types import ModuleType
from typing import Any


def repair_metadata(push_to_hub: ModuleType) -> None:
    """
    ``rl_zoo3.push_to_hub`` imports ``generate_metadata``, which is called ``_generate_metadata`` by now and returns an object
    in place of a dictionary.

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
    ``rl_zoo3.load_from_hub`` expects requests' ``HTTPError`` for a model without normalization, and huggingface_hub does not
    use requests any more. The error becomes both, so that nobody who catches huggingface_hub's is let down.

    :param huggingface_sb3: the package
    """
    from huggingface_hub import errors

    # The one that is raised by a Hub that answers. Without an answer, nobody knows whether there is a file
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


def repair_hub(utils: ModuleType) -> None:
    """
    Repair what ``rl_zoo3.push_to_hub`` and ``rl_zoo3.load_from_hub`` take from huggingface_sb3, before they do.

    :param utils: the module ``rl_zoo3.utils``, which has imported huggingface_sb3
    """
    # Functions of the same names hide these modules in their package
    repair_metadata(sys.modules["huggingface_sb3.push_to_hub"])
    repair_missing_file(sys.modules["huggingface_sb3"])
