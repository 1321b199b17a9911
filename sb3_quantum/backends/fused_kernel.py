"""
Triton kernels for the statevector: each program runs one circuit at a time, with its state in registers. Gates that change a
qubit fetch every amplitude's partner through shared memory; a state never leaves the chip.

Circuits are tables, so one compiled kernel per number of qubits runs any of them. A table has :data:`FIELDS` numbers per gate:
kind (an index into :data:`~sb3_quantum.circuits.program.KINDS`), first and second qubit, the columns of its two angles and of
the two qubits that a row chooses; -1 means none.
"""

import numpy as np
import triton
import triton.language as tl

from sb3_quantum.circuits.mean_field_kernel import round_index

#: numbers per gate in the table
FIELDS = 8
_FIELDS = tl.constexpr(FIELDS)
_RY, _RZ, _FIXED, _CZ = tl.constexpr(2), tl.constexpr(3), tl.constexpr(4), tl.constexpr(5)
#: a whole turn in single precision, the modulus of all engines
_TURN = tl.constexpr(float(np.float32(2 * np.pi)))


@triton.jit
def _wrapped(angles):
    turns = angles.to(tl.float64)
    return (turns - tl.floor(turns * (1.0 / _TURN)) * _TURN).to(tl.float32)


@triton.jit
def _read(inputs, table, fixed, own, flag, n_inputs, n_gates, n_qubits, BLOCK: tl.constexpr):
    """
    Read a row's gates, four numbers each. For a one-qubit gate: cosine and sine of half of the first angle and of the second
    angle, or the quaternion of a fixed gate. For a two-qubit gate: cosine and sine of half the angle, and the qubits. The flag
    is set if an input is NaN or infinite.
    """
    places = tl.arange(0, BLOCK)
    for start in range(0, n_inputs, BLOCK):
        values = tl.load(inputs + start + places, mask=start + places < n_inputs, other=0.0)
        if tl.sum((tl.abs(values) < float("inf")).to(tl.int32), 0) < BLOCK:
            tl.store(flag, 1)
    for start in range(0, n_gates, BLOCK):
        gates = start + places
        there = gates < n_gates
        fields, numbers, results = table + gates * _FIELDS, fixed + gates * 4, own + gates * 4
        kind = tl.load(fields, mask=there, other=0)
        column, second = tl.load(fields + 3, mask=there, other=-1), tl.load(fields + 4, mask=there, other=-1)
        half = _wrapped(tl.load(inputs + column, mask=there & (column >= 0), other=0.0)) * 0.5
        phi = _wrapped(tl.load(inputs + second, mask=there & (second >= 0), other=0.0))
        x = tl.where(kind == _RY, 0.0, tl.cos(phi))
        y = tl.where(kind == _RY, 1.0, tl.sin(phi))
        # Qubits that rows choose; no gate if they are equal, because no state has bit 31 set
        chosen, other = tl.load(fields + 5, mask=there, other=-1), tl.load(fields + 6, mask=there, other=-1)
        chooses = there & (chosen >= 0)
        i = round_index(tl.load(inputs + chosen, mask=chooses, other=0.0), n_qubits)
        j = round_index(tl.load(inputs + other, mask=chooses, other=0.0), n_qubits)
        i = tl.where(chooses, i, tl.load(fields + 1, mask=there, other=0))
        j = tl.where(chooses, tl.where(i == j, 31, j), tl.load(fields + 2, mask=there, other=0))
        x, y = tl.where(kind >= _CZ, i.to(tl.float32), x), tl.where(kind >= _CZ, j.to(tl.float32), y)
        is_fixed = kind == _FIXED
        known = there & is_fixed
        tl.store(results, tl.where(is_fixed, tl.load(numbers, mask=known, other=0.0), tl.cos(half)), mask=there)
        tl.store(results + 1, tl.where(is_fixed, tl.load(numbers + 1, mask=known, other=0.0), tl.sin(half)), mask=there)
        tl.store(results + 2, tl.where(is_fixed, tl.load(numbers + 2, mask=known, other=0.0), x), mask=there)
        tl.store(results + 3, tl.where(is_fixed, tl.load(numbers + 3, mask=known, other=0.0), y), mask=there)
    tl.debug_barrier()  # all threads read what one thread wrote


@triton.jit
def _gate(table, own, gate):
    """Load what :func:`_read` wrote of a gate: kind, qubit, and the four numbers."""
    fields, numbers = table + gate * _FIELDS, own + gate * 4
    c, s, x, y = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    return tl.load(fields), tl.load(fields + 1), c, s, x, y


