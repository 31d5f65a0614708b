"""A mean of the weights of the training, which is deployed in place of the last ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from kdzoo.config import TrainingConfig
from kdzoo.methods.averages import Averaged
from kdzoo.methods.base import Method
from kdzoo.training.running_statistics import agree

Batches = Iterable[tuple[Tensor, ...]]


class WeightAverage(ABC):
    """The mean of a method's weights, from which the deployed student is taken.

    It takes no part in the training, whose weights are the same as without it.

    Attributes:
        averaged: the method with the mean of the weights; all of the mean's state is in it.
    """

    averaged: Averaged[Method]

    def after_step(self, taken: Tensor | None) -> None:  # noqa: B027
        """A step of the training is over.

        Args:
            taken: whether it counts, a boolean scalar, where it may have been left out.
        """

    def after_epoch(self, progress: float) -> None:  # noqa: B027
        """An epoch is over, and with it the fraction ``progress`` of all steps, up to 1."""

    @property
    def has_begun(self) -> bool:
        """Whether there were weights to take the mean of; waits for the device."""
        return bool(self.averaged.steps > 0)

    @abstractmethod
    def student(self, batches: Batches) -> nn.Module:
        """The plain network with the mean of the student's weights, in eval mode.

        Every process has to call it, between epochs.

        Args:
            batches: of the training set; the first of each tuple is the samples [B, C, H, W].
        """


class ExponentialAverage(WeightAverage):
    """The exponential moving average over all steps, of weights and batch norm's statistics.

    Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992; with the decay
    and the averaged statistics of Tarvainen & Valpola, "Mean teachers are better role models",
    NeurIPS 2017. It begins as the plain mean, see :class:`~kdzoo.methods.averages.Averaged`.

    Args:
        method: what is trained.
        decay: how much of the mean a step keeps.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.method = method
        self.averaged = Averaged(method, decay, buffers="mean")

    def after_step(self, taken: Tensor | None) -> None:
        self.averaged.update(self.method, taken)

    def after_epoch(self, progress: float) -> None:
        agree(self.averaged.module)

    def student(self, batches: Batches) -> nn.Module:
        return self.averaged.module.student().eval()


class StochasticWeightAverage(WeightAverage):
    """The plain mean of the weights at the ends of the last epochs (SWA).

    Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018,
    algorithm 1 with a cycle of one epoch. Batch norm's statistics are those that the mean has on
    the training set: the mean over all its batches. The learning rate is the schedule's.

    Args:
        method: what is trained.
        start: the fraction of all steps from which on epochs count.
    """

    def __init__(self, method: Method, start: float) -> None:
        self.method = method
        self.start = start
        self.averaged = Averaged(method, decay=1.0, buffers="mean")

    def after_epoch(self, progress: float) -> None:
        if progress >= self.start:
            self.averaged.update(self.method)

    def student(self, batches: Batches) -> nn.Module:
        network = self.averaged.module.student()
        update_bn(batches, network)
        agree(network)
        return network.eval()


def weight_average(config: TrainingConfig, method: Method) -> WeightAverage | None:
    """The mean that the config asks for.

    Args:
        config: of the training.
        method: what is trained, on its device.
    """
    if config.average == "ema":
        return ExponentialAverage(method, config.average_decay)
    if config.average == "swa":
        return StochasticWeightAverage(method, config.average_from)
    return None
