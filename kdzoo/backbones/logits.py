"""The logits in what a network returns: one rule, wherever a network is asked."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kdzoo.errors import UserError

NAME = "logits"


def logits_of(output: Any, num_classes: int) -> Tensor:
    """The logits [B, K] in a network's output, as float32 if they are less.

    A network may return the tensor itself; or a tuple, list, dict or object of several, of which
    it is the one called ``logits``, else the only one of shape [B, K].

    Raises:
        UserError: there is none of that shape, or more than one.
    """
    named = _named(output)
    found = [t for t in tensors(named) if t.ndim == 2 and t.shape[1] == num_classes]
    if len(found) != 1:
        if isinstance(output, Tensor):
            raise UserError(
                f"The network gives outputs of shape {tuple(output.shape[1:])} for a sample, but "
                f"there are {num_classes} classes."
            )
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors(output)) or "no tensor"
        which = "none of them has" if not found else f"{len(found)} of them have"
        raise UserError(
            f"The network returns {shapes}, and {which} the shape [images, {num_classes}] of "
            f"logits for {num_classes} classes. Return the logits alone, or call them '{NAME}' in "
            "a dict or named tuple."
        )
    return found[0].to(torch.promote_types(found[0].dtype, torch.float32))


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a nest of tuples, lists and dicts."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _named(output: Any) -> Any:
    """What is called ``logits`` in a dict, a named tuple or an object; else all of it."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get(NAME, output)
    return getattr(output, NAME, output)
