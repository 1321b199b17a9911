"""``check_block`` accepts every block there is, and finds each fault of a wrong one."""

import functools
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_quantum.circuits import PaperCircuit, make_circuit
from sb3_quantum.layers import BernoulliBlock, Block, BlockStep, FCBlock, Pairs, QuantumLayer, check_block, make_block, read
from sb3_quantum.layers.blocks import RandomBlock

ANSATZ = PaperCircuit(3, 2)


@pytest.mark.parametrize("readout", ["sample", "mean"])
@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("pqc", {}),
        ("fc", {}),
        ("rbg", {}),
        ("zeros", {}),
        ("mean_field", {}),
        ("bernoulli", {"estimator": "straight_through"}),
        ("bernoulli", {"estimator": "zgr"}),
    ],
)
def test_every_block_passes(name: str, kwargs: dict[str, Any], readout: str) -> None:
    th.manual_seed(3)
    block = make_block(name, ANSATZ, kwargs, readout)
    before, torch_state = block.state_dict(), th.random.get_rng_state()
    check_block(block)
    after = block.state_dict()
    assert before.keys() == after.keys() and all(th.equal(before[key], after[key]) for key in before)
    assert th.equal(torch_state, th.random.get_rng_state())


@pytest.mark.parametrize("gradient", ["exact", "parameter_shift", "spsa", "noise", "frozen"])
def test_every_gradient_of_the_quantum_layer_passes(gradient: str) -> None:
    check_block(QuantumLayer(3, 2, gradient=gradient, seed=0))


def test_other_circuits_pass() -> None:
    check_block(make_block("mean_field", make_circuit("brickwork", 3, 2)))
    check_block(make_block("mean_field", PaperCircuit(3, 2, n_cz=0)))
    check_block(make_block("pqc", PaperCircuit(3, 2, n_cz=0)))


class Coins(RandomBlock):
    """A right one, without inputs, from which wrong ones are made."""

    name, summary, claim, reads_inputs = "coins", "coins", "none", False

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        return self.read(0.5 + inputs.new_zeros(len(inputs), self.n_outputs), readout, generator)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        return inputs.new_full((len(inputs), self.n_outputs), 0.5)


