"""The qtDNN belongs to the fit, whatever is done to the model around it."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch as th
from torch import nn

from sb3_quantum import QuantumLayer
from sb3_quantum.layers.optimizers import follow


def layer(**kwargs: object) -> QuantumLayer:
    return QuantumLayer(3, 2, seed=0, qtdnn_arch=[8], **kwargs)  # type: ignore[arg-type]


def rows(dtype: th.dtype = th.float32) -> th.Tensor:
    return th.randn(16, 16, dtype=dtype)


def changes(made: QuantumLayer, dtype: th.dtype = th.float32) -> bool:
    before = [parameter.clone() for parameter in made.qtdnn.parameters()]
    made.fit_surrogate(rows(dtype), gradient_steps=3)
    return not all(map(th.equal, before, made.qtdnn.parameters()))


def replace_last(made: QuantumLayer) -> None:
    made.qtdnn.net[-1] = nn.Linear(8, 3)


def unpickled(made: QuantumLayer) -> QuantumLayer:
    return pickle.loads(pickle.dumps(made))


TREATMENTS: dict[str, Callable[[QuantumLayer], object]] = {
    "assign": lambda made: made.load_state_dict(copy.deepcopy(layer().state_dict()), assign=True),
    "double": lambda made: made.double(),
    "double and back": lambda made: made.double().float(),
    "half": lambda made: made.half(),
    "bfloat16": lambda made: made.to(th.bfloat16),
    "replace a layer": replace_last,
    "requires_grad_": lambda made: made.requires_grad_(True),
    "deepcopy": copy.deepcopy,
    "pickle": unpickled,
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", TREATMENTS)
def test_a_fit_goes_on_after(name: str, fused: bool) -> None:
    made = layer(optimizer_kwargs={"fused": fused})
    made.fit_surrogate(rows())
    result = TREATMENTS[name](made)
    made = result if isinstance(result, QuantumLayer) else made
    assert changes(made, th.float64 if name == "double" else th.float32)
    held = [parameter for group in made.optimizer.param_groups for parameter in group["params"]]
    assert len(held) == len(list(made.qtdnn.parameters())) and all(map(th.Tensor.is_set_to, held, made.qtdnn.parameters()))


def test_moments_are_carried_over() -> None:
    """Assigned parameters of the same shape: the fit goes on as if they had been copied."""
    one, other = layer(), layer()
    other.load_state_dict(one.state_dict())
    x = rows()
    for made in (one, other):
        made.fit_surrogate(x, gradient_steps=5)
    state = copy.deepcopy(one.state_dict())
    one.load_state_dict(state)
    other.load_state_dict(copy.deepcopy(state), assign=True)
    for made in (one, other):
        made.fit_surrogate(x, gradient_steps=5)
    assert all(map(th.equal, one.qtdnn.parameters(), other.qtdnn.parameters()))


def test_follow_drops_what_does_not_fit() -> None:
    optimizer = th.optim.Adam(nn.Linear(3, 2).parameters())
    optimizer.add_param_group({"params": [nn.Parameter(th.zeros(4))]})
    new = list(nn.Linear(5, 2).parameters())
    follow(optimizer, new)
    assert [group["params"] for group in optimizer.param_groups] == [new, []] and not optimizer.state


@pytest.mark.parametrize("activation_fn", [nn.LeakyReLU, nn.PReLU, nn.Tanh])
def test_an_outer_optimizer_never_moves_the_qtdnn(activation_fn: type[nn.Module]) -> None:
    """Thawed as in two-phase fine-tuning, with weight decay, and with parameters in the activation function."""
    made = layer(activation_fn=activation_fn)
    model = nn.Sequential(nn.Linear(2, 16), made, nn.Linear(3, 1))
    made.fit_surrogate(rows())
    model.requires_grad_(False)
    model.requires_grad_(True)
    optimizer = th.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    before = copy.deepcopy(made.qtdnn.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        model(th.randn(4, 2)).sum().backward()
        assert all(parameter.grad is None for parameter in made.qtdnn.parameters())
        optimizer.step()
        made.surrogate(model[0](th.randn(4, 2))).sum().backward()
    assert all(th.equal(before[name], value) for name, value in made.qtdnn.state_dict().items())
    assert changes(made)


def test_half_precision_leaves_the_qtdnn_whole() -> None:
    made = layer()
    before = copy.deepcopy(made.qtdnn.state_dict())
    made.half()
    assert all(th.equal(before[name], value) for name, value in made.qtdnn.state_dict().items())
