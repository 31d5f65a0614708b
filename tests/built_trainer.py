"""A trainer as a run has it, and its whole state, for tests that look into single steps."""

import copy
from collections.abc import Sequence

import torch

from kdzoo import registry
from kdzoo.compose import compose
from kdzoo.training.build import build_trainer
from kdzoo.training.display import Silent
from kdzoo.training.tally import Tally
from kdzoo.training.trainer import Trainer


def built_trainer(settings: Sequence[str]) -> Trainer:
    config = compose([*settings])
    source = registry.datasets.get(config.dataset.name)(config.dataset)
    return build_trainer(config, source, source.load(), (), {}, Silent())


def state_of(trainer: Trainer) -> list[torch.Tensor]:
    """A copy of every tensor of the method and of the optimiser."""
    optimizer = trainer.optimizer.state.values()
    moments = [value for state in optimizer for value in state.values()]
    tensors = [*trainer.method.state_dict().values(), *moments]
    return [tensor.clone() for tensor in tensors if isinstance(tensor, torch.Tensor)]


def taken_up(settings: Sequence[str], stop_after: int) -> tuple[Trainer, Trainer]:
    """A training to its end, and another that went on from its state after so many steps."""
    whole, second = built_trainer(settings), built_trainer(settings)
    states = {}

    def keep(_: Tally) -> None:
        if whole.step == stop_after:
            states["then"] = copy.deepcopy(whole.state_dict())

    while whole.epoch < whole.epochs:
        whole.train_epoch(keep)
    second.load_state_dict(states["then"])
    while second.epoch < second.epochs:
        second.train_epoch(lambda _: None)
    return whole, second
