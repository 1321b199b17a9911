"""
``python -m sb3_quantum.study``: compare arms over seeds, locally, in a batch system or on a cluster.

    python -m sb3_quantum.study list                                  # the studies that come with the package
    python -m sb3_quantum.study plan pendulum_links_cut               # what it will cost
    python -m sb3_quantum.study run pendulum_links_cut --workers 4    # starts, or continues
    python -m sb3_quantum.study report pendulum_links_cut             # tables, figures and a page

A study is the path of a YAML file, or the name of a study that comes with the package. docs/studies.md explains the file.
"""

import argparse
import os
import sys
from pathlib import Path

from sb3_quantum.circuits.wording import counted
from sb3_quantum.study.file import read_study, shipped
from sb3_quantum.study.spec import Study, StudyError


def _folder(args: argparse.Namespace, study: Study) -> Path:
    return Path("logs/studies") / study.name if args.out is None else args.out


def _run(args: argparse.Namespace) -> int:
    from sb3_quantum.study import runner

    study = read_study(args.study)
    out = _folder(args, study)
    cells = runner.selected(study, args.arms, args.seeds)
    if args.cell is not None:
        return _run_one(study, out, args)
    if args.scheduler is not None:
        from sb3_quantum.study.cluster import run_on_cluster

        return run_on_cluster(study, out, cells, args.scheduler, args.checkpoint_minutes, args.renew)
    return runner.run_locally(study, out, cells, args.workers, args.checkpoint_minutes, args.renew)


def _run_one(study: Study, out: Path, args: argparse.Namespace) -> int:
    """Run one cell in this process."""
    from sb3_quantum.study.clock import Stop
    from sb3_quantum.study.folder import check_void, keep_form
    from sb3_quantum.study.processes import STOPPED
    from sb3_quantum.study.training import Stopped, run_cell

    cells = study.cells()
    if not 0 <= args.cell < len(cells):
        raise StudyError(f"--cell must be between 0 and {len(cells) - 1}, got {args.cell}")
    arm, seed = cells[args.cell]
    keep_form(study, out)
    if args.renew:
        check_void(study, out, [(arm, seed)], renew=True)
    try:
        with Stop(args.parent) as stop:
            cell = run_cell(study, arm, seed, out, stop, 60 * args.checkpoint_minutes)
    except Stopped as stopped:
        print(stopped)
        return STOPPED
    print(f"{cell.label} is {cell.status}" + (f": {cell.manifest['error']}" if cell.status == "failed" else ""))
    return 1 if cell.status == "failed" else 0


def _list(args: argparse.Namespace) -> int:
    if args.study is None:
        for name, path in shipped().items():
            study = read_study(path)
            print(f"{name:22s} {counted(len(study.cells()), 'cell'):>10s}  {study.question}")
        return 0
    from sb3_quantum.study.folder import find

    study = read_study(args.study)
    found = find(study, _folder(args, study))
    for number, (arm, seed) in enumerate(study.cells()):
        cell = found.cells.get((arm.name, seed))
        print(f"{number:4d}  {arm.name:24s} seed {seed:<4d} {cell.status if cell else ''}")
    for sentence in found.sentences():
        print(sentence)
    return 0


def _show(args: argparse.Namespace) -> int:
    print(read_study(args.study).text, end="")
    return 0


def _report(args: argparse.Namespace) -> int:
    from sb3_quantum.study.report import write_report

    study = read_study(args.study)
    out = _folder(args, study)
    page = write_report(study, args.cells or out, args.page or out / "report")
    print(f"{page} and the files beside it")
    return 0


def _plan(args: argparse.Namespace) -> int:
    from sb3_quantum.study.plan import print_plan

    study = read_study(args.study)
    print_plan(study, _folder(args, study), args.workers)
    return 0


def _pack(args: argparse.Namespace) -> int:
    from sb3_quantum.study.packed import pack

    study = read_study(args.study)
    print(f"{counted(pack(study, _folder(args, study), args.file), 'cell is', 'cells are')} in {args.file}")
    return 0


def _take(args: argparse.Namespace) -> int:
    from sb3_quantum.study.packed import take

    study = read_study(args.study)
    for sentence in take(study, _folder(args, study), args.file):
        print(sentence)
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be >= 1, got {number}")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be > 0, got {number}")
    return number


def parser() -> argparse.ArgumentParser:
    """
    Make the parser of the command line.
    """
    top = argparse.ArgumentParser(
        prog="python -m sb3_quantum.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="command")

    def add(name: str, function: object, text: str, study: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        command.add_argument("study", nargs=None if study else "?", help="a YAML file, or a shipped study's name")
        if name != "show":
            command.add_argument("--out", type=Path, help="the study's folder; logs/studies/<name> by default")
        return command

    add("list", _list, "list the studies of the package, or the cells of one with their indices", study=False)
    add("show", _show, "print a study's file, as a start for your own")
    plan = add("plan", _plan, "estimate the cost of a study, from complete cells or a few updates of every arm")
    plan.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="number of parallel processes")
    run = add("run", _run, "run the incomplete cells")
    run.add_argument("--workers", type=_count, default=1, help="number of local processes, of one thread each")
    run.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster's scheduler; its workers must see the same folder")
    run.add_argument("--cell", type=int, metavar="K", help="run only the cell with this index, in this process")
    run.add_argument("--arms", nargs="+", help="only these")
    run.add_argument("--seeds", nargs="+", type=int, help="only these")
    run.add_argument("--renew", action="store_true", help="put void cells aside and restart them")
    run.add_argument("--checkpoint-minutes", type=_minutes, default=10.0, help="minutes between two checkpoints")
    run.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    report = add("report", _report, "write tables, figures and a page from the complete cells")
    report.add_argument("--cells", type=Path, help="a folder of cells or a packed file instead of the study's folder")
    report.add_argument("--page", type=Path, help="folder to write into; <out>/report by default")
    for name, function, text in (
        ("pack", _pack, "write all complete cells into one small file (.json.gz)"),
        ("take", _take, "copy the cells of this study from a packed file"),
    ):
        add(name, function, text).add_argument("file", type=Path)
    return top


def main() -> None:
    """Run the command."""
    args = parser().parse_args()
    try:
        sys.exit(args.function(args))
    except (StudyError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
