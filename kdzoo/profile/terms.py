"""Which term of a loss each of its operations is for."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from kdzoo.profile.watch import Part, Watch

SHARED = "loss: shared"
"""Operations that no term has alone."""


class Terms(TorchFunctionMode):
    """Makes every operation a part of its own, and finds out which term it is for.

    The terms are known when all operations are done; then each is followed back to what it was
    computed from, gradient or not.

    Args:
        watch: told of the parts.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._operations: list[tuple[Part, list[Tensor], list[Tensor]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        part = Part(SHARED)
        self._watch.enter(part)
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._watch.leave()
        self._watch.enter(None)
        # tensors, not their ids alone: one that is gone would leave its id to another
        self._operations.append((part, _tensors((args, kwargs)), _tensors(result)))
        self._watch.leave()
        return result

    def resolve(self, terms: Mapping[str, Tensor]) -> None:
        """Name the parts, now that the terms are there."""
        self._watch.enter(None)
        wanted: defaultdict[int, set[str]] = defaultdict(set)
        for name, term in terms.items():
            wanted[id(term)].add(name)
        for part, inputs, outputs in reversed(self._operations):
            names = set().union(*(wanted[id(tensor)] for tensor in outputs))
            for tensor in inputs:
                wanted[id(tensor)] |= names
            if len(names) == 1:
                part.name = f"loss: {names.pop()}"
        self._operations.clear()
        self._watch.leave()


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
