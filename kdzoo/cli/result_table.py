"""What ``kdzoo run`` prints at its end: the figures of a run's ``result.json``."""

from typing import Any

from rich.table import Table

FIGURES = {
    "top1": ("top-1 %", ".2f"),
    "top5": ("top-5 %", ".2f"),
    "nll": ("nll", ".4f"),
    "ece": ("ece %", ".2f"),
}
"""Heading and format; top-5 is not known of few classes, and ece not of single peers."""


def result_table(result: dict[str, Any]) -> Table:
    """Student, ensemble and mean peer at the last epoch."""
    last = result["last"]
    table = Table(
        title=f"{result['method']} · {result['backbone']} · {result['dataset']} · "
        f"seed {result['seed']}",
        title_justify="left",
    )
    table.add_column(f"{last['split']}, last epoch")
    shown = [figure for figure in FIGURES if figure in last["student"]]
    for figure in shown:
        table.add_column(FIGURES[figure][0], justify="right")
    rows = {name: last[name] for name in ("student", "ensemble") if name in last}
    peers = last["peers"]
    if len(peers) > 1:
        rows["mean peer"] = {key: sum(peer[key] for peer in peers) / len(peers) for key in peers[0]}
    for name, row in rows.items():
        cells = (format(row[key], FIGURES[key][1]) if key in row else "" for key in shown)
        table.add_row(name, *cells)
    return table


def best_epoch(result: dict[str, Any]) -> str:
    """One line about the best epoch, which is not the result."""
    best = result["best"]
    return (
        f"Best {best['split']} epoch: {best['epoch']} of {result['epochs']}, student "
        f"{best['student']['top1']:.2f} %. Training took {result['seconds']:.0f} s."
    )
