"""Try kdzoo on a small model of every timm family, and write the table in docs/backbones-timm.md.

python benchmarks/timm_families.py                          # all of them: 10 minutes, one core
python benchmarks/timm_families.py resnet swin_transformer  # these only, to the terminal
"""

import argparse
import gc
import platform
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import list_models, list_modules
from torch import Tensor

import kdzoo
from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.create import BackboneConfig, make_backbone
from kdzoo.errors import UserError
from kdzoo.peers.anatomy import Anatomy, Stage, find_anatomy
from kdzoo.peers.split import split_network
from kdzoo.peers.subnetwork import Subnetwork

CLASSES = 10
PEERS = 2
TOO_LARGE = 200
"""Million parameters; two peers with gradients and momentum take 24 bytes for each."""
SIZES = (64, 96, 128)
"""Image sizes that are tried before a model's own."""
PAGE = Path(__file__).parent.parent / "docs" / "backbones-timm.md"

CHECKS = {
    "split": "the model is traced, and a place to cut it is found",
    "equal": "trunk and branch give exactly the model's logits, in training and in evaluation",
    "state": "the state dicts of trunk and branch are the model's, dealt out",
    "step": "a training step of `mbde` gives finite terms and weights",
    "student": "the student loads strictly into timm's model and gives exactly its peer's logits",
    "independent": "step and student with `method.layout=independent`",
}


@dataclass(frozen=True)
class Row:
    """What came of one family."""

    family: str
    model: str
    millions: float
    size: int = 0
    cut: str = ""
    features: str = ""
    passed: frozenset[str] = frozenset()
    reason: str = ""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("family", nargs="*", help="modules of timm.models; default: all")
    families = arguments.parse_args().family
    warnings.filterwarnings("ignore")
    rows = []
    for family in families or sorted(list_modules()):
        if models(family):
            rows.append(examine(family, *smallest(family)))
            print(line(rows[-1]), rows[-1].reason, flush=True)
            gc.collect()
    if not families:
        PAGE.write_text(page(rows), encoding="utf-8")


def models(family: str) -> list[str]:
    """timm's own models of a family, without those that exist for timm's tests."""
    return list_models(module=family, exclude_filters=["test_*", "kdzoo_*"])


def smallest(family: str) -> tuple[str, float]:
    """The model of a family with the fewest parameters, and how many millions they are."""
    counts = {}
    for name in models(family):
        try:
            with torch.device("meta"):
                network = timm.create_model(name, num_classes=CLASSES)
        except (NotImplementedError, RuntimeError):  # it does arithmetic while it is built
            network = timm.create_model(name, num_classes=CLASSES)
        counts[name] = sum(parameter.numel() for parameter in network.parameters())
    name = min(counts, key=counts.__getitem__)
    return name, counts[name] / 1e6


def examine(family: str, model: str, millions: float, **kwargs: Any) -> Row:
    """All checks on one model, at the smallest of the image sizes that it takes.

    Args:
        family: the module of timm.models that the model is in.
        model: its name.
        millions: how many parameters it has.
        kwargs: what it is built with, such as fewer layers.
    """
    row = Row(family, model, millions)
    if millions > TOO_LARGE:
        return replace(row, reason="not tried: it does not fit in memory with its peers")
    try:
        backbone, anatomy = smallest_backbone(model, kwargs)
    except UserError as error:
        return replace(row, reason=str(error))
    row = replace(row, size=backbone.input_size[1], features=layout(anatomy.stages[-1]))
    try:
        cut, passed = check_parts(backbone, anatomy)
        row = replace(row, cut=cut, passed=passed)
        row = replace(row, passed=row.passed | check_training(backbone, "branched"))
    except Exception as error:  # whatever it is, the table says it
        row = replace(row, reason=explain(error))
    try:
        if check_training(backbone, "independent") == {"step", "student"}:
            row = replace(row, passed=row.passed | {"independent"})
    except Exception as error:  # as above
        row = replace(row, reason=f"{row.reason} independent: {explain(error)}")
    return row


def smallest_backbone(model: str, given: dict[str, Any]) -> tuple[Backbone, Anatomy]:
    """A backbone for the smallest images that the model takes, and its parts."""
    pretrained: Any = timm.models.get_pretrained_cfg(model)
    own = pretrained.input_size[1]
    tries: list[tuple[dict[str, Any], int]] = [({}, size) for size in SIZES] + [
        ({"img_size": size}, size) for size in SIZES
    ]
    problems = []
    for kwargs, size in [*tries, ({}, own)]:
        config = BackboneConfig(name=f"timm/{model}", kwargs={**given, **kwargs})
        backbone = make_backbone(config, CLASSES, (3, size, size))
        try:
            return backbone, find_anatomy(backbone, backbone.build(0))
        except UserError as problem:
            problems.append(problem)
    raise problems[-1]


