"""
Compiled CPU kernels of the cumulant expansion, values and gradient, one circuit after the other.

They compute what :mod:`sb3_quantum.priors.cumulants` describes, as its torch path does. ``mean`` holds the qubits' Bloch
vectors, ``(n_qubits, 3)``. ``pair`` holds the covariances of all pairs, ``(3 * n_qubits, width)``, row ``3 * i + a`` and
column ``3 * j + b`` for the axes a and b of the qubits i and j: symmetric, zero within a qubit, and padded with zeros to whole
vector registers; its width is 0 for the mean field. Every loop over it runs along a row.

One-qubit gates are only multiplied together, and applied before the qubit's next two-qubit gate. Everything is in one file
because numba's cache of machine code checks only a function's own file.
"""

import numpy as np

from sb3_quantum.circuits.jit import inlined, jit

#: numbers in a vector register; rows are padded to a multiple
LANES = 8
# The order of sb3_quantum.circuits.program.KINDS, as constants for the kernels
R, RX, RY, RZ, FIXED, CZ, RZZ = range(7)


@inlined
def _kept(matrices, entry):
    """Load one matrix of many, row by row."""
    return (
        matrices[entry, 0],
        matrices[entry, 1],
        matrices[entry, 2],
        matrices[entry, 3],
        matrices[entry, 4],
        matrices[entry, 5],
        matrices[entry, 6],
        matrices[entry, 7],
        matrices[entry, 8],
    )


@inlined
def _matrix(gate, kind, angle, fixed, cos, sin, row):
    """Compute the rotation of the Bloch vector by a one-qubit gate, row by row."""
    zero, one = np.float32(0), np.float32(1)
    if kind[gate] == FIXED:
        return _kept(fixed, gate)
    place = angle[gate]
    c, s = cos[row, place], sin[row, place]
    if kind[gate] == R:
        x, y = cos[row, place + 1], sin[row, place + 1]
        k = one - c
        xy = k * x * y
        return c + k * x * x, xy, s * y, xy, c + k * y * y, -s * x, -s * y, s * x, c
    if kind[gate] == RX:
        return one, zero, zero, zero, c, -s, zero, s, c
    if kind[gate] == RY:
        return c, zero, s, zero, one, zero, -s, zero, c
    return c, -s, zero, s, c, zero, zero, zero, one


@inlined
def _turn(m, x, y, z):
    """Multiply a matrix by a vector."""
    return m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z


@inlined
def _turn_back(m, x, y, z):
    """Multiply the inverse of a rotation by a vector."""
    return m[0] * x + m[3] * y + m[6] * z, m[1] * x + m[4] * y + m[7] * z, m[2] * x + m[5] * y + m[8] * z


@inlined
def _sum3(out, o, a, b, c, x, i, y, j, z, k):
    """Compute ``out[o] = a x[i] + b y[j] + c z[k]``."""
    for column in range(out.shape[1]):
        out[o, column] = a * x[i, column] + b * y[j, column] + c * z[k, column]


@inlined
def _mix(rows, o, a, i, b):
    """Compute ``rows[o] = a rows[i] + b rows[o]``."""
    for column in range(rows.shape[1]):
        rows[o, column] = a * rows[i, column] + b * rows[o, column]


@inlined
def _add2(rows, o, a, i, b, j):
    """Compute ``rows[o] += a rows[i] + b rows[j]``."""
    for column in range(rows.shape[1]):
        rows[o, column] += a * rows[i, column] + b * rows[j, column]


@inlined
def _dot(x, i, y, j):
    """Compute the scalar product of ``x[i]`` and ``y[j]``."""
    total = np.float32(0.0)
    for column in range(x.shape[1]):
        total += x[i, column] * y[j, column]
    return total


@inlined
def _cross(x, i, y, j):
    """Compute the summed vector product of three rows from ``x[i]`` on and three from ``y[j]`` on."""
    a, b, c = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for column in range(x.shape[1]):
        a += x[i + 1, column] * y[j + 2, column] - x[i + 2, column] * y[j + 1, column]
        b += x[i + 2, column] * y[j, column] - x[i, column] * y[j + 2, column]
        c += x[i, column] * y[j + 1, column] - x[i + 1, column] * y[j, column]
    return a, b, c


