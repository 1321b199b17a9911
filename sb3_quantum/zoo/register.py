"""Registration of qtd3 with rl_zoo3."""

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
    Find the tuned hyperparameters: in the installed package, or beside it in a checkout.

    :param name: name of the YAML file, without its suffix
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


def _repair_hub(utils: ModuleType) -> None:
    """Repair ``rl_zoo3.push_to_hub`` and ``rl_zoo3.load_from_hub``, which are not imported yet."""
    from sb3_quantum.zoo.repairs import repair_hub

    repair_hub(utils)


def _repair_latest(utils: ModuleType) -> None:
    """Let ``rl_zoo3.enjoy`` and others find the newest run that has a model."""
    from sb3_quantum.zoo.repairs import repair_latest

    repair_latest(utils)


def _publish_more(utils: ModuleType) -> None:
    """Let ``rl_zoo3.push_to_hub`` publish our files of a qtd3 model."""
    from sb3_quantum.zoo.publish import publish_more

    publish_more(utils)


def _register_search(hyperparams_opt: ModuleType) -> None:
    """Add qtd3's search space to those of ``rl_zoo3.hyperparams_opt``, which the whole zoo shares by reference."""
    from sb3_quantum.zoo.search import convert_qtd3_params, sample_qtd3_params

    hyperparams_opt.HYPERPARAMS_SAMPLER.setdefault(ALGO, sample_qtd3_params)
    hyperparams_opt.HYPERPARAMS_CONVERTER.setdefault(ALGO, convert_qtd3_params)


def _register_hyperparams(exp_manager: ModuleType) -> None:
    """Let the zoo find our YAML for qtd3 if its own folder has none; ``-conf`` overrides it."""
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


def _around(
    cls: type,
    name: str,
    before: Callable[..., None] = lambda *args, **kwargs: None,
    after: Callable[[Any, Any], None] = lambda self, result: None,
) -> None:
    """Extend a method of the zoo, for qtd3 only."""
    original = getattr(cls, name)
    if hasattr(original, "_sb3_quantum"):
        return

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.algo != ALGO:
            return original(self, *args, **kwargs)
        before(self, *args, **kwargs)
        result = original(self, *args, **kwargs)
        after(self, result)
        return result

    method._sb3_quantum = True  # type: ignore[attr-defined]
    setattr(cls, name, method)


def _register_checks(exp_manager: ModuleType) -> None:
    """Check hyperparameters and studies after the zoo has read them and before it makes a folder or a trial."""
    from sb3_quantum.zoo import checks, optuna_studies
    from sb3_quantum.zoo.search import sample_qtd3_params

    def before_preprocessing(self: Any, hyperparams: dict[str, Any]) -> None:
        # The zoo parses "lin_x" and fails at any other text, such as "lin_x_y", which is passed to the algorithm unchanged
        rate = hyperparams.get("learning_rate")
        self.learning_rate_text = rate if isinstance(rate, str) and rate.count("_") != 1 else None
        if self.learning_rate_text is not None:
            del hyperparams["learning_rate"]

    def after_preprocessing(self: Any, result: Any) -> None:
        if self.learning_rate_text is not None:
            result[0]["learning_rate"] = self.learning_rate_text
        checks.check_kwargs(result[0])
        # Other search spaces are not checked
        if self.optimize_hyperparameters and exp_manager.HYPERPARAMS_SAMPLER[ALGO] is sample_qtd3_params:
            optuna_studies.check_study(self)

    def before_trial(self: Any, trial: Any) -> None:
        optuna_studies.sign_trial(trial)
        optuna_studies.fail_abandoned(trial.study)

    manager = exp_manager.ExperimentManager
    _around(
        manager,
        "read_hyperparameters",
        before=optuna_studies.check_trial_id,
        after=lambda self, result: checks.check_hyperparams(result[0]),
    )
    _around(manager, "_preprocess_hyperparams", before=before_preprocessing, after=after_preprocessing)
    _around(manager, "hyperparameters_optimization", before=optuna_studies.fail_abandoned_of)
    _around(manager, "objective", before=before_trial)


def _register_interruption(exp_manager: ModuleType) -> None:
    """End the command with a nonzero status if the training was cut short, after the model is saved."""
    cls = exp_manager.ExperimentManager
    original = cls.save_trained_model
    if hasattr(original, "_sb3_quantum"):
        return

    @functools.wraps(original)
    def save_trained_model(self: Any, model: Any) -> None:
        original(self, model)
        reason = getattr(model, "interruption", None)
        if reason is not None:
            raise SystemExit(f"Not finished: {reason}")

    save_trained_model._sb3_quantum = True  # type: ignore[attr-defined]
    cls.save_trained_model = save_trained_model


#: steps for each module of rl_zoo3, independent of each other
REGISTRARS: dict[str, tuple[Callable[[ModuleType], None], ...]] = {
    "rl_zoo3.utils": (_register_algorithm, _repair_hub, _repair_latest, _publish_more),
    "rl_zoo3.hyperparams_opt": (_register_search,),
    "rl_zoo3.exp_manager": (_register_hyperparams, _register_checks, _register_interruption),
}


def register() -> None:
    """
    Register qtd3 with rl_zoo3 explicitly, if the hook is switched off or torch's autoload does not run.

    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        modules = [importlib.import_module(name) for name in REGISTRARS]
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "rl_zoo3":
            raise
        raise ImportError('qtd3 in the zoo needs rl_zoo3: pip install "sb3-quantum[zoo]"') from error
    for module in modules:
        for registrar in REGISTRARS[module.__name__]:
            registrar(module)
