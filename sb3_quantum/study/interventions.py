"""Record or replace the outputs of a trained agent's block, to find out what the agent uses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th

from sb3_quantum.backends import Measurement
from sb3_quantum.circuits import Circuit
from sb3_quantum.layers.readout import read
from sb3_quantum.priors import make_prior
from sb3_quantum.qtd3 import QuantumTD3
from sb3_quantum.qtd3.networks import QuantumActor

#: maps circuit inputs ``(batch, n_inputs)`` and the block's outputs ``(batch, n_qubits)`` to other outputs
Replace = Callable[[th.Tensor, th.Tensor], th.Tensor]
#: number of states kept from an evaluation
KEPT = 10_000


class Pool:
    """
    Inputs and outputs of a block in an evaluation: the first :data:`KEPT` states.

    After the evaluation, ``outputs`` is ``(n_states, n_qubits)``, and ``inputs`` and ``observations`` have as many rows.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[th.Tensor | dict[str, th.Tensor], th.Tensor, th.Tensor]] = []
        self._rows = 0

    def add(self, observations: Any, inputs: th.Tensor, outputs: th.Tensor) -> None:
        """
        Add a batch.

        :param observations: ``(batch, ...)``, or a dictionary of such tensors
        :param inputs: ``(batch, n_inputs)``
        :param outputs: ``(batch, n_qubits)``
        """
        if self._rows < KEPT:
            self._parts.append((observations, inputs.clone(), outputs.clone()))
            self._rows += len(outputs)

    @property
    def inputs(self) -> th.Tensor:
        """Circuit inputs, ``(n_states, n_inputs)``."""
        return th.cat([part[1] for part in self._parts])

    @property
    def outputs(self) -> th.Tensor:
        """The block's outputs, ``(n_states, n_qubits)``."""
        return th.cat([part[2] for part in self._parts])

    def observations(self, places: np.ndarray) -> Any:
        """
        Return some of the observations.

        :param places: numbers of states
        :return: their observations, as one batch
        """
        parts = [part[0] for part in self._parts]
        if isinstance(parts[0], dict):
            return {key: th.cat([part[key] for part in parts])[places] for key in parts[0]}  # type: ignore[index]
        return th.cat(parts)[places]  # type: ignore[arg-type]


@contextmanager
def _altered(actor: QuantumActor, encode: Any, decode: Any) -> Iterator[None]:
    """Replace two methods of one actor."""
    actor.encode, actor.decode = encode, decode  # type: ignore[method-assign]
    try:
        yield
    finally:
        del actor.encode, actor.decode


@contextmanager
def recorded(model: QuantumTD3) -> Iterator[Pool]:
    """
    Record inputs and outputs of the deployed actor's block.

    :param model: a trained model
    :return: the record
    """
    actor, pool = model.policy.deployed_actor, Pool()
    last: list[Any] = []
    plain_encode, plain_decode = actor.encode, actor.decode

    def encode(obs: Any, normalized: bool = False) -> tuple[th.Tensor, th.Tensor]:
        inputs, links = plain_encode(obs, normalized)
        last[:] = [obs, inputs]
        return inputs, links

    def decode(outputs: th.Tensor, links: th.Tensor) -> th.Tensor:
        pool.add(last[0], last[1], outputs)
        return plain_decode(outputs, links)

    with _altered(actor, encode, decode):
        yield pool


@contextmanager
def replaced(model: QuantumTD3, name: str, pool: Pool, deterministic: bool, seed: int) -> Iterator[None]:
    """
    Let the deployed actor act on other outputs than its block's:

    - ``shuffled``: outputs that the block gave in other states, drawn anew for every state: the same distribution, without
      information about the state
    - ``zeros``: zeros
    - ``mean_field``: the circuit's closed-form product state under the same readout: without correlations
    - ``fresh_angles``: the circuit at angles drawn anew for every state, uniformly over their period

    :param model: a trained model
    :param name: name of the ablation
    :param pool: record of an unaltered evaluation
    :param deterministic: whether the evaluation acts deterministically
    :param seed: seed of the draws
    """
    actor = model.policy.deployed_actor
    plain_encode, plain_decode = actor.encode, actor.decode
    last: list[th.Tensor] = []
    rng = np.random.default_rng(seed)
    readout = model.policy.eval_readout if deterministic else model.policy.readout
    replace = _replacement(name, actor.ansatz, pool, readout, rng)

    def encode(obs: Any, normalized: bool = False) -> tuple[th.Tensor, th.Tensor]:
        inputs, links = plain_encode(obs, normalized)
        inputs = _fresh(actor.ansatz, inputs, rng) if name == "fresh_angles" else inputs
        last[:] = [inputs]
        return inputs, links

    def decode(outputs: th.Tensor, links: th.Tensor) -> th.Tensor:
        return plain_decode(replace(last[0], outputs), links)

    with _altered(actor, encode, decode):
        yield


def applies(name: str, model: QuantumTD3) -> bool:
    """
    Tell whether an ablation applies to a model.

    :param name: name of an ablation
    :param model: a model
    :return: whether it makes sense for the model's block
    """
    block = model.policy.block
    if name in ("mean_field", "fresh_angles"):
        return block.backend is not None
    return block.reads_inputs or block.draws("sample")


def _replacement(name: str, circuit: Circuit, pool: Pool, readout: str, rng: np.random.Generator) -> Replace:
    if name == "shuffled":
        kept = pool.outputs
        return lambda inputs, outputs: kept[rng.integers(len(kept), size=len(outputs))]
    if name == "zeros":
        return lambda inputs, outputs: th.zeros_like(outputs)
    if name == "mean_field":
        prior = make_prior("mean_field", circuit)

        def product_state(inputs: th.Tensor, outputs: th.Tensor) -> th.Tensor:
            expected = prior.bits(inputs).to(outputs.dtype)
            draws = th.as_tensor(rng.random(tuple(expected.shape)), dtype=expected.dtype, device=expected.device)
            return read(Measurement((draws < expected).to(expected.dtype), expected), readout)

        return product_state
    return lambda inputs, outputs: outputs


def _fresh(circuit: Circuit, inputs: th.Tensor, rng: np.random.Generator) -> th.Tensor:
    """Draw the angles of circuit inputs anew; those without a period from a normal distribution."""
    angles, indices = circuit.split(inputs)
    periods = circuit.periods
    drawn = rng.random(tuple(angles.shape)) * np.where(np.isfinite(periods), periods, 0.0)
    drawn += rng.normal(size=tuple(angles.shape)) * ~np.isfinite(periods)
    return circuit.join(th.as_tensor(drawn, dtype=angles.dtype, device=angles.device), indices)


def information(expected: th.Tensor) -> float:
    """
    Compute the information of single bits about the state: the sum over the qubits of the mutual information between a sampled
    bit and the state, in bits. It is an upper bound for all bits together if they are independent given the state.

    :param expected: expected bits over states, ``(n_states, n_qubits)``
    :return: between 0 and the number of qubits
    """
    p = expected.double().clamp(0, 1)

    def entropy(q: th.Tensor) -> th.Tensor:
        return (th.special.entr(q) + th.special.entr(1 - q)) / np.log(2)

    return float((entropy(p.mean(0)) - entropy(p).mean(0)).sum())
