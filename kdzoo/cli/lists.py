"""``kdzoo list``: the names that there are to choose from, each with a line about it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any, Literal, get_args, get_origin

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdzoo import registry
from kdzoo.compose import find_recipe, read_yaml, recipe_names

HEADINGS = {"backbones": "what it is, with 100 classes"}
"""Over the lines about names, where they hold under a condition."""

TIMM = "timm/"
"""What begins the name of a backbone of timm's."""


@dataclass(frozen=True)
class Choice:
    """A name that can be chosen.

    Attributes:
        name: as it is typed.
        what: one line about it.
        origin: the package that provides it.
        problem: why it cannot be chosen; None where it can.
    """

    name: str
    what: str
    origin: str = "kdzoo"
    problem: str | None = None


def choices(kinds: str, pattern: str = "*") -> list[Choice]:
    """What there is of a kind; plugins that fail to import come last.

    Args:
        kinds: one of :data:`kdzoo.cli.words.LISTS`.
        pattern: of the names, with ``*`` and ``?``; one that begins with ``timm/`` is of backbones
            of timm's, which are many and not listed otherwise.
    """
    if kinds == "backbones" and pattern.startswith(TIMM):
        found = _of_timm(pattern)
    elif kinds in registry.ALL:
        found = _registered(registry.ALL[kinds])
    else:
        found = {
            "optimizers": _optimizers,
            "schedules": _schedules,
            "trackers": _trackers,
            "recipes": _recipes,
        }[kinds]()
    return [one for one in found if fnmatchcase(one.name, pattern)]


def list_table(kinds: str, listed: list[Choice]) -> RenderableType:
    """The choices in a table, and a warning for each that cannot be chosen."""
    if not listed:
        timm = " timm's are found by 'timm/*NAME*'." if kinds == "backbones" else ""
        return Text(f"None of the {kinds} is called like that.{timm}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(kinds, overflow="fold")
    table.add_column(HEADINGS.get(kinds, "what it is"))
    for one in listed:
        if one.problem is None:
            note = "" if one.origin in ("kdzoo", "timm") else f" ({one.origin})"
            table.add_row(Text(one.name), Text.assemble(one.what, (note, "dim")))
    warnings = [
        Text.assemble(("warning:", "yellow"), f" {one.problem}") for one in listed if one.problem
    ]
    return Group(table, *warnings)


def list_json(listed: list[Choice]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(one) for one in listed]


def _registered(kind: registry.Registry) -> Iterator[Choice]:
    broken = kind.broken()
    for name in kind.names():
        if name not in broken:
            what = kind.about(name).docstring.partition("\n")[0].replace("``", "")
            yield Choice(name, what, kind.origin(name))
    for name, problem in broken.items():
        yield Choice(name, "", kind.origin(name), problem)


def _of_timm(pattern: str) -> Iterator[Choice]:
    """From timm's source, which is quick; with tags of pretrained weights where a dot is asked for.

    Their sizes would take building them: ``kdzoo show backbone timm/NAME`` counts one.
    """
    from kdzoo.backbones.timm_models import names_in_source

    names = sorted(names_in_source())
    if "." in pattern:
        import timm

        names = timm.list_pretrained()
    for name in names:
        yield Choice(f"{TIMM}{name}", "", "timm")


def _optimizers() -> Iterator[Choice]:
    from timm.optim import get_optimizer_info

    from kdzoo.optim.optimizer import optimizer_names

    for name in optimizer_names():
        yield Choice(name, get_optimizer_info(name).description, "timm")


def _schedules() -> Iterator[Choice]:
    from kdzoo.optim.schedule import SCHEDULES

    for name, config in SCHEDULES.items():
        yield Choice(name, (config.__doc__ or "").partition("\n")[0])


def _trackers() -> Iterator[Choice]:
    from kdzoo.config import TrainingConfig

    setting = TrainingConfig.model_fields["tracker"].annotation
    literal = next(one for one in get_args(setting) if get_origin(one) is Literal)
    for name in get_args(literal):
        extra = f"pip install 'kdzoo[{name}]'"
        yield Choice(name, "installed" if find_spec(name) else f"not installed: {extra}")


def _recipes() -> Iterator[Choice]:
    for name in recipe_names():
        yield Choice(name, ", ".join(read_yaml(find_recipe(name))))
