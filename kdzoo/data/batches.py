"""The sampler: which samples are in which batch, and which share of a batch is whose."""

from dataclasses import dataclass

import numpy as np

from kdzoo.errors import UserError
from kdzoo.seeding import stream


@dataclass(frozen=True)
class BatchSampler:
    """The training batches of one process.

    The order of an epoch is one permutation on any number of processes. Each global batch of it is
    cut into one contiguous share a process, as even as they can be: the batches are the same, on
    however many processes. Two neighbours, which are mixed with each other, stay together.

    Args:
        samples: training samples.
        batch_size: of the global batch, over all processes; lowered to the samples there are.
        seed: fixes the order, together with the epoch.
        rank: this process.
        world_size: how many there are.
        eval_size: samples of a batch in evaluation; by default as many as in training.

    Raises:
        UserError: there is not a sample of each batch for every process.
    """

    samples: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    eval_size: int | None = None

    def __post_init__(self) -> None:
        if self.samples < self.world_size:
            raise UserError(
                f"{self.samples} training samples are too few for {self.world_size} processes."
            )
        if self.batch_size < self.world_size:
            raise UserError(
                f"batch_size={self.batch_size} is of all processes together, and there are "
                f"{self.world_size} of them. Choose {self.world_size} or more."
            )

    @property
    def global_size(self) -> int:
        """Samples of a batch, all processes together."""
        return min(self.samples, self.batch_size)

    @property
    def shares(self) -> tuple[int, ...]:
        """Samples of a batch on each process."""
        return tuple(part.stop - part.start for part in self._parts())

    @property
    def local_size(self) -> int:
        """Samples in this process's share of a batch."""
        return self.shares[self.rank]

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return self.samples // self.global_size

    @property
    def used(self) -> int:
        """Samples an epoch takes, all processes together."""
        return self.steps * self.global_size

    def order(self, epoch: int) -> np.ndarray:
        """The positions of all samples that the epoch takes, in its order."""
        return stream(self.seed, "order", epoch).permutation(self.samples)[: self.used]

    def share(self, values: np.ndarray) -> np.ndarray:
        """This process's part, [steps, local_size, ...], of one value a sample in order."""
        batches = values.reshape(self.steps, self.global_size, *values.shape[1:])
        return batches[:, self._parts()[self.rank]]

    def _parts(self) -> list[slice]:
        """Where in a batch the share of each process is."""
        size, world = self.global_size, self.world_size
        together = 2 if size >= 2 * world else 1
        units = size // together
        bounds = [rank * units // world * together for rank in range(world)] + [size]
        return [slice(*bounds[rank : rank + 2]) for rank in range(world)]

    def eval_shares(self, samples: int) -> list[range]:
        """The batches of a split, by the positions of their samples, that this process evaluates.

        They are the same batches on any number of processes, since what a network says about a
        sample depends, in its last bits, on the size of the batch around it. Each process takes
        consecutive ones. Of fewer batches than processes, each takes all: every mean stays what
        it is, and none has nothing to say.

        Args:
            samples: of the split.
        """
        size, world = self.eval_size or self.batch_size, self.world_size
        batches = [range(at, min(at + size, samples)) for at in range(0, samples, size)]
        if len(batches) < world:
            return batches
        return batches[self.rank * len(batches) // world : (self.rank + 1) * len(batches) // world]

    def uniform(self, purpose: str, epoch: int, views: int, numbers: int) -> np.ndarray:
        """This process's random numbers of an epoch in [0, 1), float32 [steps, B, V, R]."""
        random = stream(self.seed, purpose, epoch)
        return self.share(random.random((self.used, views, numbers), dtype=np.float32))
