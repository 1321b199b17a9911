"""
Compiled kernels for any program of gates, values, bits and gradient. Qubits that no two-qubit gate has joined stay separate.

* One-qubit gates touch no amplitude. They are multiplied into a pending gate of their qubit, a unit quaternion ``(a, b, c,
  d)`` for ``a - i (b X + c Y + d Z)``.
* A two-qubit gate first applies the pending gates of its two qubits. Written as ``RZ(alpha) RY(t) RZ(beta)``, a pending gate
  is a phase for half of the amplitudes and a real rotation; ``RZ(alpha)`` commutes with CZ and RZZ, and stays pending as
  ``turn``, ``exp(i alpha)``.
* A block is a set of qubits that two-qubit gates have joined, with its own amplitudes; a single qubit needs none. When a gate
  joins two blocks, their product gets new memory, so that the gradient finds both of them unchanged.
* The gradient uses the adjoint method: final states and their gradients are carried back, and split again. The gradients of
  all angles that were pending at a two-qubit gate follow from one vector ``v_j = Im <gradient| sigma_j |state>``, because
  gates rotate ``v`` like a Bloch vector. Source: Jones and Gacon, "Efficient calculation of gradients in classical simulations
  of variational quantum algorithms", arXiv 2009.02823.

Everything is in one file because numba's cache of machine code checks only a function's own file. Single and double precision
run the same code. Functions that are called in one place are inlined by numba; otherwise they would be compiled twice, once as
a part of their caller.
"""

from collections import namedtuple
from math import factorial

import numpy as np

from sb3_quantum.circuits.jit import inlined, jit, strict

