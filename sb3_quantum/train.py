"""``python -m sb3_quantum.train``: ``rl_zoo3.train`` with qtd3 registered explicitly, and runs that can be continued."""

import argparse
import functools
import sys


def _seed_given(words: list[str]) -> bool:
    """Tell whether a command line has a ``--seed``; rl_zoo3 replaces a missing one by a random one."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--seed", type=int, default=-1)
    try:
        return parser.parse_known_args(words)[0].seed >= 0
    except argparse.ArgumentError:
        # The zoo's parser has the message
        return False


def main() -> None:
    """Run ``rl_zoo3.train`` with all of its options."""
    parser = argparse.ArgumentParser(
        add_help=False,
        allow_abbrev=False,
        epilog="All options of rl_zoo3.train hold as well; they follow.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Continue the newest run of this algorithm, environment, seed and settings if it has a checkpoint, and write "
        "checkpoints; -n is then the run's total number of steps. Without --seed, a run of any seed is continued",
    )
    parser.add_argument("--checkpoint-freq", type=int, default=25_000, help="Steps between two checkpoints, with --resume")
    args, rest = parser.parse_known_args()
    if args.checkpoint_freq < 1:
        parser.error(f"argument --checkpoint-freq: must be >= 1, got {args.checkpoint_freq}")
    if "-h" in rest or "--help" in rest:
        parser.print_help()
    sys.argv[1:] = rest

    from sb3_quantum.zoo import register

    register()
    import rl_zoo3.train

    if args.resume:
        from sb3_quantum.zoo.resume import ResumableExperimentManager
        from sb3_quantum.zoo.runs import RunLockedError

        manager = functools.partial(
            ResumableExperimentManager, checkpoint_freq=args.checkpoint_freq, any_seed=not _seed_given(rest)
        )
        setattr(rl_zoo3.train, "ExperimentManager", manager)  # noqa: B010
        try:
            rl_zoo3.train.train()
        except RunLockedError as error:
            sys.exit(str(error))
    else:
        rl_zoo3.train.train()


if __name__ == "__main__":
    main()
