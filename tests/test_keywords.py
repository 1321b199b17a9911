"""A mistake in a keyword argument or a name raises an error with the nearest one that is accepted, wherever it is made."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces

import sb3_quantum.backends
import sb3_quantum.circuits
from sb3_quantum import QtDNN, QuantumNStepReplayBuffer, QuantumReplayBuffer, QuantumTD3
from sb3_quantum.backends import AerBackend, Backend, SamplerBackend, StatevectorBackend, make_backend
from sb3_quantum.circuits import (
    BrickworkCircuit,
    ChipTimes,
    Circuit,
    PaperCircuit,
    QiskitCircuit,
    TrainingPlan,
    gradient_circuits,
    make_circuit,
)
from sb3_quantum.common import QuantumHerReplayBuffer
from sb3_quantum.hub import load_from_hub, load_safe, push_to_hub
from sb3_quantum.layers import BernoulliBlock, make_block, make_encoding
from sb3_quantum.plots import load_run, runs_figure, write_film
from sb3_quantum.priors import make_prior
from sb3_quantum.study import read_cell

CIRCUIT = PaperCircuit(2, 1)
SPACE = spaces.Box(-1, 1, (1,))


def her(**kwargs: Any) -> QuantumHerReplayBuffer:
    """An attempt at a buffer of goals; its keyword arguments are checked before its environment is used."""
    return QuantumHerReplayBuffer(1, spaces.Dict(), SPACE, env=None, **kwargs)  # type: ignore[arg-type]


class OwnBackend(Backend):
    """A user's backend without a constructor of its own."""

    name = "own"
    circuits = (Circuit,)
    exact = differentiable = False

    def _run(self, inputs: Any, shots: int, generator: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def model() -> QuantumTD3:
    return QuantumTD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(n_qubits=2, n_layers=1))


@pytest.mark.parametrize(
    "call",
    [
        lambda: PaperCircuit(2, n_layer=1),  # type: ignore[call-arg]
        lambda: BrickworkCircuit(2, n_layer=1),  # type: ignore[call-arg]
        lambda: QiskitCircuit(circuit="", weigths=()),  # type: ignore[call-arg]
        lambda: QtDNN(CIRCUIT, featuers="raw"),  # type: ignore[call-arg]
        lambda: StatevectorBackend(CIRCUIT, max_shot=1),
        lambda: AerBackend(CIRCUIT, nois=None),
        lambda: SamplerBackend(CIRCUIT, optimisation_level=1),
        lambda: OwnBackend(CIRCUIT, shot=1),
    ],
)
def test_classes_suggest_the_nearest_name(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"^\w+: '(\w+)' is unknown, did you mean '\w+'\?$"):
        call()


def test_every_public_circuit_and_backend_suggests_names() -> None:
    for module, parent in ((sb3_quantum.circuits, Circuit), (sb3_quantum.backends, Backend)):
        classes = [getattr(module, name) for name in module.__all__ if isinstance(getattr(module, name), type)]
        concrete = [cls for cls in classes if issubclass(cls, parent) and not inspect.isabstract(cls) and cls is not Circuit]
        assert len(concrete) >= 3
        for cls in concrete:
            with pytest.raises(TypeError, match=f"^{cls.__name__}: 'qwertz' is unknown, accepted are "):
                cls(**{"ansatz": CIRCUIT, "qwertz": 1} if parent is Backend else {"qwertz": 1})


#: records that the package makes, errors, and functions of tensors without options
WITHOUT_OPTIONS = {
    "BackendError", "BlockStep", "BudgetError", "Column", "Critic", "CumulantExpansion", "CumulantPrior", "Curve", "Gate",
    "HubError", "JobError", "MeanField", "Measurement", "ModelFileError", "NoPrior", "ObservationNormalizer",
    "PairCorrelations", "Pairs", "Program", "QuantumReplayBufferSamples", "TrainingRuns", "Usage", "Arm", "Cell",
    "Comparison", "Study", "StudyError", "block_class", "can_be_simulated", "check_block_kwargs", "check_critic",
    "check_readout", "circuit_statistics", "circuits_per_gradient", "fit_quality", "hyperparams_path", "interquartile_mean",
    "interval", "job_seconds", "make_model", "make_prior", "mean_field_bits", "mean_field_features", "meyer_wallach", "mlp",
    "parameter_shift", "parse_study", "periodic_features", "read", "register", "returns_of", "shot_seconds", "spsa",
    "suited_prior", "trained_with_vec_normalize", "warn_if_not_normalized",
}  # fmt: skip


def test_every_public_callable_with_options_suggests_names() -> None:
    """Whatever a user calls with keyword arguments, before anything is built or contacted."""
    packages = ["", *(f".{package}" for package in "circuits backends layers priors common qtd3 plots hub zoo study".split())]
    checked = set()
    for package in packages:
        module = importlib.import_module(f"sb3_quantum{package}")
        for name in set(module.__all__) - WITHOUT_OPTIONS - {"QuantumHerReplayBuffer"}:
            thing = getattr(module, name)
            if not callable(thing) or inspect.isabstract(thing):
                continue
            # The check of a subclass without a constructor of its own is its parent's, which runs before the missing arguments
            given = {"ansatz": CIRCUIT} if inspect.isclass(thing) and issubclass(thing, Backend) else {}
            if name.startswith("load_"):
                given = {"repo_id": "nobody/nothing", "folder": "nowhere"}
                given = {key: text for key, text in given.items() if key in inspect.signature(thing).parameters}
            with pytest.raises((TypeError, ValueError), match=r"\w+: 'qwertz' is unknown, accepted are "):
                thing(**given, qwertz=1)
            checked.add(name)
    assert len(checked) > 40, checked


