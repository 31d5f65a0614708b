"""What the figures of a report depend on, from each run's config and environment: the footer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kdzoo.report.labels import one_line
from kdzoo.report.run_files import Run


class Condition(NamedTuple):
    """One line of the footer."""

    name: str
    text: str


def conditions(runs: Sequence[Run]) -> Iterator[Condition]:
    """Data, training, hardware and versions; where runs differ, each variant with its count.

    What a run does not say is a question mark. Runs without learning curves, which earlier versions
    did not keep, are counted.
    """
    describers: Sequence[tuple[str, Callable[[Run], str]]] = (
        ("Data", partial(_data, repeats=_repeats(runs))),
        ("Training", _training),
        ("Hardware", _hardware),
        ("Versions", _versions),
    )
    for name, describe in describers:
        variants = Counter(one_line(describe(run)) for run in runs)
        if len(variants) == 1:
            yield Condition(name, next(iter(variants)))
        elif variants:
            counted = (f"{text} ({_runs(count)})" for text, count in variants.most_common())
            yield Condition(name, "; ".join(counted))
    without = sum(not run.curve for run in runs)
    if without:
        yield Condition(
            "Learning curves", f"not kept of {_runs(without)}, which no plot of them has"
        )


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _data(run: Run, repeats: Mapping[str, Sequence[int]]) -> str:
    """The sizes, and how many test images were trained on, which differs with the images drawn."""
    sizes = _sizes(run)
    fewest, most = min(repeats[sizes]), max(repeats[sizes])
    if most == 0:
        return sizes
    counted = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{sizes} ({counted} of them trained on)"


def _repeats(runs: Sequence[Run]) -> Mapping[str, Sequence[int]]:
    """The test images that were trained on, in each run of some sizes."""
    found = defaultdict(list)
    for run in runs:
        found[_sizes(run)].append(run.result.test_repeats or 0)
    return found


def _sizes(run: Run) -> str:
    result = run.result
    sizes = [f"{result.train_size:,} training images"]
    if result.val_size:
        sizes.append(f"{result.val_size:,} for validation")
    sizes.append(f"{result.test_size:,} for testing")
    return f"{run.dataset}: {', '.join(sizes)}"


def _training(run: Run) -> str:
    optimizer = _mapping(run.config.get("optimizer")).get("name", "?")
    schedule = _mapping(run.config.get("schedule"))
    epochs = f"{run.result.epochs} {'epoch' if run.result.epochs == 1 else 'epochs'}"
    return (
        f"{epochs}, batch size {run.config.get('batch_size', '?')}, "
        f"{optimizer} with lr {run.config.get('lr', '?')}, {schedule.get('name', '?')} schedule"
        f"{_warmup(schedule.get('warmup'))}{_besides(_mapping(run.config.get('training')))}"
    )


def _besides(training: Mapping[str, Any]) -> str:
    """What else decides what is learnt and deployed; nothing where it is as usual."""
    average, smoothing = training.get("average", "none"), training.get("label_smoothing", 0)
    more = "" if average == "none" else f", averaged weights ({average})"
    return more if not smoothing else f"{more}, label smoothing {smoothing}"


def _warmup(warmup: Any) -> str:
    """Nothing where there is none."""
    if not isinstance(warmup, int | float) or not 0 < warmup < 1:
        return ""
    return f" after a warm-up over {100 * warmup:.3g} % of them"


def _hardware(run: Run) -> str:
    environment = run.environment
    where = f"{environment.get('device', '?')}, {environment.get('precision', '?')}"
    if environment.get("cuda"):
        return f"{where}, CUDA {environment['cuda']}"
    threads = environment.get("threads", "?")
    return f"{where}, {threads} {'thread' if threads == 1 else 'threads'} a run"


def _versions(run: Run) -> str:
    packages = _mapping(run.environment.get("packages"))
    known = [name for name in ("kdzoo", "torch", "timm") if packages.get(name) is not None]
    shown = [f"{name} {packages[name]}" for name in known]
    if commit := run.environment.get("commit"):
        shown.append(f"commit {commit}")
    return ", ".join(["Python " + str(run.environment.get("python", "?")), *shown])


def _mapping(value: Any) -> Mapping[str, Any]:
    """A file of another version may hold anything there."""
    return value if isinstance(value, Mapping) else {}
