"""However many processes share a batch, a training takes the same steps."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from kdzoo import create_backbone, registry
from kdzoo.backbones.create import as_backbone
from kdzoo.compose import compose
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import DataModule
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.trainer import Trainer

METHODS = [
    *("byot", "cl_ilr", "dml", "ffl", "independent", "mbde", "okddip", "one", "pcl"),
    *("kdcl", "kdcl method.variant=general", "kdcl method.variant=naive"),
    "one method.regularizers=[cd,negative_correlation]",
]
STEPS = 20
EQUAL = 1e-5
"""Differences of losses that rounding explains."""
DATA = ("backbone=resnet8", "device=cpu", "precision=fp32", "training.threads=1", "epochs=1")


def on_processes(count: int, work, folder: Path) -> None:
    """Call ``work(rank)`` in so many processes of one distributed run."""
    start = partial(_as_rank, work, folder / f"meeting-{count}", count)
    mp.start_processes(start, nprocs=count, start_method="fork")


def _as_rank(work, meeting: Path, count: int, rank: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    os.environ.update(LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=count)
    work(rank)
    torch.distributed.destroy_process_group()


class Doubled(DataModule):
    """The batches of another, in double precision."""

    def __init__(self, data: DataModule) -> None:
        self.info, self.data = data.info, data
        self.steps_per_epoch, self.shares = data.steps_per_epoch, data.shares

    description = "in double precision"

    def train_batches(self, *args, **kwargs):
        for x, y in self.data.train_batches(*args, **kwargs):
            yield x.double(), y

    def eval_batches(self, split):
        return self.data.eval_batches(split)


def trainer_of(method: str, *settings: str, double: bool) -> Trainer:
    name, *options = method.split()
    config = compose([*DATA, f"method={name}", *options, *settings])
    processes = join_processes(config)
    data = open_data(
        config.dataset,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
    )
    backbone = create_backbone("resnet8", num_classes=10)
    network = as_backbone(backbone, 10, data.info.input_size)
    built = registry.methods.get(name)(config.method, [network], config.seed)
    accelerator = build_accelerator(processes, "fp32")
    if double:
        return Trainer(config, built.double(), Doubled(data), accelerator)
    return Trainer(config, built, data, accelerator)


def steps_of(trainer: Trainer) -> list[float]:
    """The loss of each step of an epoch."""
    losses: list[float] = []
    trainer.method.register_forward_hook(
        lambda _, inputs, result: losses.append(sum(map(float, result.terms.values())))
    )
    trainer.train_epoch(lambda tally: None)
    return losses