@inlined
def _mirror(pair, qubit, n_qubits):
    """Copy the rows of a qubit into its columns."""
    x = 3 * qubit
    for row in range(3 * n_qubits):
        pair[row, x], pair[row, x + 1], pair[row, x + 2] = pair[x, row], pair[x + 1, row], pair[x + 2, row]


@inlined
def _mirror_block(pair, i, j):
    """Copy the rows of a qubit into its columns, only within the rows of another qubit j."""
    for a in range(3):
        for b in range(3):
            pair[3 * j + b, 3 * i + a] = pair[3 * i + a, 3 * j + b]


@inlined
def _keep(mean, pair, qubit, vectors, rows, entry):
    """Save a qubit's Bloch vector and covariances on the tape."""
    for a in range(3):
        vectors[entry, a] = mean[qubit, a]
        for column in range(pair.shape[1]):
            rows[3 * entry + a, column] = pair[3 * qubit + a, column]


@inlined
def _flush(qubit, other, waiting, mean, pair, rows, entry):
    """
    Rotate a qubit by its pending gates. Its former values are on the tape. Its columns are updated only in the rows of the
    qubit that it is about to meet.
    """
    m = _kept(waiting, qubit)
    mean[qubit, 0], mean[qubit, 1], mean[qubit, 2] = _turn(m, mean[qubit, 0], mean[qubit, 1], mean[qubit, 2])
    if pair.shape[1] > 0:
        x = 3 * entry
        _sum3(pair, 3 * qubit, m[0], m[1], m[2], rows, x, rows, x + 1, rows, x + 2)
        _sum3(pair, 3 * qubit + 1, m[3], m[4], m[5], rows, x, rows, x + 1, rows, x + 2)
        _sum3(pair, 3 * qubit + 2, m[6], m[7], m[8], rows, x, rows, x + 1, rows, x + 2)
        _mirror_block(pair, qubit, other)


@jit
def _rzz_rows(pair, p, z, rows, x, mean_x, mean_y, mean_z, c, s):
    """Compute the covariances of one qubit after an RZZ."""
    _sum3(pair, p, c, -s * mean_y, -s * mean_z, rows, x, pair, z, rows, x + 1)
    _sum3(pair, p + 1, c, s * mean_x, s * mean_z, rows, x + 1, pair, z, rows, x)


@inlined
def _entangle(i, j, c, s, is_cz, mean, pair, rows, entry, block):
    """
    Apply a CZ, or an RZZ by an angle of cosine c and sine s, which maps ``X_i`` to ``c X_i - s Y_i Z_j`` and ``Y_i`` to ``c
    Y_i + s X_i Z_j``. The former values of both qubits are on the tape.
    """
    xi, yi, zi, xj, yj, zj = mean[i, 0], mean[i, 1], mean[i, 2], mean[j, 0], mean[j, 1], mean[j, 2]
    if pair.shape[1] == 0:
        if is_cz:
            mean[i, 0], mean[i, 1], mean[j, 0], mean[j, 1] = xi * zj, yi * zj, xj * zi, yj * zi
        else:
            mean[i, 0], mean[i, 1] = c * xi - s * yi * zj, c * yi + s * xi * zj
            mean[j, 0], mean[j, 1] = c * xj - s * yj * zi, c * yj + s * xj * zi
        return
    p, q = 3 * i, 3 * j
    for a in range(3):
        for b in range(3):
            block[a, b] = pair[p + a, q + b] + mean[i, a] * mean[j, b]
    xz, yz, zx, zy = block[0, 2], block[1, 2], block[2, 0], block[2, 1]
    if is_cz:
        mean[i, 0], mean[i, 1], mean[j, 0], mean[j, 1] = xz, yz, zx, zy
        _mix(pair, p, xi, q + 2, zj)
        _mix(pair, p + 1, yi, q + 2, zj)
        _mix(pair, q, xj, p + 2, zi)
        _mix(pair, q + 1, yj, p + 2, zi)
        block[0, 0], block[1, 1] = block[1, 1], block[0, 0]
        block[0, 1], block[1, 0] = -block[1, 0], -block[0, 1]
        block[0, 2], block[1, 2], block[2, 0], block[2, 1] = xi, yi, xj, yj
    else:
        mean[i, 0], mean[i, 1] = c * xi - s * yz, c * yi + s * xz
        mean[j, 0], mean[j, 1] = c * xj - s * zy, c * yj + s * zx
        x, y = 3 * entry, 3 * entry + 3
        _rzz_rows(pair, p, q + 2, rows, x, xi, yi, zj, c, s)
        _rzz_rows(pair, q, p + 2, rows, y, xj, yj, zi, c, s)
        block[0, 2], block[1, 2] = c * xz - s * yi, c * yz + s * xi
        block[2, 0], block[2, 1] = c * zx - s * yj, c * zy + s * xj
    for a in range(3):
        for b in range(3):
            pair[p + a, p + b] = pair[q + a, q + b] = 0
            pair[p + a, q + b] = pair[q + b, p + a] = block[a, b] - mean[i, a] * mean[j, b]
    _mirror(pair, i, len(mean))
    _mirror(pair, j, len(mean))


