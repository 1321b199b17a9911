"""Conformance suite of backends, as SB3's ``check_env`` is for environments."""

import json
import math
import pickle
from copy import deepcopy

import numpy as np
import torch as th

from sb3_quantum.backends.base import Backend, BudgetError, Usage
from sb3_quantum.backends.statevector import StatevectorBackend
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted

#: circuits whose distribution is tested: two angle settings of one structure, and one of another
DISTRIBUTIONS = 3


@keywords_checked({})
def check_backend(backend: Backend, shots: int = 2000, noisy: bool = False, false_alarm: float = 1e-6) -> None:
    """
    Check that a backend fulfils its contract.

    It checks bit order, shapes, fresh bits in every call, the same bits from the same seed, agreement with the exact
    distribution, accounting and budgets, the spec, and errors. It runs circuits, on a chip real ones: about ``40 * shots``
    bitstrings. Counters keep these; the generator is restored.

    :param backend: the backend, of up to 10 qubits; at least 2 qubits and 2 layers test everything
    :param shots: shots of each circuit whose distribution is compared
    :param noisy: whether the machine has noise. Then agreement with the exact distribution is not required, and majorities
        show the bit order
    :param false_alarm: probability that a correct backend is refused, over all statistical tests together
    :raises AssertionError: if something is wrong; the message says what
    """
    state = backend.get_state()["generator"]
    _check_shapes(backend)
    _check_bit_order(backend, noisy, shots)
    _check_randomness(backend)
    if not noisy:
        _check_distribution(backend, shots, false_alarm)
    _check_accounting(backend)
    _check_spec(backend)
    _check_errors(backend)
    backend.set_state({**backend.get_state(), "generator": state})


def _inputs(backend: Backend, rows: int) -> th.Tensor:
    """Make the inputs of every check: angles of up to several turns, and indices beyond the register."""
    generator = th.Generator().manual_seed(0)
    return 4 * th.randn(rows, backend.ansatz.n_inputs, generator=generator)


def _one_structure(backend: Backend, rows: int) -> th.Tensor:
    """Make inputs with different angles and equal indices, so that there is one circuit to transpile."""
    inputs = _inputs(backend, rows)
    angles, indices = backend.ansatz.split(inputs)
    return backend.ansatz.join(angles, indices[:1].expand(rows, -1))


def _witness(backend: Backend) -> StatevectorBackend:
    return StatevectorBackend(backend.ansatz, engine="torch")


