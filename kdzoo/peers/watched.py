"""The stages whose maps a loss asks for besides the last one's, found in a network."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import tensors
from kdzoo.errors import UserError, nearest
from kdzoo.peers.anatomy import Anatomy, Stage, find_anatomy
from kdzoo.peers.calls import mode, probe_batch

StageKey = int | str
"""A stage by its number, from 1 on or from -1 on backwards, or by the path of its last module."""


def anatomy_with(
    backbone: Backbone, network: nn.Module, stages: Sequence[StageKey] = ()
) -> Anatomy:
    """The anatomy of a network that ``backbone`` built, ``stages`` in its ``watched``.

    Raises:
        UserError: as :func:`~kdzoo.peers.anatomy.find_anatomy`, or there is no such stage.
    """
    anatomy = find_anatomy(backbone, network)
    if not stages:
        return anatomy
    found = {key: find_stage(key, anatomy, backbone.name) for key in stages}
    changed = _overwritten(backbone, network, found.values())
    watched = {
        key: replace(stage, overwritten=stage.name in changed) for key, stage in found.items()
    }
    return replace(anatomy, watched=watched)


def find_stage(key: StageKey, anatomy: Anatomy, name: str) -> Stage:
    """The stage of a network that a number or a module's path stands for.

    Args:
        key: the number or path.
        anatomy: of the network.
        name: what the user calls the network.

    Raises:
        UserError: there is none, or what it puts out is no map.
    """
    count = len(anatomy.stages)
    if isinstance(key, int):
        if not 1 <= abs(key) <= count:
            names = ", ".join(f"{i} ({s.name})" for i, s in enumerate(anatomy.stages, start=1))
            raise UserError(
                f"The features of stage {key} are asked for, and the stages of {name} are {names}; "
                "counted from the end, -1 is the last."
            )
        return anatomy.stages[key - 1 if key > 0 else key]
    if not key or key not in anatomy.called:
        raise UserError(
            f"The features of '{key}' are asked for, and {name} calls no module of that name. "
            f"{nearest(key, anatomy.called.keys() - {''})}"
        )
    stage = anatomy.stage(key)
    if len(stage.shape) < 2:
        raise UserError(f"The features of '{key}' are asked for, which in {name} is no map.")
    return stage


@torch.no_grad()
def _overwritten(backbone: Backbone, network: nn.Module, stages: Any) -> set[str]:
    """The names of the stages whose output the network goes on to change in place."""
    caught: dict[str, list[tuple[torch.Tensor, int]]] = {}

    def catch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            caught[name] = [(tensor, tensor._version) for tensor in tensors(output)]

        return hook

    hooks = [
        network.get_submodule(name).register_forward_hook(catch(name))
        for name in {stage.name for stage in stages}
    ]
    try:
        with mode(network, training=False):
            network(probe_batch(network, backbone.input_size))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name for name, said in caught.items() if any(t._version != version for t, version in said)
    }
