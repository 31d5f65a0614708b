"""The whole batch on every process, so that a loss does not depend on how the batch is shared out.

Each process runs its share of a batch through the networks. What a loss is made from is then
gathered, and every process computes the loss of the whole batch. So it is right for a loss that is
no mean over samples as well, and for shares of different sizes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, distributed

from kdzoo.errors import UserError
from kdzoo.methods.outputs import MethodOutputs
from kdzoo.samples.batch import Batch


class WholeBatch:
    """Gathers what a loss is made from over the processes.

    The gradient of a share is multiplied by the number of processes, by which
    DistributedDataParallel divides the sum of their gradients. Of a parameter that the loss itself
    uses, such as a classifier's weight in CD, each process has the whole gradient, and the mean of
    equal ones is as it should be.

    Args:
        shares: how many samples each process has.
        maps: whether the loss looks at feature maps, which would be most of what is sent.
    """

    def __init__(self, shares: Sequence[int], maps: bool) -> None:
        self.shares = tuple(shares)
        self.maps = maps

    @torch.compiler.disable
    def __call__(self, outputs: MethodOutputs, batch: Batch) -> tuple[MethodOutputs, Batch]:
        """The outputs, labels and indices of all samples, one share after the other."""
        y, index = batch.y, batch.index
        # with the samples first, as all are sent in one message
        parts = {
            "logits": [outputs.logits.transpose(0, 1)],
            "targets": [outputs.targets.transpose(0, 1)],
            "teachers": [outputs.teachers.transpose(0, 1)],
            "ensemble": [outputs.ensemble],
            "embeddings": list(outputs.embeddings),
            "teacher_embeddings": list(outputs.teacher_embeddings),
        }
        # of a stage that the peers share, all have the same map
        seen = dict.fromkeys(tensor for maps in outputs.stages.values() for tensor in maps)
        trunk = outputs.trunk
        if self.maps:
            parts["features"] = list(outputs.features)
            if trunk is not None:
                views = trunk.unflatten(0, (-1, len(y)))
                parts["trunk"] = [views.transpose(0, 1)]
            parts["stages"] = list(seen)
        sent = iter(self._gather([tensor for part in parts.values() for tensor in part]))
        whole = {name: [next(sent) for _ in part] for name, part in parts.items()}
        absent: Any = _NotGathered()
        if "trunk" in whole:
            trunk = whole["trunk"][0].transpose(0, 1).flatten(0, 1)
        elif trunk is not None:
            trunk = absent
        stages = dict.fromkeys(outputs.stages, absent)
        if self.maps:
            place = dict(zip(seen, whole["stages"], strict=True))
            stages = {key: tuple(place[t] for t in maps) for key, maps in outputs.stages.items()}
        gathered = replace(
            outputs,
            logits=whole["logits"][0].transpose(0, 1),
            targets=whole["targets"][0].transpose(0, 1),
            teachers=whole["teachers"][0].transpose(0, 1),
            ensemble=whole["ensemble"][0],
            embeddings=tuple(whole["embeddings"]),
            teacher_embeddings=tuple(whole["teacher_embeddings"]),
            features=tuple(whole["features"]) if self.maps else absent,
            trunk=trunk,
            stages=stages,
        )
        labels = _gather_rows(y.reshape(len(y), -1), self.shares).view(-1, *y.shape[1:])
        if index is not None:
            index = _gather_rows(index.unsqueeze(1), self.shares).squeeze(1)
        return gathered, replace(batch, y=labels, index=index)

    def _gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Tensors [b, ...] -> [B, ...]."""
        dtype = max((tensor.dtype for tensor in tensors), key=lambda dtype: dtype.itemsize)
        rows = torch.cat([tensor.flatten(1).to(dtype) for tensor in tensors], dim=1)
        whole = cast(Tensor, _Gather.apply(rows, self.shares))
        columns = whole.split([tensor[0].numel() for tensor in tensors], dim=1)
        return [
            part.reshape(len(part), *tensor.shape[1:]).to(tensor.dtype)
            for part, tensor in zip(columns, tensors, strict=True)
        ]


def gather_samples(tensor: Tensor, shares: Sequence[int], dim: int) -> Tensor:
    """The samples of all processes, one share after the other; without a gradient.

    Args:
        tensor: of this process.
        shares: how many samples each process has.
        dim: along which they are.
    """
    rows = tensor.movedim(dim, 0)
    whole = _gather_rows(rows.reshape(len(rows), -1), shares)
    return whole.view(-1, *rows.shape[1:]).movedim(0, dim)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, shares: tuple[int, ...]) -> Tensor:
        ctx.shares = shares
        return _gather_rows(rows, shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        own = gradients[0].split(ctx.shares)[distributed.get_rank()]
        return own * len(ctx.shares), None


def _gather_rows(rows: Tensor, shares: Sequence[int]) -> Tensor:
    """[b, F] of each process, b as ``shares`` has it -> [B, F]."""
    most = max(shares)
    padded = torch.nn.functional.pad(rows, (0, 0, 0, most - len(rows))).contiguous()
    whole = rows.new_empty(len(shares) * most, rows.shape[1])
    distributed.all_gather_into_tensor(whole, padded)
    if min(shares) == most:
        return whole
    parts = whole.split(most)
    return torch.cat([part[:share] for part, share in zip(parts, shares, strict=True)])


class _NotGathered(Sequence[Tensor]):
    """Stands for the feature maps where the loss did not say that it looks at them."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self
        raise _no_maps()

    def __len__(self) -> int:
        raise _no_maps()

    def __getattr__(self, name: str) -> Any:
        raise _no_maps()


def _no_maps() -> UserError:
    return UserError(
        "On several processes, a loss is given the features of the whole batch only where it says "
        "that it looks at them. Set sees_maps = True in the class of the method or regularizer, or "
        "name the stages that it looks at there."
    )
