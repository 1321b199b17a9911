import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_quantum.circuits import PaperCircuit
from sb3_quantum.common import QuantumDictReplayBuffer, QuantumNStepReplayBuffer, QuantumReplayBuffer

ANSATZ = PaperCircuit(3, 2)
ACTION = spaces.Box(-1, 1, (2,), dtype=np.float32)


def fill(buffer: QuantumReplayBuffer, rows: int) -> None:
    """Rows that can be recognized: everything in a row tells the step and the environment."""
    n_envs = buffer.n_envs
    for step in range(rows):
        tag = step + np.arange(n_envs) / 10
        obs: object = np.stack([tag, tag], axis=1)
        if isinstance(buffer.observation_space, spaces.Dict):
            obs = {"a": np.stack([tag, tag], axis=1), "b": tag[:, None]}
        row = buffer.pos
        infos = [{} for _ in range(n_envs)]
        buffer.add(obs, obs, np.stack([tag, tag], axis=1) / 100, tag, np.zeros(n_envs), infos)
        if buffer.circuit is not None:
            angles = th.as_tensor(tag / 100).float()[:, None].expand(n_envs, ANSATZ.n_angles)
            indices = th.full((n_envs, ANSATZ.n_indices), float(step))
            inputs = ANSATZ.join(angles, indices)
            outputs = th.as_tensor(tag / 100).float()[:, None].expand(n_envs, 3)
            if buffer.probe is None:
                buffer.store_circuits(row, inputs, outputs)
            else:
                buffer.store_circuits(row, inputs, outputs, inputs + 1, outputs / 2)


def make(buffer_class: type[QuantumReplayBuffer], n_envs: int = 3, size: int = 60, **kwargs) -> QuantumReplayBuffer:
    box: spaces.Space = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float64)
    if issubclass(buffer_class, QuantumDictReplayBuffer):
        box = spaces.Dict({"a": box, "b": spaces.Box(0, 255, (1,), dtype=np.uint8)})
    return buffer_class(size, box, ACTION, "cpu", n_envs, **{"ansatz": ANSATZ, "probes": True, **kwargs})


