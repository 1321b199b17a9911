"""Pictures and measurements never end a training, and never change one."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.backends import BudgetError
from sb3_quantum.plots import FigureCallback
from sb3_quantum.qtd3.callbacks import measure_fidelity
from sb3_quantum.qtd3.harmless import HarmlessCallback
from sb3_quantum.qtd3.progress import QuantumProgressBarCallback
from tests.qtd3.test_train import equal, pendulum, weights

ARGUMENTS: dict[str, Any] = dict(learning_starts=20, batch_size=8)
STEPS = 70


def train(folder: Path) -> QuantumTD3:
    """With everything that looks at a training."""
    watching = [FidelityCallback(freq=10, n_states=8), FigureCallback(freq=20)]
    model = pendulum(**ARGUMENTS, tensorboard_log=str(folder))
    return model.learn(STEPS, callback=watching, progress_bar=True)


@pytest.fixture(scope="module")
def plain() -> dict[str, th.Tensor]:
    return weights(pendulum(**ARGUMENTS).learn(STEPS))


def test_a_watched_training_is_the_same(tmp_path: Path, plain: dict[str, th.Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert equal(weights(train(tmp_path)), plain)


@pytest.mark.parametrize(
    ("callback", "method", "error"),
    [
        (FidelityCallback, "measure", MemoryError("no memory")),
        (FidelityCallback, "measure", BudgetError("spent")),
        (FigureCallback, "draw", ImportError("no pylatexenc")),
        (QuantumProgressBarCallback, "_write", ZeroDivisionError("odd")),
    ],
)
def test_a_failure_is_one_warning(
    tmp_path: Path,
    plain: dict[str, th.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    callback: type[HarmlessCallback],
    method: str,
    error: Exception,
) -> None:
    def failing(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(callback, method, failing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = train(tmp_path)
    told = [str(one.message) for one in caught if "which continues" in str(one.message)]
    assert len(told) == 1 and callback.__name__ in told[0] and str(error) in told[0]
    assert model.num_timesteps == STEPS and equal(weights(model), plain)


@pytest.mark.parametrize("content", ["", "no table", "steps,x\nno number,1\n", "\0\0"])
def test_a_spoilt_file_beside_the_run_ends_nothing(tmp_path: Path, content: str) -> None:
    env = make_vec_env("Pendulum-v1", monitor_dir=str(tmp_path))
    (tmp_path / "fidelity.csv").write_text(content)
    model = QuantumTD3("MlpPolicy", env, buffer_size=100, seed=0, policy_kwargs=dict(n_qubits=2, n_layers=1), **ARGUMENTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert model.learn(60, callback=FidelityCallback(freq=10, n_states=4)).num_timesteps == 60


def test_a_wide_circuit_is_trained_with_a_bar_and_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """50 qubits on Aer's matrix_product_state; our own engine, which splits, measures beside it, and nothing else changes."""
    kwargs: dict[str, Any] = dict(backend="aer", backend_kwargs=dict(method="matrix_product_state", shots=2), batch_size=4)
    policy_kwargs = dict(n_qubits=50, n_layers=2)
    runs = []
    for watched in (True, False):
        model = pendulum(learning_starts=3, policy_kwargs=policy_kwargs, **kwargs)
        fidelity = FidelityCallback(freq=3, n_states=8, n_shift_states=0)
        model.learn(12, callback=fidelity if watched else None, progress_bar=watched)
        runs.append(weights(model))
        if watched:
            assert fidelity.latest["qtdnn/cosine"] > 0.5 and fidelity.latest["quantum/joint_entropy"] > 1
            assert "cosine -" not in capsys.readouterr().out.splitlines()[-1]
    assert equal(*runs)


def test_how_much_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory decides, said once in a training, and what can be measured on shots is measured."""
    model = pendulum(backend="aer", backend_kwargs=dict(shots=2), learning_starts=5, batch_size=4)
    monkeypatch.setattr("sb3_quantum.layers.fidelity.memory_bytes", lambda: 4 * 80 * 8 * 2**3)
    # A state has 8 amplitudes at most, and 6 where no qubits are joined
    observations = th.as_tensor(np.random.default_rng(0).normal(size=(11, 3)), dtype=th.float32, device=model.device)
    assert "qtdnn/cosine" in measure_fidelity(model, observations[:8])
    with pytest.warns(UserWarning, match="of the 3 qubits for an exact simulation"):
        measured = measure_fidelity(model, observations, n_shift_states=1, shift_shots=4)
    assert "qtdnn/cosine" not in measured and "qtdnn/cosine_shots" in measured
    fidelity = FidelityCallback(freq=3, n_states=11)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(40, callback=fidelity, progress_bar=True)
    assert sum("qubits for an exact simulation" in str(one.message) for one in caught) == 1
    assert set(fidelity.latest) == {"quantum/input_std", "quantum/cz_identities", "quantum/cz_uncommon"}
