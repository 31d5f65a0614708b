"""The stages of a network that does not name them, told from the blocks that it calls."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from kdzoo.peers.calls import Call, Shape

MAJORITY = 0.5
"""A module that makes more than this share of the calls is a wrapper, and is looked into."""

ISOTROPIC = 0.65
"""Where one resolution makes more than this share, its blocks are stages: there is no other."""


@dataclass(frozen=True)
class Unit:
    """One step of the network: a block, or a layer outside any block."""

    call: Call
    leaf_calls: int
    is_block: bool
    is_repeated: bool
    has_weights: bool


def stage_names(network: nn.Module, calls: list[Call], classifier: str) -> list[str]:
    """The modules that end a stage, in order; most often, blocks or sequences of blocks.

    Args:
        network: whose modules were called.
        calls: in the order in which they ended.
        classifier: the module that stages come before.
    """
    tree = _CallTree(network, calls, classifier)
    units = list(tree.units(""))
    maps = [unit for unit in units if len(unit.call.shape) > 1] or units
    shapes = [unit.call.shape for unit in maps]
    groups = [
        list(group) for _, group in groupby(maps, lambda u: _resolution(u.call.shape, shapes))
    ]
    stages = [group for group in groups if any(_can_end_stage(unit) for unit in group)]
    if any(unit.is_block for stage in stages for unit in stage):
        while not any(unit.is_block for unit in stages[-1]):
            stages.pop()  # layers of the head
    total = sum(unit.leaf_calls for unit in maps)
    if stages and sum(unit.leaf_calls for unit in stages[-1]) > ISOTROPIC * total:
        blocks = _blocks(stages[-1])
        stages[-1:] = [block for block in blocks if any(_can_end_stage(unit) for unit in block)]
    return [tree.promoted([unit.call.name for unit in _up_to_the_end(s)]) for s in stages]


def channels_last(shape: Shape, among: Iterable[Shape]) -> bool:
    """Whether a map of this shape is [h, w, C] and not [C, h, w], as far as one can see.

    In a square image two axes of a map agree. Where that says nothing, the other maps vote.
    """
    if (shape[0] == shape[1]) != (shape[1] == shape[2]):
        return shape[0] == shape[1]
    maps = [other for other in among if len(other) == 3]
    return sum(h == w for h, w, _ in maps) > sum(h == w for _, h, w in maps)


def _resolution(shape: Shape, among: list[Shape]) -> Shape:
    """What stays the same within a stage: the spatial size, or the number of tokens."""
    if len(shape) == 3 and not channels_last(shape, among):
        return shape[1:]
    return shape[:-1]


def _can_end_stage(unit: Unit) -> bool:
    return unit.has_weights and not unit.is_repeated


def _up_to_the_end(group: list[Unit]) -> list[Unit]:
    """Without the loose layers after the last block, such as a norm before the pooling.

    Where there are only loose layers, the last that is called just once ends the stage.
    """
    blocks = [i for i, unit in enumerate(group) if unit.is_block and not unit.is_repeated]
    once = [i for i, unit in enumerate(group) if not unit.is_repeated]
    return group[: (blocks or once)[-1] + 1]


def _blocks(group: list[Unit]) -> list[list[Unit]]:
    """Cut a group before each block, or, where there is none, before each layer with weights."""
    any_block = any(unit.is_block for unit in group)
    blocks: list[list[Unit]] = []
    for unit in group:
        starts = unit.is_block if any_block else unit.has_weights
        if starts or not blocks:
            blocks.append([unit])
        else:
            blocks[-1].append(unit)
    return blocks


class _CallTree:
    """Which module's forward called which, up to the classifier."""

    def __init__(self, network: nn.Module, calls: list[Call], classifier: str) -> None:
        self.network = network
        self.classifier = classifier
        end = max(i for i, call in enumerate(calls) if call.name == classifier)
        self.inside: dict[str, list[Call]] = {}
        self.times = Counter(call.name for call in calls)
        self.leaf_calls: Counter[str] = Counter()
        for i, call in enumerate(calls):
            if call.name and (i < end or self._holds_classifier(call.name)):
                self.inside.setdefault(call.caller, []).append(call)
        for call in calls[:end]:
            if call.name not in self.inside:
                parts = call.name.split(".")
                self.leaf_calls.update(".".join(parts[:i]) for i in range(len(parts) + 1))

    def units(self, caller: str) -> Iterator[Unit]:
        """The steps inside a call of ``caller``, wrappers looked into."""
        for call in self.inside.get(caller, ()):
            if self._is_wrapper(call.name):
                yield from self.units(call.name)
            else:
                module = self.network.get_submodule(call.name)
                times = self.times[call.name]
                yield Unit(
                    call,
                    leaf_calls=self.leaf_calls[call.name] // times,
                    is_block=call.name in self.inside,
                    is_repeated=times > 1,
                    has_weights=next(module.parameters(), None) is not None,
                )

    def promoted(self, stage: list[str]) -> str:
        """The name of the module that is all of a stage, else of the stage's last module."""
        name = stage[-1]
        while "." in name:
            parent = name.rpartition(".")[0]
            units = [unit.call.name for unit in self.units(parent)]
            whole = units and units[-1] == stage[-1] and set(units) <= set(stage)
            if not whole or self._holds_classifier(parent):
                break
            name = parent
        return name

    def _is_wrapper(self, name: str) -> bool:
        if name not in self.inside or self.times[name] > 1:
            return False
        return (
            isinstance(self.network.get_submodule(name), nn.Sequential)
            or self.leaf_calls[name] > MAJORITY * self.leaf_calls[""]
            or self._holds_classifier(name)
        )

    def _holds_classifier(self, name: str) -> bool:
        return self.classifier.startswith(f"{name}.")