@pytest.mark.parametrize(
    "buffer_class, kwargs",
    [
        (QuantumReplayBuffer, {}),
        (QuantumReplayBuffer, {"optimize_memory_usage": True, "handle_timeout_termination": False}),
        (QuantumNStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
        (QuantumDictReplayBuffer, {}),
    ],
)
@pytest.mark.parametrize("rows", [11, 33])
def test_pairs_belong_to_their_rows(buffer_class: type[QuantumReplayBuffer], kwargs: dict[str, object], rows: int) -> None:
    """Before and after the buffer (20 rows of 3 environments) has gone round."""
    buffer = make(buffer_class, **kwargs)
    fill(buffer, rows)
    samples = buffer.sample(500)
    tags = samples.actions[:, 0] * 100
    assert len(tags.unique()) > 20
    angles, indices = ANSATZ.split(samples.circuit_inputs)
    assert th.allclose(angles, tags[:, None].expand_as(angles) / 100, atol=1e-3)
    assert th.equal(indices, tags.floor()[:, None].expand_as(indices) % 3)
    assert th.allclose(samples.circuit_outputs, tags[:, None].expand(-1, 3) / 100, atol=1e-3)
    assert th.allclose(ANSATZ.split(samples.probe_inputs)[0], angles + 1, atol=2e-3)
    assert th.allclose(samples.probe_outputs, samples.circuit_outputs / 2, atol=1e-3)
    if "n_steps" in kwargs:
        assert samples.discounts is not None
        # r + 0.9 r' + 0.81 r'' for rewards that grow by 1 a step, where three steps are there
        full = th.isclose(samples.discounts[:, 0], th.tensor(0.9**3))
        assert th.allclose(samples.rewards[full, 0], 2.71 * tags[full] + 0.9 + 1.62, atol=1e-3) and bool(full.any())


def test_types_in_memory() -> None:
    buffer = make(QuantumReplayBuffer)
    assert buffer.observations.dtype == buffer.next_observations.dtype == np.float32
    assert buffer.observation_space.dtype == np.float64
    assert buffer.circuit is not None and buffer.probe is not None
    assert (buffer.circuit.angles.dtype, buffer.circuit.indices.dtype) == (np.float16, np.uint8)
    assert buffer.circuit.outputs.dtype == np.float16
    bits = make(QuantumReplayBuffer, store_bits=True, probes=False)
    assert bits.circuit is not None and bits.circuit.outputs.dtype == np.uint8 and bits.probe is None
    dictionary = make(QuantumDictReplayBuffer)
    assert dictionary.observations["a"].dtype == np.float32 and dictionary.observations["b"].dtype == np.uint8


@pytest.mark.parametrize("probes, limit", [(False, 3.7), (True, 4.1)])
def test_a_million_humanoid_transitions(probes: bool, limit: float) -> None:
    """GB per million transitions of Humanoid-v4 (376 observations, 17 actions) with the paper's circuit."""
    obs = spaces.Box(-np.inf, np.inf, (376,), dtype=np.float64)
    buffer = QuantumReplayBuffer(1000, obs, spaces.Box(-1, 1, (17,)), "cpu", 4, ansatz=PaperCircuit(), probes=probes)
    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    nbytes = sum(array.nbytes for array in arrays) + sum(f.nbytes for f in (buffer.circuit, buffer.probe) if f is not None)
    assert nbytes / 1000 * 1e6 / 1e9 <= limit


def test_angles_are_wrapped_and_huge_inputs_stored() -> None:
    buffer = make(QuantumReplayBuffer, n_envs=1, probes=False)
    inputs = ANSATZ.join(th.full((1, ANSATZ.n_angles), 2 * np.pi + 0.5), th.full((1, ANSATZ.n_indices), -1.0))
    for stored in (inputs, th.full_like(inputs, 1e30)):
        fill(buffer, 1)
        buffer.store_circuits(buffer.pos - 1, stored, th.zeros(1, 3))
    assert buffer.circuit is not None
    assert np.allclose(buffer.circuit.angles[0], 0.5, atol=1e-3) and (buffer.circuit.indices[0] == 2).all()
    assert (np.abs(buffer.circuit.angles[1]) <= np.pi).all() and (buffer.circuit.indices[1] < 3).all()


def test_unwritten_pairs_are_true() -> None:
    """All zeros in, all zeros out: a circuit without any rotation."""
    from sb3_quantum.backends import StatevectorBackend

    buffer = make(QuantumReplayBuffer)
    assert buffer.circuit is not None
    inputs, outputs = buffer.circuit.load(np.array([0]), np.array([0]), th.device("cpu"))
    assert th.equal(StatevectorBackend(ANSATZ).expected_bits(inputs), outputs)


def test_without_a_circuit_there_are_no_fields() -> None:
    buffer = make(QuantumReplayBuffer, ansatz=None)
    fill(buffer, 5)
    assert buffer.circuit is None and buffer.probe is None
    assert buffer.sample(4).circuit_inputs is None


@pytest.mark.parametrize("buffer_class", [QuantumReplayBuffer, QuantumDictReplayBuffer])
@pytest.mark.parametrize("rows", [7, 25])
def test_pickles_hold_the_written_rows_only(buffer_class: type[QuantumReplayBuffer], rows: int) -> None:
    small, large = (make(buffer_class, size=size) for size in (60, 300_000))
    for buffer in (small, large):
        fill(buffer, rows)
    data = pickle.dumps(large)
    assert len(data) < 100_000
    for buffer in (small, large):
        loaded = pickle.loads(pickle.dumps(buffer))
        assert (loaded.pos, loaded.full, loaded.size()) == (buffer.pos, buffer.full, buffer.size())
        assert loaded.actions.shape == buffer.actions.shape
        np.random.seed(0)
        before = buffer.sample(50)
        np.random.seed(0)
        after = loaded.sample(50)
        assert th.equal(before.actions, after.actions) and th.equal(before.circuit_inputs, after.circuit_inputs)
        assert th.equal(before.probe_outputs, after.probe_outputs)
        fill(loaded, 3)
