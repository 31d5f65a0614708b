"""Draws run.svg, what a run shows in a terminal: python docs/pictures/capture.py [SETTING ...]."""

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT

from kdzoo.cli import main, streams
from kdzoo.console import make_console

# The picture asks no server for a font: the reader's own will do.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
SETTINGS = sys.argv[1:] or ["method=mbde", "backbone=resnet8", "epochs=6"]

streams.out = make_console(record=True, width=126, file=io.StringIO())
sys.argv = ["kdzoo", "run", *SETTINGS]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
title = " ".join(sys.argv)
svg = streams.out.export_svg(title=title, code_format=FORMAT, unique_id="run")
Path(__file__).with_name("run.svg").write_text(svg, encoding="utf-8")
