"""``python -m benchmarks.campaign [PART[=COUNT]]...``."""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import benchmarks.campaign
from benchmarks.campaign import damages, fuzz, kills
from benchmarks.campaign.verdict import Tally

PARTS = {"kills": kills, "damages": damages, "fuzz": fuzz}
LONG = {"kills": 200, "damages": 1000, "fuzz": 10_000}
"""How many kills, damages and configs the long form has."""


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
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends a part, which then counts
                for verdict in cases:
                    tally.add(verdict)
                    if arguments.only is not None:
                        print(verdict)
            print(f"{tally}\n{time.monotonic() - started:.0f} s", flush=True)
            faulty += tally.faulty
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