@inlined
def _prepare(qubit, other, waits, waiting, mean, pair, vectors, rows, turns, entry):
    """Rotate a qubit that is about to meet another one by its pending gates, and return whether there were any."""
    if not waits[qubit]:
        return 0
    _keep(mean, pair, qubit, vectors, rows, entry)
    for a in range(9):
        turns[entry, a] = waiting[qubit, a]
    _flush(qubit, other, waiting, mean, pair, rows, entry)
    waits[qubit] = False
    return 1


@jit
def _run(program, cos, sin, choices, row, state, vectors, rows, turns, places):
    """
    Run one circuit up to its last two-qubit gate.

    :param row: number in the batch
    :param vectors: tape of Bloch vectors
    :param rows: tape of covariances, three rows an entry
    :param turns: tape of the rotations that were applied
    :param places: filled, for every two-qubit gate, with its qubits, its first entry on the tape or -1 for no gate, and
        whether its qubits were rotated before it. The entries follow each other: each qubit before its rotation if there is
        one, and both before the gate. With length 0, the tape holds one gate at a time
    """
    kind, first, second, angle, choice, fixed = program
    mean, pair, waiting, waits, block = state
    recorded = len(places) > 0
    entry = 0
    for qubit in range(len(mean)):
        mean[qubit, 0], mean[qubit, 1], mean[qubit, 2] = 0, 0, 1
        waits[qubit] = False
    pair[:] = 0
    for gate in range(len(kind)):
        # 1. A one-qubit gate is multiplied into the qubit's pending rotation
        if kind[gate] < CZ:
            qubit = first[gate]
            m = _matrix(gate, kind, angle, fixed, cos, sin, row)
            if waits[qubit]:
                for b in range(3):
                    x, y, z = _turn(m, waiting[qubit, b], waiting[qubit, 3 + b], waiting[qubit, 6 + b])
                    waiting[qubit, b], waiting[qubit, 3 + b], waiting[qubit, 6 + b] = x, y, z
            else:
                waits[qubit] = True
                waiting[qubit, 0], waiting[qubit, 1], waiting[qubit, 2] = m[0], m[1], m[2]
                waiting[qubit, 3], waiting[qubit, 4], waiting[qubit, 5] = m[3], m[4], m[5]
                waiting[qubit, 6], waiting[qubit, 7], waiting[qubit, 8] = m[6], m[7], m[8]
            continue
        # 2. A two-qubit gate: note its place on the tape
        i, j = first[gate], second[gate]
        if choice[gate] >= 0:
            i, j = choices[row, choice[gate], 0], choices[row, choice[gate], 1]
        if not recorded:
            entry = 0
        else:
            places[gate, 0], places[gate, 1], places[gate, 2] = i, j, -1 if i == j else entry
            places[gate, 3], places[gate, 4] = waits[i], waits[j]
        if i == j:
            continue
        # 3. Apply the pending rotations of both qubits
        entry += _prepare(i, j, waits, waiting, mean, pair, vectors, rows, turns, entry)
        entry += _prepare(j, i, waits, waiting, mean, pair, vectors, rows, turns, entry)
        # 4. Save both qubits, and apply the gate
        _keep(mean, pair, i, vectors, rows, entry)
        _keep(mean, pair, j, vectors, rows, entry + 1)
        is_cz = kind[gate] == CZ
        c, s = np.float32(0.0), np.float32(0.0)
        if not is_cz:
            c, s = cos[row, angle[gate]], sin[row, angle[gate]]
        _entangle(i, j, c, s, is_cz, mean, pair, rows, entry, block)
        entry += 2


