"""A kdzoo command in a fork of the tests' process, which has imported everything already.

It can be killed as one that a shell started, and begins seconds earlier.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from kdzoo.cli import main, streams
from kdzoo.console import make_console


def start(*arguments: str, said: Path, folder: Path = Path()) -> BaseProcess:
    """Start ``kdzoo ARGUMENTS`` in a folder; what it prints goes into the file ``said``."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_command, args=(arguments, said.absolute(), folder))
    process.start()
    return process


def _command(arguments: tuple[str, ...], said: Path, folder: Path) -> None:
    os.chdir(folder)
    sys.argv = ["kdzoo", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # some who start tests ignore it
    with said.open("w", buffering=1) as sys.stdout:
        sys.stderr = sys.stdout
        streams.out = streams.err = make_console(file=sys.stdout, width=200)
        main()
