"""Conformance suite of blocks, as ``check_backend`` is for backends."""

import copy
import io
import math
import pickle

import cloudpickle
import numpy as np
import torch as th

from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.layers.blocks.base import CLAIMS, Block, Pairs
from sb3_quantum.layers.readout import READOUTS

#: step of finite differences, in single units of an input; the block is compared in double precision
STEP = 1e-5
#: rows of an ordinary batch
ROWS = 16


@keywords_checked({})
def check_block(block: Block, tolerance: float = 1e-4, draws: int = 4000, false_alarm: float = 1e-6) -> None:
    """
    Check that a block fulfils the contract and its own claims.

    It checks shapes and types of outputs, recorded pairs and the surrogate, for batches of any size and all readouts; which
    readouts are random; seeds; the state; and the surrogate's gradient. A gradient that claims to be exact is compared with
    finite differences of the expected outputs, an unbiased estimate in the mean over many draws. The checks run on copies: the
    block, its generator and its counters stay unchanged, and torch's global generator is restored.

    :param block: the block; a small circuit is checked faster
    :param tolerance: tolerance for outputs and exact gradients, relative to 1 + their size
    :param draws: number of draws for the mean of an estimated gradient
    :param false_alarm: probability that a correct block is refused, over all statistical tests together
    :raises AssertionError: if something is wrong; the message says what
    """
    with th.random.fork_rng(devices=[]):
        th.manual_seed(0)
        _check_attributes(block)
        _check_outputs(copy.deepcopy(block))
        _check_copies(block)
        _check_randomness(copy.deepcopy(block))
        _check_state(copy.deepcopy(block))
        _check_pairs(copy.deepcopy(block))
        _check_surrogate(copy.deepcopy(block), tolerance, draws, false_alarm)
        _check_usage(copy.deepcopy(block))
        _check_fit(copy.deepcopy(block))


def _inputs(block: Block, rows: int, dtype: th.dtype = th.float32) -> th.Tensor:
    """Make the inputs of every check: angles of up to about a turn, indices within and beyond the qubits."""
    generator = th.Generator().manual_seed(1)
    return 2 * th.randn(rows, block.n_inputs, generator=generator, dtype=th.float64).to(dtype)


def _check_attributes(block: Block) -> None:
    for name in ("name", "summary"):
        text = getattr(block, name, None)
        assert isinstance(text, str) and text, f"{name} must be a string, got {text!r}"
    for name in ("n_inputs", "n_outputs"):
        number = getattr(block, name)
        assert type(number) is int and number >= 1, f"{name} must be an integer >= 1, got {number!r}"
    assert block.claim in CLAIMS, f"claim must be one of {', '.join(map(repr, CLAIMS))}, got {block.claim!r}"
    assert block.readout in READOUTS, f"readout must be one of {', '.join(map(repr, READOUTS))}, got {block.readout!r}"
    if block.records:
        qubits = block.ansatz.n_qubits
        assert block.n_outputs == qubits, f"recorded outputs must be as many as qubits, {qubits}, got {block.n_outputs}"
    assert block.records or not block.fitted, "a block that is fitted must record pairs"


def _check_copies(block: Block) -> None:
    inputs = _inputs(block, 2)
    for how, copied in (("deepcopy", copy.deepcopy(block)), ("pickle", pickle.loads(cloudpickle.dumps(block)))):
        twin = copy.deepcopy(block)
        if block.reproducible:
            same = th.equal(copied(inputs, "sample"), twin(inputs, "sample"))
            assert same, f"{how} must keep parameters and generator: the copy gave other outputs"


def _check_like(what: str, found: object, inputs: th.Tensor, columns: int) -> th.Tensor:
    assert isinstance(found, th.Tensor), f"{what} must be a tensor, got {type(found).__name__}"
    shape = (len(inputs), columns)
    assert tuple(found.shape) == shape, f"{what} must have the shape {shape}, got {tuple(found.shape)}"
    assert found.dtype == inputs.dtype, f"{what} must have the inputs' dtype {inputs.dtype}, got {found.dtype}"
    assert found.device == inputs.device, f"{what} must be on the inputs' device {inputs.device}, got {found.device}"
    assert bool(th.isfinite(found).all()), f"{what} must be finite"
    return found


