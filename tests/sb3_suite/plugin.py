"""
A pytest plugin for SB3's own tests: TD3 is QuantumTD3 with a small circuit, and only the tests that use TD3 are run. What
differs from TD3, and is meant to, is in ``EXCEPTIONS``.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import stable_baselines3
import stable_baselines3.td3
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_quantum import QuantumTD3
from sb3_quantum.backends import Backend

#: Where a test is not run as it is: its name, what is done about it, and why
EXCEPTIONS = {
    "test_save_load": ("uncounted", "predict() counts its circuits, and the counters are part of what is saved"),
    "test_save_load_policy": ("uncounted", "likewise"),
    "test_features_extractor_target_net": (
        "raw",
        "the encoding's biases are larger than 1, so that a step of tau * learning_rate = 1e-5 is below the test's relative "
        "tolerance; without an encoding there are none",
    ),
}

#: a circuit whose cost does not matter
CIRCUIT: dict[str, Any] = {"n_qubits": 3, "n_layers": 2}


class SmallQuantumTD3(QuantumTD3):
    """QuantumTD3 as a drop-in for TD3: a small circuit unless ``policy_kwargs`` says otherwise, and TD3's name in its logs."""

    def __init__(self, policy: Any, env: Any, *args: Any, policy_kwargs: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(policy, env, *args, policy_kwargs={**CIRCUIT, **(policy_kwargs or {})}, **kwargs)

    @classmethod
    def load(cls, path: Any, *args: Any, **kwargs: Any) -> "SmallQuantumTD3":
        if "policy_kwargs" in kwargs:
            kwargs["policy_kwargs"] = {**CIRCUIT, **kwargs["policy_kwargs"]}
        return super().load(path, *args, **kwargs)

    def learn(self, *args: Any, tb_log_name: str = "TD3", **kwargs: Any) -> "SmallQuantumTD3":
        return super().learn(*args, tb_log_name=tb_log_name, **kwargs)


@pytest.fixture(autouse=True)
def exception(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do what ``EXCEPTIONS`` says."""
    what, _ = EXCEPTIONS.get(request.function.__name__, ("", ""))
    if what == "uncounted":
        counted = Backend.get_state
        monkeypatch.setattr(Backend, "get_state", lambda self: {**counted(self), "eval_usage": {}})
    elif what == "raw":
        monkeypatch.setitem(CIRCUIT, "encoding", "raw")
    yield


stable_baselines3.TD3 = stable_baselines3.td3.TD3 = SmallQuantumTD3


def _uses_td3(item: pytest.Function) -> bool:
    """Whether a test runs TD3: as a parameter, or because its code names TD3 and no other algorithm is its parameter."""
    params = list(item.callspec.params.values()) if hasattr(item, "callspec") else []
    params += [part for value in params if isinstance(value, (list, tuple)) for part in value]
    algorithms = [value for value in params if isinstance(value, type) and issubclass(value, BaseAlgorithm)]
    if algorithms:
        return SmallQuantumTD3 in algorithms
    return "TD3" in inspect.getsource(item.function) or any("td3" in str(value).lower() for value in params)


def pytest_configure(config: pytest.Config) -> None:
    """SB3's own configuration is not in its source distribution."""
    config.addinivalue_line("markers", "expensive: gigabytes of networks; not run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what runs TD3."""
    kept = [item for item in items if isinstance(item, pytest.Function) and _uses_td3(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
