"""Mistakes that people make: the message says what to do instead, and the manual's page of questions quotes it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import TD3

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.circuits import QiskitCircuit, waiting
from sb3_quantum.hub import load_safe, push_to_hub, save_safe
from sb3_quantum.plots import FigureCallback


@pytest.mark.parametrize("callback", [FidelityCallback, FigureCallback])
@pytest.mark.parametrize("freq", [0, -1, "1000", None, True, float("inf")])
def test_frequency_of_a_callback(callback: Callable[..., Any], freq: Any) -> None:
    with pytest.raises(ValueError, match=r"^freq must be a number >= 1, got "):
        callback(freq=freq)
    assert callback(freq=1e4).freq == 10_000


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (FidelityCallback, "n_states"),
        (FidelityCallback, "n_samples"),
        (FidelityCallback, "n_shift_states"),
        (FidelityCallback, "shift_shots"),
        (FigureCallback, "window"),
        (FigureCallback, "layers_per_row"),
    ],
)
def test_numbers_of_a_callback(callback: Callable[..., Any], name: str) -> None:
    for value in (-1, 2.5, "4", None):
        with pytest.raises(ValueError, match=f"^{name} must be an integer >= "):
            callback(**{name: value})


def test_a_class_in_place_of_a_callback() -> None:
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", buffer_size=100, policy_kwargs=dict(n_qubits=3, n_layers=2, net_arch=[8]))
    given: Any
    for given in (FidelityCallback, [FidelityCallback(), FigureCallback]):
        with pytest.raises(ValueError, match=r"callback must be an instance, such as Fi\w+Callback\(\), got the class"):
            model.learn(10, callback=given)
    assert model.num_timesteps == 0


def test_a_folder_in_place_of_a_zip(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    for path in (folder, str(folder)):
        with pytest.raises(IsADirectoryError, match=r"my model is a folder, not a zip file; it contains none$"):
            QuantumTD3.load(path)
    beside = tmp_path / "my model.zip"
    beside.touch()
    with pytest.raises(IsADirectoryError, match=re.escape(f"did you mean {str(beside)!r}?")):
        QuantumTD3.load(folder)
    (folder / "Pendulum-v1.zip").touch()
    with pytest.raises(IsADirectoryError, match=re.escape(f"did you mean {str(folder / 'Pendulum-v1.zip')!r}?")):
        QuantumTD3.load(folder)
    (folder / "model.json").touch()
    with pytest.raises(IsADirectoryError, match=r"a model without pickle: sb3_quantum\.hub\.load_safe loads it"):
        QuantumTD3.load(folder)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*my model\.zip$"):
        QuantumTD3.load(tmp_path / "my model.zip")
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*my model, and no .*my model\.zip$"):
        QuantumTD3.load(tmp_path / "my model")


def test_a_zip_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.zip").touch()
    with pytest.raises(NotADirectoryError, match=r"model\.zip is a file, not a folder .*; QuantumTD3\.load loads a zip"):
        load_safe(tmp_path / "model.zip")


def test_a_model_of_another_class(tmp_path: Path) -> None:
    other: Any = TD3("MlpPolicy", "Pendulum-v1", buffer_size=10)
    with pytest.raises(TypeError, match=r"model must be a QuantumTD3, got <stable_baselines3\.td3"):
        save_safe(other, tmp_path / "folder")
    with pytest.raises(TypeError, match=r"model must be a QuantumTD3, got <stable_baselines3\.td3"):
        push_to_hub(other, "someone/td3", "Pendulum-v1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("my circuits/one.qasm", "it looks like a path, pass Path('my circuits/one.qasm').read_text()"),
        ('OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; rx(0.1) q[0];', "it is OpenQASM 2, pass qiskit.qasm2.loads(text)"),
        ("OPENQASM 3.0;\nqubit[2 q;", "line 2, at 'q'"),
    ],
)
def test_text_that_is_no_circuit(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason) + "$"):
        QiskitCircuit(text)


#: the manual's page, without its line breaks
PAGE = " ".join((Path(__file__).parents[1] / "docs" / "faq.md").read_text().replace("> ", "").split())


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        ({"n_qubits": 4}, "'n_qubits' is unknown, it belongs into policy_kwargs"),
        ({"backend_kwargs": {"noise": 0.1}}, "'noise' is unknown, it is an argument of backend='aer'"),
        ({"env": "CartPole-v1"}, "The algorithm only supports (<class 'gymnasium.spaces.box.Box'>,) as action spaces"),
    ],
)
def test_the_page_quotes_errors(arguments: dict[str, Any], quoted: str) -> None:
    with pytest.raises((TypeError, ValueError, AssertionError), match=re.escape(quoted)):
        QuantumTD3(**{"policy": "MlpPolicy", "env": "Pendulum-v1", **arguments})
    assert quoted in PAGE


def test_the_page_quotes_warnings_and_waiting(tmp_path: Path) -> None:
    small = dict(n_qubits=3, n_layers=2, net_arch=[8])
    model = QuantumTD3("MlpPolicy", "Pendulum-v1", learning_starts=20, buffer_size=100, policy_kwargs=small)
    with pytest.warns(UserWarning, match="no update will be made") as told:
        model.learn(10)
    assert str(told[0].message) in PAGE
    source = Path(waiting.__file__).read_text()
    assert all("compiles its simulator for this processor, about 10 s of one core" in text for text in (source, PAGE))
    # A zip of one algorithm, loaded by another's class
    model.save(tmp_path / "ours")
    with pytest.raises(KeyError, match=re.escape("policy.optimizer")):
        TD3.load(tmp_path / "ours")
    TD3("MlpPolicy", "Pendulum-v1", buffer_size=10).save(tmp_path / "theirs")
    with pytest.raises(ValueError, match="is not a model of QuantumTD3"):
        QuantumTD3.load(tmp_path / "theirs")
    assert "`KeyError: 'policy.optimizer'`" in PAGE and "is not a model of QuantumTD3" in PAGE
