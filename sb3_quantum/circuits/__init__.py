from sb3_quantum.circuits.ansatz import Ansatz, wrap_angles
from sb3_quantum.circuits.mean_field import mean_field_bits

__all__ = ["Ansatz", "mean_field_bits", "wrap_angles"]
