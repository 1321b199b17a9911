# Only the standard library: the hook imports this package during torch's import
from sb3_quantum.zoo.register import hyperparams_path, register

__all__ = ["hyperparams_path", "register"]
