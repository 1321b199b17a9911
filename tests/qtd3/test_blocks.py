"""Blocks in the policy: the new ones, and those of the user's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import KVWriter, Logger, SeqWriter
from torch import nn

from sb3_quantum import FidelityCallback, QuantumTD3
from sb3_quantum.circuits import Circuit, PaperCircuit
from sb3_quantum.hub import load_safe, save_safe
from sb3_quantum.hub.model_card import model_card
from sb3_quantum.hub.report import evaluate
from sb3_quantum.hub.strict import ModelFileError
from sb3_quantum.layers import BLOCKS, BernoulliBlock, Block, BlockStep, Pairs, check_block
from sb3_quantum.qtd3.callbacks import measure_fidelity
from tests.qtd3.test_save_load import OBS, same
from tests.qtd3.test_train import equal, pendulum, weights

#: the new ones, and the old one whose generator is saved too
NEW: dict[str, dict[str, Any]] = {
    "rbg": {"block": "rbg"},
    "mean_field": {"block": "mean_field"},
    "straight_through": {"block": "bernoulli"},
    "zgr": {"block": "bernoulli", "block_kwargs": {"estimator": "zgr"}},
}


@pytest.mark.parametrize("name", NEW)
def test_new_blocks_learn_are_seeded_and_saved(name: str, tmp_path: Path) -> None:
    """In the zip and without pickle; generators go on where they were."""
    model = pendulum(policy_kwargs=NEW[name], batch_size=32).learn(90)
    assert equal(weights(model), weights(pendulum(policy_kwargs=NEW[name], batch_size=32).learn(90)))
    before = {key: value.clone() for key, value in model.actor.state_dict().items()}
    model.train(4, 32)
    moved = {key.split(".")[0] for key, value in model.actor.state_dict().items() if not th.equal(value, before[key])}
    learns = (
        {"pre", "post"}
        | ({"encoding"} if name != "rbg" else set())
        | ({"block"} if "bernoulli" in NEW[name].values() else set())
    )
    assert moved >= learns
    assert not equal(weights(model), weights(pendulum(policy_kwargs=NEW[name], seed=2).learn(1)))
    save_safe(model, tmp_path)
    model.save(tmp_path / "model.zip")
    observations = model.policy.obs_to_tensor(OBS)[0]
    loaded = load_safe(tmp_path), QuantumTD3.load(tmp_path / "model.zip")
    bits = [th.cat([each.actor.act(observations, "sample").actions for _ in range(8)]) for each in (model, *loaded)]
    assert th.equal(bits[0], bits[1]) and th.equal(bits[0], bits[2])
    model.set_random_seed(3)
    again = model.actor.act(observations, "sample").actions
    model.set_random_seed(3)
    assert th.equal(again, model.actor.act(observations, "sample").actions)
    assert model.replay_buffer.circuit is None  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NEW)
def test_deterministic_predictions(name: str) -> None:
    """On any readout, wherever a row stands in a batch."""
    for readout in ("mean", "majority", "sample"):
        model = pendulum(policy_kwargs={**NEW[name], "eval_readout": readout})
        together, _ = model.predict(OBS, deterministic=True)
        apart = [model.predict(row, deterministic=True)[0] for row in OBS]
        np.testing.assert_allclose(together, apart, atol=1e-6)


def test_the_surrogate_follows_the_acting_readout() -> None:
    for readout, drawn in (("sample", True), ("mean", False)):
        model = pendulum(policy_kwargs={"block": "bernoulli", "readout": readout, "actor_average_tau": 0.1})
        observations = model.policy.obs_to_tensor(np.repeat(OBS, 30, 0))[0]
        assert th.equal(model.actor.surrogate(observations), model.actor.surrogate(observations)) != drawn
        model.policy.readout = "mean"
        for actor in (model.actor, model.actor_target, model.policy.actor_average):
            assert actor is not None and actor.block.readout == "mean"
        assert th.equal(model.actor.surrogate(observations), model.actor.surrogate(observations))


def test_mean_field_is_trained_as_the_circuit_on_its_exact_bits() -> None:
    """Without entanglement both are the same function, and the updates are the same to rounding."""
    circuit = {"circuit_kwargs": {"n_cz": 0}, "readout": "mean"}
    exact = pendulum(gradient="exact", policy_kwargs=circuit)
    field = pendulum(policy_kwargs={**circuit, "block": "mean_field"})
    observations = exact.policy.obs_to_tensor(OBS)[0]
    state = {key: value for key, value in exact.actor.state_dict().items() if not key.startswith("qtdnn")}
    field.actor.load_state_dict(state, strict=False)
    gradients = []
    for model in (exact, field):
        actions = model.actor.surrogate(observations)
        gradients.append(th.autograd.grad(actions.sum(), list(model.actor.pre.parameters()), retain_graph=True))
        gradients[-1] = (actions.detach(), *gradients[-1])
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "policy_kwargs, message",
    [
        ({"block": "mean_feild"}, "block='mean_feild' is unknown, accepted are .*; did you mean 'mean_field'"),
        (
            {"block": "bernoulli", "block_kwargs": {"estimater": "zgr"}},
            "block_kwargs of block='bernoulli': .*mean 'estimator'",
        ),
        ({"block": "bernoulli", "block_kwargs": {"estimator": "st"}}, "estimator='st' is unknown, accepted are 'straight_"),
        ({"block_kwargs": {"qtdnn_arch": [3]}}, "block_kwargs of block='pqc': .* it belongs into policy_kwargs itself"),
        ({"block_kwargs": 3}, "block_kwargs must be a dictionary"),
        ({"block_kwarg": {}}, "policy_kwargs: 'block_kwarg' is unknown, did you mean 'block_kwargs'"),
        ({"block": nn.Linear(3, 3)}, "block must be one of 'pqc'.* or a subclass of Block with a name"),
    ],
)
def test_what_is_refused(policy_kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pendulum(policy_kwargs=policy_kwargs)


class Scaled(Block):
    """A block of a user's own: one number per output, of any width."""

    name, summary, claim = "scaled", "some inputs, scaled", "exact"

    def __init__(self, ansatz: Circuit, width: int = 2):
        super().__init__(ansatz)
        self.scale = nn.Parameter(th.ones(width))

    @property
    def n_outputs(self) -> int:
        return len(self.scale)

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        return inputs[:, : self.n_outputs] * self.scale

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        return self(inputs, "mean")