def check_parts(backbone: Backbone, anatomy: Anatomy) -> tuple[str, frozenset[str]]:
    """Cut the model, and compare trunk and branch with a whole one."""
    plan = split_network(backbone, backbone.build(0), anatomy)
    model = backbone.build(1)
    trunk, branch = Subnetwork(model, plan.trunk), Subnetwork(model, plan.branch)
    passed = {"split"}
    if sorted([*trunk.state_dict(), *branch.state_dict()]) == sorted(model.state_dict()):
        passed.add("state")
    equal = []
    with torch.no_grad():
        for training in (True, False):
            for module in (model, trunk, branch):
                module.train(training)
            torch.manual_seed(0)
            whole = model(images(backbone))
            torch.manual_seed(0)  # the same dropout
            in_parts, *_ = branch(*trunk(images(backbone)))
            equal.append(torch.equal(first(whole), first(in_parts)))
    if all(equal):
        passed.add("equal")
    return plan.stage.name, frozenset(passed)


def check_training(backbone: Backbone, layout: str) -> set[str]:
    """A step of MBDE, and the student after it in a model that timm builds."""
    method = kdzoo.create_method(
        "mbde", backbone, CLASSES, backbone.input_size, layout=layout, peers=PEERS
    )
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # so that its averages are those of the last batch
    x, y, progress = images(backbone), torch.arange(4), torch.tensor(0.5)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    terms = method(x, y, progress).terms
    sum(terms.values()).backward()
    optimizer.step()
    with torch.no_grad():
        method(x, y, progress)  # and fit the new weights; else deep networks overflow below
    values = [*terms.values(), *method.parameters()]
    passed = {"step"} if all(torch.isfinite(value).all() for value in values) else set()
    plain = timm.create_model(
        backbone.name.removeprefix("timm/"), num_classes=CLASSES, **backbone.kwargs
    )
    plain.load_state_dict(method.student().state_dict(), strict=True)
    with torch.no_grad():
        expected = method.eval().peers(x).logits[method.student_peer]
        if torch.equal(first(plain.eval()(x)), expected):
            passed.add("student")
    return passed


def images(backbone: Backbone) -> Tensor:
    return torch.randn(4, *backbone.input_size, generator=torch.Generator().manual_seed(1))


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def layout(stage: Stage) -> str:
    if len(stage.shape) == 2:
        return "tokens"
    return "NCHW" if stage.channels == 1 else "NHWC"


def explain(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def line(row: Row) -> str:
    marks = " | ".join("yes" if check in row.passed else "**no**" for check in CHECKS)
    return (
        f"| {row.family} | {row.model} | {row.millions:.1f} | {row.size or ''} | {row.features} "
        f"| `{row.cut}` | {marks} |"
    )


def page(rows: list[Row]) -> str:
    """The whole Markdown page."""
    small = [row for row in rows if row.millions < 60]
    complete = [row for row in small if row.passed == CHECKS.keys()]
    return "\n".join(
        [
            "# timm's model families",
            "",
            "Written by `python benchmarks/timm_families.py`; do not edit it by hand. The smallest",
            f"model of each of timm {timm.__version__}'s families (test models aside), untrained,",
            f"{CLASSES} classes, on PyTorch {torch.__version__.partition('+')[0]} and Python",
            f"{platform.python_version()}, at the first image size that it takes of",
            f"{', '.join(map(str, SIZES))} and its own.",
            "",
            f"**Of {len(small)} families with a model under 60M parameters, {len(complete)} pass "
            f"everything; of all {len(rows)}, {sum(r.passed == CHECKS.keys() for r in rows)}.**",
            "",
            *(f"- *{check}*: {meaning}." for check, meaning in CHECKS.items()),
            "",
            f"| family | model | M params | size | features | cut after | {' | '.join(CHECKS)} |",
            f"|{'---|' * (6 + len(CHECKS))}",
            *map(line, rows),
            "",
            *misses(rows),
        ]
    )


def misses(rows: Iterable[Row]) -> Iterator[str]:
    yield "## What does not pass, and why"
    yield ""
    failed = [row for row in rows if row.passed != CHECKS.keys()]
    for row in failed:
        missing = ", ".join(check for check in CHECKS if check not in row.passed)
        yield f"- **{row.family}** ({row.model}): {missing}. {row.reason}"
    if not failed:
        yield "Nothing."
    yield ""


if __name__ == "__main__":
    main()