def _check_outputs(block: Block) -> None:
    for rows in (block.n_outputs + 2, 1, 0):  # not as many rows as columns
        inputs = _inputs(block, rows)
        before = inputs.clone()
        for readout in READOUTS:
            generator = np.random.default_rng(0)
            for what, found in (
                (f"forward(inputs, {readout!r})", block(inputs, readout)),
                (f"run(inputs, {readout!r})", block.run(inputs, readout)),
                (f"run(inputs, {readout!r}, generator)", block.run(inputs, readout, generator)),
                (f"act(inputs, {readout!r}).outputs", block.act(inputs, readout).outputs),
            ):
                _check_like(f"{what} of {counted(rows, 'row')}", found, inputs, block.n_outputs)
        surrogate = block.surrogate(inputs)
        _check_like(f"surrogate(inputs) of {counted(rows, 'row')}", surrogate, inputs, block.n_outputs)
        if block.surrogate_is_probability:
            assert bool(((surrogate >= 0) & (surrogate <= 1)).all()), "surrogate_is_probability, but outputs leave [0, 1]"
        assert th.equal(inputs, before), "inputs must not be changed in place"
    if not block.reads_inputs:
        # The actor then passes zeros, without computing inputs
        block.seed(0)
        first = block(_inputs(block, 3), "sample")
        block.seed(0)
        assert th.equal(first, block(th.zeros(3, block.n_inputs), "sample")), "reads_inputs=False, but outputs depend on them"


def _check_randomness(block: Block) -> None:
    one = _inputs(block, 1).expand(256, -1).contiguous()
    for readout in READOUTS:
        first, second = block(one, readout), block(one, readout)
        if not block.draws(readout):
            assert th.equal(first, second), f"draws({readout!r}) is False, but two calls gave different outputs"
            assert bool((first == first[:1]).all()), f"draws({readout!r}) is False, but equal rows have different outputs"
            continue
        many = _inputs(block, 256)
        assert not th.equal(block(many, readout), block(many, readout)), f"draws({readout!r}), but two calls gave the same"
        if not block.reproducible:
            continue
        outcomes = []
        for seed in (1, 1, 2):
            block.seed(seed)
            outcomes.append(block(many, readout))
        assert th.equal(outcomes[0], outcomes[1]), f"the same seed must give the same outputs ({readout!r})"
        assert not th.equal(outcomes[0], outcomes[2]), f"another seed must give other outputs ({readout!r})"
        block.seed(1)
        given = [block.run(many, readout, np.random.default_rng(5)) for _ in range(2)]
        assert th.equal(*given), f"run() must draw from the generator that it is given ({readout!r})"
        assert th.equal(
            block(many, readout), outcomes[0]
        ), f"run() with a generator must leave the block's alone ({readout!r})"


def _check_state(block: Block) -> None:
    """Check that the state contains parameters and generator, and nothing that needs pickle."""
    if not block.reproducible:
        return
    inputs = _inputs(block, 64)
    other = copy.deepcopy(block)
    with th.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.5)
    other.seed(7)
    file = io.BytesIO()
    th.save(block.state_dict(), file)
    file.seek(0)
    try:
        state = th.load(file, weights_only=True)
    except Exception as error:
        raise AssertionError(f"state_dict() must hold tensors only, so that it loads without pickle: {error}") from error
    for key, value in state.items():
        is_floating = isinstance(value, th.Tensor) and value.is_floating_point()
        assert is_floating, f"state_dict() must hold floating-point tensors, and {key!r} is none"
    other.load_state_dict(state)
    for readout in READOUTS:
        same = th.equal(block(inputs, readout), other(inputs, readout))
        assert same, f"load_state_dict() must restore all of it: outputs differ afterwards ({readout!r})"


def _check_pairs(block: Block) -> None:
    inputs = _inputs(block, ROWS)
    for record_bits, probe_std in ((True, 0.0), (False, 0.0), (False, 0.5)):
        with th.no_grad():
            pairs = block.act(inputs, "sample", record_bits, probe_std).pairs
        if not block.records:
            assert pairs is None, "records is False, but act() returned pairs"
            continue
        assert isinstance(pairs, Pairs), f"records is True, but act() returned {type(pairs).__name__} for pairs"
        _check_like("pairs.inputs", pairs.inputs, inputs, block.n_inputs)
        assert th.equal(pairs.inputs, inputs), "pairs.inputs must be what act() was given"
        outputs = _check_like("pairs.outputs", pairs.outputs, inputs, block.n_outputs)
        assert bool(((outputs >= 0) & (outputs <= 1)).all()), "pairs.outputs must lie in [0, 1]"
        if record_bits:
            assert bool(((outputs == 0) | (outputs == 1)).all()), "pairs.outputs must be bits with record_bits=True"
        probed = pairs.probe_inputs is not None and pairs.probe_outputs is not None
        assert probed == (probe_std > 0), f"probe_std={probe_std} must {'' if probe_std else 'not '}come back with a probe"
        if pairs.probe_inputs is not None:
            perturbed = _check_like("pairs.probe_inputs", pairs.probe_inputs, inputs, block.n_inputs)
            _check_like("pairs.probe_outputs", pairs.probe_outputs, inputs, block.n_outputs)
            assert not th.equal(perturbed, inputs), "probe inputs must be perturbed"


def _gradient(block: Block, inputs: th.Tensor, weights: th.Tensor, target: th.Tensor | None = None) -> th.Tensor:
    """
    Compute, row by row, the surrogate's gradient of a linear loss, or of a quadratic one with a target; zeros if it has none.
    """
    leaf = inputs.detach().clone().requires_grad_(True)
    outputs = block.surrogate(leaf)
    if not outputs.requires_grad:
        return th.zeros_like(inputs)
    loss = outputs * weights if target is None else (outputs - target).square() * weights
    (gradient,) = th.autograd.grad(loss.sum(), leaf, allow_unused=True)
    return th.zeros_like(inputs) if gradient is None else gradient


