"""The name that the paper's circuit had in version 0.1.0, whose replay buffers and backends are pickled with it."""

from sb3_quantum.circuits.paper import PaperCircuit as Ansatz

__all__ = ["Ansatz"]
