"""
Measure the rl-zoo3 hook's cost at start-up: ``python -c "import torch"`` with the hook, without it, and without torch's
autoload.

    python benchmarks/startup.py
"""

import os
import subprocess
import sys
import time

import numpy as np

CASES = {
    "with the hook": {},
    "SB3_QUANTUM_ZOO_HOOK=0": {"SB3_QUANTUM_ZOO_HOOK": "0"},
    "TORCH_DEVICE_BACKEND_AUTOLOAD=0": {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
}


def main(rounds: int = 15) -> None:
    """
    Start an interpreter for each case in turn.

    :param rounds: number of rounds
    """
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, environment in CASES.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch"], env={**os.environ, **environment}, check=True)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{name:33s} median {1e3 * middle:6.0f} ms, quartiles {1e3 * low:.0f} to {1e3 * high:.0f} ms")


if __name__ == "__main__":
    main()
