"""``python -m sb3_quantum.cost``: chip time of an update and of a training, by gradient method and by chip."""

import argparse
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sb3_quantum.circuits import (
    CHIPS,
    COUNTED_GRADIENTS,
    ChipTimes,
    PaperCircuit,
    TrainingPlan,
    gradient_circuits,
    gradient_seconds,
    shot_seconds,
    training_runs,
    training_seconds,
)
from sb3_quantum.circuits.wording import counted

YEAR = 365.25 * 24 * 3600
#: smallest amount for a unit, and its seconds
UNITS = (
    ("years", 2 * YEAR, YEAR),
    ("days", 48 * 3600, 24 * 3600),
    ("h", 7200, 3600),
    ("min", 600, 60),
    ("s", 0.1, 1),
    ("ms", 1e-3, 1e-3),
    ("us", 4e-7, 1e-6),
    ("ns", 0, 1e-9),
)


def duration(seconds: float) -> str:
    """
    Format a duration.

    :param seconds: not negative
    :return: four significant digits in a suitable unit
    """
    if seconds == 0:
        return "0 s"
    unit, size = next((unit, size) for unit, least, size in UNITS if seconds >= least)
    value = seconds / size
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


def chip_table(ansatz: PaperCircuit, plan: TrainingPlan, name: str, times: ChipTimes) -> str:
    """
    Write the table of one chip.

    :param ansatz: the circuit
    :param plan: size of the training
    :param name: name of the chip
    :param times: gate times of the chip
    :return: the time of a shot, and a row for every gradient method
    """
    shot = shot_seconds(ansatz, times)
    lines = [
        f"{name}: {duration(shot)} a shot = {ansatz.n_layers} x ({duration(times.rotation)} rotation + "
        f"{duration(times.cz)} CZ) + {duration(times.readout)} readout + {duration(times.reset)} reset, "
        f"which is {times.reset / shot:.1%} of it; {duration(times.job)} a job",
        f"  {'':<20}{'circuits':>12}{'chip time':>14}{'chip time':>16}{'of which':>16}",
        f"  {'gradient':<20}{'per update':>12}{'per update':>14}{'per training':>16}{'job overhead':>16}",
    ]
    for method in COUNTED_GRADIENTS:
        circuits = gradient_circuits(ansatz, method, plan.batch_size, plan.n_directions)
        update = gradient_seconds(ansatz, method, plan.batch_size, plan.shots, times, plan.n_directions)
        training = training_seconds(ansatz, method, plan, times)
        jobs = training_runs(ansatz, method, plan).jobs * times.job
        label = "paper's count" if method == "paper" else method
        lines.append(f"  {label:<20}{circuits:>12,}{duration(update):>14}{duration(training):>16}{duration(jobs):>16}")
    return "\n".join(lines)


def comparison(ansatz: PaperCircuit, plan: TrainingPlan) -> str:
    """
    Compare the paper's count with the correct one.

    :param ansatz: the circuit
    :param plan: size of the training
    :return: both counts on the paper's chip, with the reason for the difference
    """
    times = CHIPS["paper"]
    m, n, batch, shots = ansatz.n_qubits, ansatz.n_angles // 2, plan.batch_size, plan.shots
    shot = duration(shot_seconds(ansatz, times))
    lines = ["The paper's argument, on its own chip (one update = one gradient of the actor):"]
    for title, method, product in (
        ("The paper counts", "paper", f"{counted(batch, 'row')} x {ansatz.n_inputs} inputs x {counted(m, 'output')}"),
        ("The correct count is", "parameter_shift", f"{counted(batch, 'row')} x ({n} theta x 2 + {n} phi x 4)"),
    ):
        seconds = gradient_seconds(ansatz, method, batch, shots, times)
        every, delayed = (duration(updates * seconds) for updates in (plan.critic_updates, plan.actor_updates))
        lines += [
            f"  {title} {product} x {counted(shots, 'shot')} x {shot} = {duration(seconds)} per update:",
            f"    {every} for {counted(plan.critic_updates, 'gradient')}, one in every update of the critics,",
            f"    {delayed} for {counted(plan.actor_updates, 'gradient')} at policy_delay={plan.policy_delay}; "
            f"ten years are reached after {math.ceil(10 * YEAR / seconds):,}.",
        ]
    qtdnn = training_runs(ansatz, "qtdnn", plan).acting
    lines += [
        "  Why the correct count is smaller: all marginals come from the same shots, so there is no factor for the outputs;",
        f"  the {ansatz.n_indices} CZ indices are discrete and cannot be shifted;",
        "  the shift rule takes 2 runs for a theta and 4 for a phi, which its rotation contains twice.",
        f"  With a qtDNN no update runs a circuit: {qtdnn:,} circuits for acting are "
        f"{duration(training_seconds(ansatz, 'qtdnn', plan, times))} of that chip.",
    ]
    return "\n".join(lines)


