"""The device without hardware refuses what a GPU refuses, and computes what the CPU computes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from tests.fake_device import fake_device
from tests.qtd3.test_train import pendulum


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x + th.ones(3),
        lambda x: x.add_(th.ones(3)),
        lambda x: th.ones(3) * x,
        lambda x: th.cat([x, th.ones(3)]),
        lambda x: th.nn.Linear(3, 2)(x),
        lambda x: th.equal(x, th.ones(3)),
        lambda x: th.nn.functional.mse_loss(x, th.zeros(3)),
        lambda x: th.stack([x.sum(), th.tensor(1.0)]),
        lambda x: th.ones(3)[x.long()],
        lambda x: x.index_put_((th.tensor([0, 1]),), th.ones(2)),
        lambda x: x.index_select(0, th.tensor([0])),
        lambda x: th.ones(3).addcmul_(x, x),
    ],
)
def test_devices_are_not_mixed(wrong: Callable[[th.Tensor], th.Tensor]) -> None:
    with fake_device() as device, pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        wrong(th.ones(3, device=device))


def test_generators_are_on_their_device() -> None:
    with fake_device() as device, pytest.raises(RuntimeError, match="Expected a generator on the fake device"):
        th.randn(3, device=device, generator=th.Generator())


def test_new_tensors_have_a_shape() -> None:
    """Made on the device by whatever call, with gradients where they are asked for, and as a copy of what numpy holds."""
    with fake_device() as device:
        for made in (th.arange(6, device=device), th.randperm(6, device=device), th.empty_like(th.ones(6), device=device)):
            assert made.device == device and made.shape == (6,) and made.reshape(2, 3).cpu().shape == (2, 3)
        leaf = th.tensor([1.0], device=device, requires_grad=True)
        assert leaf.is_leaf and leaf.requires_grad
        numbers = np.zeros(2)
        copied = th.as_tensor(numbers, device=device)
        numbers += 1
        assert copied.tolist() == [0, 0]
        source = th.ones(2, requires_grad=True)
        th.as_tensor(source, device=device).sum().backward()
        assert source.grad is not None and source.grad.tolist() == [1.0, 1.0]
        assert th.ones(2).to(copied).device == device and th.zeros(1, device="meta").device.type == "meta"
    with pytest.raises(NotImplementedError):
        th.ones(1, device=device)


def test_numpy_is_on_the_cpu() -> None:
    with fake_device() as device:
        with pytest.raises((TypeError, RuntimeError)):
            th.ones(3, device=device).numpy()
        assert th.arange(3, device=device).cpu().numpy().tolist() == [0, 1, 2]


def test_values_are_those_of_the_cpu() -> None:
    with fake_device() as device:
        x = th.tensor([1.0, 2.0, 3.0], device=device)
        assert x.device == device and (x + 1).device == device and th.zeros_like(x).device == device
        assert x.tolist() == [1.0, 2.0, 3.0] and x.sum().item() == 6.0 and (2 * x)[1].item() == 4.0
        assert x[th.tensor([0, 2])].tolist() == [1.0, 3.0]
        x[1:].add_(1)
        assert x.cpu().tolist() == [1.0, 3.0, 4.0]
        layer = th.nn.Linear(3, 2).to(device)
        layer(x).sum().backward()
        assert {parameter.device for parameter in layer.parameters()} == {device}
        assert layer.weight.grad.tolist() == [[1.0, 3.0, 4.0]] * 2
        assert th.ones(2).device.type == "cpu"


def test_a_training_on_another_device(tmp_path: Path) -> None:
    """Every tensor of a training is where the networks are, from the first action to the file."""
    with fake_device() as device:
        model = pendulum(batch_size=16, probe_std=0.1, train_freq=10, learning_starts=20).learn(40)
        assert model.device == device and {parameter.device for parameter in model.policy.parameters()} == {device}
        assert model.policy.quantum_layer is not None
        for network in (model.actor, model.critic, model.policy.quantum_layer):
            assert set(network.optimizer.state) == set(network.parameters())
        observation = model.observation_space.sample()
        action, _ = model.predict(observation, deterministic=True)
        model.save(tmp_path / "model")
        again = QuantumTD3.load(tmp_path / "model")
        assert again.predict(observation, deterministic=True)[0] == action
    # Two engines of the simulator, which agree to 1e-5
    loaded = QuantumTD3.load(tmp_path / "model", device="cpu")
    assert loaded.predict(observation, deterministic=True)[0] == pytest.approx(action, abs=1e-5)


def test_derivatives_are_those_of_the_cpu() -> None:
    """Conjugates included, which torch only marks."""

    def derivative(device: th.device) -> th.Tensor:
        x = th.linspace(-1, 1, 8, device=device, requires_grad=True)
        amplitudes = th.polar(x + 1, x) * th.complex(x, x.square())
        return th.autograd.grad(amplitudes.imag.square().sum() + amplitudes.conj().imag.sum(), x)[0]

    right = derivative(th.device("cpu"))
    with fake_device() as device:
        assert th.allclose(derivative(device).cpu(), right, atol=1e-6)


def test_a_module_keeps_its_parameters() -> None:
    """An optimizer that was made before the move moves them."""
    with fake_device() as device:
        module = th.nn.Linear(2, 1)
        optimizer = th.optim.Adam(module.parameters(), lr=0.1)
        before = module.to(device).weight.tolist()
        module(th.ones(1, 2, device=device)).sum().backward()
        optimizer.step()
        moved = module.weight.tolist()
        assert moved != before and module.to("cpu").weight.tolist() == moved
        assert optimizer.param_groups[0]["params"][0] is module.weight


@pytest.mark.gpu
def test_a_training_on_a_gpu(tmp_path: Path) -> None:
    model = pendulum(batch_size=16, probe_std=0.1, device="cuda").learn(80)
    assert {parameter.device.type for parameter in model.policy.parameters()} == {"cuda"}
    observation = model.observation_space.sample()
    action, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "model")
    loaded = QuantumTD3.load(tmp_path / "model", device="cpu")
    assert loaded.predict(observation, deterministic=True)[0] == pytest.approx(action, abs=1e-4)
