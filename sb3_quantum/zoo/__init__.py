# Nothing but the standard library: the hook comes through here in the middle of torch's import
from sb3_quantum.zoo.register import hyperparams_path, register

__all__ = ["hyperparams_path", "register"]
