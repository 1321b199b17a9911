"""
Time updates of CrossQ's critics with matrix products in single and in half precision, in turns, on one thread.

    python benchmarks/half_precision.py
"""

import argparse
import time

import numpy as np
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.qtd3.critics.crossq import bfloat16_pays
from sb3_quantum.study import make_model, read_study


def make(bfloat16: bool) -> QuantumTD3:
    """
    :param bfloat16: whether in half precision
    :return: a model of the shipped settings for Humanoid-v4, ready for updates
    """
    study = read_study("humanoid_recipe")
    arm = study.arm("gamma98")
    policy_kwargs = {**arm.settings["policy_kwargs"], "critic_kwargs": {"bfloat16": bfloat16}}
    changes = {"learning_starts": 200, "buffer_size": 2_000, "policy_kwargs": policy_kwargs}
    model = make_model(arm, study.environment_of(arm), 0, **changes)
    assert isinstance(model, QuantumTD3)
    return model.learn(216)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=12, help="pieces of each, whose median is printed")
    parser.add_argument("--updates", type=int, default=6, help="updates in a piece; the actor's is every third")
    args = parser.parse_args()
    th.set_num_threads(1)
    models = {bfloat16: make(bfloat16) for bfloat16 in (False, True)}
    pieces: dict[bool, list[float]] = {bfloat16: [] for bfloat16 in models}
    for _ in range(args.pieces):
        for bfloat16, model in models.items():
            start = time.thread_time()
            model.train(args.updates, model.batch_size)
            pieces[bfloat16].append(1e3 * (time.thread_time() - start) / args.updates)
    for bfloat16, values in pieces.items():
        print(f"bfloat16={bfloat16}: {np.median(values):.1f} ms per update [{min(values):.1f}, {max(values):.1f}]")
    print(f"'auto' is {bfloat16_pays('cpu')} here")


if __name__ == "__main__":
    main()
