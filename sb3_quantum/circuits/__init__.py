from sb3_quantum.circuits.ansatz import Ansatz, wrap_angles
from sb3_quantum.circuits.cost import (
    CHIPS,
    COUNTED_GRADIENTS,
    ChipTimes,
    TrainingPlan,
    TrainingRuns,
    gradient_circuits,
    gradient_seconds,
    job_seconds,
    shot_seconds,
    training_runs,
    training_seconds,
)
from sb3_quantum.circuits.mean_field import mean_field_bits, mean_field_features, periodic_features

__all__ = [
    "CHIPS",
    "COUNTED_GRADIENTS",
    "Ansatz",
    "ChipTimes",
    "TrainingPlan",
    "TrainingRuns",
    "gradient_circuits",
    "gradient_seconds",
    "job_seconds",
    "mean_field_bits",
    "mean_field_features",
    "periodic_features",
    "shot_seconds",
    "training_runs",
    "training_seconds",
    "wrap_angles",
]
