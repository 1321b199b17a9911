"""Hybrid deep quantum neural networks for Stable-Baselines3."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_quantum.backends import check_backend, check_circuit
    from sb3_quantum.common import QuantumDictReplayBuffer, QuantumNStepReplayBuffer, QuantumReplayBuffer
    from sb3_quantum.layers import Block, QtDNN, QuantumLayer, check_block
    from sb3_quantum.paper import PAPER
    from sb3_quantum.qtd3 import CnnPolicy, FidelityCallback, MlpPolicy, MultiInputPolicy, QuantumTD3

__version__ = "0.1.0"

# Imported on first use: the zoo's hook imports this package in the middle of torch's own import
_HOMES = {
    "PAPER": "sb3_quantum.paper",
    "QuantumTD3": "sb3_quantum.qtd3",
    "MlpPolicy": "sb3_quantum.qtd3",
    "CnnPolicy": "sb3_quantum.qtd3",
    "MultiInputPolicy": "sb3_quantum.qtd3",
    "FidelityCallback": "sb3_quantum.qtd3",
    "QuantumLayer": "sb3_quantum.layers",
    "QtDNN": "sb3_quantum.layers",
    "Block": "sb3_quantum.layers",
    "check_block": "sb3_quantum.layers",
    "QuantumReplayBuffer": "sb3_quantum.common",
    "check_backend": "sb3_quantum.backends",
    "check_circuit": "sb3_quantum.backends",
    "QuantumDictReplayBuffer": "sb3_quantum.common",
    "QuantumNStepReplayBuffer": "sb3_quantum.common",
}

__all__ = [
    "PAPER",
    "Block",
    "CnnPolicy",
    "FidelityCallback",
    "MlpPolicy",
    "MultiInputPolicy",
    "QtDNN",
    "QuantumDictReplayBuffer",
    "QuantumLayer",
    "QuantumNStepReplayBuffer",
    "QuantumReplayBuffer",
    "QuantumTD3",
    "__version__",
    "check_backend",
    "check_block",
    "check_circuit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
