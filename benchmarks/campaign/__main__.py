"""``python -m benchmarks.campaign [PART[=COUNT]]...``."""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import benchmarks.campaign
from benchmarks.campaign import damages, fuzz, kills, preemptions
from benchmarks.campaign.verdict import Tally, Verdict
from kdzoo.console import prepare_streams

PARTS = {"kills": kills, "preemptions": preemptions, "damages": damages, "fuzz": fuzz}
LONG = {"kills": 200, "preemptions": 100, "damages": 1000, "fuzz": 10_000}
"""How many kills, preemptions, damages and configs the long form has."""
INTERRUPTED = 130
POLITE = (signal.SIGTERM, signal.SIGHUP)
"""Signals that stop a campaign as Ctrl-C does."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaign",
        description=benchmarks.campaign.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", default=list(LONG), metavar="PART[=COUNT]", help=", ".join(PARTS)
    )
    parser.add_argument("--seed", type=int, default=0, help="what the cases are drawn from")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat one case, and show it")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, which is kept")
    arguments = parser.parse_args()
    prepare_streams()  # whoever reads this may leave before the end
    for number in POLITE:
        signal.signal(number, signal.default_int_handler)
    faulty = 0
    with tempfile.TemporaryDirectory(prefix="kdzoo-campaign-") as temporary:
        for part in arguments.parts:
            name, _, count = part.partition("=")
            if name not in PARTS or not (count or "1").isdigit():
                parser.error(f"{part} is none of {', '.join(PARTS)}, with or without =COUNT")
            folder = (arguments.folder or Path(temporary)).resolve() / name
            tally = Tally(f"{parser.prog} {name} --seed {arguments.seed}")
            started = time.monotonic()
            cases = PARTS[name].cases(
                folder, arguments.seed, int(count or LONG[name]), arguments.only
            )
            with contextlib.closing(cases):  # and its processes
                whole = _tally(cases, tally, shown=arguments.only is not None)
            print(f"{tally}\n{time.monotonic() - started:.0f} s", flush=True)
            if not whole:
                return INTERRUPTED
            faulty += tally.faulty
    return 1 if faulty else 0


def _tally(cases: Iterator[Verdict], tally: Tally, shown: bool) -> bool:
    """Count all cases; False where somebody stopped that, as with Ctrl-C."""
    try:
        for verdict in cases:
            tally.add(verdict)
            if shown:
                print(verdict)
    except KeyboardInterrupt:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