@triton.jit
def _quaternion(kind, c, s, x, y):
    """Write a one-qubit gate as ``a - i (b X + c Y + d Z)``."""
    is_fixed, is_z = kind == _FIXED, kind == _RZ
    b = tl.where(is_fixed, s, tl.where(is_z, 0.0, s * x))
    d = tl.where(is_fixed, y, tl.where(is_z, s, 0.0))
    return c, b, tl.where(is_fixed, x, tl.where(is_z, 0.0, s * y)), d


@triton.jit
def _partners(re, im, states, qubit, PACKED: tl.constexpr):
    """Fetch every amplitude's partner, with the other value of a qubit; both parts at once if there is room."""
    other = states ^ (1 << qubit)
    if PACKED:
        high = re.to(tl.int32, bitcast=True).to(tl.int64) << 32
        both = tl.gather(high | (im.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF), other, 0)
        return (both >> 32).to(tl.int32).to(tl.float32, bitcast=True), both.to(tl.int32).to(tl.float32, bitcast=True)
    else:
        return tl.gather(re, other, 0), tl.gather(im, other, 0)


@triton.jit
def _turn(re, im, partner_re, partner_im, is_one, a, b, c, d, PLANAR: tl.constexpr):
    """Apply a one-qubit gate; a planar one rotates about an axis between x and y."""
    c = tl.where(is_one, c, -c)
    turned = a * re + c * partner_re + b * partner_im, a * im + c * partner_im - b * partner_re
    if PLANAR:
        return turned
    else:
        d = tl.where(is_one, d, -d)
        return turned[0] - d * im, turned[1] + d * re


@triton.jit
def _parity(states, kind, x, y):
    """
    Compute the sign of a two-qubit gate: for a CZ -1 where both qubits are 1, for an RZZ where they differ, and 1 elsewhere.
    """
    first, second = (states >> x.to(tl.int32)) & 1, (states >> y.to(tl.int32)) & 1
    return 1.0 - 2.0 * tl.where(kind == _CZ, first & second, first ^ second).to(tl.float32)


@triton.jit
def _run(table, own, states, n_gates, SIZE: tl.constexpr, PACKED: tl.constexpr, PLANAR: tl.constexpr):
    """Compute the final state from the state 0."""
    re = tl.where(states == 0, 1.0, 0.0)
    im = tl.zeros((SIZE,), tl.float32)
    kind, qubit, c, s, x, y = _gate(table, own, 0)
    for gate in range(n_gates):
        # Prefetch the next gate while this one acts
        following = _gate(table, own, tl.minimum(gate + 1, n_gates - 1))
        if kind < _CZ:
            a, b, c_, d = _quaternion(kind, c, s, x, y)
            partner_re, partner_im = _partners(re, im, states, qubit, PACKED)
            is_one = ((states >> qubit) & 1) == 1
            re, im = _turn(re, im, partner_re, partner_im, is_one, a, b, c_, d, PLANAR)
        else:
            parity = _parity(states, kind, x, y)
            if kind == _CZ:
                re, im = re * parity, im * parity
            else:
                re, im = c * re + s * parity * im, c * im - s * parity * re
        kind, qubit, c, s, x, y = following
    return re, im


# Batches of any size run the same compiled code
@triton.jit(do_not_specialize=["rows", "programs", "shots"])
def measure(
    inputs, table, fixed, scratch, uniforms, bits, expected, flag,
    rows, programs, n_inputs, n_gates, n_qubits, shots,
    SIZE: tl.constexpr, QUBITS: tl.constexpr, BLOCK: tl.constexpr,
    PACKED: tl.constexpr, PLANAR: tl.constexpr, DRAWN: tl.constexpr,
):  # fmt: skip
    """
    Compute expected bits ``(rows, n_qubits)``, and bits ``(rows, shots, n_qubits)`` from uniform random numbers ``(rows,
    shots)``. A program takes every ``programs``-th row and has a part of the scratch memory, ``(programs, n_gates, 4)``.
    """
    program = tl.program_id(0)
    states, qubits = tl.arange(0, SIZE), tl.arange(0, QUBITS)
    own = scratch + program.to(tl.int64) * n_gates * 4
    for turn in range(tl.cdiv(rows - program, programs)):
        row = program.to(tl.int64) + turn * programs
        values = inputs + row * n_inputs
        tl.debug_barrier()  # the row before is done with the scratch memory
        _read(values, table, fixed, own, flag, n_inputs, n_gates, n_qubits, BLOCK)
        re, im = _run(table, own, states, n_gates, SIZE, PACKED, PLANAR)
        probabilities = re * re + im * im
        for qubit in range(n_qubits):
            ones = tl.sum(tl.where(((states >> qubit) & 1) == 1, probabilities, 0.0), 0)
            tl.store(expected + row * n_qubits + qubit, tl.minimum(ones, 1.0))
        if DRAWN:
            cumulative = tl.cumsum(probabilities.to(tl.float64), 0)
            total = tl.max(cumulative, 0)
            for shot in range(shots):
                # Scaled by the sum, which rounding errors keep from being exactly 1
                drawn = tl.load(uniforms + row * shots + shot) * total
                state = tl.minimum(tl.sum((cumulative <= drawn).to(tl.int32), 0), SIZE - 1)
                ones = ((state >> qubits) & 1).to(tl.float32)
                tl.store(bits + (row * shots + shot) * n_qubits + qubits, ones, mask=qubits < n_qubits)