# In the order of circuits.program.KINDS
R, RX, RY, RZ, FIXED, CZ, RZZ = range(7)
#: columns of a program's gates
KIND, FIRST, SECOND, ANGLE, CHOICE, DIAGONAL = range(6)
#: return values of a kernel
DONE, NOT_FINITE, TOO_LARGE = range(3)
#: columns of the tape: one row per two-qubit gate that ran
GATE, ONE, OTHER, START, SIZE, PLACE, OTHER_PLACE, JOINED, LEFT, LEFT_SIZE, RIGHT, RIGHT_SIZE, ACTIVE, OTHER_ACTIVE = range(14)
# Coefficients of Taylor's series
C2, C4, C6, C8, C10, C12, C14, C16 = (float((-1) ** (n // 2) / factorial(n)) for n in range(2, 17, 2))
C3, C5, C7, C9, C11, C13, C15 = (float((-1) ** (n // 2) / factorial(n)) for n in range(3, 16, 2))

#: memory of one circuit at a time: cosines and sines; for each qubit its pending gate, the turn before it, its block, the next
#: qubit of the block, the block's size and start, its place in the block, and whether more than a turn is pending; the tape;
#: room for the states of single qubits; and the amplitudes
Workspace = namedtuple("Workspace", "cos sin pending turn block follow size start place active tape taped small real imag")


@strict
def _finite(inputs):
    """Tell whether all numbers are finite."""
    found = 0
    for row in range(inputs.shape[0]):
        for column in range(inputs.shape[1]):
            # NaN is not less than anything
            found += not abs(inputs[row, column]) < np.inf
    return found == 0


@jit
def _pairs(inputs, columns, choices, row, n_qubits, out):
    """
    Return the qubits that a row chooses: from their columns, rounded (ties to even) and modulo ``n_qubits``, or from
    ``choices``.
    """
    if len(columns) == 0:
        for choice in range(len(out)):
            for end in range(2):
                out[choice, end] = min(max(choices[row, choice, end], 0), n_qubits - 1)
        return
    for choice in range(len(out)):
        for end in range(2):
            number = np.float64(np.rint(inputs[row, columns[choice, end]]))
            rest = number - np.floor(number / n_qubits) * n_qubits
            out[choice, end] = min(max(int(rest), 0), n_qubits - 1)


@jit
def _ends(gate, pairs):
    """Return the two qubits of a gate."""
    if gate[CHOICE] < 0:
        return gate[FIRST], gate[SECOND]
    return pairs[gate[CHOICE], 0], pairs[gate[CHOICE], 1]


@inlined
def _blocks(gates, last, pairs, block, follow, size):
    """
    Find the final blocks of the qubits, without amplitudes.

    :param block: filled with the block of each qubit, ``(n_qubits,)``
    :param follow: filled with rings of the qubits of each block
    :param size: filled with the sizes of the blocks
    :return: amplitudes that all blocks need in total, qubits of the largest block, the gate that made it
    """
    for qubit in range(len(block)):
        block[qubit], follow[qubit], size[qubit] = qubit, qubit, 1
    needed, largest, maker = 0.0, 1, -1
    for place in range(len(gates)):
        if gates[place, KIND] < CZ:
            continue
        one, other = _ends(gates[place], pairs)
        if one == other or block[one] == block[other] or (place > last[one] and place > last[other]):
            continue
        left, right = block[one], block[other]
        if size[left] < size[right]:
            left, right = right, left
        qubit = right
        while True:
            block[qubit] = left
            qubit = follow[qubit]
            if qubit == right:
                break
        follow[left], follow[right] = follow[right], follow[left]
        size[left] += size[right]
        needed += 2.0 ** size[left]
        if size[left] > largest:
            largest, maker = size[left], place
    return needed, largest, maker


@jit
def largest(inputs: np.ndarray, gates: np.ndarray, last: np.ndarray, columns: np.ndarray, choices: np.ndarray) -> tuple:
    """
    Find the largest block of a batch, without amplitudes.

    :param inputs: as in :func:`measure`, as are the others
    :return: amplitudes that the blocks of one row need together, over all rows; and the row, the qubits and the gate of the
        largest block
    """
    n_qubits = len(last)
    pairs = np.empty((max(columns.shape[0], choices.shape[1]), 2), np.int64)
    block, follow, size = np.empty(n_qubits, np.int64), np.empty(n_qubits, np.int64), np.empty(n_qubits, np.int64)
    most, where, widest, maker = 0.0, 0, 0, -1
    for row in range(inputs.shape[0]):
        _pairs(inputs, columns, choices, row, n_qubits, pairs)
        needed, found, gate = _blocks(gates, last, pairs, block, follow, size)
        most = max(most, needed)
        if found > widest:
            where, widest, maker = row, found, gate
    return most, where, widest, maker


@inlined
def _half_angles(inputs, columns, cos, sin):
    """
    Compute cosines and sines of half the angles. Angles are taken modulo a whole turn in the inputs' precision; for huge
    angles the result only has to be finite.
    """
    for place in range(len(columns)):
        cos[place] = inputs[columns[place]]
    turn = np.float64(inputs.dtype.type(2 * np.pi))
    for place in range(len(columns)):
        turns = np.float64(cos[place]) / turn
        # Taylor's series of a quarter of the angle, in [-pi / 4, pi / 4], to the precision of a double: this vectorizes
        x = (turns - np.floor(turns + 0.5)) * (0.25 * turn)
        y = x * x
        s = y * (C9 + y * (C11 + y * (C13 + y * C15)))
        s = x * (1 + y * (C3 + y * (C5 + y * (C7 + s))))
        c = y * (C8 + y * (C10 + y * (C12 + y * (C14 + y * C16))))
        c = 1 + y * (C2 + y * (C4 + y * (C6 + c)))
        cos[place] = 1 - 2 * s * s
        sin[place] = 2 * s * c


@inlined
def _multiply(kind, a1, b1, c1, d1, pending):
    """Multiply a gate's quaternion into the pending gate of its qubit."""
    a, b, c, d = pending[0], pending[1], pending[2], pending[3]
    pending[0] = a1 * a - b1 * b - c1 * c - d1 * d
    pending[1] = a1 * b + b1 * a + c1 * d - d1 * c
    pending[2] = a1 * c + c1 * a + d1 * b - b1 * d
    pending[3] = a1 * d + d1 * a + b1 * c - c1 * b


@inlined
def _quaternion(gate, fixed, cos, sin):
    """Write a one-qubit gate as a quaternion."""
    kind, angle = gate[KIND], gate[ANGLE]
    zero = cos.dtype.type(0)
    if kind == R:
        c, s, u, v = cos[angle], sin[angle], cos[angle + 1], sin[angle + 1]
        return c, s * (u * u - v * v), s * (u * v + u * v), zero
    if kind == RX:
        return cos[angle], sin[angle], zero, zero
    if kind == RY:
        return cos[angle], zero, sin[angle], zero
    if kind == RZ:
        return cos[angle], zero, zero, sin[angle]
    return fixed[0], fixed[1], fixed[2], fixed[3]


@jit
def _factors(pending, turn, out):
    """
    Factor the pending gate and the turn before it into ``RZ(alpha) RY(t) RZ(beta)``.

    :param out: filled with cos and sin of t / 2, real and imaginary parts of exp(i beta) and of exp(i alpha)
    """
    a, b, c, d = pending[0], pending[1], pending[2], pending[3]
    one, zero = pending.dtype.type(1), pending.dtype.type(0)
    low, high = a * a + d * d, b * b + c * c
    scale = one / np.sqrt(low + high)
    u, v = one, zero
    w, x = one, zero
    cosine, sine = np.sqrt(low), np.sqrt(high)
    if low > pending.dtype.type(1e-30):
        u, v = a / cosine, d / cosine
    if high > pending.dtype.type(1e-30):
        w, x = c / sine, b / sine
    out[0], out[1] = cosine * scale, sine * scale
    # (u + i v)(w + i x), and the turn
    e, f = u * w - v * x, u * x + v * w
    out[2], out[3] = e * turn[0] - f * turn[1], e * turn[1] + f * turn[0]
    # (u + i v)(w - i x)
    out[4], out[5] = u * w + v * x, v * w - u * x


@jit
def _rotate_by(real, imag, half, c, s, e, f):
    """Do the work of :func:`_rotate`, compiled for fixed values of ``half``."""
    for block in range(len(real) // (2 * half)):
        for state in range(half):
            i = 2 * half * block + state
            j = i + half
            a, b = real[i], imag[i]
            x, y = e * real[j] - f * imag[j], e * imag[j] + f * real[j]
            real[i], imag[i] = c * a - s * x, c * b - s * y
            real[j], imag[j] = s * a + c * x, s * b + c * y


@jit
def _rotate(real, imag, place, c, s, e, f):
    """Apply the phase ``e + i f`` to a qubit's states 1, then a real rotation by (c, s)."""
    # Short loops vectorize only if their length is known
    if place == 0:
        _rotate_by(real, imag, 1, c, s, e, f)
    elif place == 1:
        _rotate_by(real, imag, 2, c, s, e, f)
    else:
        _rotate_by(real, imag, 1 << place, c, s, e, f)


@jit
def _flip(values, place, other):
    """Apply a CZ to real or imaginary parts: change the sign of the states in which both qubits are 1."""
    both = (1 << place) | (1 << other)
    for state in range(len(values)):
        values[state] = -values[state] if state & both == both else values[state]


@jit
def _twist(real, imag, place, other, c, s):
    """Apply an RZZ, up to a global phase: multiply the states in which the qubits differ by ``c + i s``."""
    one, zero = real.dtype.type(1), real.dtype.type(0)
    for state in range(len(real)):
        differ = ((state >> place) ^ (state >> other)) & 1
        e, f = c if differ else one, s if differ else zero
        a, b = real[state], imag[state]
        real[state], imag[state] = e * a - f * b, e * b + f * a


@inlined
def _pair_product(real, imag, one, other):
    """Join two single qubits into a block; ``one`` is the lower one, and both start with cosine and sine."""
    for high in range(2):
        for low in range(2):
            real[2 * high + low] = one[low] * other[high]
            imag[2 * high + low] = 0


@inlined
def _append(real, imag, left_real, left_imag, c, s):
    """Append a single qubit to a block as its highest qubit."""
    n = len(left_real)
    for i in range(n):
        real[i], imag[i] = c * left_real[i], c * left_imag[i]
    for i in range(n):
        real[n + i], imag[n + i] = s * left_real[i], s * left_imag[i]


@inlined
def _product(real, imag, left_real, left_imag, right_real, right_imag):
    """Join two blocks; the right one's qubits become the higher ones."""
    n = len(left_real)
    for j in range(len(right_real)):
        c, s = right_real[j], right_imag[j]
        a, b = real[j * n : (j + 1) * n], imag[j * n : (j + 1) * n]
        for i in range(n):
            a[i], b[i] = c * left_real[i] - s * left_imag[i], c * left_imag[i] + s * left_real[i]


@inlined
def _workspace(inputs, n_qubits, n_angles, n_gates, amplitudes):
    """Allocate memory for one circuit at a time: numbers, tape and amplitudes."""
    kind = inputs.dtype
    trig, state, lists = np.empty((2, n_angles), kind), np.empty((2, amplitudes), kind), np.empty((6, n_qubits), np.int64)
    pending, turn = np.empty((n_qubits, 4), kind), np.empty((n_qubits, 2), kind)
    tape, taped, small = np.empty((n_gates, 14), np.int64), np.empty((n_gates, 2, 6), kind), np.empty((8, 2), kind)
    block, follow, size, start, place, active = lists[0], lists[1], lists[2], lists[3], lists[4], lists[5]
    return Workspace(
        trig[0], trig[1], pending, turn, block, follow, size, start, place, active, tape, taped, small, state[0], state[1]
    )


@jit
def _evolve(inputs, angle_columns, gates, fixed, last, pairs, w):
    """
    Run one circuit.

    :return: number of filled rows of the tape
    """
    cos, sin, real, imag, tape, taped = w.cos, w.sin, w.real, w.imag, w.tape, w.taped
    pending, turn, block, follow, size = w.pending, w.turn, w.block, w.follow, w.size
    start, place, active = w.start, w.place, w.active
    # 1. Every qubit is a block of its own, with nothing pending
    _half_angles(inputs, angle_columns, cos, sin)
    for qubit in range(len(last)):
        block[qubit], follow[qubit], size[qubit], start[qubit], place[qubit], active[qubit] = qubit, qubit, 1, 0, 0, 0
        pending[qubit, 0], pending[qubit, 1], pending[qubit, 2], pending[qubit, 3] = 1, 0, 0, 0
        turn[qubit, 0], turn[qubit, 1] = 1, 0
    events = used = 0
    for step in range(len(gates)):
        gate = gates[step]
        # 2. A one-qubit gate goes into the pending gate of its qubit
        if gate[KIND] < CZ:
            qubit = gate[FIRST]
            a, b, c, d = _quaternion(gate, fixed[step], cos, sin)
            _multiply(gate[KIND], a, b, c, d, pending[qubit])
            active[qubit] |= 1 - gate[DIAGONAL]
            continue
        # 3. A two-qubit gate starts a row of the tape, unless no measurement sees it
        one, other = _ends(gate, pairs)
        if one == other or (step > last[one] and step > last[other]):
            continue
        row = tape[events]
        if block[one] != block[other] and size[block[one]] < size[block[other]]:
            one, other = other, one
        row[GATE], row[ONE], row[OTHER], row[JOINED] = step, one, other, 0
        row[ACTIVE], row[OTHER_ACTIVE] = active[one], active[other]
        # 4. Apply the pending gates of both qubits, except rotations about z
        for end in range(2):
            qubit = other if end else one
            found = taped[events, end]
            _factors(pending[qubit], turn[qubit], found)
            alone = size[block[qubit]] == 1
            if active[qubit] and not alone:
                first, n = start[block[qubit]], 1 << size[block[qubit]]
                a, b = real[first : first + n], imag[first : first + n]
                _rotate(a, b, place[qubit], found[0], found[1], found[2], found[3])
            if not (active[qubit] or alone):
                # Only rotations about z: everything stays pending
                e, f = found[2] * found[4] - found[3] * found[5], found[2] * found[5] + found[3] * found[4]
                found[4], found[5] = e, f
            turn[qubit, 0], turn[qubit, 1], active[qubit] = found[4], found[5], 0
            pending[qubit, 0], pending[qubit, 1], pending[qubit, 2], pending[qubit, 3] = 1, 0, 0, 0
        # 5. Join their blocks: the product of both states, in new memory
        left, right = block[one], block[other]
        if left != right:
            row[JOINED], row[LEFT], row[RIGHT] = 1, start[left], start[right]
            row[LEFT_SIZE], row[RIGHT_SIZE] = size[left], size[right]
            n, m = 1 << size[left], 1 << size[right]
            a, b = real[used : used + n * m], imag[used : used + n * m]
            left_real, left_imag = real[start[left] : start[left] + n], imag[start[left] : start[left] + n]
            if n == 2:
                _pair_product(a, b, taped[events, 0], taped[events, 1])
            elif m == 2:
                _append(a, b, left_real, left_imag, taped[events, 1, 0], taped[events, 1, 1])
            else:
                first = start[right]
                _product(a, b, left_real, left_imag, real[first : first + m], imag[first : first + m])
            qubit = right
            while True:
                block[qubit] = left
                place[qubit] += size[left]
                qubit = follow[qubit]
                if qubit == right:
                    break
            follow[left], follow[right] = follow[right], follow[left]
            start[left] = used
            size[left] += size[right]
            used += n * m
        # 6. Apply the gate to the block
        first, n = start[left], 1 << size[left]
        row[START], row[SIZE], row[PLACE], row[OTHER_PLACE] = first, size[left], place[one], place[other]
        if gate[KIND] == CZ:
            _flip(real[first : first + n], place[one], place[other])
            _flip(imag[first : first + n], place[one], place[other])
        else:
            c, s = cos[gate[ANGLE]], sin[gate[ANGLE]]
            _twist(real[first : first + n], imag[first : first + n], place[one], place[other], c * c - s * s, c * s + c * s)
        events += 1
    return events


@jit
def _finish(w, factors):
    """
    Apply the pending gates of all blocks, without the rotations about z that no measurement sees.

    :param factors: filled with the results of :func:`_factors`, ``(n_qubits, 6)``
    """
    for qubit in range(len(w.block)):
        first = w.block[qubit]
        if w.size[first] > 1 and w.active[qubit]:
            found = factors[qubit]
            low, high = w.start[first], w.start[first] + (1 << w.size[first])
            _factors(w.pending[qubit], w.turn[qubit], found)
            _rotate(w.real[low:high], w.imag[low:high], w.place[qubit], found[0], found[1], found[2], found[3])


@inlined
def _grow_tree(real, imag, members, place, ordered, tree, order):
    """
    Sum a block's probabilities into a tree: the sums over all but its first m qubits are at ``tree[2**m : 2**(m + 1)]``, with
    its first qubit as the lowest bit. The qubits are in the block's order, or with the highest number first if ``ordered``.

    :param members: the block's qubits, by number
    :param order: workspace, of the size of the block
    """
    k, n = len(members), len(real)
    if ordered:
        order[0] = 0
        for rank in range(k):
            order[1 << place[members[rank]]] = 1 << (k - 1 - rank)
        half = 1
        while half < n:
            bit = order[half]
            for state in range(half):
                order[half + state] = order[state] | bit
            half *= 2
        for state in range(n):
            tree[n + order[state]] = real[state] * real[state] + imag[state] * imag[state]
    else:
        for state in range(n):
            tree[n + state] = real[state] * real[state] + imag[state] * imag[state]
    half = n // 2
    while half > 0:
        for state in range(half):
            tree[half + state] = tree[2 * half + state] + tree[3 * half + state]
        half //= 2


@inlined
def _share(tree, at):
    """Compute the probability of reading 1 on qubit number ``at`` of a tree."""
    half = 1 << at
    total = tree.dtype.type(0)
    for state in range(3 * half, 4 * half):
        total += tree[state]
    return min(total / tree[1], tree.dtype.type(1))


@jit
def _read_block(w, first, members, tree, order, expected, ordered):
    """Compute the probabilities of reading 1 on the qubits of a block, and the tree of sums."""
    if w.size[first] == 1:
        a, b, c, d = w.pending[first, 0], w.pending[first, 1], w.pending[first, 2], w.pending[first, 3]
        expected[first] = (b * b + c * c) / (a * a + b * b + c * c + d * d)
        return
    k = 0
    for qubit in range(len(w.block)):
        if w.block[qubit] == first:
            members[k] = qubit
            k += 1
    low, high = w.start[first], w.start[first] + (1 << k)
    sums = tree[2 * low : 2 * high]
    _grow_tree(w.real[low:high], w.imag[low:high], members[:k], w.place, ordered, sums, order)
    for rank in range(k):
        qubit = members[rank]
        expected[qubit] = _share(sums, k - 1 - rank if ordered else w.place[qubit])


@inlined
def _fresh(uniform, count):
    """
    Derive another number in [0, 1) that looks independent of the first one: SplitMix64. Source: Steele, Lea and Flood, "Fast
    splittable pseudorandom number generators", OOPSLA 2014.
    """
    word = np.uint64(uniform * 9007199254740992.0) + np.uint64(count) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((word ^ (word >> np.uint64(31))) >> np.uint64(11)) * 1.1102230246251565e-16


@jit
def _draw(uniform, w, tree, expected, node, bits):
    """
    Draw by the inverse CDF over the states of all qubits, the highest qubit being the most significant. So a random number
    gives the same bits as in an engine that does not split. A state of probability zero is never drawn. A random number has 53
    bits; after 30 of them, which takes more than 30 qubits, a fresh number is derived.
    """
    rest, spent, count = uniform, 1.0, 0
    for qubit in range(len(bits) - 1, -1, -1):
        first = w.block[qubit]
        if w.size[first] == 1:
            one = np.float64(expected[qubit])
            zero = 1.0 - one
        else:
            base, half = 2 * w.start[first], node[first, 0]
            zero = np.float64(tree[base + 2 * half + node[first, 1]])
            one = np.float64(tree[base + 3 * half + node[first, 1]])
            whole = zero + one
            zero, one = zero / whole, one / whole
        bit = (rest >= zero and one > 0) or zero <= 0
        rest = (rest - zero) / one if bit else rest / zero
        spent *= one if bit else zero
        if spent < 9.313225746154785e-10:
            count += 1
            rest, spent = _fresh(uniform, count), 1.0
        bits[qubit] = bit
        if w.size[first] > 1:
            node[first, 1] += bit * half
            node[first, 0] = 2 * half


@jit
def measure(
    inputs: np.ndarray,
    angle_columns: np.ndarray,
    gates: np.ndarray,
    fixed: np.ndarray,
    last: np.ndarray,
    columns: np.ndarray,
    choices: np.ndarray,
    uniforms: np.ndarray,
    bits: np.ndarray,
    expected: np.ndarray,
    limit: float,
) -> int:
    """
    Measure circuits, one after the other.

    :param inputs: numbers from which the gates' angles and choices are read, ``(batch, n_inputs)``, float32 or float64
    :param angle_columns: columns of the program's angles, ``(n_angles,)``, int64
    :param gates: the program's gates in the columns above, ``(n_gates, 6)``, int64
    :param fixed: quaternions of fixed gates, ``(n_gates, 4)``, of the inputs' type
    :param last: the last gate of each qubit that is no phase, ``(n_qubits,)``, int64
    :param columns: columns of the qubits that a row chooses, as numbers to be rounded and taken modulo ``n_qubits``,
        ``(n_choices, 2)``, int64; without rows if ``choices`` are given
    :param choices: qubits that rows choose, ``(batch, n_choices, 2)``, int64
    :param uniforms: random numbers in [0, 1), ``(batch, shots)``, float64
    :param bits: filled with the measured bits, ``(batch, shots, n_qubits)``, of the inputs' type
    :param expected: filled with the probabilities of reading 1, ``(batch, n_qubits)``, of the inputs' type
    :param limit: maximum number of amplitudes in memory
    :return: :data:`DONE`; :data:`NOT_FINITE` or :data:`TOO_LARGE`, and nothing is filled
    """
    if not _finite(inputs):
        return NOT_FINITE
    needed = largest(inputs, gates, last, columns, choices)[0]
    if needed > limit:
        return TOO_LARGE
    n_qubits, shots = len(last), uniforms.shape[1]
    w = _workspace(inputs, n_qubits, len(angle_columns), len(gates), int(needed))
    pairs = np.empty((max(columns.shape[0], choices.shape[1]), 2), np.int64)
    members, node = np.empty(n_qubits, np.int64), np.empty((n_qubits, 2), np.int64)
    factors, tree = np.empty((n_qubits, 6), inputs.dtype), np.empty(2 * int(needed), inputs.dtype)
    order = np.empty(int(needed) if shots > 0 else 0, np.int32)
    for row in range(inputs.shape[0]):
        _pairs(inputs, columns, choices, row, n_qubits, pairs)
        _evolve(inputs[row], angle_columns, gates, fixed, last, pairs, w)
        _finish(w, factors)
        for first in range(n_qubits):
            if w.block[first] == first:
                _read_block(w, first, members, tree, order, expected[row], shots > 0)
        for shot in range(shots):
            for qubit in range(n_qubits):
                node[qubit, 0], node[qubit, 1] = 1, 0
            _draw(uniforms[row, shot], w, tree, expected[row], node, bits[row, shot])
    return DONE


@jit
def _observe(real, imag, grad_real, grad_imag):
    """Compute the gradient of a block's final state, ``grad_real`` times the state: the observable is diagonal."""
    for i in range(len(real)):
        weight = grad_real[i]
        grad_real[i], grad_imag[i] = weight * real[i], weight * imag[i]


@jit
def _carry_back_by(real, imag, grad_real, grad_imag, half, c, s, e, f):
    """Do the work of :func:`_carry_back`, compiled for fixed values of ``half``."""
    x = y = real.dtype.type(0)
    for block in range(len(real) // (2 * half)):
        for state in range(half):
            i = 2 * half * block + state
            j = i + half
            a, b, u, v = real[i], imag[i], real[j], imag[j]
            g, h, p, q = grad_real[i], grad_imag[i], grad_real[j], grad_imag[j]
            # conj(gradient 0) state 1 and conj(gradient 1) state 0
            x += (g * v - h * u) + (p * b - q * a)
            y += (p * a + q * b) - (g * u + h * v)
            real[i], imag[i] = c * a + s * u, c * b + s * v
            u, v = c * u - s * a, c * v - s * b
            real[j], imag[j] = e * u + f * v, e * v - f * u
            grad_real[i], grad_imag[i] = c * g + s * p, c * h + s * q
            p, q = c * p - s * g, c * q - s * h
            grad_real[j], grad_imag[j] = e * p + f * q, e * q - f * p
    return x, y


@jit
def _carry_back(real, imag, grad_real, grad_imag, place, found, v):
    """
    Undo :func:`_rotate` on a state and its gradient.

    :param found: the factors that were applied
    :param v: its x and y are filled with ``Im <gradient| X |state>`` and the same for Y, after all pending gates
    """
    c, s, e, f = found[0], found[1], found[2], found[3]
    if place == 0:
        x, y = _carry_back_by(real, imag, grad_real, grad_imag, 1, c, s, e, f)
    elif place == 1:
        x, y = _carry_back_by(real, imag, grad_real, grad_imag, 2, c, s, e, f)
    else:
        x, y = _carry_back_by(real, imag, grad_real, grad_imag, 1 << place, c, s, e, f)
    v[0], v[1] = found[4] * x - found[5] * y, found[4] * y + found[5] * x


@jit
def _parity(real, imag, grad_real, grad_imag, place, other):
    """Compute ``Im <gradient| Z Z |state>``."""
    total = real.dtype.type(0)
    for i in range(len(real)):
        sign = real.dtype.type(1 - 2 * (((i >> place) ^ (i >> other)) & 1))
        total += sign * (grad_real[i] * imag[i] - grad_imag[i] * real[i])
    return total


@jit
def _separate(grad_real, grad_imag, real, imag, other_real, other_imag, out_real, out_imag, other_out_real, other_out_imag):
    """Compute the gradients of the states of two blocks from that of their product; the other block is the higher one."""
    n = len(real)
    for i in range(n):
        out_real[i], out_imag[i] = 0, 0
    for j in range(len(other_real)):
        c, d = other_real[j], other_imag[j]
        total = other_total = real.dtype.type(0)
        g, h = grad_real[j * n : (j + 1) * n], grad_imag[j * n : (j + 1) * n]
        for i in range(n):
            out_real[i] += c * g[i] + d * h[i]
            out_imag[i] += c * h[i] - d * g[i]
            total += real[i] * g[i] + imag[i] * h[i]
            other_total += real[i] * h[i] - imag[i] * g[i]
        other_out_real[j], other_out_imag[j] = total, other_total


@jit
def _alone(found, real, imag, v):
    """Compute the gradient of a single qubit's state (cos, sin) from that of its product with a block."""
    c, s, e, f = found[0], found[1], found[4], found[5]
    x, y = -imag[0] * s - imag[1] * c, real[1] * c - real[0] * s
    v[0], v[1] = e * x - f * y, e * y + f * x


@jit
def _turn_back(gate, fixed, cos, sin, v, out):
    """Compute the gradients of a one-qubit gate's angles; ``v`` after the gate becomes ``v`` before it."""
    kind, angle = gate[KIND], gate[ANGLE]
    x, y, z = v[0], v[1], v[2]
    if kind == FIXED:
        a, b, c, d = fixed[0], -fixed[1], -fixed[2], -fixed[3]
        u, w, t = c * z - d * y, d * x - b * z, b * y - c * x
        u, w, t = u + u, w + w, t + t
        v[0], v[1], v[2] = x + a * u + c * t - d * w, y + a * w + d * u - b * t, z + a * t + b * w - c * u
        return
    c, s = cos[angle] * cos[angle] - sin[angle] * sin[angle], cos[angle] * sin[angle]
    s += s
    if kind == R:
        phi = angle + 1
        e, f = cos[phi] * cos[phi] - sin[phi] * sin[phi], cos[phi] * sin[phi]
        f += f
        x, y = e * x + f * y, e * y - f * x
        out[angle] += x
        y, z = c * y + s * z, c * z - s * y
        out[phi] += v[2] - z
        v[0], v[1], v[2] = e * x - f * y, e * y + f * x, z
    elif kind == RX:
        out[angle] += x
        v[1], v[2] = c * y + s * z, c * z - s * y
    elif kind == RY:
        out[angle] += y
        v[2], v[0] = c * z + s * x, c * x - s * z
    else:
        out[angle] += z
        v[0], v[1] = c * x + s * y, c * y - s * x


@jit
def _begin_back(w, weights, factors, grad_real, grad_imag, v):
    """
    Carry the gradient of the final states of one circuit back through what :func:`_finish` applied.

    :param v: filled with ``Im <gradient| sigma |state>`` of each qubit, after all gates, ``(n_qubits, 3)``
    """
    half = w.real.dtype.type(0.5)
    for qubit in range(len(w.block)):
        first = w.block[qubit]
        if w.size[first] == 1:
            a, b, c, d = w.pending[qubit, 0], w.pending[qubit, 1], w.pending[qubit, 2], w.pending[qubit, 3]
            scale = weights[qubit] / (a * a + b * b + c * c + d * d)
            # The observable is -Z / 2, and the Bloch vector's x is 2 (b d + a c), its y 2 (c d - a b)
            v[qubit, 0], v[qubit, 1], v[qubit, 2] = (a * b - c * d) * scale, (b * d + a * c) * scale, 0
        elif first == qubit:
            low, n = w.start[first], 1
            grad_real[low] = 0
            member = first
            while True:
                grad_real[low] -= weights[member] * half
                member = w.follow[member]
                if member == first:
                    break
            # The ring is not in the order of the qubits' places
            for at in range(w.size[first]):
                while w.place[member] != at:
                    member = w.follow[member]
                for i in range(low, low + n):
                    grad_real[n + i] = grad_real[i] + weights[member]
                n *= 2
            _observe(w.real[low : low + n], w.imag[low : low + n], grad_real[low : low + n], grad_imag[low : low + n])
    for qubit in range(len(w.block)):
        low, n = w.start[w.block[qubit]], 1 << w.size[w.block[qubit]]
        if n > 2 and w.active[qubit]:
            v[qubit, 2] = 0
            high = low + n
            _carry_back(
                w.real[low:high], w.imag[low:high], grad_real[low:high], grad_imag[low:high],
                w.place[qubit], factors[qubit], v[qubit],
            )  # fmt: skip
        elif n > 2:
            v[qubit, 0], v[qubit, 1], v[qubit, 2] = 0, 0, 0


@jit
def _undo(w, event, gate, grad_real, grad_imag, v, slopes):
    """Carry states and gradients back through a row of the tape: a two-qubit gate, and the pending gates before it."""
    note, found_both = w.tape[event], w.taped[event]
    first, n = note[START], 1 << note[SIZE]
    now_real, now_imag = w.real[first : first + n], w.imag[first : first + n]
    now_grad_real, now_grad_imag = grad_real[first : first + n], grad_imag[first : first + n]
    at, other_at = note[PLACE], note[OTHER_PLACE]
    if gate[KIND] == CZ:
        _flip(now_grad_real, at, other_at)
        _flip(now_grad_imag, at, other_at)
        if not note[JOINED]:
            _flip(now_real, at, other_at)
            _flip(now_imag, at, other_at)
    else:
        slopes[gate[ANGLE]] += _parity(now_real, now_imag, now_grad_real, now_grad_imag, at, other_at)
        c, s = w.cos[gate[ANGLE]], w.sin[gate[ANGLE]]
        c, s = c * c - s * s, -(c * s + c * s)
        _twist(now_grad_real, now_grad_imag, at, other_at, c, s)
        if not note[JOINED]:
            _twist(now_real, now_imag, at, other_at, c, s)
    if note[JOINED]:
        # A single qubit has no amplitudes in memory
        n, m = 1 << note[LEFT_SIZE], 1 << note[RIGHT_SIZE]
        a = note[LEFT]
        left_real, left_imag = w.real[a : a + n], w.imag[a : a + n]
        left_grad_real, left_grad_imag = grad_real[a : a + n], grad_imag[a : a + n]
        if n == 2:
            left_real, left_imag, left_grad_real, left_grad_imag = w.small[0], w.small[1], w.small[2], w.small[3]
            left_real[0], left_real[1], left_imag[0], left_imag[1] = found_both[0, 0], found_both[0, 1], 0, 0
        a = note[RIGHT]
        right_real, right_imag = w.real[a : a + m], w.imag[a : a + m]
        right_grad_real, right_grad_imag = grad_real[a : a + m], grad_imag[a : a + m]
        if m == 2:
            right_real, right_imag, right_grad_real, right_grad_imag = w.small[4], w.small[5], w.small[6], w.small[7]
            right_real[0], right_real[1], right_imag[0], right_imag[1] = found_both[1, 0], found_both[1, 1], 0, 0
        _separate(
            now_grad_real, now_grad_imag, left_real, left_imag, right_real, right_imag,
            left_grad_real, left_grad_imag, right_grad_real, right_grad_imag,
        )  # fmt: skip
    for end in range(2):
        qubit = note[OTHER] if end else note[ONE]
        found = found_both[end]
        if note[JOINED]:
            b, k = (note[RIGHT], note[RIGHT_SIZE]) if end else (note[LEFT], note[LEFT_SIZE])
            spot = other_at - note[LEFT_SIZE] if end else at
        else:
            b, k, spot = first, note[SIZE], other_at if end else at
        if k == 1:
            _alone(found, w.small[6 if end else 2], w.small[7 if end else 3], v[qubit])
        elif note[OTHER_ACTIVE] if end else note[ACTIVE]:
            m = b + (1 << k)
            _carry_back(w.real[b:m], w.imag[b:m], grad_real[b:m], grad_imag[b:m], spot, found, v[qubit])


@jit
def gradient(
    inputs: np.ndarray,
    angle_columns: np.ndarray,
    gates: np.ndarray,
    fixed: np.ndarray,
    last: np.ndarray,
    columns: np.ndarray,
    choices: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
    limit: float,
) -> int:
    """
    Compute the gradient of ``(weights * expected_bits).sum()`` with respect to the inputs by the adjoint method.

    :param inputs: as in :func:`measure`, like all arguments that are not described here
    :param weights: ``(batch, n_qubits)``, of the inputs' type
    :param out: filled, ``(batch, n_inputs)``, of the inputs' type; zero where rows choose qubits
    :return: :data:`DONE` or :data:`TOO_LARGE`
    """
    needed = largest(inputs, gates, last, columns, choices)[0]
    if needed > limit:
        return TOO_LARGE
    n_qubits = len(last)
    w = _workspace(inputs, n_qubits, len(angle_columns), len(gates), int(needed))
    gradients, slopes = np.empty((2, int(needed)), inputs.dtype), np.empty(len(angle_columns), inputs.dtype)
    pairs = np.empty((max(columns.shape[0], choices.shape[1]), 2), np.int64)
    factors, v = np.empty((n_qubits, 6), inputs.dtype), np.empty((n_qubits, 3), inputs.dtype)
    for row in range(inputs.shape[0]):
        # 1. Forward, with a tape of the two-qubit gates
        _pairs(inputs, columns, choices, row, n_qubits, pairs)
        event = _evolve(inputs[row], angle_columns, gates, fixed, last, pairs, w) - 1
        _finish(w, factors)
        # 2. Gradient of the final states
        _begin_back(w, weights[row], factors, gradients[0], gradients[1], v)
        slopes[:] = 0
        # 3. Backward, gate by gate
        for step in range(len(gates) - 1, -1, -1):
            gate = gates[step]
            if gate[KIND] < CZ:
                _turn_back(gate, fixed[step], w.cos, w.sin, v[gate[FIRST]], slopes)
            elif event >= 0 and w.tape[event, GATE] == step:
                _undo(w, event, gate, gradients[0], gradients[1], v, slopes)
                event -= 1
        # 4. From the gates' angles to the inputs
        out[row] = 0
        for angle in range(len(angle_columns)):
            out[row, angle_columns[angle]] += slopes[angle]
    return DONE
