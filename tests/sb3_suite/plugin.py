"""A pytest plugin for SB3's own tests: TD3 is QuantumTD3 with a small circuit, and only the tests that use TD3 are run."""

import inspect
from typing import Any

import pytest
import stable_baselines3
import stable_baselines3.td3
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_quantum import QuantumTD3

#: a circuit whose cost does not matter
CIRCUIT = {"n_qubits": 3, "n_layers": 2}


class SmallQuantumTD3(QuantumTD3):
    """QuantumTD3 as a drop-in for TD3: a small circuit unless ``policy_kwargs`` says otherwise."""

    def __init__(self, policy: Any, env: Any, *args: Any, policy_kwargs: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(policy, env, *args, policy_kwargs={**CIRCUIT, **(policy_kwargs or {})}, **kwargs)


stable_baselines3.TD3 = stable_baselines3.td3.TD3 = SmallQuantumTD3


def _uses_td3(item: pytest.Function) -> bool:
    """Whether a test runs TD3: as a parameter, or because its code names TD3 and no other algorithm is its parameter."""
    params = list(item.callspec.params.values()) if hasattr(item, "callspec") else []
    params += [part for value in params if isinstance(value, (list, tuple)) for part in value]
    algorithms = [value for value in params if isinstance(value, type) and issubclass(value, BaseAlgorithm)]
    if algorithms:
        return SmallQuantumTD3 in algorithms
    return "TD3" in inspect.getsource(item.function) or any("td3" in str(value).lower() for value in params)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what runs TD3."""
    kept = [item for item in items if isinstance(item, pytest.Function) and _uses_td3(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
