"""
Lets ``python -m rl_zoo3.train --algo qtd3`` find sb3-quantum without a fork of the zoo.

``sb3_quantum_autoload.pth``, which Python reads when it starts, calls :func:`wait`; whoever imports torch then brings in the
hook that waits for ``rl_zoo3``. Torch's own entry points would do so too, but one whose module is gone makes ``import torch``
fail, and no half-removed, moved or broken copy of sb3-quantum may do that. So every failure is swallowed, here and in the
``.pth`` file. Both are installed into site-packages itself, also by ``pip install -e``.
"""

import os
import sys


def autoload() -> None:
    """Wait for ``rl_zoo3``."""
    try:
        from sb3_quantum.zoo import hook

        hook.install()
    except (Exception, SystemExit):  # noqa: S110
        pass


class _AtTorch:
    """Sees the import of torch, leaves finding it to the others, and goes away."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            sys.meta_path.remove(cls)
            # Torch's switch for what is loaded with it
            if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD", "1") == "1":
                autoload()


def wait() -> None:
    """Wait for torch: programs without it pay for nothing."""
    if "torch" in sys.modules:
        autoload()
    else:
        sys.meta_path.insert(0, _AtTorch)
