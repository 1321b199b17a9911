"""What is published of models that need special evaluation: wide circuits, and normalized observations."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.hub import push_to_hub, transfer
from tests.envs import SMALL, CountingEnv
from tests.hub.loopback import OWNER, LoopbackHub

REPO, ENV = f"{OWNER}/wide", "Counting-v0"


@pytest.fixture(autouse=True)
def registered() -> Any:
    """Only while a test runs."""
    gym.register(ENV, CountingEnv, max_episode_steps=20)
    yield
    del gym.registry[ENV]


def train(env: Any = ENV, **kwargs: Any) -> QuantumTD3:
    kwargs = {"policy_kwargs": SMALL, **kwargs}
    return QuantumTD3("MlpPolicy", env, learning_starts=100, buffer_size=50, seed=0, **kwargs).learn(8)


def failing(*args: Any, **kwargs: Any) -> Any:
    raise MemoryError("full")


def test_a_wide_circuit_is_published_like_others(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """127 qubits: evaluated on the exact simulator, with its gradient's cosine. It is not drawn here, which takes seconds."""
    monkeypatch.setattr("sb3_quantum.hub.model_card.circuit_figure", failing)
    model = train(policy_kwargs={**SMALL, "n_qubits": 127, "n_layers": 2})
    push_to_hub(model, REPO, ENV, n_eval_episodes=2, video_length=0)
    files = hub.files(REPO)
    results = json.loads(files["results.json"])
    assert results["backend"] == "statevector" and len(results["returns"]) == 2 and results["fidelity"]["qtdnn/cosine"] > 0.5
    card = files["README.md"].decode()
    assert "Is the quantum layer trained?" in card and "| qubits | 127 |" in card
    assert model._n_updates == 0 and "has made no update" in card


def test_what_joins_too_many_qubits_is_published_from_its_own_simulator(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exact reference, so the card says nothing of the gradient."""
    monkeypatch.setattr("sb3_quantum.hub.model_card.circuit_figure", failing)
    monkeypatch.setattr("sb3_quantum.layers.fidelity.memory_bytes", lambda: 0)
    kwargs: dict[str, Any] = dict(backend="aer", backend_kwargs=dict(method="matrix_product_state", shots=2))
    model = train(policy_kwargs={**SMALL, "n_qubits": 50, "n_layers": 1}, **kwargs)
    with pytest.warns(UserWarning, match="of the 50 qubits for an exact simulation"):
        push_to_hub(model, REPO, ENV, n_eval_episodes=2, video_length=0)
    files = hub.files(REPO)
    results = json.loads(files["results.json"])
    assert results["backend"] == "aer" and len(results["returns"]) == 2 and "qtdnn/cosine" not in results["fidelity"]
    assert "Is the quantum layer trained?" not in files["README.md"].decode()


def test_failed_pictures_and_measurements_stop_no_publication(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_quantum.hub.report.measure_fidelity", failing)
    monkeypatch.setattr("sb3_quantum.hub.model_card.circuit_figure", failing)
    with pytest.warns(UserWarning) as told:
        push_to_hub(train(), REPO, ENV, n_eval_episodes=1, video_length=0)
    for start in ("the gradient's fidelity was not measured", "the model card has no drawing"):
        assert any(str(one.message).startswith(start) for one in told)
    assert "circuit.png" not in hub.files(REPO)


def test_a_chip_is_not_billed_for_a_publication(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "can_be_simulated", lambda ansatz, inputs: False)
    with pytest.raises(
        ValueError, match=r"3 qubits, joined as here, cannot be evaluated .* on 'ibm' .* cost money.*set_backend"
    ):
        push_to_hub(train(backend="ibm", backend_kwargs={"chip": "FakeManilaV2"}), REPO, ENV, video_length=0)
    assert REPO not in hub.repositories


def test_a_model_without_its_statistics_is_not_published(hub: LoopbackHub, tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env(ENV))
    train(env).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"trained with VecNormalize.*VecNormalize\.load"):
        push_to_hub(QuantumTD3.load(tmp_path / "model"), REPO, ENV, video_length=0)
    assert REPO not in hub.repositories
    push_to_hub(QuantumTD3.load(tmp_path / "model", env=env), REPO, ENV, n_eval_episodes=1, video_length=0)
    assert REPO in hub.repositories
