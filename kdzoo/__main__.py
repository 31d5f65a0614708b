"""``python -m kdzoo`` is the command line."""

from kdzoo.cli import main

main()
