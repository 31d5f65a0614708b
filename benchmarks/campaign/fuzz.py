"""Overrides, recipes and specs that nobody should write, and what kdzoo makes of them.

Nothing is trained: ``kdzoo config`` composes, ``kdzoo report SPEC`` plans. The exit code must be 0
or 2, the message short, no file may come of a config, and a config that is printed must be a recipe
of the same config.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.campaign.command import Ended, Worker
from benchmarks.campaign.nonsense import Nonsense
from benchmarks.campaign.verdict import Verdict, gist

HELP = {"-h", "--help"}
"""Which ask for something else than a config."""
TIMEOUT = 60
"""Seconds after which a command counts as hanging."""
RECIPE = """\
epochs: 30
method: {name: mbde, temperature: 3.0, regularizers: [cd]}
backbone: resnet20
dataset:
  name: digits
  augment: {crop_padding: 1, flip: 0.5}
optimizer:
  momentum: 0.9
  betas: [0.9, 0.999]
schedule:
  name: cosine
  milestones: [0.5, 0.75]
lr: 5.0e-2
out: runs
"""
SPEC = """\
title: Some methods
methods: [independent, {method: mbde, label: MBDE, method.temperature: 4}]
backbones: [resnet8]
datasets:
  - digits
  - {dataset: digits, dataset.train_subset: 100, label: few digits}
seeds: [0, 1]
run: {epochs: 5, lr: 0.05}
ablations:
  - {of: MBDE, method.regularizers: []}
baseline: independent
out: runs
"""


def cases(folder: Path, seed: int, count: int, only: int | None = None) -> Iterator[Verdict]:
    """Verdicts on ``count`` configs, or on the one of that number."""
    with Worker() as worker:
        for number in range(count) if only is None else [only]:
            rng = random.Random(f"fuzz/{seed}/{number}")
            place = folder / f"case-{number}"
            place.mkdir(parents=True)
            arguments = rng.choices(_ATTEMPTS, _SHARES)[0](rng, place)
            yield _judged(worker, place, number, arguments)
            if only is None:
                shutil.rmtree(place, ignore_errors=True)


def _judged(worker: Worker, place: Path, number: int, arguments: list[str]) -> Verdict:
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    end = worker.kdzoo(arguments, place, timeout=TIMEOUT)
    faults = [end.fault()] if end.fault() else []
    if end.code == 1:
        faults.append("exit code 1")
    if arguments[0] == "config":
        if {path.name for path in place.iterdir()} != before.keys():
            faults.append("a file was made")
        if end.code == 0 and not HELP.intersection(arguments):
            faults += _round_trip(worker, place, end)
            faults += _not_as_typed(arguments, end)
    said = "".join(f"\n{name}: {content!r}" for name, content in before.items())
    outcome = {0: "accepted", 2: "refused"}.get(end.code or 0, "faulty")
    return Verdict(
        number,
        f"kdzoo {' '.join(map(ascii, arguments))}"[:200],
        "faulty" if faults else f"{arguments[0]}: {outcome}",
        tuple(f"{arguments[0]}: {gist(fault)}" for fault in faults),
        f"{end.said}{said}",
    )


def _round_trip(worker: Worker, place: Path, end: Ended) -> Iterator[str]:
    (place / "again.yaml").write_bytes(end.out.encode())
    again = worker.kdzoo(["config", "again.yaml"], place, timeout=TIMEOUT)
    if again.code != 0:
        yield f"what was printed is no recipe: {again.err or again.crash}"
    elif again.out != end.out:
        yield "what was printed is the recipe of another config"


def _not_as_typed(arguments: list[str], end: Ended) -> Iterator[str]:
    """Text that was typed and is another in the config."""
    try:
        config = dict(_flat(yaml.safe_load(end.out)))
    except (yaml.YAMLError, AttributeError, ValueError):
        return  # no recipe, which is a fault by itself
    typed = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in TEXTS.intersection(typed):
        text, value = typed[key], config.get(key)
        quoted = text != text.strip() or text[:1] in ("'", '"') or "${" in text
        nothing = value is None and text.lower() in _NOTHING
        if not quoted and not nothing and (value is None or Path(text) != Path(str(value))):
            yield f"the text of {key} is not as typed"


TEXTS = {"out", "dataset.root", "dataset.cache"}
"""Keys whose values are names or paths."""
_NOTHING = ("null", "none", "~", "")


def _overrides(rng: random.Random, place: Path) -> list[str]:
    method = rng.choice(list(_defaults()))
    return ["config", f"method={method}", *Nonsense(rng, _defaults()[method]).overrides()]


def _text(rng: random.Random, place: Path) -> list[str]:
    """A name or a path that may be anything."""
    text = Nonsense(rng, {}).text().replace("\0", "")
    return ["config", "method=kd", f"{rng.choice(sorted(TEXTS))}={text}"]


def _recipe(rng: random.Random, place: Path) -> list[str]:
    method = rng.choice(list(_defaults()))
    values = Nonsense(rng, _defaults()[method]).mapping()
    text = yaml.safe_dump(values, allow_unicode=True)
    (place / "recipe.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    return ["config", f"method={method}", "recipe.yaml"]


def _damaged_recipe(rng: random.Random, place: Path) -> list[str]:
    nonsense = Nonsense(rng, _defaults()["mbde"])
    (place / "recipe.yaml").write_bytes(nonsense.mutated(RECIPE))
    return ["config", "recipe.yaml", *nonsense.overrides(at_least=0, at_most=1)]


def _spec(rng: random.Random, place: Path) -> list[str]:
    nonsense = Nonsense(rng, _spec_defaults())
    (place / "spec.yaml").write_bytes(nonsense.mutated(SPEC))
    overrides = nonsense.overrides(at_least=0, at_most=1)
    return ["report", "spec.yaml", "--to", "report", *overrides]


_ATTEMPTS: list[Callable[[random.Random, Path], list[str]]] = [
    _overrides,
    _text,
    _recipe,
    _damaged_recipe,
    _spec,
]
_SHARES = (40, 10, 15, 25, 10)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Every key of a run's config with its value, by method."""
    from kdzoo import registry
    from kdzoo.compose import compose

    return {
        method: dict(_flat(compose([f"method={method}"]).model_dump(mode="json")))
        for method in registry.methods.names()
    }


@cache
def _spec_defaults() -> dict[str, Any]:
    run = {f"run.{key}": value for key, value in _defaults()["one"].items()}
    return {**yaml.safe_load(SPEC), **run}


def _flat(settings: dict[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        yield f"{outer}{key}", value
        if isinstance(value, dict):
            yield from _flat(value, f"{outer}{key}.")
