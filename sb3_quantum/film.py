"""
``python -m sb3_quantum.film``: a film of a trained agent, with the circuit of every step beside it.

    MUJOCO_GL=egl python -m sb3_quantum.film model.zip --env Humanoid-v4 --output humanoid.gif

The model is a zip or a folder of the pickle-free form. For a run of the zoo, wrappers and the statistics of VecNormalize are
found beside the model. Without a display, MuJoCo needs ``MUJOCO_GL=egl`` or ``osmesa``.
"""

import argparse
import sys
from pathlib import Path

import gymnasium as gym

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import replacing
from sb3_quantum.plots.film import film_frames, write_film
from sb3_quantum.qtd3 import QuantumTD3
from sb3_quantum.zoo.environments import add_environment_arguments, environment_of


def load(path: Path) -> QuantumTD3:
    """
    Load a model to film.

    :param path: a zip, or a folder of the pickle-free form
    :return: the model, on the exact simulator
    """
    if path.is_dir():
        from sb3_quantum.hub import load_safe

        return load_safe(path)
    return QuantumTD3.load(path, buffer_size=1, backend="statevector", backend_kwargs={})


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_quantum.film", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="zip file of a QuantumTD3 model, or a folder of the pickle-free form")
    add_environment_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("film.gif"), help=".gif, .webp or .mp4 (default: %(default)s)")
    parser.add_argument("--length", type=int, default=300, help="environment steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=10_000, help="reset seed of the first episode (default: %(default)s)")
    parser.add_argument("--every", type=int, default=4, help="steps per frame (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=15, help="frames per second (default: %(default)s)")
    parser.add_argument(
        "--width", type=int, default=720, help="width in pixels; the height is half of it (default: %(default)s)"
    )
    args = parser.parse_args()
    try:
        for name in ("length", "every", "fps", "width"):
            if getattr(args, name) < 1:
                raise ValueError(f"--{name} must be >= 1, got {getattr(args, name)}")
        model = load(args.model)
        kwargs = {"render_mode": "rgb_array", **args.env_kwargs}
        make_env = environment_of(model, args.model, args.env, kwargs, args.gym_packages, args.vecnormalize)
        with replacing(args.output) as partial:
            frames = film_frames(model, make_env, args.length, args.seed, args.every, args.width)
            n_frames = write_film(frames, partial, args.fps)
    except (OSError, ImportError, ValueError, gym.error.Error) as error:
        sys.exit(f"error: {error}")
    print(f"{args.output}: {counted(n_frames, 'frame')}, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
