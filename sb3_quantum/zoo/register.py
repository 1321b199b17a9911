"""What rl_zoo3 has to know of qtd3."""

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

#: the algorithm's id in rl_zoo3
ALGO = "qtd3"


def hyperparams_path(name: str = ALGO) -> Path:
    """
    Where the tuned hyperparameters are: in the installed package, or beside it in a checkout.

    :param name: of the YAML file, without ending
    :return: its path
    :raises FileNotFoundError: if it is in neither place
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        path = folder / "hyperparams" / f"{name}.yml"
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name}.yml is neither in {package / 'hyperparams'} nor in {package.parent / 'hyperparams'}")


def _register_algorithm(utils: ModuleType) -> None:
    """Add qtd3 to ``rl_zoo3.utils.ALGOS``, which the whole zoo shares by reference."""
    from sb3_quantum.qtd3 import QuantumTD3

    utils.ALGOS.setdefault(ALGO, QuantumTD3)


def _register_search(hyperparams_opt: ModuleType) -> None:
    """Add qtd3's search space to those of ``rl_zoo3.hyperparams_opt``, which the whole zoo shares by reference."""
    from sb3_quantum.zoo.search import convert_qtd3_params, sample_qtd3_params

    hyperparams_opt.HYPERPARAMS_SAMPLER.setdefault(ALGO, sample_qtd3_params)
    hyperparams_opt.HYPERPARAMS_CONVERTER.setdefault(ALGO, convert_qtd3_params)


def _register_hyperparams(exp_manager: ModuleType) -> None:
    """Let the zoo find our YAML for qtd3 where its own folder has none; ``-conf`` still wins."""
    original = exp_manager.ExperimentManager.__init__
    if hasattr(original, "_sb3_quantum"):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments.get("config")
        if self.algo == ALGO and not given and not Path(self.config).is_file():
            self.config = str(hyperparams_path())

    __init__._sb3_quantum = True  # type: ignore[attr-defined]
    exp_manager.ExperimentManager.__init__ = __init__


#: what is done with each module of rl_zoo3
REGISTRARS: dict[str, Callable[[ModuleType], None]] = {
    "rl_zoo3.utils": _register_algorithm,
    "rl_zoo3.hyperparams_opt": _register_search,
    "rl_zoo3.exp_manager": _register_hyperparams,
}


def register() -> None:
    """
    Register qtd3 with rl_zoo3 explicitly, for programs in which the hook is switched off or torch's autoload does not run.

    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        modules = [importlib.import_module(name) for name in REGISTRARS]
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "rl_zoo3":
            raise
        raise ImportError('qtd3 in the zoo needs rl_zoo3: pip install "sb3-quantum[zoo]"') from error
    for module in modules:
        REGISTRARS[module.__name__](module)
