"""What makes a step the same on several processes: entered for the time of a step, and no longer.

What one process tries out with the method alone, between steps, then waits for no other.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from kdzoo.methods.base import Method
from kdzoo.training.sync_batch_norm import SyncBatchNorm, is_synchronised
from kdzoo.training.whole_batch import WholeBatch


def distributed_step(
    method: Method, shares: Sequence[int], sync_batch_norm: str | bool
) -> AbstractContextManager[Any]:
    """What is entered for the forward and the backward pass of each step.

    Args:
        method: what is trained.
        shares: samples of a batch on each process.
        sync_batch_norm: the setting.
    """
    if len(shares) == 1:
        return nullcontext()
    return _DistributedStep(method, shares, is_synchronised(sync_batch_norm, shares))


class _DistributedStep(AbstractContextManager[None]):
    def __init__(self, method: Method, shares: Sequence[int], synchronised: bool) -> None:
        self._method = method
        self._share = method.whole_batch, method.takes_one_sample
        self._whole = WholeBatch(shares, method.loss_sees_maps)
        self._synchronised = synchronised
        self._batch_norm: AbstractContextManager[Any] = (
            SyncBatchNorm() if synchronised else nullcontext()
        )

    def __enter__(self) -> None:
        method = self._method
        self._share = method.whole_batch, method.takes_one_sample
        method.whole_batch = self._whole
        method.takes_one_sample |= self._synchronised
        self._batch_norm.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._batch_norm.__exit__(kind, error, traceback)
        self._method.whole_batch, self._method.takes_one_sample = self._share
