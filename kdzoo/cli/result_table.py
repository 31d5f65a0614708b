"""What ``kdzoo run`` prints at its end: the figures of a run's ``result.json``."""

from typing import Any

from rich.table import Table


def result_table(result: dict[str, Any]) -> Table:
    """Student, ensemble and mean peer at the last epoch."""
    last = result["last"]
    table = Table(
        title=f"{result['method']} · {result['backbone']} · {result['dataset']} · "
        f"seed {result['seed']}",
        title_justify="left",
    )
    table.add_column(f"{last['split']}, last epoch")
    for heading in ("top-1 %", "top-5 %", "nll", "ece %"):
        table.add_column(heading, justify="right")
    for name in ("student", "ensemble"):
        if name in last:
            table.add_row(name, *_score(last[name]))
    if len(last["peers"]) > 1:
        mean = {
            key: sum(peer[key] for peer in last["peers"]) / len(last["peers"])
            for key in ("top1", "top5", "nll")
        }
        table.add_row("mean peer", *_score(mean))
    return table


def best_epoch(result: dict[str, Any]) -> str:
    """One line about the best epoch, which is not the result."""
    best = result["best"]
    return (
        f"Best {best['split']} epoch: {best['epoch']} of {result['epochs']}, student "
        f"{best['student']['top1']:.2f} %. Training took {result['seconds']:.0f} s."
    )


def _score(figures: dict[str, float]) -> list[str]:
    return [
        f"{figures['top1']:.2f}",
        f"{figures['top5']:.2f}",
        f"{figures['nll']:.4f}",
        f"{figures['ece']:.2f}" if "ece" in figures else "",
    ]
