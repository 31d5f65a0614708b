"""What the processes of a run tell each other beside the training, none waiting for another."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed

from kdzoo.errors import UserError

EVERY = 4
"""Steps from one exchange to the next: what a process wishes, all know twice as many steps later at
the latest."""

T = TypeVar("T")


class Wish(NamedTuple):
    """What a process wants the run to do after a step.

    Attributes:
        stop: the number of the signal that asks for it; 0 for none.
        save: leave a checkpoint, 1 or 0.
    """

    stop: int = 0
    save: int = 0


class Agreement:
    """Makes the wishes of any process known to all of them after the same step.

    Wishes are collected by an operation that is begun after one step and looked at some steps
    later, when it is long over, so that no step waits. It is one of the CPUs (gloo), on GPUs too:
    no device waits either. A process that is alone knows its wishes at once.
    """

    def __init__(self) -> None:
        several = distributed.is_available() and distributed.is_initialized()
        several = several and distributed.get_world_size() > 1
        self._group: Any = distributed.new_group(backend="gloo") if several else None
        self._asked: tuple[Any, Tensor] | None = None

    def after_step(self, step: int, wish: Callable[[], Wish], at_once: bool = False) -> Wish:
        """What any process is known to wish; every process has to call it after every step.

        Args:
            step: counts from the start of the training.
            wish: this process's, asked for when it is sent.
            at_once: wait for the wishes of all, where the processes wait for each other anyway.
        """
        if self._group is None:
            return wish()
        if step % EVERY and not at_once:
            return Wish()
        known = [self._answer()]
        self._ask(wish())
        if at_once:
            known.append(self._answer())
        return Wish(*map(max, zip(*known, strict=True)))

    def of_first(self, read: Callable[[], T]) -> T:
        """What the first process reads, in all of them, which may have other disks.

        Raises:
            UserError: what ``read`` raises.
        """
        if self._group is None:
            return read()
        answer: list[T | UserError | None] = [None]
        if distributed.get_rank() == 0:
            try:
                answer[0] = read()
            except UserError as error:
                answer[0] = error
        distributed.broadcast_object_list(answer, src=0, group=self._group)
        if isinstance(answer[0], UserError):
            raise answer[0]
        return answer[0]  # type: ignore[return-value]

    def _ask(self, wish: Wish) -> None:
        highest = torch.tensor(wish)
        work = distributed.all_reduce(
            highest, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._asked = work, highest

    def _answer(self) -> Wish:
        """To what was asked last."""
        if self._asked is None:
            return Wish()
        work, highest = self._asked
        self._asked = None
        work.wait()
        return Wish(*highest.tolist())
