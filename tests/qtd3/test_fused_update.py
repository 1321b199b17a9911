"""Whole trainings with the kernels for GPUs: on the device without hardware, in Triton's interpreter."""

from typing import Any
from unittest import mock

import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits import fused
from tests.fake_device import FAKE, DeviceTensor, fake_device
from tests.qtd3.test_train import pendulum

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(not fused.is_interpreted(), reason="a GPU is here, and with it Triton's compiler")


def trained(kernels: bool, **kwargs: Any) -> tuple[QuantumTD3, set[str]]:
    """A model after two updates, and the names of the kernels that it took."""
    launched = set()
    launch = fused.launch

    def unwrapped(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        launched.add(kernel.__name__)
        numbers = [argument.inner if isinstance(argument, DeviceTensor) else argument for argument in arguments]
        launch(kernel, programs, *numbers, **constants)

    with fake_device() as device, mock.patch.object(fused, "launch", unwrapped):
        with mock.patch.object(fused, "DEVICES", (FAKE.type,) if kernels else ()):
            with mock.patch.object(fused, "_compiles", lambda device: True):
                sizes = dict(learning_starts=2, batch_size=3, qtdnn_batch_size=3)
                model = pendulum(device=device, **sizes, **kwargs).learn(4)
                assert model._n_updates == 2
                return model, launched


@pytest.mark.parametrize("gradient", ["qtdnn", "exact"])
def test_a_training_is_the_same_with_kernels_and_without(gradient: str) -> None:
    (plain, none), (model, launched) = (trained(kernels, gradient=gradient) for kernels in (False, True))
    assert not none
    by_gradient = {"qtdnn": {"_features", "_gradient"}, "exact": {"gradient"}}
    assert launched == {"measure", "_encode", "_encode_backward", "_sum_rows"} | by_gradient[gradient]
    assert model.policy.quantum_layer is not None
    assert model.policy.quantum_layer.backend.get_state()["engine"] == "triton"
    ours, theirs = model.policy.state_dict(), plain.policy.state_dict()
    for name, value in ours.items():
        if "extra_state" not in name:
            assert th.allclose(value.cpu(), theirs[name].cpu(), rtol=1e-3, atol=1e-4), name
