"""Runs a script that is built on timm with kdzoo's networks in timm's registry.

``python -m kdzoo.timm validate.py ... --model kdzoo_resnet20`` is ``python validate.py ...``; over
several processes, ``torchrun -m kdzoo.timm train.py ...``.
"""

import argparse
import runpy
import sys
from pathlib import Path

from kdzoo.errors import UserError


def main() -> None:
    """Run a script as Python would, with the arguments that come after it."""
    parser = argparse.ArgumentParser(prog="python -m kdzoo.timm", description=__doc__)
    parser.add_argument("script", type=Path, help="a Python file, such as timm's validate.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="those of the script")
    given = parser.parse_args()
    if not given.script.is_file():
        parser.error(f"there is no file {given.script}")
    sys.argv = [str(given.script), *given.arguments]
    sys.path[0] = str(given.script.resolve().parent)  # as of a script, and not as of a module
    try:
        runpy.run_path(str(given.script), run_name="__main__")
    except UserError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