@jit
def _state(n_qubits, order):
    """Allocate memory for one circuit at a time."""
    width = (3 * n_qubits + LANES - 1) // LANES * LANES if order > 1 else 0
    return (
        np.zeros((n_qubits, 3), np.float32),
        np.zeros((3 * n_qubits, width), np.float32),
        np.zeros((n_qubits, 9), np.float32),
        np.zeros(n_qubits, np.bool_),
        np.zeros((3, 3), np.float32),
    )


@jit
def _tape(n_entries, width):
    """Allocate the tape of :func:`_run`."""
    return (
        np.empty((n_entries, 3), np.float32),
        np.empty((3 * n_entries, width), np.float32),
        np.empty((n_entries, 9), np.float32),
    )


@jit
def values(program, n_qubits, order, cos, sin, choices, out):
    """
    Compute expectation values of Z.

    :param program: kind, first, second, angle and choice of :class:`~sb3_quantum.circuits.program.Arrays`, up to the last gate
        that changes a measurement in Z, and the rotations of fixed gates, ``(n_gates, 9)``, float32
    :param n_qubits: qubits of the circuit
    :param order: 1 for the mean field, 2 with the correlations of pairs
    :param cos: cosines of the gates' angles, ``(batch, n_angles)``, float32
    :param sin: their sines
    :param choices: pairs of qubits that rows choose, ``(batch, n_choices, 2)``, int64, in range
    :param out: filled, ``(batch, n_qubits)``, float32
    """
    state = _state(n_qubits, order)
    mean, pair, waiting, waits = state[0], state[1], state[2], state[3]
    vectors, rows, turns = _tape(4, pair.shape[1])
    places = np.empty((0, 5), np.int64)
    for row in range(len(cos)):
        _run(program, cos, sin, choices, row, state, vectors, rows, turns, places)
        for qubit in range(n_qubits):
            z = mean[qubit, 2]
            if waits[qubit]:
                z = waiting[qubit, 6] * mean[qubit, 0] + waiting[qubit, 7] * mean[qubit, 1] + waiting[qubit, 8] * z
            out[row, qubit] = z


@jit
def _rzz_back(grads, p, rows, x, y, mean_x, mean_y, mean_z, c, s):
    """
    Compute what one qubit's covariances add to the derivative of an RZZ, and to the gradients of its x and y and of the
    other's z.
    """
    xx, xy, xz = _dot(grads, p, rows, x), _dot(grads, p, rows, x + 1), _dot(grads, p, rows, y + 2)
    yx, yy, yz = _dot(grads, p + 1, rows, x), _dot(grads, p + 1, rows, x + 1), _dot(grads, p + 1, rows, y + 2)
    slope = c * (mean_x * yz - mean_y * xz + mean_z * (yx - xy)) - s * (xx + yy)
    return slope, s * yz, -s * xz, s * (yx - xy)


@jit
def _rzz_rows_back(grads, p, z, mean_x, mean_y, mean_z, c, s):
    """Carry the covariances' gradient back through an RZZ."""
    _add2(grads, z, -s * mean_y, p, s * mean_x, p + 1)
    for column in range(grads.shape[1]):
        a, b = grads[p, column], grads[p + 1, column]
        grads[p, column], grads[p + 1, column] = c * a + s * mean_z * b, c * b - s * mean_z * a