def _differences(block: Block, row: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """Compute the gradient of the weighted expected outputs by central differences, ``(n_inputs,)``."""
    steps = STEP * th.eye(block.n_inputs, dtype=row.dtype)
    with th.no_grad():
        values = block(th.cat([row + steps, row - steps]), "mean") @ weights
    plus, minus = values.chunk(2)
    return (plus - minus) / (2 * STEP)


def _check_surrogate(block: Block, tolerance: float, draws: int, false_alarm: float) -> None:
    inputs = _inputs(block, ROWS)
    generator = th.Generator().manual_seed(2)
    weights = th.randn(block.n_outputs, generator=generator, dtype=th.float64)
    claim = block.claim
    gradient = _gradient(block, inputs, weights.float())
    assert bool(th.isfinite(gradient).all()), "the surrogate's gradient must be finite"
    _gradient(block, inputs[:0], weights.float())
    if claim == "none":
        assert not bool(gradient.any()), 'claim is "none", but the surrogate passes a gradient'
        return
    assert bool(gradient.any()), f"claim is {claim!r}, but the surrogate passes no gradient"
    if claim in ("fitted", "biased"):
        return
    whole, row = block.double(), _inputs(block, 1, th.float64)
    expected = _differences(whole, row, weights)
    with th.no_grad():
        outputs = whole(row, "mean")[0]
    if claim == "exact":
        error = float((whole.surrogate(row).detach()[0] - outputs).abs().max())
        assert error < tolerance, f'claim is "exact", but the surrogate is off from the expected outputs by {error:.1e}'
        found = _gradient(whole, row, weights)[0]
        error = ((found - expected).abs() / (1 + expected.abs())).max().item()
        assert error < tolerance, f'claim is "exact", but the gradient is off from finite differences by {error:.1e}'
        return
    many = row.expand(draws, -1).contiguous()
    checks = [
        ("surrogate", whole.surrogate(many).detach(), outputs),
        ("gradient of a linear loss", _gradient(whole, many, weights), expected),
    ]
    if claim == "unbiased_quadratic":
        # For a bit b, (b - t)^2 is t^2 + (1 - 2 t) b
        target = th.rand(block.n_outputs, generator=generator, dtype=th.float64)
        exact = _differences(whole, row, (1 - 2 * target) * weights)
        checks.append(("gradient of a quadratic loss", _gradient(whole, many, weights, target), exact))
    from scipy.stats import norm  # a third of the time that importing the package would take

    bound = float(norm.isf(false_alarm / (2 * sum(len(exact) for _, _, exact in checks))))
    for what, found, exact in checks:
        deviation = found.std(0) / math.sqrt(draws)
        excess = ((found.mean(0) - exact).abs() - tolerance * (1 + exact.abs())).clamp(min=0)
        worst = float((excess / deviation.clamp(min=1e-12)).max())
        assert (
            worst < bound
        ), f"claim is {claim!r}, but over {draws} draws the mean {what} is {worst:.1f} standard deviations off"


def _check_usage(block: Block) -> None:
    inputs = _inputs(block, 3)
    before = block.usage()
    for key, value in before.items():
        number = isinstance(key, str) and isinstance(value, int | float) and math.isfinite(value)
        assert number, f"usage() must hold finite numbers by name, got {key!r}: {value!r}"
    block.run(inputs, "sample")
    after_run = block.usage()
    assert after_run.keys() == before.keys(), "usage() must have the same names in every call"
    block.act(inputs, "sample")
    after_act = block.usage()
    if block.backend is None:
        return
    assert "circuits" in before, "a block with a backend must count its circuits in usage()"
    assert after_run["circuits"] == before["circuits"], "run() must count as evaluation, not as training"
    assert after_act["circuits"] == before["circuits"] + 3, "act() must count a circuit for every row"


def _check_fit(block: Block) -> None:
    inputs = _inputs(block, ROWS)
    with th.no_grad():
        targets = block(inputs, "mean").clamp(0, 1)
        before = block.surrogate(inputs)
    loss = block.fit(inputs, targets, 4, 8)
    if loss is not None:
        fine = isinstance(loss, th.Tensor) and loss.numel() == 1 and not loss.requires_grad and math.isfinite(loss.item())
        assert fine, f"fit() must return a finite number without a gradient, or None, got {loss!r}"
    assert not any(
        bool((p.grad != 0).any()) for p in block.parameters() if p.grad is not None
    ), "fit() must leave no gradients behind"
    if block.fitted:
        with th.no_grad():
            changed = not th.equal(before, block.surrogate(inputs))
        assert changed, "fitted is True, but fit() changes nothing of the surrogate"