def test_a_subclass_that_passes_keywords_on_is_not_refused() -> None:
    class Quiet(StatevectorBackend):
        def __init__(self, ansatz: Circuit, loudness: int = 0, **kwargs: Any):
            super().__init__(ansatz, **kwargs)

    class Fixed(StatevectorBackend):
        def __init__(self, ansatz: Circuit):
            super().__init__(ansatz, max_shots=5)

    assert Quiet(CIRCUIT, loudness=1, max_shots=5).limits == Fixed(CIRCUIT).limits == {"shots": 5}
    with pytest.raises(TypeError, match=r"^Quiet: 'loudnes' is unknown, did you mean 'loudness'"):
        Quiet(CIRCUIT, loudnes=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.learn(8, progressbar=True), "QuantumTD3.learn: 'progressbar' .* mean 'progress_bar'"),
        (lambda model: model.learn(n_timesteps=8), "QuantumTD3.learn: 'n_timesteps' .* mean 'total_timesteps'"),
        (lambda model: model.dry_run(8, reset_timesteps=True), "QuantumTD3.dry_run: .* mean 'reset_num_timesteps'"),
        (lambda model: model.set_backend("aer", shots=8), "QuantumTD3.set_backend: 'shots' .* belongs into backend_kwargs"),
        (lambda model: model.set_backend("aer", backend_kwarg={}), "set_backend: 'backend_kwarg' .* mean 'backend_kwargs'"),
        (lambda model: push_to_hub(model, "a/b", "Pendulum-v1", episodes=3), "push_to_hub: .* mean 'n_eval_episodes'"),
        (lambda model: make_backend("aer", CIRCUIT, shot=8), "make_backend: 'shot' .* mean 'shots'. it belongs into kwargs"),
        (lambda model: make_circuit("paper", n_qubit=3), "make_circuit: 'n_qubit' .* mean 'n_qubits'"),
        (lambda model: load_from_hub("a/b", allow_pickel=True), "load_from_hub: 'allow_pickel' .* mean 'allow_pickle'"),
        (lambda model: load_from_hub("a/b", shots=3), "load_from_hub: 'shots' .* belongs into backend_kwargs"),
        (lambda model: QuantumReplayBuffer(storag="memmap"), "QuantumReplayBuffer: 'storag' .* mean 'storage'"),
        (lambda model: QuantumNStepReplayBuffer(n_step=3), "QuantumNStepReplayBuffer: 'n_step' .* mean 'n_steps'"),
        (lambda model: her(copy_info_dic=True), "QuantumHerReplayBuffer: 'copy_info_dic' .* mean 'copy_info_dict'"),
        (lambda model: ChipTimes(redout=1e-6), "ChipTimes: 'redout' .* mean 'readout'"),
        (lambda model: TrainingPlan(shot=5), "TrainingPlan: 'shot' .* mean 'shots'"),
    ],
)
def test_functions_suggest_the_nearest_name(model: QuantumTD3, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(model)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: make_backend("statevectr", CIRCUIT), "statevector"),
        (lambda: QuantumTD3("MlpPolicy", "Pendulum-v1", backend="are"), "aer"),
        (lambda: StatevectorBackend(CIRCUIT, engine="splitt"), "split"),  # type: ignore[arg-type]
        (lambda: AerBackend(CIRCUIT, method="statvector"), "statevector"),
        (lambda: AerBackend(CIRCUIT, noise={"depolarising": {"r": 0.1}}), "depolarizing"),
        (lambda: SamplerBackend(CIRCUIT, sampler="statevectr"), "statevector"),
        (lambda: SamplerBackend(CIRCUIT, sampler="fake", chip="FakeTornio"), "FakeTorino"),
        (lambda: AerBackend(CIRCUIT, precision="singel"), "single"),  # codespell:ignore singel
        (lambda: QuantumReplayBuffer(1, SPACE, SPACE, storage="memap"), "memmap"),
        (lambda: gradient_circuits(CIRCUIT, "parameter_shfit", 1), "parameter_shift"),
        (lambda: make_encoding("rmss", CIRCUIT), "rms"),
        (lambda: make_prior("mean_feild", CIRCUIT), "mean_field"),
        (lambda: make_block("zeroes", CIRCUIT), "zeros"),
        (lambda: make_circuit("papre"), "paper"),
        (lambda: BernoulliBlock(CIRCUIT, estimator="zrg"), "zgr"),
    ],
)
def test_values_suggest_the_nearest_name(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises(ValueError, match=f"accepted are .*; did you mean '{meant}'"):
        call()


def test_load_safe_suggests_its_own_arguments_and_the_constructors(tmp_path: Path) -> None:
    for name, message in (
        ("use_saved_backnd", "did you mean 'use_saved_backend'"),
        ("buffer_sise", "did you mean 'buffer_size'"),
        ("shots", "it belongs into backend_kwargs"),
        ("n_qubits", "it is among the file's policy_kwargs"),
    ):
        with pytest.raises(ValueError, match=f"^load_safe: '{name}' is unknown, {message}"):
            load_safe(tmp_path, **{name: 1})


@pytest.mark.parametrize("wrong", ["1000", None, float("nan")])
def test_total_timesteps(model: QuantumTD3, wrong: Any) -> None:
    for call in (model.learn, model.dry_run):
        with pytest.raises(ValueError, match=r"^total_timesteps must be a finite number, got "):
            call(wrong)


def test_folders_and_files_may_be_strings(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for read in (load_run, read_cell):
        with pytest.raises(FileNotFoundError, match="missing"):
            read(missing)
    with pytest.raises(ValueError, match=r"a film must end with .*, got film\.txt"):
        write_film(iter(()), "film.txt", fps=1)
    with pytest.raises(ValueError, match="runs must contain at least one run"):
        runs_figure([])