@pytest.fixture
def registered() -> Iterator[None]:
    BLOCKS["scaled"] = Scaled
    yield
    del BLOCKS["scaled"]


@pytest.mark.parametrize("how", ["name", "class", "instance"])
def test_a_block_of_ones_own(how: str, registered: None, tmp_path: Path) -> None:
    check_block(Scaled(PaperCircuit(3, 2), width=5))
    given: dict[str, Any] = {"block": {"name": "scaled", "class": Scaled}.get(how), "block_kwargs": {"width": 5}}
    if how == "instance":
        given = {"block": Scaled(PaperCircuit(3, 2), width=5)}
    model = pendulum(policy_kwargs=given, batch_size=16).learn(60)
    blocks = model.actor.block, model.actor_target.block
    assert blocks[0] is not blocks[1] and blocks[0] is not given["block"]
    assert all(isinstance(block, Scaled) and block.n_outputs == 5 for block in blocks)
    assert not th.equal(blocks[0].scale.cpu(), th.ones(5)) and model.actor.post[0].in_features == 7
    model.save(tmp_path / "model")
    assert same(QuantumTD3.load(tmp_path / "model").get_parameters(), model.get_parameters())
    if how == "instance":
        with pytest.raises(ValueError, match=r"policy_kwargs\['block'\] cannot be saved without pickle"):
            save_safe(model, tmp_path)
        return
    save_safe(model, tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["arguments"]["policy_kwargs"]["block"] == "scaled"
    assert same(load_safe(tmp_path).get_parameters(), model.get_parameters())
    del BLOCKS["scaled"]
    with pytest.raises(ModelFileError, match="block='scaled' is unknown"):
        load_safe(tmp_path)
    BLOCKS["scaled"] = Scaled


def test_the_models_seed_governs_an_instance() -> None:
    given = BernoulliBlock(PaperCircuit(3, 2))
    found = []
    for seed in (1, 1, 2):
        model = pendulum(policy_kwargs={"block": given}, seed=seed)
        inputs = th.zeros(20, given.n_inputs, device=model.device)
        found.append(model.actor.block(inputs, "sample"))
    assert th.equal(found[0], found[1]) and not th.equal(found[0], found[2])
    assert th.equal(model.actor.block.linear.weight.cpu(), given.linear.weight)


class Remembering(Scaled):
    """One for all actors, with an optimizer, fitted to recorded pairs."""

    name, claim, records, fitted, shared_as = "remembering", "fitted", True, True, "remembering"

    def __init__(self, ansatz: Circuit):
        super().__init__(ansatz, ansatz.n_qubits)
        self.optimizer = th.optim.Adam(self.parameters(), lr=0.1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        return th.sigmoid(super().forward(inputs, readout))

    def act(self, inputs: th.Tensor, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> BlockStep:
        outputs = self(inputs, readout)
        return BlockStep(outputs, Pairs(inputs, outputs))

    def fit(self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int = 1, batch_size: int | None = None) -> th.Tensor:
        self.seen.append(tuple(inputs.shape))
        self.optimizer.zero_grad()
        loss = (self(inputs, "mean") - 0.9 * targets).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def test_a_block_of_ones_own_that_is_shared_and_fitted(tmp_path: Path) -> None:
    model = pendulum(policy_kwargs={"block": Remembering, "actor_average_tau": 0.1}, batch_size=16).learn(80)
    block = model.policy.block
    assert isinstance(block, Remembering) and block is model.actor_target.block is model.policy.remembering
    assert block is model.policy.actor_average.block  # type: ignore[union-attr]
    assert model.policy.quantum_layer is None and len(block.seen) == 30 and set(block.seen) == {(16, 16)}
    assert [key for key in model.policy.state_dict() if key.endswith("scale")] == ["remembering.scale"]
    assert model.replay_buffer.circuit.outputs[:80].any()  # type: ignore[union-attr]
    model._record_training()  # which fetches losses from other devices
    assert model.logger.name_to_value["qtdnn/loss"] > 0
    assert not any(parameter is block.scale for group in model.actor.optimizer.param_groups for parameter in group["params"])
    model.save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model")
    assert same(loaded.get_parameters(), model.get_parameters())
    assert "policy.remembering.optimizer" in loaded.get_parameters()


class Lines(KVWriter, SeqWriter):
    """What a logger is told as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None: ...

    def write_sequence(self, sequence: list[Any]) -> None:
        self.lines.append(" ".join(map(str, sequence)))

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "policy_kwargs, says",
    [
        (NEW["mean_field"], "'mean_field' is exact, nothing is fitted"),
        (NEW["zgr"], "'bernoulli' is an estimate from the drawn bits, unbiased where the loss is quadratic in each"),
        ({"block": "rbg"}, "'rbg' is none"),
        ({"block": "fc"}, "'fc' is exact, nothing is fitted"),
    ],
)
def test_what_is_measured_of_blocks_without_a_circuit(policy_kwargs: dict[str, Any], says: str) -> None:
    plain = weights(pendulum(policy_kwargs=policy_kwargs, batch_size=8).learn(80))
    model = pendulum(policy_kwargs=policy_kwargs, batch_size=8)
    lines, callback = Lines(), FidelityCallback(freq=20, n_states=16)
    model.set_logger(Logger(None, [lines]))
    model.learn(80, callback=callback)
    assert equal(weights(model), plain)
    assert [line for line in lines.lines if says in line and "FidelityCallback" in line]
    measured = callback.latest
    assert not [key for key in measured if key.startswith("qtdnn/")]
    assert measured["quantum/use_action_zeroed"] > 0 and ("quantum/input_std" in measured) == (policy_kwargs["block"] != "rbg")
    observations = model.policy.obs_to_tensor(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))[0]
    assert measure_fidelity(model, observations) == measure_fidelity(model, observations)


@pytest.mark.parametrize("name", ["mean_field", "zgr"])
def test_what_a_report_and_a_card_say(name: str) -> None:
    model = pendulum(policy_kwargs=NEW[name]).learn(10)
    assert model.env is not None
    report = evaluate(model, model.env, 1, 5)
    assert report.backend is None and report.fidelity == {}
    expected = {"mean_field": "exact, nothing is fitted", "zgr": "an estimate from the drawn bits"}[name]
    assert report.as_dict()["gradient"].startswith(expected)
    card = model_card(model, report, "Pendulum-v1", "somebody/something")
    block = NEW[name]["block"]
    assert f'The gradient of the block `"{block}"` is {expected}' in card
    assert f"| block | `{block}` |" in card and ("| estimator | `zgr` |" in card) == (name == "zgr")
    assert "| readout when acting in training | `sample` |" in card and "Is the quantum layer trained?" not in card