def draw(ansatz: PaperCircuit, plan: TrainingPlan, chips: dict[str, ChipTimes], path: Path) -> None:
    """
    Draw the chip time of a training.

    :param ansatz: the circuit
    :param plan: how much is trained
    :param chips: times by the chip's name
    :param path: of the image
    :raises SystemExit: if matplotlib is missing, or the file cannot be written
    """
    from sb3_quantum.common.durable import replacing
    from sb3_quantum.plots import cost_figure

    try:
        figure = cost_figure(ansatz, plan, chips)
        with replacing(path) as partial:
            figure.savefig(partial)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _at_least(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    """Make a type for argparse: a finite number with a lower bound."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be a {'whole ' if kind is int else ''}number >= {least}, got {text!r}")
        return value

    return parse


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Print the table.

    :param arguments: arguments of the command line, ``sys.argv`` by default
    """
    plan = TrainingPlan()
    parser = argparse.ArgumentParser(prog="python -m sb3_quantum.cost", description=__doc__, allow_abbrev=False)
    for option, default, text in (
        ("--n-qubits", 10, "Qubits of the circuit"),
        ("--n-layers", 10, "Layers of the circuit"),
        ("--batch-size", plan.batch_size, "Rows of an update"),
        ("--shots", plan.shots, "Shots per circuit in updates"),
        ("--acting-shots", plan.acting_shots, "Shots per circuit that acts"),
        ("--steps", plan.steps, "Environment steps of the training"),
        ("--updates", None, "Updates of the critics; one per step by default"),
        ("--policy-delay", plan.policy_delay, "Updates of the critics per update of the actor"),
        ("--directions", plan.n_directions, "Random directions of SPSA"),
    ):
        shown = "" if default is None else f" ({default})"
        parser.add_argument(option, type=_at_least(int, 1), default=default, metavar="N", help=text + shown)
    parser.add_argument(
        "--chip",
        nargs="+",
        choices=sorted(CHIPS),
        default=list(CHIPS),
        metavar="NAME",
        help=f"Any of {', '.join(CHIPS)}; all by default",
    )
    for option, text in (
        ("--reset", "from the end of a shot to the next, instead of the chips' own, e.g. 0 for no waiting"),
        ("--job", "of overhead per job, instead of the chips' own"),
    ):
        parser.add_argument(option, type=_at_least(float, 0), metavar="SECONDS", help="Seconds " + text)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="Also draw the chip time of a training here")
    args = parser.parse_args(arguments)

    ansatz = PaperCircuit(args.n_qubits, args.n_layers)
    plan = TrainingPlan(
        args.steps, args.updates, args.policy_delay, args.batch_size, args.shots, args.acting_shots, args.directions
    )
    own = {name: value for name in ("reset", "job") if (value := getattr(args, name)) is not None}
    print(
        f"{counted(ansatz.n_qubits, 'qubit')}, {counted(ansatz.n_layers, 'layer')}: {ansatz.n_inputs} inputs, "
        f"{ansatz.n_angles} of them angles.\n"
        f"An update: the gradient of the actor, {counted(plan.batch_size, 'row')}, {counted(plan.shots, 'shot')} per "
        f"circuit.\nA training: {counted(plan.steps, 'step')}, each one job with one circuit, shots: {plan.acting_shots}; "
        f"{counted(plan.critic_updates, 'update')} of the critics, {plan.actor_updates:,} of the actor.\n"
    )
    chips = {name: replace(CHIPS[name], **own) for name in args.chip}
    for name, times in chips.items():
        print(chip_table(ansatz, plan, name, times) + "\n")
    print(comparison(ansatz, plan) + "\n\nSources:")
    for name, times in chips.items():
        changed = f" (changed: {', '.join(own)})" if own else ""
        print(textwrap.fill(f"{name}: {times.source}{changed}", 120, initial_indent="  ", subsequent_indent="    "))
    if args.plot is not None:
        draw(ansatz, plan, chips, args.plot)


if __name__ == "__main__":
    main()
