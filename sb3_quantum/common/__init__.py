from sb3_quantum.common.buffers import (
    QuantumDictReplayBuffer,
    QuantumNStepReplayBuffer,
    QuantumReplayBuffer,
    QuantumReplayBufferSamples,
)
from sb3_quantum.common.normalization import ObservationNormalizer

__all__ = [
    "ObservationNormalizer",
    "QuantumDictReplayBuffer",
    "QuantumNStepReplayBuffer",
    "QuantumReplayBuffer",
    "QuantumReplayBufferSamples",
]
