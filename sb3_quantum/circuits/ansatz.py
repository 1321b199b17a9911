"""Old name of the paper's circuit, in pickles of version 0.1.0."""

from sb3_quantum.circuits.paper import PaperCircuit as Ansatz

__all__ = ["Ansatz"]
