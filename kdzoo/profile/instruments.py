"""Tells a watch of the parts of a trainer's steps, of which the trainer knows nothing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from kdzoo.methods.base import Method
from kdzoo.methods.hooks import TrainingHooks
from kdzoo.profile.terms import SHARED, Terms
from kdzoo.profile.watch import Part, Watch
from kdzoo.training.trainer import Trainer

SINGULAR = {"branches": "branch", "peers": "peer", "exits": "exit", "teachers": "teacher"}
COMPILED = "method, compiled as one"
ELSEWHERE = "rest of the method"
"""What it does outside its modules and losses, such as stacking what they put out."""


def parts_of(method: Method) -> dict[str, nn.Module]:
    """The modules that a method is made of, by what the table calls them.

    The trunk and each branch, or each peer, and whatever else the method holds, such as its
    aggregator. Regularizers are terms of the loss.
    """
    own = {name: child for name, child in method.named_children() if name != "regularizers"}
    peers = own.pop("peers")
    found = {**dict(peers.named_children()), **own}
    return {
        name: module for called, child in found.items() for name, module in _each(called, child)
    }


def _each(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.ModuleList):
        single = SINGULAR.get(name, name)
        yield from ((f"{single} {i + 1}", one) for i, one in enumerate(module))
    else:
        yield name, module


class Instruments:
    """What is attached to a trainer while a step of it is watched.

    Of a compiled method nothing is seen from within: it is one part.

    Args:
        trainer: whose steps are watched.
        watch: told of the parts.
    """

    def __init__(self, trainer: Trainer, watch: Watch) -> None:
        self.trainer = trainer
        self.watch = watch
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """From here on the watch is told."""
        trainer, method = self.trainer, self.trainer.method
        compiled = trainer.compiled is True
        self._around(trainer.train_step, "model", COMPILED if compiled else ELSEWHERE)
        for owner, name in (
            (trainer.accelerator, "clip_grad_norm_"),
            (trainer.train_step.rates, "apply"),
            (trainer.optimizer, "step"),
            (trainer.optimizer, "zero_grad"),
        ):
            self._around(owner, name, "optimizer")
        self._around(method, "after_step", "after_step")
        if type(method).before_step is not TrainingHooks.before_step:
            self._around(method, "before_step", "before_step")
        self._replace(trainer.accelerator, "backward", self._backward)
        if compiled:
            return
        for name, module in parts_of(method).items():
            self._hook(name, module)
        self._replace(method, "loss", self._losses)
        self._replace(method, "regularization", self._losses)

    def detach(self) -> None:
        """Leave the trainer as it was."""
        while self._undo:
            self._undo.pop()()

    def _hook(self, name: str, module: nn.Module) -> None:
        part = Part(name)
        enter = module.register_forward_pre_hook(lambda *_: self.watch.enter(part))
        leave = module.register_forward_hook(lambda *_: self.watch.leave())
        self._undo += [enter.remove, leave.remove]

    def _around(self, owner: Any, name: str, called: str) -> None:
        part = Part(called)

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            def watched(*args: Any, **kwargs: Any) -> Any:
                self.watch.enter(part)
                try:
                    return function(*args, **kwargs)
                finally:
                    self.watch.leave()

            return watched

        self._replace(owner, name, wrap)

    def _backward(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(loss: Tensor, **kwargs: Any) -> None:
            with self.watch.backward(loss):
                function(loss, **kwargs)

        return watched

    def _losses(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Mapping[str, Tensor]:
            self.watch.enter(Part(SHARED))
            try:
                with Terms(self.watch) as operations:
                    terms = function(*args)
            finally:
                self.watch.leave()
            operations.resolve(terms)
            return terms

        return watched

    def _replace(
        self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        """Put a wrapped function in place of an object's own, until it is detached.

        It goes into the object's ``__dict__``, past whatever a module makes of attributes.
        """
        before = vars(owner).get(name)
        object.__setattr__(owner, name, wrap(getattr(owner, name)))

        def undo() -> None:
            if before is None:
                object.__delattr__(owner, name)
            else:
                object.__setattr__(owner, name, before)

        self._undo.append(undo)
