"""A mistake in a keyword argument or a name raises an error with the nearest one that is accepted, wherever it is made."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sb3_quantum.backends
import sb3_quantum.circuits
from sb3_quantum import QtDNN, QuantumTD3
from sb3_quantum.backends import AerBackend, Backend, SamplerBackend, StatevectorBackend, make_backend
from sb3_quantum.circuits import BrickworkCircuit, Circuit, PaperCircuit, QiskitCircuit
from sb3_quantum.hub import push_to_hub
from sb3_quantum.plots import load_run, runs_figure, write_film
from sb3_quantum.study import read_cell

CIRCUIT = PaperCircuit(2, 1)


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
    ],
)
def test_values_suggest_the_nearest_name(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises(ValueError, match=f"accepted are .*; did you mean '{meant}'"):
        call()


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
