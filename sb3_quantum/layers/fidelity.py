"""Measures of the qtDNN's gradient and of what the circuit does."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch as th
from torch.nn import functional as F

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.backends.split_graph import blocks, partition
from sb3_quantum.backends.threads import memory_bytes
from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.layers.blocks.base import Block
from sb3_quantum.layers.gradients import parameter_shift

#: amplitudes over all states of a measurement, and bytes that each of them takes at the peak, graphs included
_AMPLITUDES, _BYTES = 2**26, 80


def can_be_simulated(ansatz: Circuit, inputs: th.Tensor) -> bool:
    """
    Tell whether these circuits can be simulated exactly within minutes and a quarter of this machine's memory. What counts is
    the number of qubits that two-qubit gates have joined, not the width.

    :param ansatz: the circuit
    :param inputs: circuit inputs that are measured, ``(batch, n_inputs)``
    :return: whether the amplitudes of all blocks are few enough, such as those of 64 blocks of 20 qubits
    """
    chosen = ansatz.choices(inputs).cpu().numpy()
    amplitudes = sum(2 ** len(block) for row in partition(ansatz.program, chosen, measured=False) for block in row)
    return amplitudes <= min(_AMPLITUDES, memory_bytes() // (4 * _BYTES))


@keywords_checked({})
def gradient_fidelity(
    layer: Block,
    inputs: th.Tensor,
    weights: th.Tensor,
    surrogate: Callable[[th.Tensor], th.Tensor] | None = None,
) -> dict[str, float]:
    """
    Compare the gradient of ``weights . expected bits`` through the qtDNN with the exact one, by autograd through the
    statevector.

    Only angles that an output depends on count. CZ indices are discrete and do not.

    :param layer: the quantum layer
    :param inputs: circuit inputs, ``(batch, n_inputs)``, as the actor makes them (not probed)
    :param weights: ``(batch, n_qubits)``, usually the gradient of the actor's loss at the bits
    :param surrogate: maps circuit inputs to expected bits in place of the circuit; the layer's own by default
    :return: ``cosine``: mean over the states of the cosine between both gradients, 1 for a perfect tangent, 0 for a random
        one; ``norm_ratio``: median over the states of the qtDNN's gradient norm divided by the exact one
    """
    ours = _angle_gradient(layer.ansatz, surrogate or layer.surrogate, inputs, weights)  # (batch, n_angles)
    theirs = _angle_gradient(layer.ansatz, StatevectorBackend(layer.ansatz).expected_bits, inputs, weights)
    live = (theirs != 0).any(0)  # angles that an output depends on
    ours, theirs = ours[:, live], theirs[:, live]
    there = theirs.norm(dim=1) > 1e-12  # states with a gradient
    if not bool(there.any()):
        return {"cosine": 0.0, "norm_ratio": 0.0}
    ours, theirs = ours[there], theirs[there]
    return {
        "cosine": float(F.cosine_similarity(ours, theirs, eps=1e-20).mean()),
        "norm_ratio": float((ours.norm(dim=1) / theirs.norm(dim=1)).median()),
    }


@keywords_checked({})
def shot_fidelity(
    layer: Block,
    inputs: th.Tensor,
    weights: th.Tensor,
    shots: int = 1000,
    generator: np.random.Generator | None = None,
) -> dict[str, float]:
    """
    Compare the qtDNN's gradient with a parameter-shift estimate on the layer's own backend, which may be a chip.

    This runs twice ``n_shifted`` circuits per row (``n_shifted`` is 600 for the paper's circuit), all counted as evaluation.

    Shot noise alone keeps the cosine below 1. The two halves of the shots are independent estimates of the same gradient. From
    the cosine r between them follows the cosine that a perfect tangent would have with their mean, ``sqrt(2 r / (1 + r))``
    (Spearman and Brown's formula for the reliability of a test of double length). Device errors that are equal in both halves
    do not lower it: the reference is the circuit as this backend runs it.

    :param layer: the quantum layer
    :param inputs: circuit inputs, ``(batch, n_inputs)``; a few rows
    :param weights: weights of the sum whose gradient is taken, ``(batch, n_qubits)``
    :param shots: per circuit, both halves together; at least 2
    :param generator: source of randomness; its own generator by default
    :return: ``cosine_shots``: mean over the rows of the cosine between the qtDNN's gradient and the estimate;
        ``cosine_ceiling``: what a perfect tangent would reach, 0 if the two halves have nothing in common
    :raises ValueError: if ``shots`` is below 2
    """
    if shots < 2:
        raise ValueError(f"shots must be >= 2, one for each half, got {shots!r}")
    assert layer.backend is not None, "the layer runs no circuit"
    backend = layer.backend
    ours = _angle_gradient(layer.ansatz, layer.surrogate, inputs, weights)

    def run(shifted: th.Tensor) -> th.Tensor:
        bits = backend.sample(shifted, shots // 2, generator, evaluation=True)
        return bits if bits.dim() == 2 else bits.mean(1)

    halves = [layer.ansatz.split(parameter_shift(backend, inputs.detach(), weights, run))[0] for _ in range(2)]
    between = float(F.cosine_similarity(halves[0], halves[1], eps=1e-20).mean())
    return {
        "cosine_shots": float(F.cosine_similarity(ours, halves[0] + halves[1], eps=1e-20).mean()),
        "cosine_ceiling": float(np.sqrt(2 * between / (1 + between))) if between > 0 else 0.0,
    }


def fit_quality(layer: Block, inputs: th.Tensor) -> dict[str, float]:
    """
    Measure how well the qtDNN predicts the circuit's outputs.

    :param layer: the quantum layer
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :return: ``excess_loss``: binary cross-entropy against the exact expected bits minus their entropy, in nats per qubit, 0 at
        best; ``excess_loss_constant``: the same for the best constant guess, the mean over the states
    """
    with th.no_grad():
        expected = StatevectorBackend(layer.ansatz).expected_bits(inputs)
        entropy = _binary_entropy(expected)
        loss = F.binary_cross_entropy_with_logits(layer.fitted_logits(inputs), expected, reduction="none")
        constant = _binary_entropy(expected.mean(0, keepdim=True))
    return {
        "excess_loss": float((loss - entropy).mean()),
        "excess_loss_constant": float((constant - entropy).mean()),
    }


def circuit_statistics(ansatz: Circuit, inputs: th.Tensor, simulated: bool = True) -> dict[str, float]:
    """
    Compute statistics of the circuit over a batch of states. A useless layer is easy to fit, so read a cosine next to these.

    :param ansatz: the circuit
    :param inputs: circuit inputs, ``(batch, n_inputs)``
    :param simulated: whether to simulate the circuits; without it, only statistics of the inputs are returned
    :return: ``input_std``: spread of an angle over the states in radians, mean over the angles; ``marginal_std``: spread of an
        expected bit over the states, mean over the qubits; ``entropy``: of a bit, and ``joint_entropy``: of the bitstring, in
        bits, means over the states; ``entanglement``: Meyer-Wallach's, 0 for product states, mean over the states;
        ``cz_identities``: share of the chosen CZ gates between a qubit and itself; ``cz_uncommon``: share of states whose
        choice of qubits is not the most common one
    """
    with th.no_grad():
        angles, _ = ansatz.split(inputs)
        chosen = ansatz.choices(inputs).cpu()
        patterns = Counter(row.numpy().tobytes() for row in chosen[:, list(ansatz.program.live_choices)])
        measured = {
            "input_std": float(angles.std(0).mean()),
            "cz_identities": float((chosen[..., 0] == chosen[..., 1]).float().mean()) if chosen.numel() else 0.0,
            "cz_uncommon": 1 - max(patterns.values()) / len(inputs),
        }
        if not simulated:
            return measured
        expected = StatevectorBackend(ansatz).expected_bits(inputs)
        joint = entangled = 0.0
        for block in blocks(ansatz, inputs, measured=False):
            # Blocks are independent: entropies add up, and a qubit is entangled only with its own block
            real, imag = block.amplitudes.unbind(1)
            joint += float(th.special.entr(real.square() + imag.square()).sum())
            entangled += float(meyer_wallach(th.complex(real, imag)).sum()) * block.qubits.shape[1]
        return {
            **measured,
            "marginal_std": float(expected.std(0).mean()),
            "entropy": float(_binary_entropy(expected).mean() / np.log(2)),
            "joint_entropy": joint / math.log(2) / len(inputs),
            "entanglement": entangled / ansatz.n_qubits / len(inputs),
        }


def meyer_wallach(states: th.Tensor) -> th.Tensor:
    """
    Compute Meyer and Wallach's measure of global entanglement, ``2 (1 - mean purity of a single qubit)``.

    Source: Meyer and Wallach, J. Math. Phys. 43, 4273 (2002), in the form of Brennen, Quantum Inf. Comput. 3, 619 (2003).

    :param states: normalized amplitudes, ``(batch, 2**n_qubits)``
    :return: ``(batch,)``, 0 for product states, 1 for states like GHZ's
    """
    batch, size = states.shape
    n_qubits = size.bit_length() - 1
    purities = []
    for qubit in range(n_qubits):
        parts = states.reshape(batch, -1, 2, 2**qubit).transpose(1, 2).flatten(2)
        density = parts @ parts.mH
        purities.append((density @ density).diagonal(dim1=1, dim2=2).sum(1).real)
    return 2 * (1 - th.stack(purities).mean(0))


def _angle_gradient(
    ansatz: Circuit, function: Callable[[th.Tensor], th.Tensor], inputs: th.Tensor, weights: th.Tensor
) -> th.Tensor:
    """
    Compute the gradient of ``weights . function(inputs)`` with respect to the angles; zero if there is none
    (``gradient="frozen"``).
    """
    leaf = inputs.detach().clone().requires_grad_(True)
    with th.enable_grad():
        outputs = function(leaf)
        gradient = th.autograd.grad((outputs * weights).sum(), leaf)[0] if outputs.requires_grad else th.zeros_like(leaf)
    return ansatz.split(gradient)[0]


def _binary_entropy(probabilities: th.Tensor) -> th.Tensor:
    """Entropy in nats of a bit that is 1 with a probability."""
    return th.special.entr(probabilities) + th.special.entr(1 - probabilities)
