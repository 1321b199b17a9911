"""Studies of seconds, and cells that nobody trained."""

from pathlib import Path

import numpy as np

from sb3_quantum.study import Study, parse_study
from sb3_quantum.study.cell import COLUMNS, Cell, identity
from sb3_quantum.study.packed import put

SMALL = """
name: small
environment: Pendulum-v1
budget: {steps: 60}
seeds: 2
base:
  learning_starts: 20
  batch_size: 8
  buffer_size: 500
  policy_kwargs: {n_qubits: 3, n_layers: 2, n_links: 0, net_arch: [8, 8], readout: mean}
arms:
  pqc: {}
  zeros: {policy_kwargs: {block: zeros}}
evaluation: {episodes: 2, points: 3, point_episodes: 1}
comparisons:
  - [pqc, zeros]
thresholds: [-1000]
"""


def small(**replaced: str) -> Study:
    """The small study, with some of its lines replaced: ``budget="{updates: 30}"``."""
    lines, inside = [], False
    for line in SMALL.splitlines():
        if line.startswith(" "):
            # Of a key whose value was replaced
            if not inside:
                lines.append(line)
            continue
        key = line.partition(":")[0]
        inside = key in replaced
        lines.append(f"{key}: {replaced.pop(key)}" if inside else line)
    assert not replaced
    return parse_study("\n".join(lines))


def fake_cells(study: Study, out: Path, returns: dict[str, list[float]]) -> None:
    """Complete cells whose runs have these mean returns, by arm."""
    for name, values in returns.items():
        for seed, value in zip(study.arm(name).seeds, values, strict=True):
            cell = Cell(
                {**identity(study, study.arm(name), seed), "status": "complete", "study_hash": study.hash, "taken_over": None,
                 "steps": 100, "updates": 80, "cpu_minutes": 6.0},
                {column: np.array([1.0, 2.0]) * (value if column == "return" else 10) for column in COLUMNS},
                {"returns": [value - 1, value + 1], "deterministic": True},
            )  # fmt: skip
            assert put(out, cell, "")