class Twice(Block):
    """A linear map without a parameter that a fit moves; it records pairs."""

    name, summary, claim, records, fitted = "twice", "a fitted map", "fitted", True, True

    def __init__(self, ansatz: Any):
        super().__init__(ansatz)
        generator = th.Generator().manual_seed(0)
        self.weight = nn.Parameter(th.rand(ansatz.n_inputs, ansatz.n_qubits, generator=generator), requires_grad=False)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        return th.sigmoid(inputs @ self.weight)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        return th.sigmoid(inputs @ self.weight)

    def act(self, inputs: th.Tensor, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> BlockStep:
        outputs = self(inputs, readout)
        probes = (inputs + probe_std, self(inputs + probe_std, readout)) if probe_std else (None, None)
        return BlockStep(outputs, Pairs(inputs, outputs.round() if record_bits else outputs, *probes))

    def fit(self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int = 1, batch_size: int | None = None) -> Any:
        self.weight += 1e-3
        return th.zeros(())


@pytest.mark.parametrize("kind", [Coins, Twice])
def test_plain_blocks_of_ones_own_pass(kind: type[Block]) -> None:
    check_block(kind(ANSATZ))


class SmallLayer(QuantumLayer):
    """Made as the other blocks are."""

    def __init__(self, ansatz: PaperCircuit):
        super().__init__(circuit=ansatz)


def wrong(base: type[Block], **attributes: Any) -> Block:
    """A block of a class that differs from another one in this."""
    th.manual_seed(0)
    return type("Wrong", (base,), attributes)(ANSATZ)


def fc(change: Any) -> Any:
    return lambda self, inputs, *_: change(self.linear(inputs))


def drawn_twice(self: Any, inputs: th.Tensor, *_: Any) -> th.Tensor:
    return (self.linear(inputs) + th.randn(())).detach()


FAULTS: dict[str, tuple[type[Block], dict[str, Any], str]] = {
    "no name": (FCBlock, {"name": None}, "name must be a string"),
    "a width that is no integer": (FCBlock, {"n_outputs": 2.0}, "n_outputs must be an integer >= 1"),
    "an unknown claim": (FCBlock, {"claim": "perfect"}, "claim must be one of 'exact'"),
    "no probabilities": (FCBlock, {"surrogate_is_probability": True}, r"but outputs leave \[0, 1\]"),
    "fitted without pairs": (FCBlock, {"fitted": True}, "must record pairs"),
    "transposed": (FCBlock, {"forward": fc(lambda x: x.T)}, r"forward\(inputs, 'sample'\) of 5 rows must have the shape"),
    "double precision": (FCBlock, {"forward": fc(th.Tensor.double)}, "must have the inputs' dtype torch.float32"),
    "an empty batch of one row": (
        FCBlock, {"surrogate": fc(lambda x: x if len(x) else x.new_zeros(1, x.shape[1]))}, "of 0 rows must have the shape"
    ),
    "not finite": (FCBlock, {"forward": fc(lambda x: x / 0)}, "must be finite"),
    "changes its inputs": (
        FCBlock, {"forward": lambda self, x, *_: self.linear(x.add_(1))}, "inputs must not be changed in place"
    ),
    "reads what it says it does not": (FCBlock, {"reads_inputs": False}, "but outputs depend on them"),
    "random without saying so": (FCBlock, {"forward": drawn_twice}, "deepcopy must keep|draws.* is False, but"),
    "rows that are mixed": (
        FCBlock, {"forward": fc(lambda x: x + th.arange(len(x))[:, None])}, "but equal rows have different outputs"
    ),
    "not random, against what it says": (FCBlock, {"draws": lambda self, readout: True}, "but two calls gave the same"),
    "a seed that is ignored": (Coins, {"seed": lambda self, seed: None}, "reads_inputs=False|the same seed must give"),
    "one seed for all": (
        Coins, {"seed": lambda self, seed: RandomBlock.seed(self, 0)}, "another seed must give other outputs"
    ),
    "a generator that is ignored": (
        Coins, {"run": lambda self, x, readout, generator=None: self(x, readout)}, r"run\(\) must draw from the generator"
    ),
    "moves its generator": (
        Coins,
        {"run": lambda self, x, readout, generator=None: self(x, readout, self.generator.random() and generator)},
        "must leave the block's alone",
    ),
    "a generator that is not saved": (
        Coins,
        {"get_extra_state": lambda self: th.zeros(1), "set_extra_state": lambda self, state: None},
        "must restore all of it",
    ),
    "a state that is a pickle": (
        Coins, {"get_extra_state": lambda self: functools.partial(print), "set_extra_state": print}, "without pickle"
    ),
    "pairs that nobody asked for": (
        FCBlock, {"act": lambda self, x, r, *_: BlockStep(self(x, r), Pairs(x, self(x, r)))}, "records is False"
    ),
    "no pairs": (Twice, {"act": Block.act}, "records is True, but act"),
    "pairs of other inputs": (
        Twice, {"act": lambda self, x, r, *_: BlockStep(self(x, r), Pairs(x + 1, self(x, r)))}, "what act"
    ),
    "pairs out of range": (
        Twice, {"act": lambda self, x, r, *_: BlockStep(self(x, r), Pairs(x, 2 + self(x, r)))}, r"must lie in \[0, 1\]"
    ),
    "expected bits for bits": (
        Twice, {"act": lambda self, x, r, *_: BlockStep(self(x, r), Pairs(x, self(x, r)))}, "must be bits"
    ),
    "no probe": (
        Twice,
        {"act": lambda self, x, r, bits=False, std=0: BlockStep(self(x, r), Pairs(x, self(x, r).round()))},
        "must come back with a probe",
    ),
    "a gradient that is withheld": (FCBlock, {"surrogate": fc(th.Tensor.detach)}, "but the surrogate passes no gradient"),
    "a gradient that is not": (FCBlock, {"claim": "none"}, "but the surrogate passes a gradient"),
    "half of the gradient": (
        FCBlock, {"surrogate": fc(lambda x: x.detach() + (x - x.detach()) / 2)}, "off from finite differences"
    ),
    "another value": (FCBlock, {"surrogate": fc(lambda x: x + 1)}, "off from the expected outputs"),
    "twice the estimate": (
        BernoulliBlock,
        {"_estimated": lambda self, bits, p, logits: bits + 2 * (p - p.detach())},
        "the mean gradient of a linear loss is",
    ),
    "bits of another distribution": (
        BernoulliBlock,
        {"_estimated": lambda self, bits, p, logits: 1 - bits + (p - p.detach())},
        "the mean surrogate is",
    ),
    "straight through that claims more": (
        BernoulliBlock, {"claim": "unbiased_quadratic"}, "the mean gradient of a quadratic loss is"
    ),
    "counters that are no numbers": (FCBlock, {"usage": lambda self: {"rows": "many"}}, "must hold finite numbers"),
    "evaluation counted as training": (
        SmallLayer, {"run": lambda self, x, r, g=None: read(self.measure(x, r == "sample", g), r)}, "must count as evaluation"
    ),
    "a loss with a gradient": (
        Twice, {"fit": lambda self, x, *_: th.ones((), requires_grad=True)}, "a finite number without a gradient"
    ),
    "a fit that does nothing": (Twice, {"fit": lambda self, x, *_: None}, "changes nothing of the surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found(fault: str) -> None:
    base, attributes, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        check_block(wrong(base, **attributes))
