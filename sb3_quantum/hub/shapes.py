"""Find the tensors of a model from its settings, with networks on torch's meta device, which take no memory."""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch.overrides import TorchFunctionMode

from sb3_quantum.backends import Backend
from sb3_quantum.circuits import Circuit, make_circuit
from sb3_quantum.circuits.wording import counted
from sb3_quantum.hub.strict import Entry, ModelFileError, is_integer, is_number
from sb3_quantum.qtd3.policies import QuantumTD3Policy

#: safetensors' names of torch's types
DTYPES = {
    th.bool: "BOOL", th.uint8: "U8", th.int8: "I8", th.int16: "I16", th.int32: "I32", th.int64: "I64", th.float16: "F16",
    th.bfloat16: "BF16", th.float32: "F32", th.float64: "F64",
}  # fmt: skip
#: endings of names of tensors that contain a text, such as a generator's state, of any length
TEXTS = ("_extra_state",)
#: most numbers in such a text
MAX_TEXT_SIZE = 2**16
#: places in the layers of a circuit, one per qubit and layer, for each of its inputs; at most this many are accepted
PLACES_PER_INPUT = 100


class Optimizer(NamedTuple):
    """
    An optimizer of a model.

    :param shapes: shapes of its parameters, in order
    :param kind: its class
    :param kwargs: its keyword arguments, without the learning rate
    """

    shapes: list[tuple[int, ...]]
    kind: type[th.optim.Optimizer]
    kwargs: dict[str, Any]

    def sample(self, n_dims: int, **changes: Any) -> tuple[th.optim.Optimizer, th.Tensor]:
        """
        Make a small optimizer of the same kind.

        :param n_dims: number of dimensions of its parameter
        :param changes: other keyword arguments
        :return: the optimizer, and its parameter, whose dimensions all have size 2
        """
        parameter = th.zeros((2,) * n_dims, requires_grad=True)
        return self.kind([parameter], **{"lr": 1e-3, **self.kwargs, **changes}), parameter


class Networks(NamedTuple):
    """
    Tensors and optimizers of a model.

    :param state: the policy's tensors by name, without the texts among them
    :param texts: names of the texts
    :param optimizers: the optimizers by name
    """

    state: dict[str, Entry]
    texts: set[str]
    optimizers: dict[str, Optimizer]


