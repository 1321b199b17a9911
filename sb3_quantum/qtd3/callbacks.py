"""Callbacks that measure the quantum layer during training."""

import csv
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits.checks import check_int, check_number, keywords_checked, names_checked
from sb3_quantum.common.buffers import QuantumReplayBuffer
from sb3_quantum.layers import (
    CLAIMS,
    Block,
    can_be_simulated,
    circuit_statistics,
    fit_quality,
    gradient_fidelity,
    shot_fidelity,
)
from sb3_quantum.qtd3.harmless import HarmlessCallback, harmless
from sb3_quantum.qtd3.interruption import walk
from sb3_quantum.qtd3.qtd3 import QuantumTD3

#: maps a block's outputs to the PostDNN's actions and their Q-values
QFunction = Callable[[th.Tensor], tuple[th.Tensor, th.Tensor]]
#: file that FidelityCallback writes into a run's folder
FIDELITY_FILE = "fidelity.csv"
#: renamed log keys of 0.1.0, whose prior was the mean field
RENAMED_KEYS = {"qtdnn/cosine_mean_field": "qtdnn/cosine_prior"}


@keywords_checked({})
def measure_fidelity(
    model: QuantumTD3,
    observations: PyTorchObs,
    n_samples: int = 16,
    n_shift_states: int = 0,
    shift_shots: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """
    Measure on some states whether the qtDNN's gradient is the circuit's, and whether the agent uses the circuit.

    docs/metrics.md explains each key. The actor that learns is measured, with its own weights, also if averaged ones are
    deployed. No replay buffer is needed, and the model's generators stay unchanged; the policy is left in evaluation mode. If
    a circuit joins too many qubits to be simulated, keys that need an exact reference are left out, with a warning. For a
    block without a circuit, only the agent's use of it is measured; its gradient is what it claims
    (:attr:`~sb3_quantum.layers.Block.claim`).

    :param model: a model whose block is not a constant
    :param observations: ``(n_states, ...)``, or a dictionary of such tensors, on the model's device, normalized by
        ``VecNormalize`` if there is one, but not by the policy's own normalizer
    :param n_samples: bitstrings per state for the surrogate gap
    :param n_shift_states: number of states, from the first on, on which the gradient is also estimated by parameter shifts,
        see :class:`FidelityCallback`
    :param shift_shots: shots of every shifted circuit
    :param seed: seed of the measurement's own random numbers
    :return: log keys and values
    :raises ValueError: if the block is a constant
    """
    block = _measurable(model)
    measured = _measure(model, block, observations, n_samples, n_shift_states, shift_shots, seed)
    _warn_if_too_wide(block, measured)
    return measured


def _measurable(model: QuantumTD3) -> Block:
    """Return the block if it can be measured."""
    block = model.policy.block
    if not block.reads_inputs and not block.draws("sample"):
        raise ValueError(f"there is nothing to measure: the block is {block.name!r}, whose outputs are always the same")
    return block


def _warn_if_too_wide(layer: Block, measured: dict[str, float]) -> bool:
    """Warn if a circuit is too wide for an exact reference, and return whether it is."""
    missing = layer.backend is not None and "quantum/entanglement" not in measured
    if missing:
        warnings.warn(
            f"gates join too many of the {layer.ansatz.n_qubits} qubits for an exact simulation during the training; "
            "measurements that need one are left out (n_shift_states measures the gradient on shots)",
            stacklevel=3,
        )
    return missing


def _measure(
    model: QuantumTD3,
    layer: Block,
    observations: PyTorchObs,
    n_samples: int,
    n_shift_states: int,
    shift_shots: int,
    seed: int,
) -> dict[str, float]:
    """Compute what :func:`measure_fidelity` returns, without a warning."""
    model.policy.set_training_mode(False)
    with th.enable_grad():
        inputs, links = model.actor.encode(observations)
    fixed_inputs, links = inputs.detach(), links.detach()

    def q_of(outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        actions = model.actor.decode(outputs, links)
        return actions, model.critic.q1_forward(observations, actions)

    if layer.backend is None:
        return _measure_classical(model, layer, fixed_inputs, q_of, seed)
    expected = layer.surrogate(fixed_inputs).detach().requires_grad_(True)
    with th.enable_grad():
        (weights,) = th.autograd.grad(-q_of(expected)[1].mean(), expected)
    measured: dict[str, float] = {}
    if n_shift_states > 0:
        few = slice(n_shift_states)
        estimate = shot_fidelity(layer, fixed_inputs[few], weights[few], shift_shots, np.random.default_rng(seed))
        measured = {f"qtdnn/{key}": value for key, value in estimate.items()}
    if not can_be_simulated(layer.ansatz, fixed_inputs):
        statistics = circuit_statistics(layer.ansatz, fixed_inputs, simulated=False)
        return {**{f"quantum/{key}": value for key, value in statistics.items()}, **measured}
    random = th.randn(weights.shape, generator=th.Generator().manual_seed(seed)).to(weights)
    measured = {
        **measured,
        **{f"qtdnn/{key}": value for key, value in gradient_fidelity(layer, fixed_inputs, weights).items()},
        "qtdnn/cosine_random": gradient_fidelity(layer, fixed_inputs, random)["cosine"],
        "qtdnn/cosine_prior": gradient_fidelity(layer, fixed_inputs, weights, layer.reference_prior().bits)["cosine"],
        "qtdnn/cosine_prednn": _prednn_cosine(model, layer, inputs, weights),
        **{f"qtdnn/{key}": value for key, value in fit_quality(layer, fixed_inputs).items()},
        **{f"quantum/{key}": value for key, value in circuit_statistics(layer.ansatz, fixed_inputs).items()},
    }
    with th.no_grad():
        backend = StatevectorBackend(layer.ansatz, seed=seed)
        draws = backend.sample(fixed_inputs, shots=n_samples + 1)
        mean = backend.expected_bits(fixed_inputs)
        acting = {"sample": draws[:, 0], "mean": mean, "majority": (mean > 0.5).to(mean.dtype)}
        readout = model.policy.readout
        again = draws[:, 1] if readout == "sample" else acting[readout]
        measured.update(_use(acting[readout], again, q_of))
        sampled_q = th.stack([q_of(draws[:, shot])[1] for shot in range(1, n_samples + 1)]).mean(0)
        measured["qtdnn/surrogate_gap"] = float((q_of(expected.detach())[1] - sampled_q).mean())
    return measured


def _measure_classical(model: QuantumTD3, block: Block, inputs: th.Tensor, q_of: QFunction, seed: int) -> dict[str, float]:
    """Measure a block that runs no circuit: it has no gradient to compare with, and no state of qubits."""
    generator = np.random.default_rng(seed)
    with th.no_grad():
        outputs, again = (block.run(inputs, model.policy.readout, generator) for _ in range(2))
        measured = {"quantum/marginal_std": float(block.run(inputs, "mean", generator).std(0).mean())}
        if block.reads_inputs:
            measured["quantum/input_std"] = float(block.ansatz.split(inputs)[0].std(0).mean())
        return {**measured, **_use(outputs, again, q_of)}


def _prednn_cosine(model: QuantumTD3, layer: Block, inputs: th.Tensor, weights: th.Tensor) -> float:
    """Compute the cosine between the gradients that reach the PreDNN through the block, summed over the batch."""
    parameters = list(model.actor.pre.parameters())
    with th.enable_grad():
        exact = StatevectorBackend(layer.ansatz).expected_bits(inputs)
        theirs = th.autograd.grad((exact * weights).sum(), parameters, retain_graph=True)
        surrogate = layer.surrogate(inputs)
        if not surrogate.requires_grad:  # gradient="frozen"
            return 0.0
        ours = th.autograd.grad((surrogate * weights).sum(), parameters)
    flat = [th.cat([gradient.flatten() for gradient in gradients]) for gradients in (ours, theirs)]
    return float(F.cosine_similarity(flat[0], flat[1], dim=0, eps=1e-20))


def _use(outputs: th.Tensor, again: th.Tensor, q_of: QFunction) -> dict[str, float]:
    """Measure what changes when the bits are drawn again, shuffled over the states, or zeroed."""
    actions, q = q_of(outputs)
    shuffled = outputs.roll(len(outputs) // 2, dims=0)
    measured = {}
    for name, other in (("resampled", again), ("shuffled", shuffled), ("zeroed", th.zeros_like(outputs))):
        other_actions, other_q = q_of(other)
        measured[f"quantum/use_action_{name}"] = float((other_actions - actions).abs().mean())
        measured[f"quantum/use_q_{name}"] = float((q - other_q).mean())
    return measured


class FidelityCallback(HarmlessCallback):
    """
    Measure every ``freq`` steps whether the qtDNN's gradient is the circuit's, and whether the agent uses the circuit.

    docs/metrics.md explains each key. The callback takes replay states that were not in the last mini-batch and the current
    actor's inputs for them, without probes, and compares with exact simulation, whatever backend acts. It uses the actor's own
    weights, also if averaged ones are deployed. It changes none of the training's generators and counters. If it fails, it
    warns once and stops measuring; the training continues. A circuit that joins too many qubits to be simulated is measured on
    shots only, with ``n_shift_states``. For a block without a circuit it measures whether the agent uses it, and logs once
    what its gradient is.

    Measurements are logged and appended to ``fidelity.csv`` beside the run's monitor files or evaluations, where ``python -m
    sb3_quantum.plot`` reads them.

    :param freq: environment steps between two measurements
    :param n_states: states per measurement
    :param n_samples: bitstrings per state for the surrogate gap
    :param n_shift_states: states on which the gradient is also estimated as on a chip, by the parameter-shift rule on the
        backend that acts; ``12 * n_qubits * n_layers`` circuits each, counted as evaluation. 0 by default
    :param shift_shots: shots of every shifted circuit, half of them for each half of the estimate
    :raises ValueError: if an argument is not accepted, or the block is a constant
    """

    @names_checked({})
    def __init__(
        self, freq: int = 10_000, n_states: int = 256, n_samples: int = 16, n_shift_states: int = 0, shift_shots: int = 1000
    ):
        super().__init__()
        self.freq = check_number("freq", freq, least=1)
        self.n_states = check_int("n_states", n_states)
        self.n_samples = check_int("n_samples", n_samples)
        self.n_shift_states = check_int("n_shift_states", n_shift_states, least=0)
        self.shift_shots = check_int("shift_shots", shift_shots, least=2)
        #: the last measurement, log keys and values; empty before the first one
        self.latest: dict[str, float] = {}
        self._file: Path | None = None
        self._last = 0
        self._told = False

    def _init_callback(self) -> None:
        assert isinstance(self.model, QuantumTD3)
        _measurable(self.model)

    @harmless
    def _on_training_start(self) -> None:
        assert isinstance(self.model, QuantumTD3)
        self._last, self._told = self.model.num_timesteps, False
        block = self.model.policy.block
        if block.backend is None:
            self.logger.info(f"FidelityCallback: the gradient of the block {block.name!r} is {CLAIMS[block.claim]}")
        folder = _run_folder(self)
        self._file = None if folder is None else folder / FIDELITY_FILE
        if self._file is not None:
            _cut(self._file, self.model.num_timesteps)

    def _on_step(self) -> bool:
        return True

    @harmless
    def _on_rollout_start(self) -> None:
        # Measure between an update and the next rollout: the last mini-batch is known, and nothing is half done
        due = self.model.num_timesteps - self._last >= self.freq and self.model._n_updates > 0
        # The last mini-batch may contain the whole of a young buffer; then try at the next rollout
        if due and len(self.model.replay_buffer.held_out()) > 0:  # type: ignore[attr-defined]
            self._last = self.model.num_timesteps
            for key, value in self.measure().items():
                self.logger.record(key, value)
            if self._file is not None:
                assert isinstance(self.model, QuantumTD3)
                circuits = self.model.policy.block.usage().get("circuits", 0)
                _append(self._file, {"steps": self.model.num_timesteps, "quantum/circuits": circuits, **self.latest})

    def measure(self) -> dict[str, float]:
        """
        Measure now.

        :return: log keys and values
        """
        model = self.model
        assert isinstance(model, QuantumTD3) and isinstance(model.replay_buffer, QuantumReplayBuffer)
        seed = model.num_timesteps
        observations = model.replay_buffer.sample_held_out(
            self.n_states, np.random.default_rng(seed), model._vec_normalize_env
        )
        layer = model.policy.block
        arguments = self.n_samples, self.n_shift_states, self.shift_shots, seed
        self.latest = _measure(model, layer, observations, *arguments)
        self._told = self._told or _warn_if_too_wide(layer, self.latest)
        return self.latest


def _run_folder(callback: BaseCallback) -> Path | None:
    """
    Return a training's folder: that of its monitor files, or that of its evaluations if the environments are in other
    processes (open files cannot be sent); ``None`` if it writes neither.
    """
    env = callback.training_env.unwrapped
    if isinstance(env, DummyVecEnv):
        monitor = unwrap_wrapper(env.envs[0], Monitor)
        if isinstance(monitor, Monitor) and monitor.results_writer is not None:
            return Path(monitor.results_writer.file_handler.name).parent
    for other in walk(callback.locals["callback"]):
        if isinstance(other, EvalCallback) and other.log_path is not None:
            return Path(other.log_path).parent
    return None


def _cut(path: Path, steps: int) -> None:
    """Keep the measurements up to a step, under today's keys: a new run starts a new file, a continued run continues it."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values() and int(row["steps"]) <= steps]
    path.unlink()
    for row in rows:
        _append(path, {RENAMED_KEYS.get(key, key): value for key, value in row.items()})


def _append(path: Path, row: Mapping[str, float | str]) -> None:
    """Append a row to a table in its columns, or start the table."""
    columns = list(row)
    if path.is_file():
        with path.open(newline="") as file:
            columns = next(csv.reader(file))
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="nan", extrasaction="ignore")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
