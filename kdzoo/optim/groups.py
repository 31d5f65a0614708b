"""The groups of parameters that an optimiser is given: the run's, split by the method's own."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn

from kdzoo.errors import UserError
from kdzoo.methods.hooks import ParameterGroup


def check_groups(groups: Sequence[ParameterGroup], method: nn.Module) -> None:
    """Make sure that each trained parameter of a method is in one of its groups.

    Raises:
        UserError: one is in none or in several, or a group has settings that nothing reads.
    """
    times = Counter(id(parameter) for group in groups for parameter in group["params"])
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    for name, parameter in trained.items():
        if times[id(parameter)] != 1:
            raise UserError(
                f"{type(method).__name__}.parameter_groups() has {name} {times[id(parameter)]} "
                "times; each trained parameter has to be in one group."
            )
    if times.total() > len(trained):
        raise UserError(
            f"{type(method).__name__}.parameter_groups() has parameters that are not the method's, "
            "or that need no gradient."
        )
    known = ParameterGroup.__annotations__.keys()
    unknown = {key for group in groups for key in group} - known
    if unknown:
        raise UserError(
            f"{type(method).__name__}.parameter_groups() sets {', '.join(sorted(unknown))}; a "
            f"group has {', '.join(known)}, and all other settings are those of the run."
        )


def split_groups(
    groups: Sequence[dict[str, Any]], own: Sequence[ParameterGroup], weight_decay: float
) -> list[dict[str, Any]]:
    """The groups of a run, each split by a method's groups, with the rates and decays of both.

    Args:
        groups: of the run; their ``weight_decay`` is a factor, 0 for what is spared.
        own: of the method, as :func:`check_groups` has them.
        weight_decay: of the run.
    """
    group_of = {id(parameter): group for group in own for parameter in group["params"]}
    found = []
    for group in groups:
        for theirs in own:
            shared = [p for p in group["params"] if group_of[id(p)] is theirs]
            if not shared:
                continue
            decay = group["weight_decay"] * theirs.get("weight_decay", weight_decay)
            split = {**group, "params": shared, "weight_decay": decay}
            if "lr_scale" in group or "lr_scale" in theirs:
                split["lr_scale"] = group.get("lr_scale", 1.0) * theirs.get("lr_scale", 1.0)
            found.append(split)
    return found
