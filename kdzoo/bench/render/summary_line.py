"""How many runs a report stands on, and how many it lacks."""

from kdzoo.bench.summary import Report

LACKING = {
    "failed": "failed",
    "damaged": "damaged or foreign",
    "twice": "there twice",
    "unfinished": "unfinished",
    "not run": "not run",
}


def counts(report: Report) -> str:
    """How many, in one sentence."""
    n = len(report.runs)
    finished = f"{n} run" if n == 1 else f"{n} runs"
    lacking = [
        f"{report.count(state)} {words}" for state, words in LACKING.items() if report.count(state)
    ]
    return (
        f"{finished}; left out: {', '.join(lacking)}." if lacking else f"{finished}; none failed."
    )