@inlined
def _entangle_back(i, j, c, s, is_cz, vectors, rows, entry, grad, grads, block, g):
    """
    Carry the gradient back through a two-qubit gate, in place. The columns of both qubits are updated only in their common
    block.

    :param vectors: tape of Bloch vectors; those before the gate are at ``entry`` and after it
    :param rows: likewise of covariances
    :param grad: gradient with respect to the Bloch vectors
    :param grads: gradient with respect to the covariances, in their layout
    :return: the gradient of an RZZ's angle
    """
    xi, yi, zi = vectors[entry, 0], vectors[entry, 1], vectors[entry, 2]
    xj, yj, zj = vectors[entry + 1, 0], vectors[entry + 1, 1], vectors[entry + 1, 2]
    gxi, gyi, gzi, gxj, gyj, gzj = grad[i, 0], grad[i, 1], grad[i, 2], grad[j, 0], grad[j, 1], grad[j, 2]
    slope = np.float32(0.0)
    if grads.shape[1] == 0:
        if is_cz:
            grad[i, 0], grad[i, 1], grad[j, 0], grad[j, 1] = zj * gxi, zj * gyi, zi * gxj, zi * gyj
            grad[i, 2] = gzi + xj * gxj + yj * gyj
            grad[j, 2] = gzj + xi * gxi + yi * gyi
            return slope
        grad[i, 0], grad[i, 1] = c * gxi + s * zj * gyi, c * gyi - s * zj * gxi
        grad[j, 0], grad[j, 1] = c * gxj + s * zi * gyj, c * gyj - s * zi * gxj
        grad[i, 2] = gzi + s * (xj * gyj - yj * gxj)
        grad[j, 2] = gzj + s * (xi * gyi - yi * gxi)
        slope += gxi * (-s * xi - c * yi * zj) + gyi * (-s * yi + c * xi * zj)
        slope += gxj * (-s * xj - c * yj * zi) + gyj * (-s * yj + c * xj * zi)
        return slope
    p, q, x, y = 3 * i, 3 * j, 3 * entry, 3 * entry + 3
    # 1. The block of both qubits: products of Paulis before the gate, and their gradient after it
    for a in range(3):
        for b in range(3):
            block[a, b] = rows[x + a, q + b] + vectors[entry, a] * vectors[entry + 1, b]
            g[a, b] = grads[p + a, q + b]
            grads[p + a, q + b] = grads[q + b, p + a] = 0
    xz, yz, zx, zy = block[0, 2], block[1, 2], block[2, 0], block[2, 1]
    if is_cz:
        nxi, nyi, nxj, nyj = xz, yz, zx, zy
    else:
        nxi, nyi, nxj, nyj = c * xi - s * yz, c * yi + s * xz, c * xj - s * zy, c * yj + s * zx
    gxi -= g[0, 0] * nxj + g[0, 1] * nyj + g[0, 2] * zj
    gyi -= g[1, 0] * nxj + g[1, 1] * nyj + g[1, 2] * zj
    gzi -= g[2, 0] * nxj + g[2, 1] * nyj + g[2, 2] * zj
    gxj -= g[0, 0] * nxi + g[1, 0] * nyi + g[2, 0] * zi
    gyj -= g[0, 1] * nxi + g[1, 1] * nyi + g[2, 1] * zi
    gzj -= g[0, 2] * nxi + g[1, 2] * nyi + g[2, 2] * zi
    mxi, myi, mxj, myj = g[0, 2], g[1, 2], g[2, 0], g[2, 1]
    if is_cz:
        g[0, 0], g[1, 1] = g[1, 1], g[0, 0]
        g[0, 1], g[1, 0] = -g[1, 0], -g[0, 1]
        g[0, 2], g[1, 2], g[2, 0], g[2, 1] = gxi, gyi, gxj, gyj
        gxi, gyi, gxj, gyj = mxi, myi, mxj, myj
        # 2. The rows beside the block
        gxi += _dot(grads, p, rows, y + 2)
        gyi += _dot(grads, p + 1, rows, y + 2)
        gxj += _dot(grads, q, rows, x + 2)
        gyj += _dot(grads, q + 1, rows, x + 2)
        gzj += _dot(grads, p, rows, x) + _dot(grads, p + 1, rows, x + 1)
        gzi += _dot(grads, q, rows, y) + _dot(grads, q + 1, rows, y + 1)
        _add2(grads, q + 2, xi, p, yi, p + 1)
        _add2(grads, p + 2, xj, q, yj, q + 1)
        for a in range(2):
            for column in range(grads.shape[1]):
                grads[p + a, column] *= zj
            for column in range(grads.shape[1]):
                grads[q + a, column] *= zi
    else:
        slope += gxi * (-s * xi - c * yz) + gyi * (-s * yi + c * xz) + gxj * (-s * xj - c * zy) + gyj * (-s * yj + c * zx)
        slope += mxi * (-s * xz - c * yi) + myi * (-s * yz + c * xi) + mxj * (-s * zx - c * yj) + myj * (-s * zy + c * xj)
        g[0, 2], g[1, 2] = c * mxi + s * gyi, c * myi - s * gxi
        g[2, 0], g[2, 1] = c * mxj + s * gyj, c * myj - s * gxj
        gxi, gyi = c * gxi + s * myi, c * gyi - s * mxi
        gxj, gyj = c * gxj + s * myj, c * gyj - s * mxj
        slope_i, to_x, to_y, to_z = _rzz_back(grads, p, rows, x, y, xi, yi, zj, c, s)
        gxi, gyi, gzj = gxi + to_x, gyi + to_y, gzj + to_z
        slope_j, to_x, to_y, to_z = _rzz_back(grads, q, rows, y, x, xj, yj, zi, c, s)
        gxj, gyj, gzi = gxj + to_x, gyj + to_y, gzi + to_z
        slope += slope_i + slope_j
        _rzz_rows_back(grads, p, q + 2, xi, yi, zj, c, s)
        _rzz_rows_back(grads, q, p + 2, xj, yj, zi, c, s)
    # 3. The block again: from its products to their factors
    for a in range(3):
        for b in range(3):
            grads[p + a, q + b] = grads[q + b, p + a] = g[a, b]
    grad[i, 0] = gxi + g[0, 0] * xj + g[0, 1] * yj + g[0, 2] * zj
    grad[i, 1] = gyi + g[1, 0] * xj + g[1, 1] * yj + g[1, 2] * zj
    grad[i, 2] = gzi + g[2, 0] * xj + g[2, 1] * yj + g[2, 2] * zj
    grad[j, 0] = gxj + g[0, 0] * xi + g[1, 0] * yi + g[2, 0] * zi
    grad[j, 1] = gyj + g[0, 1] * xi + g[1, 1] * yi + g[2, 1] * zi
    grad[j, 2] = gzj + g[0, 2] * xi + g[1, 2] * yi + g[2, 2] * zi
    return slope