def _twins(backend: Backend) -> tuple[th.Tensor, int]:
    """
    Make two equal circuits, with so many shots that they give equal bits with a probability of 2^-64; 0 shots if they always
    do.
    """
    inputs = _inputs(backend, 1).repeat(2, 1)
    probabilities = _witness(backend).probabilities(inputs[:1].double())
    collision = float(probabilities.square().sum())
    return inputs, -int(-64 // -math.log2(collision)) if collision < 0.999 else 0


def _check_shapes(backend: Backend) -> None:
    qubits, inputs = backend.ansatz.n_qubits, _inputs(backend, 3)
    for dtype in (th.float32, th.float64):
        given = inputs.to(dtype)
        measurement = backend.measure(given)
        assert measurement.bits is not None, "measure() must return bits when they are asked for"
        for name, values, shape in (
            ("sample(inputs)", backend.sample(given), (3, qubits)),
            ("sample(inputs, shots=5)", backend.sample(given, shots=5), (3, 5, qubits)),
            ("expected_bits(inputs)", backend.expected_bits(given), (3, qubits)),
            ("measure(inputs).bits", measurement.bits, (3, qubits)),
            ("measure(inputs).expected_bits", measurement.expected_bits, (3, qubits)),
        ):
            assert tuple(values.shape) == shape, f"{name} must have the shape {shape}, got {tuple(values.shape)}"
            assert values.dtype == dtype, f"{name} must have the inputs' dtype {dtype}, got {values.dtype}"
            assert values.device == given.device, f"{name} must be on the inputs' device {given.device}, got {values.device}"
            assert bool(((values >= 0) & (values <= 1)).all()), f"{name} must lie in [0, 1]"
            if "sample" in name or ".bits" in name:
                assert bool(((values == 0) | (values == 1)).all()), f"{name} must be zeros and ones"
    empty = backend.measure(inputs[:0])
    assert empty.bits is not None and tuple(empty.bits.shape) == (0, qubits), "an empty batch must give empty bits"
    assert tuple(empty.expected_bits.shape) == (0, qubits), "an empty batch must give empty expected bits"
    kept = inputs.clone().requires_grad_(True)
    assert not backend.sample(kept).requires_grad, "sample() must return values without gradient"
    if backend.differentiable:
        assert backend.exact and backend.expected_bits(kept).requires_grad, "a differentiable backend must pass gradients"


def _check_bit_order(backend: Backend, noisy: bool, shots: int) -> None:
    """
    Check that the mean bits of every column correlate with the exact ones of its own qubit. On 32 circuits this correlation is
    far above that of two different qubits, even with a device's noise; qubits that hardly differ from others are left out.
    """
    inputs = _one_structure(backend, 32)
    exact = _witness(backend).expected_bits(inputs.double()).numpy()
    found = backend.sample(inputs, shots=max(shots, 2)).double().mean(1).numpy()
    qubits = backend.ansatz.n_qubits
    with np.errstate(invalid="ignore"):
        between = np.nan_to_num(np.corrcoef(exact.T).reshape(qubits, qubits), nan=1.0)
        correlation = np.nan_to_num(np.corrcoef(found.T, exact.T)[:qubits, qubits:])
    np.fill_diagonal(between, -1.0)
    for qubit in range(qubits):
        if exact[:, qubit].std() < 0.05 or between[qubit].max() > 0.8:
            continue
        best = int(correlation[qubit].argmax())
        assert best == qubit, (
            f"column m must be qubit m: over {len(inputs)} circuits the mean bits of column {qubit} follow those of qubit "
            f"{best} (correlation {correlation[qubit, best]:.2f}, with qubit {qubit} "
            f"{correlation[qubit, qubit]:.2f})"
        )


def _check_randomness(backend: Backend) -> None:
    # Any two rows are equal with a probability of 2^-64
    inputs, shots = _twins(backend)
    if shots == 0:
        return
    backend.seed(1)
    first, second = backend.sample(inputs, shots=shots + 1), backend.sample(inputs, shots=shots + 1)
    assert not th.equal(first, second), "every call must draw fresh bits: two calls gave the same"
    assert not th.equal(first[0], first[1]), "every row must draw bits of its own: equal circuits of a batch gave the same"
    before = backend.get_state()["generator"]
    own = backend.sample(inputs, shots=shots + 1, generator=np.random.default_rng(5))
    assert backend.get_state()["generator"] == before, "a generator that is handed in must be used, not the backend's own"
    if backend.reproducible:
        again = backend.sample(inputs, shots=shots + 1, generator=np.random.default_rng(5))
        assert th.equal(own, again), "the same generator handed in must give the same bits"
        backend.seed(1)
        assert th.equal(first, backend.sample(inputs, shots=shots + 1)), "the same seed must give the same bits"


def _check_distribution(backend: Backend, shots: int, false_alarm: float) -> None:
    """Test every circuit's bitstrings by chi-square; states that are expected less than five times are merged."""
    from scipy.stats import chi2  # a third of the time that importing the package would take

    inputs = _inputs(backend, DISTRIBUTIONS)
    ansatz = backend.ansatz
    inputs[1] = ansatz.join(ansatz.split(inputs[1:2])[0], ansatz.split(inputs[:1])[1])[0]
    witness = _witness(backend)
    probabilities = witness.probabilities(inputs.double()).numpy()
    bits = backend.sample(inputs, shots=shots).long().numpy()
    for row in range(DISTRIBUTIONS):
        counts = np.bincount(bits[row] @ (1 << np.arange(ansatz.n_qubits)), minlength=len(probabilities[row]))
        often = probabilities[row] * shots >= 5
        expected = np.append(probabilities[row][often], probabilities[row][~often].sum()) * shots
        found = np.append(counts[often], counts[~often].sum())
        expected, found = expected[expected > 1e-3], found[expected > 1e-3]
        if len(expected) < 2:
            continue
        statistic = float(((found - expected) ** 2 / expected).sum())
        p_value = float(chi2.sf(statistic, len(expected) - 1))
        assert p_value > false_alarm / DISTRIBUTIONS, (
            f"circuit {row} of a batch does not have its distribution: chi-square {statistic:.1f} with {len(expected) - 1} "
            f"degrees of freedom over {counted(shots, 'shot')}, p = {p_value:.1e}"
        )
    if backend.exact:
        error = float((backend.expected_bits(inputs) - witness.expected_bits(inputs.double())).abs().max())
        assert error < 1e-5, f"expected bits of an exact backend must be exact to 1e-5, they are off by {error:.1e}"


def _check_accounting(backend: Backend) -> None:
    inputs = _inputs(backend, 4)
    training, evaluation = Usage(**vars(backend.usage)), Usage(**vars(backend.eval_usage))
    backend.sample(inputs, shots=3)
    asked, found = (training.circuits + 4, training.shots + 12), backend.usage
    assert (
        found.circuits,
        found.shots,
    ) == asked, f"4 circuits of 3 shots were run, but the counters went from {training} to {found}"
    assert found.jobs == training.jobs + 1, f"a batch must count as one job, got {found.jobs - training.jobs}"
    assert found.chip_seconds >= training.chip_seconds, "chip_seconds must not decrease"
    assert backend.eval_usage == evaluation, "training was counted as evaluation"
    backend.sample(inputs, evaluation=True)
    assert backend.usage.circuits == asked[0], "evaluation was counted as training"
    assert backend.eval_usage.circuits == evaluation.circuits + 4, "evaluation was not counted"
    limited = type(backend)(backend.ansatz, **{**backend.kwargs, "max_circuits": 5})
    limited.sample(inputs)
    try:
        limited.sample(inputs)
    except BudgetError:
        assert limited.usage.circuits == 4, "a refused batch was counted"
    else:
        raise AssertionError("max_circuits=5 let 8 circuits run")


def _check_spec(backend: Backend) -> None:
    kwargs = json.loads(json.dumps(backend.kwargs))
    assert kwargs == backend.kwargs, f"kwargs must be plain data that JSON can hold, got {backend.kwargs}"
    twin = type(backend)(backend.ansatz, **kwargs)
    assert twin.kwargs == backend.kwargs, f"a backend made from kwargs must have the same kwargs, got {twin.kwargs}"
    inputs = _inputs(backend, 2)
    for how, copied in (("pickle", pickle.loads(pickle.dumps(backend))), ("deepcopy", deepcopy(backend))):
        assert copied.kwargs == backend.kwargs and copied.usage == backend.usage, f"{how} must keep spec and counters"
        assert copied.get_state() == backend.get_state(), f"{how} must keep the generator"
    twin.set_state(json.loads(json.dumps(backend.get_state())))
    if backend.reproducible:
        same = th.equal(twin.sample(inputs, shots=64), backend.sample(inputs, shots=64))
        assert same, "a backend made from kwargs and state must continue with the same bits"


def _check_errors(backend: Backend) -> None:
    good = _inputs(backend, 2)
    bad = good.clone()
    bad[1, 0] = float("nan")
    before = Usage(**vars(backend.usage))
    for what, inputs, shots in (
        ("NaN", bad, 1),
        ("a batch of the wrong width", good[:, :-1], 1),
        ("one dimension", good[0], 1),
        ("shots=0", good, 0),
    ):
        try:
            backend.sample(inputs, shots=shots)
        except ValueError:
            continue
        raise AssertionError(f"{what} must raise a ValueError")
    assert backend.usage == before, "what was refused must not be counted"
