"""``python -m benchmarks.campaign PART``."""

import argparse
import sys
import tempfile
from pathlib import Path

import benchmarks.campaign
from benchmarks.campaign import damages, fuzz, kills
from benchmarks.campaign.verdict import Tally

PARTS = {"kills": kills, "damages": damages, "fuzz": fuzz}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaign",
        description=benchmarks.campaign.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seed", type=int, default=0, help="what the cases are drawn from")
    parser.add_argument("--count", type=int, default=100, help="kills, damages or configs")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat one case, and show it")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, which is kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kdzoo-campaign-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        part = PARTS[arguments.part]
        tally = Tally(f"{parser.prog} {arguments.part} --seed {arguments.seed}")
        for verdict in part.cases(folder, arguments.seed, arguments.count, arguments.only):
            tally.add(verdict)
            if arguments.only is not None:
                print(verdict)
        print(tally)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
