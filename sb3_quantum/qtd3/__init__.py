from sb3_quantum.qtd3.callbacks import FidelityCallback
from sb3_quantum.qtd3.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_quantum.qtd3.qtd3 import QuantumTD3

__all__ = ["CnnPolicy", "FidelityCallback", "MlpPolicy", "MultiInputPolicy", "QuantumTD3"]
