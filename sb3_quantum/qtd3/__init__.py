from sb3_quantum.qtd3.callbacks import FidelityCallback, measure_fidelity
from sb3_quantum.qtd3.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_quantum.qtd3.qtd3 import QuantumTD3

__all__ = ["CnnPolicy", "FidelityCallback", "MlpPolicy", "MultiInputPolicy", "QuantumTD3", "measure_fidelity"]
