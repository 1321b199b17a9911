"""
Lets ``python -m rl_zoo3.train --algo qtd3`` find sb3-quantum without a fork of the zoo.

Python reads ``sb3_quantum_autoload.pth`` at its start, which calls :func:`wait`. Importing torch then installs the hook that
waits for ``rl_zoo3``. An entry point of torch would do the same, but ``import torch`` fails if the module of an entry point is
gone, and no half-removed, moved or broken copy of sb3-quantum may cause that. So every failure is swallowed, here and in the
``.pth`` file. Both files are installed into site-packages, also by ``pip install -e``.
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
    """Finder that notices the import of torch, lets other finders find it, and removes itself."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            sys.meta_path.remove(cls)
            # Torch's switch for its autoloaded extensions
            if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD", "1") == "1":
                autoload()


def wait() -> None:
    """Wait for torch, at no cost for programs without it."""
    if "torch" in sys.modules:
        autoload()
    else:
        sys.meta_path.insert(0, _AtTorch)
