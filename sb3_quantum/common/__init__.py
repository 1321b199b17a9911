from sb3_quantum.common.buffers import (
    QuantumDictReplayBuffer,
    QuantumNStepReplayBuffer,
    QuantumReplayBuffer,
    QuantumReplayBufferSamples,
)
from sb3_quantum.common.evaluation import (
    interquartile_mean,
    interval,
    returns_of,
    trained_with_vec_normalize,
    warn_if_not_normalized,
)
from sb3_quantum.common.her import QuantumHerReplayBuffer
from sb3_quantum.common.normalization import ObservationNormalizer

__all__ = [
    "ObservationNormalizer",
    "QuantumDictReplayBuffer",
    "QuantumHerReplayBuffer",
    "QuantumNStepReplayBuffer",
    "QuantumReplayBuffer",
    "QuantumReplayBufferSamples",
    "interquartile_mean",
    "interval",
    "returns_of",
    "trained_with_vec_normalize",
    "warn_if_not_normalized",
]
