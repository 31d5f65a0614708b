"""The command line: what people type, and what they see."""

from kdzoo.cli.app import main

__all__ = ["main"]