class _WithoutMemory(TorchFunctionMode):
    """Complement torch's meta device: seeds are real numbers, and nothing moves to a real device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is th.randint:
            kwargs.setdefault("device", "cpu")
        if func is th.Tensor.to and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


class _NoBackend(Backend):
    """Placeholder for the backend, without its memory."""

    name = "none"
    circuits = (Circuit,)
    exact = True
    differentiable = False

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> Any:
        raise NotImplementedError("nothing is run without memory")


def circuit_of(policy_kwargs: dict[str, Any]) -> Circuit:
    """
    Make the circuit of a policy's arguments.

    :param policy_kwargs: a policy's arguments
    :return: the circuit that they describe
    :raises ValueError: if they describe none
    """
    return make_circuit(
        policy_kwargs.get("circuit", "paper"), *map(policy_kwargs.get, ("n_qubits", "n_layers", "circuit_kwargs"))
    )


def _check_circuit_size(policy_kwargs: dict[str, Any], widest: int) -> None:
    """
    Refuse a size for which the PreDNN has too few outputs, before anything is made for each input. Which inputs a family has
    is not known yet; it may have few for its size.
    """
    inner = policy_kwargs.get("circuit_kwargs")
    sizes = {**(inner if isinstance(inner, dict) else {}), **policy_kwargs}
    claimed = {name: sizes.get(name) for name in ("n_qubits", "n_layers")}
    given = {name: int(value) for name, value in claimed.items() if value is not None and is_integer(value, 1, 2**31)}
    inputs = math.prod(given.values()) // PLACES_PER_INPUT
    if inputs > widest:
        raise ValueError(
            f"{given} is a circuit of at least {counted(inputs, 'input')}, and no tensor of the file is that wide"
        )


def networks(
    policy_class: type[QuantumTD3Policy],
    observation_space: spaces.Space,
    action_space: spaces.Box,
    policy_kwargs: dict[str, Any],
    widest: int,
) -> Networks:
    """
    Find the tensors and optimizers of a policy with these arguments, without memory for its tensors.

    :param policy_class: the policy's class
    :param observation_space: observation space
    :param action_space: action space
    :param policy_kwargs: its further arguments
    :param widest: the longest side of the file's tensors
    :return: the names and shapes of its tensors, and its optimizers
    :raises Exception: whatever the policy raises for arguments that it cannot use
    """
    kwargs = dict(policy_kwargs)
    optimizer_class, optimizer_kwargs = kwargs.pop("optimizer_class", th.optim.Adam), kwargs.pop("optimizer_kwargs", None)
    own_class, own_kwargs = kwargs.pop("qtdnn_optimizer_class", None), kwargs.pop("qtdnn_optimizer_kwargs", None)
    if own_class is None:
        own_class, own_kwargs = optimizer_class, optimizer_kwargs if own_kwargs is None else own_kwargs
    _check_circuit_size(kwargs, widest)
    ansatz = circuit_of(kwargs)
    if ansatz.n_data > widest:
        raise ValueError(f"{ansatz} has {counted(ansatz.n_data, 'input')}, and no tensor of the file is that wide")
    # Text of a circuit takes long to read, so it is read once
    kwargs = {name: value for name, value in kwargs.items() if name not in ("n_qubits", "n_layers", "circuit_kwargs")}
    kwargs["circuit"] = ansatz
    with th.random.fork_rng(devices=[]), th.device("meta"), _WithoutMemory():
        policy = policy_class(
            observation_space, action_space, lambda _: 1e-3, **kwargs, optimizer_class=th.optim.SGD, backend=_NoBackend(ansatz)
        )
        state = {name: tensor for name, tensor in policy.state_dict().items() if isinstance(tensor, th.Tensor)}
    texts = {name for name in state if name.endswith(TEXTS)}
    optimizers = {"actor.optimizer": policy.actor.optimizer, "critic.optimizer": policy.critic.optimizer}
    fits = f"policy.{policy.block_path}.optimizer"
    if policy.block.optimizer is not None:
        optimizers[fits] = policy.block.optimizer
    made = {}
    for name, optimizer in optimizers.items():
        shapes = [tuple(parameter.shape) for group in optimizer.param_groups for parameter in group["params"]]
        chosen = (own_class, own_kwargs) if name == fits else (optimizer_class, optimizer_kwargs)
        made[name] = Optimizer(shapes, chosen[0], chosen[1] or {})
    entries = {name: Entry(DTYPES[t.dtype], tuple(t.shape)) for name, t in state.items() if name not in texts}
    return Networks(entries, texts, made)


def check_optimizer(name: str, optimizer: Optimizer, groups: Any, entries: dict[str, Entry]) -> set[str]:
    """
    Check that a file's state of an optimizer is complete and belongs to it.

    :param name: name of the optimizer
    :param optimizer: the model's optimizer
    :param groups: its ``param_groups``, decoded
    :param entries: all tensors in the file
    :return: names of its tensors
    :raises ModelFileError: if something is missing, left over or wrong
    """
    _check_groups(name, optimizer, groups)
    found: dict[int, dict[str, Entry]] = {}
    for place in (place for place in entries if place.startswith(f"{name}:")):
        number, _, key = place.removeprefix(f"{name}:").partition(":")
        if number not in map(str, range(len(optimizer.shapes))):
            raise ModelFileError(f"the tensor {place!r} belongs to no parameter: {name} has {len(optimizer.shapes)}")
        found.setdefault(int(number), {})[key] = entries[place]
    samples: dict[int, dict[str, tuple[int, ...]]] = {}
    for index, parts in found.items():
        shape = optimizer.shapes[index]
        if len(shape) not in samples:
            samples[len(shape)] = _sample_state(optimizer, len(shape))
        sample = samples[len(shape)]
        missing, extra = sample.keys() - parts.keys(), parts.keys() - sample.keys()
        if missing or extra:
            what = f"lacks {sorted(missing)}" if missing else f"has {sorted(extra)} too many"
            raise ModelFileError(f"{name} {what} for its parameter {index}")
        for key, entry in parts.items():
            # The sample's parameter has size 2 in every dimension; where its state has size 1, so does the model's
            expected = tuple(n if m == 2 else m for n, m in zip(shape, sample[key], strict=True)) if sample[key] else ()
            if entry.shape != expected or entry.dtype not in ("F32", "F64"):
                found_here = f"{entry.dtype} of shape {list(entry.shape)}"
                raise ModelFileError(f"{name}:{index}:{key} is {found_here}, and should be F32 of {list(expected)}")
    return {f"{name}:{index}:{key}" for index, parts in found.items() for key in parts}


def _sample_state(optimizer: Optimizer, n_dims: int) -> dict[str, tuple[int, ...]]:
    """Find what this kind of optimizer stores for a parameter, by a step of a small one."""
    made, parameter = optimizer.sample(n_dims)
    parameter.grad = th.zeros_like(parameter)
    made.step()
    return {key: tuple(value.shape) for key, value in made.state[parameter].items() if isinstance(value, th.Tensor)}


def _check_groups(name: str, optimizer: Optimizer, groups: Any) -> None:
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        raise ModelFileError(f"{name} must have one group of parameters, got {str(groups)[:100]}")
    group, n_parameters = groups[0], len(optimizer.shapes)
    if group.get("params") != list(range(n_parameters)) or any(type(index) is not int for index in group["params"]):
        raise ModelFileError(f"{name} must have the parameters 0 to {n_parameters - 1}, got {str(group.get('params'))[:100]}")
    sample = optimizer.sample(2)[0].param_groups[0]
    for key, usual in sample.items():
        if key == "params":
            continue
        # Flags that only a newer torch has get their defaults
        if key not in group and not isinstance(usual, bool | None):
            raise ModelFileError(f"{name} lacks {key!r}")
        value = group.get(key, usual)
        if isinstance(usual, bool | None):
            fits = isinstance(value, bool | None)
        elif isinstance(usual, tuple | list):
            fits = isinstance(value, tuple | list) and len(value) == len(usual)
            fits = fits and all(
                is_number(each) or (each is None and own is None) for each, own in zip(value, usual, strict=True)
            )
        else:
            fits = is_number(value) if is_number(usual) else type(value) is type(usual)
        # These determine what the optimizer stores
        if not fits or (key in ("amsgrad", "centered", "nesterov") and value != usual):
            raise ModelFileError(f"{key} of {name} is {str(value)[:100]}, and should be like {usual!r}")
    for key, value in group.items():
        if key not in sample and not (value is None or isinstance(value, bool | str) or is_number(value)):
            raise ModelFileError(f"{key!r} of {name} is not a number: {str(value)[:100]}")
    known = {key: group[key] for key in inspect.signature(optimizer.kind).parameters.keys() & group.keys() - {"params"}}
    try:
        optimizer.sample(2, **known)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{name} cannot have such settings: {error}") from error


def check_state(made: Networks, entries: dict[str, Entry], old: bool) -> set[str]:
    """
    Check that a file has the policy's tensors, with the right types and shapes.

    :param made: see :func:`networks`
    :param entries: all tensors in the file
    :param old: whether texts may be missing, which older versions did not write
    :return: names of the policy's tensors in the file
    :raises ModelFileError: if something is missing or wrong
    """
    for name, expected in made.state.items():
        entry = entries.get(f"policy.{name}")
        if entry is None:
            raise ModelFileError(f"the tensor 'policy.{name}' is missing")
        if entry != expected:
            raise ModelFileError(
                f"the tensor 'policy.{name}' is {entry.dtype} of shape {list(entry.shape)}, and by the settings it should be "
                f"{expected.dtype} of {list(expected.shape)}"
            )
    for name in made.texts:
        entry = entries.get(f"policy.{name}")
        if entry is None and not (old and "quantum_layer" not in name):
            raise ModelFileError(f"the tensor 'policy.{name}' is missing")
        if entry is not None and (len(entry.shape) != 1 or math.prod(entry.shape) > MAX_TEXT_SIZE):
            raise ModelFileError(f"the tensor 'policy.{name}' holds a text, and not something of shape {list(entry.shape)}")
    return {f"policy.{name}" for name in made.state.keys() | made.texts} & entries.keys()
