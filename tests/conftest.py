import pytest
import torch as th


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side on few cores; more threads than cores only slow them down."""
    th.set_num_threads(1)
