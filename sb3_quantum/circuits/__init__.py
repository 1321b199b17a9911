from sb3_quantum.circuits.ansatz import Ansatz, wrap_angles

__all__ = ["Ansatz", "wrap_angles"]
