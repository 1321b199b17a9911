"""
Triton kernels for the cumulant expansion and its derivative, see :mod:`.cumulants`: each program runs one circuit at a time.

A qubit has four places, for x, y, z and padding, so that its values are a block. Each program has its own memory for Bloch
vectors and covariances, and their gradients; rows and columns are the qubits' places. A two-qubit gate maps the Paulis X and Y
of each qubit to ``k X + u X Z - v Y Z`` and ``k Y + u Y Z + v X Z``, with the other's Z: a CZ has ``(0, 1, 0)`` for ``(k, u,
v)``, an RZZ its angle's ``(cos, 0, sin)``.
"""

import triton
import triton.language as tl

from sb3_quantum.circuits.program import KINDS

#: numbers per gate in the table: kind, first and second qubit, angle, and choice; -1 means none
FIELDS = 5
_FIELDS = tl.constexpr(FIELDS)
_R, _RX, _RY, _RZ, _FIXED, _CZ = (tl.constexpr(KINDS.index(name)) for name in ("r", "rx", "ry", "rz", "fixed", "cz"))


@triton.jit
def _times(matrix, vector):
    """Multiply ``(4, 4)`` by ``(4,)``."""
    return tl.sum(matrix * vector[None, :], 1)


@triton.jit
def _transposed_times(matrix, vector):
    return tl.sum(matrix * vector[:, None], 0)


@triton.jit
def _times_rows(matrix, rows):
    """Multiply ``(4, 4)`` by ``(4, WIDTH)``."""
    return tl.sum(matrix[:, :, None] * rows[None, :, :], 1)


@triton.jit
def _transposed_times_rows(matrix, rows):
    return tl.sum(matrix[:, :, None] * rows[:, None, :], 0)


@triton.jit
def _load_rows(pair, qubit, n_qubits, WIDTH: tl.constexpr):
    """Load a qubit's covariances with all others, ``(4, WIDTH)``."""
    columns = tl.arange(0, WIDTH)[None, :]
    rows = 4 * qubit + tl.arange(0, 4)[:, None]
    return tl.load(pair + rows * WIDTH + columns, mask=columns < 4 * n_qubits, other=0.0)


@triton.jit
def _store_rows(pair, qubit, values, n_qubits, WIDTH: tl.constexpr):
    """Store the covariances, and their mirror image. Readers need a barrier."""
    columns = tl.arange(0, WIDTH)[None, :]
    rows = 4 * qubit + tl.arange(0, 4)[:, None]
    tl.debug_barrier()
    tl.store(pair + rows * WIDTH + columns, values, mask=columns < 4 * n_qubits)
    tl.store(pair + columns * WIDTH + rows, values, mask=columns < 4 * n_qubits)
    tl.debug_barrier()


@triton.jit
def _load_vector(vectors, qubit):
    return tl.load(vectors + 4 * qubit + tl.arange(0, 4))


@triton.jit
def _store_vector(vectors, qubit, values):
    tl.debug_barrier()
    tl.store(vectors + 4 * qubit + tl.arange(0, 4), values)
    tl.debug_barrier()


@triton.jit
def _axis(kind, x, y):
    """Return the rotation axis of a gate; arbitrary for a fixed gate."""
    nx = tl.where(kind == _R, x, tl.where(kind == _RX, 1.0, 0.0))
    ny = tl.where(kind == _R, y, tl.where(kind == _RY, 1.0, 0.0))
    return nx, ny, tl.where(kind == _RZ, 1.0, 0.0)


@triton.jit
def _turn(kind, c, s, nx, ny, nz, fixed):
    """Compute the rotation of the Bloch vector by a one-qubit gate, ``(4, 4)``."""
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    one = tl.where(a == 0, nx, tl.where(a == 1, ny, tl.where(a == 2, nz, 0.0)))
    other = tl.where(b == 0, nx, tl.where(b == 1, ny, tl.where(b == 2, nz, 0.0)))
    # The axis that is neither a nor b, with the sign of their order
    rest = tl.where(a + b == 1, nz, tl.where(a + b == 2, ny, nx))
    cross = tl.where((a == b) | (a == 3) | (b == 3), 0.0, tl.where((b - a == 1) | (a - b == 2), -rest, rest))
    turn = tl.where((a == b) & (a < 3), c, 0.0) + (1.0 - c) * one * other + s * cross
    return tl.where(kind == _FIXED, tl.load(fixed + 4 * a + b), turn)


