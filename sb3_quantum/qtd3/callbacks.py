"""Watching the quantum layer while it is trained."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from torch.nn import functional as F

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import mean_field_bits
from sb3_quantum.common.buffers import QuantumReplayBuffer
from sb3_quantum.layers import QuantumLayer, circuit_statistics, fit_quality, gradient_fidelity, shot_fidelity
from sb3_quantum.qtd3.qtd3 import QuantumTD3

#: from a block's outputs to the actions that the PostDNN makes of them, and their Q
QFunction = Callable[[th.Tensor], tuple[th.Tensor, th.Tensor]]


class FidelityCallback(BaseCallback):
    """
    Measures every so many steps whether the qtDNN's gradient is the circuit's, and whether the agent uses the circuit;
    docs/metrics.md explains each key. It looks at replay states that were not in the last update's mini-batch, at the current
    actor's unprobed inputs, and compares with exact simulation, whatever backend acts. It moves none of the training's
    generators and none of its counters.

    :param freq: environment steps between two measurements
    :param n_states: states per measurement
    :param n_samples: bitstrings per state for the surrogate gap
    :param n_shift_states: states on which the gradient is also estimated as a chip would have to, on the backend that acts, by
        the parameter-shift rule; ``12 * n_qubits * n_layers`` circuits each, counted as evaluation. None by default
    :param shift_shots: shots of every shifted circuit, half of them for either half of the estimate
    :raises ValueError: if the policy has no circuit
    """

    def __init__(
        self, freq: int = 10_000, n_states: int = 256, n_samples: int = 16, n_shift_states: int = 0, shift_shots: int = 1000
    ):
        super().__init__()
        self.freq = freq
        self.n_states = n_states
        self.n_samples = n_samples
        self.n_shift_states = n_shift_states
        self.shift_shots = shift_shots
        self._last = 0

    def _init_callback(self) -> None:
        assert isinstance(self.model, QuantumTD3)
        if self.model.policy.quantum_layer is None:
            raise ValueError('FidelityCallback needs a circuit: the policy\'s block must be "pqc"')

    def _on_training_start(self) -> None:
        self._last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # Between an update and the next rollout: the pairs just fitted to are known, and nothing is half done
        due = self.model.num_timesteps - self._last >= self.freq and self.model._n_updates > 0
        # A young buffer may have been in the mini-batch as a whole; then the next rollout is tried
        if due and len(self.model.replay_buffer.held_out()) > 0:  # type: ignore[attr-defined]
            self._last = self.model.num_timesteps
            for key, value in self.measure().items():
                self.logger.record(key, value)

    def measure(self) -> dict[str, float]:
        """
        Measure now.

        :return: log keys and values
        """
        model = self.model
        assert isinstance(model, QuantumTD3) and isinstance(model.replay_buffer, QuantumReplayBuffer)
        layer = model.policy.quantum_layer
        assert layer is not None
        model.policy.set_training_mode(False)
        obs = model.replay_buffer.sample_held_out(
            self.n_states, np.random.default_rng(model.num_timesteps), model._vec_normalize_env
        )
        generator = th.Generator().manual_seed(model.num_timesteps)
        with th.enable_grad():
            inputs, links = model.actor.encode(obs)
        fixed_inputs, links = inputs.detach(), links.detach()

        def q_of(outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
            actions = model.actor.decode(outputs, links)
            return actions, model.critic.q1_forward(obs, actions)

        expected = layer.surrogate(fixed_inputs).detach().requires_grad_(True)
        with th.enable_grad():
            (weights,) = th.autograd.grad(-q_of(expected)[1].mean(), expected)
        random = th.randn(weights.shape, generator=generator).to(weights)
        quality = fit_quality(layer, fixed_inputs)
        measured = {
            **{f"qtdnn/{key}": value for key, value in gradient_fidelity(layer, fixed_inputs, weights).items()},
            "qtdnn/cosine_random": gradient_fidelity(layer, fixed_inputs, random)["cosine"],
            "qtdnn/cosine_mean_field": gradient_fidelity(layer, fixed_inputs, weights, partial(mean_field_bits, layer.ansatz))[
                "cosine"
            ],
            "qtdnn/cosine_prednn": self._prednn_cosine(layer, inputs, weights),
            **{f"qtdnn/{key}": value for key, value in quality.items()},
            **{f"quantum/{key}": value for key, value in circuit_statistics(layer.ansatz, fixed_inputs).items()},
        }
        if self.n_shift_states > 0:
            few = slice(self.n_shift_states)
            draws = np.random.default_rng(model.num_timesteps)
            estimate = shot_fidelity(layer, fixed_inputs[few], weights[few], self.shift_shots, draws)
            measured.update({f"qtdnn/{key}": value for key, value in estimate.items()})
        with th.no_grad():
            measured.update(self._use(layer, fixed_inputs, expected.detach(), q_of))
        return measured

    def _prednn_cosine(self, layer: QuantumLayer, inputs: th.Tensor, weights: th.Tensor) -> float:
        """Cosine of the batch-summed gradients that reach the PreDNN through the block."""
        assert isinstance(self.model, QuantumTD3)
        parameters = list(self.model.actor.pre.parameters())
        with th.enable_grad():
            exact = StatevectorBackend(layer.ansatz).expected_bits(inputs)
            theirs = th.autograd.grad((exact * weights).sum(), parameters, retain_graph=True)
            surrogate = layer.surrogate(inputs)
            if not surrogate.requires_grad:  # gradient="frozen"
                return 0.0
            ours = th.autograd.grad((surrogate * weights).sum(), parameters)
        flat = [th.cat([gradient.flatten() for gradient in gradients]) for gradients in (ours, theirs)]
        return float(F.cosine_similarity(flat[0], flat[1], dim=0, eps=1e-20))

    def _use(self, layer: QuantumLayer, inputs: th.Tensor, surrogate: th.Tensor, q_of: QFunction) -> dict[str, float]:
        """What changes when the bits are drawn again, shuffled over the states, or zeroed; and the surrogate gap."""
        assert isinstance(self.model, QuantumTD3)
        backend = StatevectorBackend(layer.ansatz, seed=self.model.num_timesteps)
        draws = backend.sample(inputs, shots=self.n_samples + 1)
        acting = {"sample": draws[:, 0], "mean": backend.expected_bits(inputs)}
        acting["majority"] = (acting["mean"] > 0.5).to(inputs.dtype)
        readout = self.model.policy.readout
        outputs = acting[readout]
        again = draws[:, 1] if readout == "sample" else outputs
        shuffled = outputs.roll(len(outputs) // 2, dims=0)
        actions, q = q_of(outputs)
        measured = {}
        for name, other in (("resampled", again), ("shuffled", shuffled), ("zeroed", th.zeros_like(outputs))):
            other_actions, other_q = q_of(other)
            measured[f"quantum/use_action_{name}"] = float((other_actions - actions).abs().mean())
            measured[f"quantum/use_q_{name}"] = float((q - other_q).mean())
        sampled_q = th.stack([q_of(draws[:, shot])[1] for shot in range(1, self.n_samples + 1)]).mean(0)
        measured["qtdnn/surrogate_gap"] = float((q_of(surrogate)[1] - sampled_q).mean())
        return measured
