"""The training loop: epochs of steps over a method's loss."""

import math
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator

from kdzoo.config import RunConfig
from kdzoo.data.pipeline import DataModule
from kdzoo.methods.base import Method
from kdzoo.optim.build import build_optimizer
from kdzoo.optim.rates import HostRates
from kdzoo.optim.schedule import Schedule
from kdzoo.seeding import seed_epoch
from kdzoo.training.running_statistics import agree, keep_up
from kdzoo.training.sharing import sharing
from kdzoo.training.step import TrainingStep
from kdzoo.training.tally import DivergedError, Tally


class Trainer:
    """Trains a method; its state after each epoch can be saved and taken up again.

    Args:
        config: the run's config.
        method: what to train, on the CPU.
        data: the batches, on the device of ``accelerator``.
        accelerator: device, precision and processes.
    """

    def __init__(
        self, config: RunConfig, method: Method, data: DataModule, accelerator: Accelerator
    ) -> None:
        self.config = config
        self.data = data
        self.accelerator = accelerator
        self.device = accelerator.device
        self.total_steps = config.training.steps or config.epochs * data.steps_per_epoch
        self.epochs = math.ceil(self.total_steps / data.steps_per_epoch)
        self.epoch = 0
        self.step = 0
        self.method = method.to(self.device)
        if config.training.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        if config.training.compile:
            on_gpu = self.device.type == "cuda"
            self.method.compile(mode="reduce-overhead" if on_gpu else "default")
        keep_up(self.method, self.total_steps)
        optimizer = build_optimizer(config.optimizer, self.method, config.lr)
        self.schedule = Schedule(config.schedule, optimizer, self.total_steps)
        model, self.optimizer = accelerator.prepare(self.method, optimizer)
        self.train_step = TrainingStep(
            config.training,
            self.method,
            model,
            self.optimizer,
            HostRates(self.schedule),
            accelerator,
            num_classes=data.info.num_classes,
            steps_per_epoch=data.steps_per_epoch,
            total_steps=self.total_steps,
            sharing=sharing(self.method, data.shares, config.training.sync_batch_norm),
        )

    def train_epoch(self, on_step: Callable[[Tally], None]) -> dict[str, float]:
        """Train for one epoch, or for what is left of the steps.

        Args:
            on_step: called after each step, to show how it goes.

        Returns:
            the means of :meth:`Tally.compute`.

        Raises:
            DivergedError: the loss or a weight is no finite number.
        """
        seed_epoch(self.config.seed, self.epoch, self.accelerator.process_index)
        self.method.train()
        self.train_step.begin(self.step)
        tally = self.train_step.tally
        for x, y in self.data.train_batches(self.epoch, self.method.views):
            if self.step == self.total_steps:
                break
            self.train_step(x, y)
            self.step += 1
            on_step(tally)
        self.epoch += 1
        agree(self.method)
        tally.add_up()
        means = tally.compute()
        self.check_weights()
        return means

    @property
    def lr(self) -> float:
        """The learning rate of the next step, or with layer decay that of the last layer."""
        return max(self.schedule.rates(self.step))

    def check_weights(self) -> None:
        """Raises DivergedError, with its name, where a weight is no finite number."""
        weights = dict(self.method.named_parameters())
        finite = torch.stack([weight.detach().isfinite().all() for weight in weights.values()])
        if finite.all():
            return
        name = list(weights)[finite.tolist().index(False)]
        if self.step == 0:
            raise DivergedError(
                f"The weight '{name}' is no finite number before the first step: the weights that "
                "the training starts from are damaged."
            )
        raise DivergedError(
            f"The weight '{name}' was no finite number after step {self.step}. The last good "
            "checkpoint is kept. Lower lr, clip the gradient (training.clip_norm=1) or use "
            "precision=fp32; if it happens at once, start over with resume=never."
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on, but for randomness, which each epoch seeds anew."""
        scaler = self.accelerator.scaler
        return {
            "epoch": self.epoch,
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a state was saved."""
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