@triton.jit
def _gate(gate, table, fixed, angles):
    """Load a one-qubit gate: kind, qubit, rotation, axis and the place of the angle."""
    kind, qubit, place = (
        tl.load(table + gate * _FIELDS),
        tl.load(table + gate * _FIELDS + 1),
        tl.load(table + gate * _FIELDS + 3),
    )
    angle, phi = tl.load(angles + place, mask=place >= 0, other=0.0), tl.load(angles + place + 1, mask=kind == _R, other=0.0)
    nx, ny, nz = _axis(kind, tl.cos(phi), tl.sin(phi))
    turn = _turn(kind, tl.cos(angle), tl.sin(angle), nx, ny, nz, fixed + gate * 16)
    return kind, qubit, turn, nx, ny, nz, place


@triton.jit
def _meeting(gate, table, choices):
    """Load a two-qubit gate: kind, qubits and the place of the angle."""
    fields = table + gate * _FIELDS
    choice = tl.load(fields + 4)
    i, j = tl.load(fields + 1).to(tl.int64), tl.load(fields + 2).to(tl.int64)
    if choice >= 0:
        i, j = tl.load(choices + 2 * choice), tl.load(choices + 2 * choice + 1)
    return tl.load(fields), i, j, tl.load(fields + 3)


@triton.jit
def _parts(kind, angle):
    """Compute ``P`` and ``Q`` of ``new = P old + Q products``, and their derivatives with respect to the angle."""
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    is_cz = kind == _CZ
    c, s = tl.cos(angle), tl.sin(angle)
    k, u, v = tl.where(is_cz, 0.0, c), tl.where(is_cz, 1.0, 0.0), tl.where(is_cz, 0.0, s)
    same, sign = (a == b) & (a < 2), tl.where(a + b == 1, (a - b).to(tl.float32), 0.0)
    old, products = tl.where(same, k, tl.where((a == b) & (a == 2), 1.0, 0.0)), tl.where(same, u, 0.0) + v * sign
    return old, products, tl.where(same, tl.where(is_cz, 0.0, -s), 0.0), tl.where(is_cz, 0.0, c) * sign


