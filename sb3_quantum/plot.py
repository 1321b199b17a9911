"""
``python -m sb3_quantum.plot``: return, gradient fidelity and circuits of one or several runs, side by side.

A run is the folder that the zoo made for it, or a folder of TensorBoard files. Fidelity is there if the run was watched by
FidelityCallback; a progress bar brings one along. Runs of other algorithms, such as TD3, are drawn with their returns.

    python -m sb3_quantum.plot logs/qtd3/Pendulum-v1_1 logs/td3/Pendulum-v1_1 --labels qtd3 td3 --output runs.png
"""

import argparse
import sys
from pathlib import Path

from sb3_quantum.common.durable import replacing
from sb3_quantum.plots import load_run, runs_figure

#: what a figure can be written as
SUFFIXES = (".pdf", ".png", ".svg")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m sb3_quantum.plot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--labels", nargs="+", help="a name for each run; its folder's by default")
    parser.add_argument("--output", type=Path, default=Path("runs.png"), help="image to write: .png, .svg or .pdf")
    parser.add_argument("--window", type=int, default=20, help="training episodes that the return is averaged over")
    parser.add_argument("--title", default="")
    args = parser.parse_args()
    try:
        labels = args.labels or [None] * len(args.runs)
        if len(labels) != len(args.runs):
            raise ValueError(f"{len(args.runs)} runs need as many labels, got {len(labels)}")
        if args.output.suffix.lower() not in SUFFIXES:
            raise ValueError(f"--output must end with {', '.join(SUFFIXES)}, got {args.output}")
        if args.window < 1:
            raise ValueError(f"--window must be >= 1, got {args.window}")
        runs = [load_run(folder, label) for folder, label in zip(args.runs, labels, strict=True)]
        with replacing(args.output) as partial:
            runs_figure(runs, args.window, args.title).savefig(partial, dpi=150)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
