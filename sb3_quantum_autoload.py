"""
Lets ``python -m rl_zoo3.train --algo qtd3`` find sb3-quantum without a fork of the zoo.

``import torch`` calls ``autoload`` (torch's entry point group ``torch.backends``). This file is installed into site-packages
itself, also by ``pip install -e``, and swallows every failure: a moved or broken checkout of sb3-quantum must never break
``import torch``.
"""


def autoload() -> None:
    try:
        from sb3_quantum.zoo import hook

        hook.install()
    except Exception:  # noqa: S110
        pass
