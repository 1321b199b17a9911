"""
Count what an update asks a GPU to do, without a GPU. Networks and mini-batch are on torch's meta device, which has shapes
but no values. Every operation that would be a kernel on a GPU is counted.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_quantum.circuits import fused, tracing

#: in the order of Algorithm 1; SB3 has all in one
PARTS = ("batch", "fit", "critics", "actor", "targets", "rest")
META = th.device("meta")
aten = th.ops.aten
#: operations that are no kernel: memory that nobody fills, and what torch keeps of its own
FREE = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten.detach, aten.lift_fresh}
FREE |= {aten._unsafe_view, aten._reshape_alias}
#: the fused optimizer is one kernel over all parameters, which the meta device does not know
FUSED = {aten._fused_adam_, aten._fused_adamw_}


class LaunchCounter(TorchDispatchMode):
    """
    Counts what would be kernels, copies from the host and waits for the device, by the part of an update.

    :ivar launches: kernels, by part and by the operation's name
    :ivar copies: from the host's memory, by part
    :ivar waits: for a value of the device, by part
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = "rest"
        self.launches: dict[str, Counter[str]]
        self.copies: Counter[str]
        self.waits: Counter[str]
        self.reset()

    def reset(self) -> None:
        """Reset all counts to zero."""
        self.launches, self.copies, self.waits = {}, Counter(), Counter()

    def total(self) -> int:
        """
        :return: kernels of all parts
        """
        return sum(sum(names.values()) for names in self.launches.values())

    def count(self, name: str) -> None:
        """
        Count a kernel.

        :param name: what it is called
        """
        self.launches.setdefault(self.part, Counter())[name] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        tensors = [part for part in _flat((args, kwargs)) if isinstance(part, th.Tensor)]
        there = any(tensor.device == META for tensor in tensors)
        if packet is aten._local_scalar_dense and there:
            self.waits[self.part] += 1
            return 0.0
        if packet is aten._to_copy and there and kwargs.get("device") == th.device("cpu"):
            self.waits[self.part] += 1
            return th.zeros(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        if packet in FUSED:
            self.count(packet.__name__)
            return None
        out = func(*args, **kwargs)
        results = [part for part in _flat(out) if isinstance(part, th.Tensor)]
        if not there and any(result.device == META for result in results) and packet in (aten._to_copy, aten.copy_):
            self.copies[self.part] += 1
        elif (there or any(result.device == META for result in results)) and packet not in FREE and not _is_view(func):
            self.count(packet.__name__)
        return out


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def _is_view(func: Any) -> bool:
    """Tell whether an operation only returns a view of its argument."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _named(counter: LaunchCounter, function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """Wrap a function so that its operations count as a part, without the parts inside it."""

    def named(*args: Any, **kwargs: Any) -> Any:
        outside, counter.part = counter.part, part
        try:
            return function(*args, **kwargs)
        finally:
            counter.part = outside

    return named


def to_meta(model: OffPolicyAlgorithm) -> None:
    """
    Move a model's networks, and the mini-batches to come, onto the meta device. Its optimizers restart.

    :param model: a TD3, trained for a few steps so that its buffer has rows
    """
    model.policy.to(META)
    model.device = META
    model._create_aliases()  # type: ignore[attr-defined]
    assert model.replay_buffer is not None
    model.replay_buffer.device = META
    policy: Any = model.policy
    owners = [(network.optimizer, network) for network in (policy.actor, policy.critic)]
    layer = getattr(policy, "quantum_layer", None)
    if layer is not None:
        owners.append((layer.optimizer, layer.qtdnn))
    for optimizer, network in owners:
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = list(network.parameters())


@contextlib.contextmanager
def as_on_a_gpu(counter: LaunchCounter, kernels: bool) -> Iterator[None]:
    """
    Make torch and this package treat the meta device as a GPU.

    :param counter: that counts this package's own kernels
    :param kernels: whether there is Triton
    """

    def launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        counter.count(f"kernel {kernel.__name__}")

    optimizer = sys.modules["torch.optim.optimizer"]
    for_fused = [*optimizer._get_fused_kernels_supported_devices(), META.type]
    for_each = [*optimizer._get_foreach_kernels_supported_devices(), META.type]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: for_fused))
        stack.enter_context(mock.patch.object(optimizer, "_get_foreach_kernels_supported_devices", lambda: for_each))
        # A mode that only looks on is no graph
        stack.enter_context(mock.patch.object(tracing, "_n_modes", lambda: 0))
        if kernels:
            stack.enter_context(mock.patch.object(fused, "DEVICES", (META.type,)))
            stack.enter_context(mock.patch.object(fused, "_compiles", lambda device: True))
            stack.enter_context(mock.patch.object(fused, "launch", launch))
        yield


def count_update(model: OffPolicyAlgorithm, batch_size: int, kernels: bool = True) -> LaunchCounter:
    """
    Count two updates, one of them with the actor's step.

    :param model: on the meta device
    :param batch_size: rows of a mini-batch
    :param kernels: whether this package's own kernels stand in for torch's operations, which needs Triton
    :return: what was counted
    """
    counter = LaunchCounter()
    with contextlib.ExitStack() as stack:
        for name, part in (
            ("_sample_batch", "batch"),
            ("_fit_qtdnn", "fit"),
            ("_update_critics", "critics"),
            ("_update_actor", "actor"),
            ("_update_targets", "targets"),
        ):
            if hasattr(model, name):
                stack.enter_context(mock.patch.object(model, name, _named(counter, getattr(model, name), part)))
        stack.enter_context(as_on_a_gpu(counter, kernels))
        assert model.replay_buffer is not None
        with counter:
            model.train(2, batch_size)  # what optimizers keep is made in the first ones
            counter.reset()
            model.train(2, batch_size)
    return counter
