"""``python -m kdzoo`` is the command line."""

from kdzoo.cli.app import main

main()