@inlined
def _flush_back(qubit, other, m, x, y, z, rows, entry, grad, grads, torque):
    """
    Carry the gradient back through a rotation of the Bloch vector ``(x, y, z)``, in place, and return the torque after it: the
    derivative with respect to further rotations about the three axes. Columns are updated as in :func:`_flush`.
    """
    a, b, c = _turn_back(m, grad[qubit, 0], grad[qubit, 1], grad[qubit, 2])
    grad[qubit, 0], grad[qubit, 1], grad[qubit, 2] = a, b, c
    x, y, z = y * c - z * b, z * a - x * c, x * b - y * a
    if grads.shape[1] > 0 and other >= 0:
        p = 3 * qubit
        m0, m1, m2, m3, m4, m5, m6, m7, m8 = m
        for column in range(grads.shape[1]):
            a, b, c = grads[p, column], grads[p + 1, column], grads[p + 2, column]
            grads[p, column] = m0 * a + m3 * b + m6 * c
            grads[p + 1, column] = m1 * a + m4 * b + m7 * c
            grads[p + 2, column] = m2 * a + m5 * b + m8 * c
        a, b, c = _cross(rows, 3 * entry, grads, p)
        x, y, z = x + a, y + b, z + c
        _mirror_block(grads, qubit, other)
    torque[qubit, 0], torque[qubit, 1], torque[qubit, 2] = _turn(m, x, y, z)


