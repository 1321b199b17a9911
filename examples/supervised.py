"""
Supervised learning with a quantum layer (the paper's Section 2), without any classical link around it.

    pre-network -> circuit (4 qubits, 4 layers) -> linear classifier

learns to tell the squares of a 3 x 3 chessboard apart. Everything has to pass through the circuit's expected bits, and only
the qtDNN's gradient can teach the pre-network. The control is the same model with its pre-network frozen: a linear classifier
on random quantum features. Both are trained on the same data with the same budget, and the difference is what the layer's
gradient is worth.

    python examples/supervised.py            # three seeds, half a minute
"""

import argparse

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_quantum import QuantumLayer
from sb3_quantum.layers import RMSEncoding

STEPS = 600
BATCH_SIZE = 256
PROBE_STD = 0.3  # radians: pairs off the data's own manifold teach the qtDNN slopes across it


def chessboard(rows: int, generator: th.Generator) -> tuple[th.Tensor, th.Tensor]:
    """Draw points in the square [-1, 1]^2, with the colours of their squares, 0 or 1."""
    points = 2 * th.rand(rows, 2, generator=generator) - 1
    squares = ((points + 1) * 1.5).floor().clamp(0, 2).sum(1)
    return points, (squares % 2).unsqueeze(1)


def train(seed: int, frozen: bool, steps: int = STEPS) -> float:
    """
    Train one model.

    :param seed: seed of the weights, the data and the circuit
    :param frozen: whether the pre-network stays as it was initialized
    :param steps: gradient steps
    :return: accuracy on 4,000 new points
    """
    th.manual_seed(seed)
    data = th.Generator().manual_seed(seed + 1000)
    layer = QuantumLayer(n_qubits=4, n_layers=4, readout="mean", qtdnn_arch=[128])
    pre = nn.Sequential(
        nn.Linear(2, 64),
        nn.Tanh(),
        nn.Linear(64, layer.ansatz.n_inputs),
        RMSEncoding(layer.ansatz, angle_scale=0.7, index_scale=0.1),
    )
    model = nn.Sequential(pre, layer, nn.Linear(4, 1))
    pre.requires_grad_(not frozen)
    optimizer = th.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)

    for _ in range(steps):
        points, colours = chessboard(BATCH_SIZE, data)
        if not frozen:
            with th.no_grad():
                angles, indices = layer.ansatz.split(pre(points))
            probed = layer.ansatz.join(angles + PROBE_STD * th.randn_like(angles), indices)
            layer.fit_surrogate(probed, gradient_steps=2)
        loss = F.binary_cross_entropy_with_logits(model(points), colours)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    points, colours = chessboard(4000, th.Generator().manual_seed(99))
    with th.no_grad():
        return float(((model(points) > 0) == colours.bool()).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    print("seed  pre-network trained  pre-network frozen  margin")
    margins = []
    for seed in range(args.seeds):
        trained, frozen = (train(seed, frozen, args.steps) for frozen in (False, True))
        margins.append(trained - frozen)
        print(f"{seed:4d}  {trained:19.3f}  {frozen:18.3f}  {margins[-1]:6.3f}", flush=True)
    print(f"smallest margin: {min(margins):.3f}")


if __name__ == "__main__":
    main()
