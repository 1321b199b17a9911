from sb3_quantum.circuits.base import Circuit, Column
from sb3_quantum.circuits.brickwork import BrickworkCircuit
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
from sb3_quantum.circuits.families import CIRCUITS, make_circuit
from sb3_quantum.circuits.mean_field import mean_field_bits, mean_field_features, periodic_features
from sb3_quantum.circuits.paper import PaperCircuit
from sb3_quantum.circuits.program import Gate, Program
from sb3_quantum.circuits.qiskit_circuit import QiskitCircuit

__all__ = [
    "CHIPS",
    "CIRCUITS",
    "COUNTED_GRADIENTS",
    "BrickworkCircuit",
    "ChipTimes",
    "Circuit",
    "Column",
    "Gate",
    "PaperCircuit",
    "Program",
    "QiskitCircuit",
    "TrainingPlan",
    "TrainingRuns",
    "gradient_circuits",
    "gradient_seconds",
    "job_seconds",
    "make_circuit",
    "mean_field_bits",
    "mean_field_features",
    "periodic_features",
    "shot_seconds",
    "training_runs",
    "training_seconds",
]