@triton.jit(do_not_specialize=["rows", "programs"])
def gradient(
    inputs, table, fixed, scratch, weights, out, flag,
    rows, programs, n_inputs, n_gates, n_qubits,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, PACKED: tl.constexpr, PLANAR: tl.constexpr,
):  # fmt: skip
    """
    Compute the gradient of ``(weights * expected bits).sum()``, and add it to ``out``, ``(rows, n_inputs)``: state and adjoint
    state are carried back gate by gate (Jones and Gacon, https://arxiv.org/abs/2009.02823).
    """
    program = tl.program_id(0)
    states = tl.arange(0, SIZE)
    own = scratch + program.to(tl.int64) * n_gates * 4
    for turn in range(tl.cdiv(rows - program, programs)):
        row = program.to(tl.int64) + turn * programs
        values, slopes = inputs + row * n_inputs, out + row * n_inputs
        tl.debug_barrier()  # the row before is done with the scratch memory
        _read(values, table, fixed, own, flag, n_inputs, n_gates, n_qubits, BLOCK)
        re, im = _run(table, own, states, n_gates, SIZE, PACKED, PLANAR)
        observable = tl.zeros((SIZE,), tl.float32)
        for qubit in range(n_qubits):
            observable += tl.load(weights + row * n_qubits + qubit) * ((states >> qubit) & 1).to(tl.float32)
        adjoint_re, adjoint_im = re * observable, im * observable
        for step in range(n_gates):
            gate = n_gates - 1 - step
            kind, qubit, c, s, x, y = _gate(table, own, gate)
            column, second = tl.load(table + gate * _FIELDS + 3), tl.load(table + gate * _FIELDS + 4)
            # exp(-i t G / 2) has the derivative Im <adjoint| G |state>
            along = adjoint_re * im - adjoint_im * re
            if kind < _CZ:
                a, b, c_, d = _quaternion(kind, c, s, x, y)
                is_one = ((states >> qubit) & 1) == 1
                other_re, other_im = _partners(re, im, states, qubit, PACKED)
                if column >= 0:
                    of_x = adjoint_re * other_im - adjoint_im * other_re
                    of_y = adjoint_re * other_re + adjoint_im * other_im
                    of_y, of_z = tl.where(is_one, of_y, -of_y), tl.where(is_one, -along, along)
                    tl.atomic_add(slopes + column, tl.sum(tl.where(kind == _RZ, of_z, x * of_x + y * of_y), 0))
                    if second >= 0:
                        # phi rotates about z after the gate, and back before it
                        twist = 2.0 * s * (s * of_z + c * (x * of_y - y * of_x))
                        tl.atomic_add(slopes + second, tl.sum(twist, 0))
                re, im = _turn(re, im, other_re, other_im, is_one, a, -b, -c_, -d, PLANAR)
                other_re, other_im = _partners(adjoint_re, adjoint_im, states, qubit, PACKED)
                adjoint_re, adjoint_im = _turn(adjoint_re, adjoint_im, other_re, other_im, is_one, a, -b, -c_, -d, PLANAR)
            else:
                parity = _parity(states, kind, x, y)
                if kind == _CZ:
                    re, im = re * parity, im * parity
                    adjoint_re, adjoint_im = adjoint_re * parity, adjoint_im * parity
                else:
                    tl.atomic_add(slopes + column, tl.sum(parity * along, 0))
                    back = s * parity
                    re, im = c * re - back * im, c * im + back * re
                    adjoint_re, adjoint_im = c * adjoint_re - back * adjoint_im, c * adjoint_im + back * adjoint_re
