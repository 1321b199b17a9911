"""Blocks between the actor's networks: the quantum layer, and classical replacements to compare it with."""

import copy
import inspect
from typing import Any

import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import check_choice, check_keywords, keywords_checked, parameters, shown, unknown_names
from sb3_quantum.circuits.wording import counted
from sb3_quantum.layers.blocks.base import CLAIMS, Block, BlockStep, Pairs
from sb3_quantum.layers.blocks.bernoulli import ESTIMATORS, BernoulliBlock
from sb3_quantum.layers.blocks.fc import FCBlock
from sb3_quantum.layers.blocks.mean_field import MeanFieldBlock
from sb3_quantum.layers.blocks.random_bits import RandomBlock
from sb3_quantum.layers.blocks.rbg import RBGBlock
from sb3_quantum.layers.blocks.zeros import ZerosBlock
from sb3_quantum.layers.quantum_layer import QuantumLayer

#: blocks by name, as the policy's ``block`` uses them; add your own to name it
BLOCKS: dict[str, type[Block]] = {
    block.name: block for block in (QuantumLayer, FCBlock, RBGBlock, ZerosBlock, MeanFieldBlock, BernoulliBlock)
}


def block_class(block: "str | type[Block] | Block") -> type[Block]:
    """
    Return the class of a block that is given by name, class or instance.

    :param block: a key of :data:`BLOCKS`, a subclass of :class:`Block`, or an instance
    :return: the class
    :raises ValueError: if it is something else, or an instance of a block that the policy builds from its own arguments
    """
    if isinstance(block, str):
        return BLOCKS[check_choice("block", block, BLOCKS)]
    found = block if inspect.isclass(block) else type(block)
    if not issubclass(found, Block) or inspect.isabstract(found) or not isinstance(getattr(found, "name", None), str):
        raise ValueError(
            f"block must be one of {', '.join(map(repr, BLOCKS))}, or a subclass of Block with a name, or an instance of one, "
            f"got {shown(block)}"
        )
    if found.of_policy and found is not block:
        raise ValueError(
            f"block={found.name!r} must be given by name, not as an instance: the policy makes it "
            "from its arguments (circuit, qtdnn_...)"
        )
    return found


def check_block_kwargs(block: "str | type[Block] | Block", kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """
    Refuse keyword arguments that a block does not have.

    :param block: as for :func:`block_class`
    :param kwargs: the policy's ``block_kwargs``
    :return: the same, ``{}`` for ``None``
    :raises ValueError: if one is unknown, or ``block`` is an instance, which has its arguments already
    """
    found, kwargs = block_class(block), check_keywords("block_kwargs", kwargs)
    if not kwargs:
        return kwargs
    if isinstance(block, Block):
        raise ValueError(f"block_kwargs={shown(kwargs)} need the name of a block, but block is an instance of {found.name!r}")
    if found.of_policy:
        elsewhere = {name: "it belongs into policy_kwargs itself" for name in parameters(found) or []}
        known: list[str] | None = []
    else:
        elsewhere = {}
        known = parameters(found)
    message = "" if known is None else unknown_names(kwargs, [name for name in known if name != "ansatz"], elsewhere)
    if message:
        raise ValueError(f"block_kwargs of block={found.name!r}: {message}")
    return kwargs


@keywords_checked({})
def make_block(
    block: "str | type[Block] | Block",
    ansatz: Circuit,
    block_kwargs: dict[str, Any] | None = None,
    readout: str = "sample",
    settings: dict[str, Any] | None = None,
) -> Block:
    """
    Make a block from its name or class, or copy an instance.

    :param block: a key of :data:`BLOCKS`, a subclass of :class:`Block`, or an instance
    :param ansatz: the circuit that it replaces
    :param block_kwargs: keyword arguments of the block's class
    :param readout: readout of the acting policy
    :param settings: further arguments of the policy, for blocks that are built from them
    :return: a module that maps ``(batch, n_inputs)`` to ``(batch, n_outputs)``
    :raises ValueError: if the name or a keyword argument is unknown, or the block does not fit the circuit
    """
    kwargs = check_block_kwargs(block, block_kwargs)
    if isinstance(block, Block):
        made = copy.deepcopy(block)
        # As for a block that is made here, the model's seed controls what it draws
        made.seed(int(th.randint(2**62, ())))
    else:
        made = block_class(block).for_policy(ansatz, {"readout": readout, **(settings or {})}, **kwargs)
    if made.n_inputs != ansatz.n_inputs:
        raise ValueError(f"block={made.name!r} has {counted(made.n_inputs, 'input')}, and {ansatz} has {ansatz.n_inputs}")
    if made.records and made.n_outputs != ansatz.n_qubits:
        raise ValueError(
            f"block={made.name!r} has {counted(made.n_outputs, 'output')}, and recorded pairs have {ansatz.n_qubits}, "
            "one a qubit"
        )
    made.readout = readout
    return made


__all__ = [
    "BLOCKS",
    "CLAIMS",
    "ESTIMATORS",
    "BernoulliBlock",
    "Block",
    "BlockStep",
    "FCBlock",
    "MeanFieldBlock",
    "Pairs",
    "RBGBlock",
    "RandomBlock",
    "ZerosBlock",
    "block_class",
    "check_block_kwargs",
    "make_block",
]
