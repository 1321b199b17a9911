"""``python -m sb3_quantum.train``: ``rl_zoo3.train`` with qtd3 registered explicitly, and runs that can be continued."""

import argparse
import functools
import sys


def main() -> None:
    """Run ``rl_zoo3.train``, whose options all hold here."""
    parser = argparse.ArgumentParser(
        add_help=False,
        allow_abbrev=False,
        epilog="All options of rl_zoo3.train hold as well; they follow.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Continue the newest run of this algorithm and environment if it has a checkpoint, and write checkpoints; "
        "-n is then the run's total number of steps",
    )
    parser.add_argument("--checkpoint-freq", type=int, default=25_000, help="Steps between two checkpoints, with --resume")
    args, rest = parser.parse_known_args()
    if "-h" in rest or "--help" in rest:
        parser.print_help()
    sys.argv[1:] = rest

    from sb3_quantum.zoo import register

    register()
    import rl_zoo3.train

    if args.resume:
        from sb3_quantum.zoo.resume import ResumableExperimentManager

        manager = functools.partial(ResumableExperimentManager, checkpoint_freq=args.checkpoint_freq)
        setattr(rl_zoo3.train, "ExperimentManager", manager)  # noqa: B010
    rl_zoo3.train.train()


if __name__ == "__main__":
    main()