@inlined
def _gate_back(gate, kind, angle, fixed, cos, sin, row, torque, qubit, out):
    """Compute the gradient of a one-qubit gate from the torque after it, which becomes the torque before it."""
    place = angle[gate]
    x, y, z = torque[qubit, 0], torque[qubit, 1], torque[qubit, 2]
    before = _turn_back(_matrix(gate, kind, angle, fixed, cos, sin, row), x, y, z)
    torque[qubit, 0], torque[qubit, 1], torque[qubit, 2] = before
    if kind[gate] == R:
        # RZ(phi) RX(theta) RZ(-phi)
        out[row, place] += cos[row, place + 1] * x + sin[row, place + 1] * y
        out[row, place + 1] += z - before[2]
    elif kind[gate] == RX:
        out[row, place] += x
    elif kind[gate] == RY:
        out[row, place] += y
    elif kind[gate] == RZ:
        out[row, place] += z


@jit
def gradient(program, n_qubits, order, cos, sin, choices, weights, out):
    """
    Compute the gradient of ``(weights * values).sum()`` with respect to the gates' angles, in reverse, from the tape of the
    forward run.

    :param weights: ``(batch, n_qubits)``, float32
    :param out: filled, ``(batch, n_angles)``, float32; the others as in :func:`values`
    """
    kind, first, _, angle, _, fixed = program
    state = _state(n_qubits, order)
    mean, pair, waiting, waits, block = state
    n_meetings = 0
    for gate in range(len(kind)):
        n_meetings += kind[gate] >= CZ
    vectors, rows, turns = _tape(4 * n_meetings, pair.shape[1])
    places = np.empty((len(kind), 5), np.int64)
    grad, torque = np.zeros((n_qubits, 3), np.float32), np.zeros((n_qubits, 3), np.float32)
    grads, g = np.zeros(pair.shape, np.float32), np.zeros((3, 3), np.float32)
    for row in range(len(cos)):
        # 1. Forward, with the tape
        _run(program, cos, sin, choices, row, state, vectors, rows, turns, places)
        out[row] = 0
        grads[:] = 0
        # 2. Gradient of the final vectors, before their last rotations
        for qubit in range(n_qubits):
            grad[qubit, 0], grad[qubit, 1], grad[qubit, 2] = 0, 0, weights[row, qubit]
            torque[qubit, 0], torque[qubit, 1], torque[qubit, 2] = 0, 0, 0
            if waits[qubit]:
                x, y, z = mean[qubit, 0], mean[qubit, 1], mean[qubit, 2]
                _flush_back(qubit, -1, _kept(waiting, qubit), x, y, z, rows, 0, grad, grads, torque)
        # 3. Backward, gate by gate
        for gate in range(len(kind) - 1, -1, -1):
            if kind[gate] < CZ:
                _gate_back(gate, kind, angle, fixed, cos, sin, row, torque, first[gate], out)
                continue
            i, j, entry = places[gate, 0], places[gate, 1], places[gate, 2]
            if entry < 0:
                continue
            is_cz = kind[gate] == CZ
            c, s = np.float32(0.0), np.float32(0.0)
            if not is_cz:
                c, s = cos[row, angle[gate]], sin[row, angle[gate]]
            start = entry + places[gate, 3] + places[gate, 4]
            slope = _entangle_back(i, j, c, s, is_cz, vectors, rows, start, grad, grads, block, g)
            if not is_cz:
                out[row, angle[gate]] += slope
            if places[gate, 4]:
                x, y, z = vectors[start - 1, 0], vectors[start - 1, 1], vectors[start - 1, 2]
                _flush_back(j, i, _kept(turns, start - 1), x, y, z, rows, start - 1, grad, grads, torque)
            if places[gate, 3]:
                x, y, z = vectors[entry, 0], vectors[entry, 1], vectors[entry, 2]
                _flush_back(i, j, _kept(turns, entry), x, y, z, rows, entry, grad, grads, torque)
            if order > 1:
                _mirror(grads, i, n_qubits)
                _mirror(grads, j, n_qubits)
