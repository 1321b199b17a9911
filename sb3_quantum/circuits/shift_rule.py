"""The parameter-shift rule of any program, from the frequencies with which an angle enters it."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sb3_quantum.circuits.program import USES, Program


def shift_rule(
    program: Program,
    angle_terms: Sequence[tuple[tuple[int, float], ...] | None],
    angle_columns: np.ndarray,
    labels: Sequence[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Compute the terms of ``df/dx[column] = sum of coefficient * f(x + shift at column)``.

    A rotation by an angle has the frequencies 0 and 1 and needs two terms, ``(f(x + pi/2) - f(x - pi/2)) / 2``. The phi of
    ``RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi)`` occurs twice, with frequencies 0, 1 and 2. An angle that enters several
    gates has the sums of their frequencies. For frequencies 0 to K, 2 K terms are exact: shifts ``(2 k - 1) pi / (2 K)`` and
    coefficients ``(-1)^(k-1) / (4 K sin^2((2 k - 1) pi / (4 K)))`` for k = 1 to 2 K. Source: Wierichs et al., "General
    parameter-shift rules for quantum gradients", Quantum 6, 677 (2022).

    :param program: the gates
    :param angle_terms: gate angles as sums of the circuit's angles, see :attr:`Circuit.angle_terms`
    :param angle_columns: the column of every angle, ``(n_angles,)``
    :param labels: labels of the columns, for messages
    :return: columns (int64), shifts in radians and coefficients (float64), each ``(n_terms,)``, sorted by column
    :raises ValueError: if a gate angle is not a sum of angles, or an angle's factors have no common measure
    """
    entering = _frequencies(program, angle_terms)
    lost = entering.pop(None, [])
    if lost:
        raise ValueError(
            "the parameter-shift rule covers angles that are sums of a circuit's inputs, and one of this circuit is another "
            'function of them; use gradient="exact" or "qtdnn"'
        )
    found: list[tuple[int, float, float]] = []
    for place, column in enumerate(angle_columns.tolist()):
        if place not in entering:
            continue
        unit = _common_measure(entering[place])
        if unit is None:
            raise ValueError(
                f"{labels[column]} enters gates with the factors {sorted(set(entering[place]))}, and the parameter-shift rule "
                f'needs whole multiples of a common one; use gradient="exact" or "qtdnn"'
            )
        highest = sum(round(frequency / unit) for frequency in entering[place])
        for k in range(1, 2 * highest + 1):
            shift = (2 * k - 1) * math.pi / (2 * highest)
            coefficient = (-1) ** (k - 1) / (4 * highest * math.sin(shift / 2) ** 2)
            # Shifts on both sides of 0, which an angle without a period needs too
            found.append((column, (shift if k <= highest else shift - 2 * math.pi) / unit, coefficient * unit))
    columns, shifts, coefficients = zip(*found, strict=True) if found else ((), (), ())
    return np.array(columns, dtype=np.int64), np.array(shifts), np.array(coefficients)


def common_periods(
    program: Program, angle_terms: Sequence[tuple[tuple[int, float], ...] | None], n_angles: int
) -> list[float]:
    """
    Find the period of the expected bits in each of the circuit's angles.

    :param program: the gates
    :param angle_terms: see :func:`shift_rule`
    :param n_angles: how many angles the circuit has
    :return: in radians, one for every angle; infinite if there is none or it is unknown
    """
    entering = _frequencies(program, angle_terms)
    units = [None if None in entering else _common_measure(entering.get(place, [])) for place in range(n_angles)]
    return [2 * math.pi / unit if unit else math.inf for unit in units]


def _frequencies(
    program: Program, angle_terms: Sequence[tuple[tuple[int, float], ...] | None]
) -> dict[int | None, list[float]]:
    """
    Return, for every angle, the frequencies of the rotations that it enters; under ``None`` those of angles that are not sums.
    """
    entering: dict[int | None, list[float]] = defaultdict(list)
    for gate in program.gates:
        for angle, uses in zip(gate.angles, USES.get(gate.name, ()), strict=True):
            terms = angle_terms[angle]
            if terms is None:
                entering[None].append(1.0)
                continue
            # An input may occur in a sum twice
            factors: dict[int, float] = defaultdict(float)
            for place, factor in terms:
                factors[place] += factor
            for place, factor in factors.items():
                if factor != 0:
                    entering[place].extend([abs(factor)] * uses)
    return entering


def _common_measure(frequencies: Sequence[float]) -> float | None:
    """Return the largest number of which all frequencies are whole multiples, up to 64 times; ``None`` if there is none."""
    if not frequencies:
        return None
    smallest = min(frequencies)
    for part in range(1, 9):
        unit = smallest / part
        if all(abs(f / unit - round(f / unit)) < 1e-9 * f / unit and round(f / unit) <= 64 for f in frequencies):
            return unit
    return None
