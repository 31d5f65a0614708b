"""The command that looks at where runs would go."""

from typing import Annotated

import typer

from kdzoo.cli import streams
from kdzoo.cli.arguments import AsJson
from kdzoo.errors import UserError, cause


def doctor(
    folder: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The folder that runs would go to.")
    ] = "runs",
    as_json: AsJson = False,
) -> None:
    """Look for what stands in the way of runs here, and say how to mend it. Exits with 1 then."""
    try:
        from kdzoo.cli.doctor import print_findings
        from kdzoo.doctor import examine
    except Exception as error:  # a compiled library that does not fit fails in many ways
        raise UserError(
            f"torch, or a library beside it, cannot be imported: {type(error).__name__}: "
            f"{cause(error)}. pip install -U torch torchvision timm accelerate brings versions "
            "that fit together."
        ) from error

    findings = examine(folder)
    print_findings(findings, streams.out, as_json)
    raise typer.Exit(int(any(one.state == "problem" for one in findings)))
