from sb3_quantum.circuits.ansatz import Ansatz, wrap_angles
from sb3_quantum.circuits.cost import CHIPS, ChipTimes, job_seconds, shot_seconds
from sb3_quantum.circuits.mean_field import mean_field_bits

__all__ = ["CHIPS", "Ansatz", "ChipTimes", "job_seconds", "mean_field_bits", "shot_seconds", "wrap_angles"]
