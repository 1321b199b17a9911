"""
``python -m sb3_quantum.plot``: return, gradient fidelity and circuits of one or several runs, side by side.

A run is a folder of the zoo, or a folder of TensorBoard files. It has a fidelity if FidelityCallback measured it; a progress
bar adds this callback. Runs of other algorithms, such as TD3, are drawn with their returns.

    python -m sb3_quantum.plot logs/qtd3/Pendulum-v1_1 logs/td3/Pendulum-v1_1 --labels qtd3 td3 --output runs.png

Runs with the same label are seeds of one arm: their mean is drawn with its 95 % interval.

    python -m sb3_quantum.plot logs/qtd3/Pendulum-v1_* logs/td3/Pendulum-v1_* --labels qtd3 qtd3 qtd3 td3 td3 td3

Folders that are named by a number, such as the cells of a study, need no labels: they are seeds of the folder above.

    python -m sb3_quantum.plot logs/studies/pendulum_links_cut/{pqc,zeros}/*
"""

import argparse
import sys
from pathlib import Path

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import replacing
from sb3_quantum.plots import Run, arms_figure, load_run, runs_figure

#: file formats of figures
SUFFIXES = (".pdf", ".png", ".svg")


def unique_labels(folders: list[Path]) -> list[str]:
    """
    Name runs by their folders, with as many parent folders as it takes to distinguish them.

    :param folders: folders of the runs
    :return: a name for each; equal names only for equal folders
    """
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-depth:]) for part in parts]
        if len(set(labels)) == len(set(parts)):
            break
    return labels


def default_labels(folders: list[Path]) -> list[str]:
    """
    Name runs without ``--labels``. Folders that are named by a number, as in a study (``pqc/0``, ``pqc/1``), are seeds of the
    folder above.

    :param folders: folders of the runs
    :return: a name for each; equal names are seeds of one arm
    """
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) > 1 and all(folder.name.isdecimal() for folder in resolved):
        return unique_labels([folder.parent for folder in resolved])
    return unique_labels(folders)


def main() -> None:
    """Run the command."""
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
        labels = args.labels or default_labels(args.runs)
        if len(labels) != len(args.runs):
            raise ValueError(f"--labels needs one label per run, {len(args.runs)} in all, got {len(labels)}")
        if args.output.suffix.lower() not in SUFFIXES:
            raise ValueError(f"--output must end with {', '.join(SUFFIXES)}, got {args.output}")
        if args.window < 1:
            raise ValueError(f"--window must be >= 1, got {args.window}")
        runs = [load_run(folder, label) for folder, label in zip(args.runs, labels, strict=True)]
        arms: dict[str, list[Run]] = {}
        for run in runs:
            arms.setdefault(run.label, []).append(run)
        grouped = len(arms) < len(runs)
        with replacing(args.output) as partial:
            figure = arms_figure(arms, args.window, args.title) if grouped else runs_figure(runs, args.window, args.title)
            figure.savefig(partial)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    counts = [counted(len(runs), "run")] + [counted(len(arms), "arm")] * grouped
    print(f"{args.output}: {' in '.join(counts)}")
    if all(run.cosine is None for run in runs):
        print("no run has a gradient cosine: FidelityCallback records it, and so does a progress bar (--progress)")


if __name__ == "__main__":
    main()
