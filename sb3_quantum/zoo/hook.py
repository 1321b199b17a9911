"""
Register qtd3 with rl_zoo3 when rl_zoo3 is imported.

rl_zoo3 has no plugin mechanism. :func:`install` is called when torch is imported (see ``sb3_quantum_autoload``), sometimes
during rl_zoo3's own import: ``rl_zoo3.utils`` then exists, but its ``ALGOS`` does not. Only the standard library is imported
here before rl_zoo3.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

#: environment variable; 0 switches the hook off
VARIABLE = "SB3_QUANTUM_ZOO_HOOK"
#: modules of rl_zoo3 to wait for, and the name needed in each
TARGETS = {
    "rl_zoo3.utils": "ALGOS",
    "rl_zoo3.hyperparams_opt": "HYPERPARAMS_CONVERTER",
    "rl_zoo3.exp_manager": "ExperimentManager",
}


def _register(module: ModuleType) -> None:
    """Register with a module of rl_zoo3. A failure is a warning, because other algorithms must work."""
    try:
        from sb3_quantum.zoo.register import REGISTRARS
    except (Exception, SystemExit) as error:
        _warn(module, error)
        return
    for registrar in REGISTRARS[module.__name__]:
        try:
            registrar(module)
        except (Exception, SystemExit) as error:
            _warn(module, error)


def _warn(module: ModuleType, error: BaseException) -> None:
    warnings.warn(f"sb3-quantum could not register qtd3 with {module.__name__}: {error!r}", stacklevel=2)


class _Finder(importlib.abc.MetaPathFinder):
    """Finder that notices the import of the targets, and lets other finders find them."""

    def __init__(self, waiting: set[str]):
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                # On the instance, so that runpy and inspect get the expected loader. Finding a spec consumes nothing
                wrapped = self._then_register(spec.loader.exec_module)
                setattr(spec.loader, "exec_module", wrapped)  # noqa: B010
                return spec
        return None

    def _then_register(self, exec_module: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def wrapper(module: ModuleType) -> None:
            exec_module(module)
            self.done(module)

        return wrapper

    def done(self, module: ModuleType) -> None:
        """Register with a target that is ready, and remove the finder after the last one."""
        self.waiting.discard(module.__name__)
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        _register(module)


def _watch(module: ModuleType, attribute: str, done: Callable[[ModuleType], None]) -> None:
    """Call ``done`` when a module that is still being initialized is asked for an attribute after the name is there."""
    original = module.__class__

    def getter(self: ModuleType) -> object:
        if attribute not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {attribute!r}")
        self.__class__ = original
        done(self)
        return self.__dict__[attribute]

    def setter(self: ModuleType, value: object) -> None:
        self.__dict__[attribute] = value

    module.__class__ = type("_WatchedModule", (original,), {attribute: property(getter, setter)})


def install() -> None:
    """Wait for rl_zoo3, unless the environment variable ``SB3_QUANTUM_ZOO_HOOK`` is 0."""
    if os.environ.get(VARIABLE) == "0" or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    finder = _Finder(set(TARGETS))
    sys.meta_path.insert(0, finder)
    for name, attribute in TARGETS.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        if getattr(module.__spec__, "_initializing", False):
            _watch(module, attribute, finder.done)
        else:
            finder.done(module)
