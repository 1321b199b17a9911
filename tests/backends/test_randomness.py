"""Copies of a generator in other processes draw different numbers."""

import copy
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch as th
from torch.utils.data import DataLoader, Dataset

from sb3_quantum import QuantumLayer
from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.backends.randomness import Stream
from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.layers import RBGBlock


def draws(stream: Stream) -> list[int]:
    return stream.generator.integers(2**62, size=4).tolist()


def send(stream: Stream, pipe: Any) -> None:
    pipe.send(draws(stream))


def in_processes(method: str, stream: Stream) -> list[list[int]]:
    context, found = multiprocessing.get_context(method), []
    for _ in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=send, args=(stream, theirs))
        process.start()
        found.append(ours.recv())
        process.join()
    return found


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_siblings_differ_from_each_other_and_from_their_parent(method: str) -> None:
    stream = Stream(3)
    first, second = in_processes(method, stream)
    assert first != second
    assert draws(stream) == draws(Stream(3)) and draws(Stream(3)) not in (first, second)


def test_plain_forks() -> None:
    stream, found = Stream(3), []
    for _ in range(2):
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.write(theirs, pickle.dumps(draws(stream)))
            os._exit(0)
        found.append(pickle.loads(os.read(ours, 1000)))
        os.wait()
    assert found[0] != found[1] and draws(Stream(3)) not in found


def test_copies_and_files_in_one_process_go_on_where_they_were() -> None:
    stream = Stream(3)
    draws(stream)
    for other in (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert draws(other) == draws(copy.deepcopy(stream))
    elsewhere = pickle.loads(pickle.dumps(stream))
    elsewhere.__setstate__({**stream.__getstate__(), "process": -1})  # as from a file of another process
    assert draws(elsewhere) == draws(stream)


def load(state: dict[str, Any]) -> list[int]:
    stream = Stream(0)
    stream.set_state(state)
    return draws(stream)


def test_a_state_that_a_child_loads_is_what_it_goes_on_with() -> None:
    """A training resumed in a new process needs this."""
    stream = Stream(3)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(load, stream.get_state()).result() == draws(stream)


class Bits(Dataset[th.Tensor]):
    """Bits of fair coins, from a layer, the classical block or a backend."""

    def __init__(self, source: Any):
        self.source = source
        self.inputs = th.zeros(1, 2, 8)
        self.inputs[:, -1, 0:6:2] = np.pi / 2

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> th.Tensor:
        inputs = self.inputs.flatten(1).expand(16, -1)
        if isinstance(self.source, RBGBlock):
            return self.source(inputs, "sample")
        return self.source.sample(inputs) if isinstance(self.source, StatevectorBackend) else self.source(inputs)


@pytest.mark.parametrize("source", ["layer", "rbg", "backend"])
def test_workers_of_a_data_loader(source: str) -> None:
    """Workers and epochs differ; torch's seed repeats all of it."""
    sources = {
        "layer": lambda: QuantumLayer(3, 2, seed=0),
        "rbg": lambda: RBGBlock(PaperCircuit(3, 2)),
        "backend": lambda: StatevectorBackend(PaperCircuit(3, 2), seed=0),
    }
    # Compiled here, so that no worker has to
    Bits(sources["layer"]())[0]

    def epochs() -> list[bytes]:
        th.manual_seed(5)
        loader = DataLoader(Bits(sources[source]()), batch_size=1, num_workers=2, multiprocessing_context="fork")
        return [batch.numpy().tobytes() for _ in range(2) for batch in loader]

    found = epochs()
    assert len(set(found)) == 8
    assert epochs() == found