@triton.jit
def _products(mean, pair, i, j, is_cz, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """
    Compute expectation values of products of Paulis of two qubits, ``(4, 4)``, and those that replace the first two of each
    after the gate: a CZ maps ``X X`` to ``Y Y`` and ``X Y`` to ``- Y X``.
    """
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    flips = is_cz & (a < 2) & (b < 2)
    other_a, other_b = tl.where(flips, 1 - a, a), tl.where(flips, 1 - b, b)
    block = tl.load(mean + 4 * i + a) * tl.load(mean + 4 * j + b)
    flipped = tl.load(mean + 4 * i + other_a) * tl.load(mean + 4 * j + other_b)
    if PAIRS:
        block += tl.load(pair + (4 * i + a) * WIDTH + 4 * j + b)
        flipped += tl.load(pair + (4 * i + other_a) * WIDTH + 4 * j + other_b)
    return block, tl.where(flips & (a != b), -flipped, flipped)


@triton.jit
def _entangle(mean, pair, i, j, kind, angle, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """Apply a two-qubit gate."""
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    old, products, _, _ = _parts(kind, angle)
    mean_i, mean_j = _load_vector(mean, i), _load_vector(mean, j)
    block, inner = _products(mean, pair, i, j, kind == _CZ, WIDTH, PAIRS)
    with_z, z_with = tl.sum(tl.where(b == 2, block, 0.0), 1), tl.sum(tl.where(a == 2, block, 0.0), 0)
    new_i = _times(old, mean_i) + _times(products, with_z)
    new_j = _times(old, mean_j) + _times(products, z_with)
    if PAIRS:
        columns, places = tl.arange(0, WIDTH)[None, :], tl.arange(0, 4)[:, None]
        rows_i, rows_j = _load_rows(pair, i, n_qubits, WIDTH), _load_rows(pair, j, n_qubits, WIDTH)
        z_i = tl.sum(tl.where(places == 2, rows_i, 0.0), 0)[None, :]
        z_j = tl.sum(tl.where(places == 2, rows_j, 0.0), 0)[None, :]
        of_i, of_j = tl.load(mean + 4 * i + 2), tl.load(mean + 4 * j + 2)
        rows_i, rows_j = (
            _times_rows(old, rows_i) + _times_rows(products, mean_i[:, None] * z_j + of_j * rows_i),
            _times_rows(old, rows_j) + _times_rows(products, mean_j[:, None] * z_i + of_i * rows_j),
        )
        right, left = _times(old, with_z) + _times(products, mean_i), _times(old, z_with) + _times(products, mean_j)
        block = tl.where(b == 2, right[:, None], tl.where(a == 2, left[None, :], inner)) - new_i[:, None] * new_j[None, :]
        inside = (columns // 4 == i) | (columns // 4 == j)
        _store_rows(pair, i, tl.where(inside, 0.0, rows_i), n_qubits, WIDTH)
        _store_rows(pair, j, tl.where(inside, 0.0, rows_j), n_qubits, WIDTH)
        block = tl.where((a < 3) & (b < 3), block, 0.0)
        tl.store(pair + (4 * i + a) * WIDTH + 4 * j + b, block)
        tl.store(pair + (4 * j + b) * WIDTH + 4 * i + a, block)
    _store_vector(mean, i, new_i)
    _store_vector(mean, j, new_j)


@triton.jit
def _keep(tape, meeting, mean, pair, i, j, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """Save the state of both qubits before a gate."""
    places = tl.arange(0, 4)
    size: tl.constexpr = 8 * (1 + (WIDTH if PAIRS else 0))
    entry = tape + meeting * size
    tl.store(entry + places, _load_vector(mean, i))
    tl.store(entry + 4 + places, _load_vector(mean, j))
    if PAIRS:
        columns = tl.arange(0, WIDTH)[None, :]
        rows = entry + 8 + places[:, None] * WIDTH + columns
        tl.store(rows, _load_rows(pair, i, n_qubits, WIDTH))
        tl.store(rows + 4 * WIDTH, _load_rows(pair, j, n_qubits, WIDTH))


@triton.jit
def _restore(tape, meeting, mean, pair, i, j, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """Restore what :func:`_keep` saved."""
    places = tl.arange(0, 4)
    size: tl.constexpr = 8 * (1 + (WIDTH if PAIRS else 0))
    entry = tape + meeting * size
    _store_vector(mean, i, tl.load(entry + places))
    _store_vector(mean, j, tl.load(entry + 4 + places))
    if PAIRS:
        columns = tl.arange(0, WIDTH)[None, :]
        rows = entry + 8 + places[:, None] * WIDTH + columns
        _store_rows(pair, i, tl.load(rows), n_qubits, WIDTH)
        _store_rows(pair, j, tl.load(rows + 4 * WIDTH), n_qubits, WIDTH)


@triton.jit
def _begin(vectors, pair, z, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """Initialize vectors along z, of these lengths, without covariances."""
    columns = tl.arange(0, WIDTH)
    there = columns < 4 * n_qubits
    tl.debug_barrier()
    tl.store(vectors + columns, tl.where(columns % 4 == 2, z, 0.0), mask=there)
    if PAIRS:
        for row in range(4 * n_qubits):
            tl.store(pair + row * WIDTH + columns, tl.zeros((WIDTH,), tl.float32), mask=there)
    tl.debug_barrier()


@triton.jit
def _run(
    angles, choices, table, fixed, mean, pair, tape, n_gates, n_qubits,
    WIDTH: tl.constexpr, PAIRS: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """Run all gates, and save the state before each two-qubit gate on the tape. Returns the number of two-qubit gates."""
    _begin(mean, pair, 1.0, n_qubits, WIDTH, PAIRS)
    meetings = 0
    for gate in range(n_gates):
        if tl.load(table + gate * _FIELDS) < _CZ:
            _, qubit, turn, _, _, _, _ = _gate(gate, table, fixed, angles)
            _store_vector(mean, qubit, _times(turn, _load_vector(mean, qubit)))
            if PAIRS:
                _store_rows(pair, qubit, _times_rows(turn, _load_rows(pair, qubit, n_qubits, WIDTH)), n_qubits, WIDTH)
        else:
            kind, i, j, place = _meeting(gate, table, choices)
            if i != j:
                if KEPT:
                    _keep(tape, meetings, mean, pair, i, j, n_qubits, WIDTH, PAIRS)
                angle = tl.load(angles + place, mask=place >= 0, other=0.0)
                _entangle(mean, pair, i, j, kind, angle, n_qubits, WIDTH, PAIRS)
            meetings += 1
    return meetings


# Batches of any size run the same compiled code
@triton.jit(do_not_specialize=["rows", "programs"])
def values(
    angles, choices, table, fixed, scratch, out, rows, programs, own, n_angles, n_choices, n_gates, n_qubits,
    WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Compute expectation values of Z, ``(rows, n_qubits)``."""
    program = tl.program_id(0)
    mean = scratch + program.to(tl.int64) * own
    pair = mean + 4 * n_qubits
    columns = tl.arange(0, WIDTH)
    for turn in range(tl.cdiv(rows - program, programs)):
        row = program.to(tl.int64) + turn * programs
        chosen = choices + row * n_choices * 2
        _run(angles + row * n_angles, chosen, table, fixed, mean, pair, mean, n_gates, n_qubits, WIDTH, PAIRS, False)
        z = tl.load(mean + 4 * columns + 2, mask=columns < n_qubits, other=0.0)
        tl.store(out + row * n_qubits + columns, z, mask=columns < n_qubits)


@triton.jit
def _turn_back(turn, mean, pair, grad, grads, qubit, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """
    Carry state and gradient back through a one-qubit gate, in place. Returns the torque after it: the derivatives with respect
    to further rotations about the three axes.
    """
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    vector, slope = _load_vector(mean, qubit), _load_vector(grad, qubit)
    moments = vector[:, None] * slope[None, :]
    _store_vector(mean, qubit, _transposed_times(turn, vector))
    _store_vector(grad, qubit, _transposed_times(turn, slope))
    if PAIRS:
        rows, slopes = _load_rows(pair, qubit, n_qubits, WIDTH), _load_rows(grads, qubit, n_qubits, WIDTH)
        moments += tl.sum(rows[:, None, :] * slopes[None, :, :], 2)
        _store_rows(pair, qubit, _transposed_times_rows(turn, rows), n_qubits, WIDTH)
        _store_rows(grads, qubit, _transposed_times_rows(turn, slopes), n_qubits, WIDTH)
    signs = tl.where(b - a == 1, 1.0, tl.where(a - b == 1, -1.0, 0.0))
    x = tl.sum(tl.sum(tl.where(a + b == 3, signs, 0.0) * moments, 1), 0)
    z = tl.sum(tl.sum(tl.where(a + b == 1, signs, 0.0) * moments, 1), 0)
    y = tl.sum(tl.sum(tl.where((a == 2) & (b == 0), moments, tl.where((a == 0) & (b == 2), -moments, 0.0)), 1), 0)
    return x, y, z


@triton.jit
def _entangle_back(mean, pair, grad, grads, i, j, kind, angle, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """
    Carry the gradient back through a two-qubit gate, in place, from the state before it. Returns the derivative with respect
    to an RZZ's angle.
    """
    a, b = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    old, products, d_old, d_products = _parts(kind, angle)
    mean_i, mean_j = _load_vector(mean, i), _load_vector(mean, j)
    block, _ = _products(mean, pair, i, j, kind == _CZ, WIDTH, PAIRS)
    with_z, z_with = tl.sum(tl.where(b == 2, block, 0.0), 1), tl.sum(tl.where(a == 2, block, 0.0), 0)
    grad_i, grad_j = _load_vector(grad, i), _load_vector(grad, j)
    # Gradient of products of Paulis, before the gate
    of_products = tl.zeros((4, 4), tl.float32)
    right, left = tl.zeros((4,), tl.float32), tl.zeros((4,), tl.float32)
    if PAIRS:
        new_i = _times(old, mean_i) + _times(products, with_z)
        new_j = _times(old, mean_j) + _times(products, z_with)
        g = tl.load(grads + (4 * i + a) * WIDTH + 4 * j + b)
        flips = (kind == _CZ) & (a < 2) & (b < 2)
        flipped = tl.load(grads + (4 * i + tl.where(flips, 1 - a, a)) * WIDTH + 4 * j + tl.where(flips, 1 - b, b))
        grad_i -= _times(g, new_j)
        grad_j -= _transposed_times(g, new_i)
        right = tl.sum(tl.where(b == 2, g, 0.0), 1)
        left = tl.sum(tl.where((a == 2) & (b < 2), g, 0.0), 0)
        of_products = tl.where((a < 2) & (b < 2), tl.where(flips & (a != b), -flipped, flipped), 0.0)
    slope = tl.sum(grad_i * (_times(d_old, mean_i) + _times(d_products, with_z)), 0)
    slope += tl.sum(grad_j * (_times(d_old, mean_j) + _times(d_products, z_with)), 0)
    to_right = _transposed_times(old, right) + _transposed_times(products, grad_i)
    to_left = _transposed_times(old, left) + _transposed_times(products, grad_j)
    of_products += tl.where(b == 2, to_right[:, None], 0.0) + tl.where(a == 2, to_left[None, :], 0.0)
    grad_i = _transposed_times(old, grad_i) + _transposed_times(products, right)
    grad_j = _transposed_times(old, grad_j) + _transposed_times(products, left)
    if PAIRS:
        slope += tl.sum(right * (_times(d_old, with_z) + _times(d_products, mean_i)), 0)
        slope += tl.sum(left * (_times(d_old, z_with) + _times(d_products, mean_j)), 0)
        columns, places = tl.arange(0, WIDTH)[None, :], tl.arange(0, 4)
        is_z = (places == 2)[:, None]
        outside = (columns // 4 != i) & (columns // 4 != j)
        rows_i, rows_j = _load_rows(pair, i, n_qubits, WIDTH), _load_rows(pair, j, n_qubits, WIDTH)
        grads_i = tl.where(outside, _load_rows(grads, i, n_qubits, WIDTH), 0.0)
        grads_j = tl.where(outside, _load_rows(grads, j, n_qubits, WIDTH), 0.0)
        z_i = tl.sum(tl.where(is_z, rows_i, 0.0), 0)[None, :]
        z_j = tl.sum(tl.where(is_z, rows_j, 0.0), 0)[None, :]
        of_i, of_j = tl.load(mean + 4 * i + 2), tl.load(mean + 4 * j + 2)
        change = _times_rows(d_old, rows_i) + _times_rows(d_products, mean_i[:, None] * z_j + of_j * rows_i)
        slope += tl.sum(tl.sum(grads_i * change, 1), 0)
        change = _times_rows(d_old, rows_j) + _times_rows(d_products, mean_j[:, None] * z_i + of_i * rows_j)
        slope += tl.sum(tl.sum(grads_j * change, 1), 0)
        reach_i, reach_j = _transposed_times_rows(products, grads_i), _transposed_times_rows(products, grads_j)
        grad_i += tl.sum(reach_i * z_j, 1) + tl.where(places == 2, tl.sum(tl.sum(reach_j * rows_j, 1), 0), 0.0)
        grad_j += tl.sum(reach_j * z_i, 1) + tl.where(places == 2, tl.sum(tl.sum(reach_i * rows_i, 1), 0), 0.0)
        to_z_i, to_z_j = tl.sum(mean_j[:, None] * reach_j, 0), tl.sum(mean_i[:, None] * reach_i, 0)
        grads_i = _transposed_times_rows(old, grads_i) + of_j * reach_i + tl.where(is_z, to_z_i[None, :], 0.0)
        grads_j = _transposed_times_rows(old, grads_j) + of_i * reach_j + tl.where(is_z, to_z_j[None, :], 0.0)
        _store_rows(grads, i, grads_i, n_qubits, WIDTH)
        _store_rows(grads, j, grads_j, n_qubits, WIDTH)
        tl.store(grads + (4 * i + a) * WIDTH + 4 * j + b, of_products)
        tl.store(grads + (4 * j + b) * WIDTH + 4 * i + a, of_products)
    _store_vector(grad, i, grad_i + _times(of_products, mean_j))
    _store_vector(grad, j, grad_j + _transposed_times(of_products, mean_i))
    return slope


@triton.jit(do_not_specialize=["rows", "programs"])
def gradient(
    angles, choices, table, fixed, scratch, weights, out,
    rows, programs, own, n_angles, n_choices, n_gates, n_qubits, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """
    Compute the gradient of ``(weights * values).sum()`` with respect to the gates' angles, and add it to ``out``, ``(rows,
    n_angles)``.
    """
    program = tl.program_id(0)
    half: tl.constexpr = 1 + (WIDTH if PAIRS else 0)
    mean = scratch + program.to(tl.int64) * own
    pair = mean + 4 * n_qubits
    grad = mean + 4 * n_qubits * half
    grads = grad + 4 * n_qubits
    tape = grad + 4 * n_qubits * half
    columns = tl.arange(0, WIDTH)
    for number in range(tl.cdiv(rows - program, programs)):
        row = program.to(tl.int64) + number * programs
        own_angles, chosen, slopes = angles + row * n_angles, choices + row * n_choices * 2, out + row * n_angles
        meeting = _run(own_angles, chosen, table, fixed, mean, pair, tape, n_gates, n_qubits, WIDTH, PAIRS, True)
        z = tl.load(weights + row * n_qubits + columns // 4, mask=columns < 4 * n_qubits, other=0.0)
        _begin(grad, grads, z, n_qubits, WIDTH, PAIRS)
        for step in range(n_gates):
            gate = n_gates - 1 - step
            if tl.load(table + gate * _FIELDS) < _CZ:
                kind, qubit, turn, nx, ny, nz, place = _gate(gate, table, fixed, own_angles)
                x, y, z_ = _turn_back(turn, mean, pair, grad, grads, qubit, n_qubits, WIDTH, PAIRS)
                if place >= 0:
                    tl.atomic_add(slopes + place, nx * x + ny * y + nz * z_)
                if kind == _R:
                    # RZ(phi) RX(theta) RZ(-phi): the torque about z after the gate minus that before it
                    last = tl.sum(tl.where(tl.arange(0, 4)[None, :] == 2, turn, 0.0), 1)
                    places = tl.arange(0, 4)
                    torque = tl.where(places == 0, x, tl.where(places == 1, y, tl.where(places == 2, z_, 0.0)))
                    tl.atomic_add(slopes + place + 1, z_ - tl.sum(last * torque, 0))
            else:
                kind, i, j, place = _meeting(gate, table, chosen)
                meeting -= 1
                if i != j:
                    _restore(tape, meeting, mean, pair, i, j, n_qubits, WIDTH, PAIRS)
                    angle = tl.load(own_angles + place, mask=place >= 0, other=0.0)
                    slope = _entangle_back(mean, pair, grad, grads, i, j, kind, angle, n_qubits, WIDTH, PAIRS)
                    if place >= 0:
                        tl.atomic_add(slopes + place, slope)
