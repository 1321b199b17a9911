import os
from collections.abc import Iterator

import pytest
import torch as th

if not th.cuda.is_available():
    # Kernels for GPUs run in Triton's interpreter; it is asked once, when they are imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fake-device", action="store_true", help='run as where a GPU is, see fake_device.py: "auto" is another device'
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") is not None and not th.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side on few cores; more threads than cores only slow them down."""
    th.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def auto_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set what ``device="auto"`` means, in module fixtures too."""
    if not request.config.getoption("--fake-device") or request.module.__name__.endswith("test_fake_device"):
        yield
        return
    from tests.fake_device import fake_device

    with fake_device():
        yield
