"""
``python -m benchmarks.reliability``: run all reliability checks, or some of them.

Every part is a module of this folder with ``run(quick: bool, folder: Path) -> Outcome``. The full form takes under half an
hour on two cores; ``--quick`` is what the tests run.

    make reliability
    python -m benchmarks.reliability --parts kills mutations --quick
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.reliability.outcome import Outcome
from sb3_quantum.common.durable import write_text

#: modules of this folder, in the order in which they are run
PARTS = ("kills", "power_cuts", "mutations", "hostile_environments", "resumption", "soak")


def run_part(name: str, quick: bool) -> tuple[Outcome, float]:
    """
    :param name: one of :data:`PARTS`
    :param quick: whether to run the short form
    :return: what came of it, and the seconds it took
    """
    module = importlib.import_module(f"benchmarks.reliability.{name}")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = module.run(quick, Path(folder))
    return outcome, time.perf_counter() - start


def main() -> None:
    """The command. Its exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="the short form of every part, as the tests run it")
    parser.add_argument("--json", type=Path, help="also write the outcomes here")
    args = parser.parse_args()
    results: dict[str, Any] = {"date": str(date.today()), "quick": args.quick, "parts": {}}
    failed = False
    for name in args.parts:
        outcome, seconds = run_part(name, args.quick)
        failed = failed or bool(outcome.failures)
        results["parts"][name] = {**asdict(outcome), "wall_seconds": round(seconds, 1)}
        verdict = outcome.skipped or f"{outcome.cases - len(outcome.failures)} of {outcome.cases} held"
        print(f"{name:22} {verdict}, {seconds:.0f} s  {outcome.figures or ''}", flush=True)
        for failure in outcome.failures:
            print(f"    {failure}", flush=True)
    if args.json is not None:
        write_text(args.json, json.dumps(results, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
