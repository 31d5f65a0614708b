"""The training loop: epochs of steps over a method's loss."""

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from kdzoo.config import RunConfig
from kdzoo.data.pipeline import DataModule
from kdzoo.methods.base import Method
from kdzoo.optim.build import build_optimizer, on_device
from kdzoo.optim.rates import DeviceRates, HostRates, Rates
from kdzoo.optim.schedule import Schedule
from kdzoo.seeding import seed_epoch, set_random_state
from kdzoo.training.cuda_graph import Recorder, recorder_for
from kdzoo.training.running_statistics import agree, keep_up
from kdzoo.training.shares import Share, deal, set_statistics, share_of
from kdzoo.training.sharing import sharing
from kdzoo.training.step import TrainingStep
from kdzoo.training.steps import EagerSteps, GraphedSteps, Steps
from kdzoo.training.tally import DivergedError, Tally

HOW = ("lr", "foreach", "fused", "capturable")
"""Of an optimiser's settings, those that say how to compute. The rate is set before each step."""


class Trainer:
    """Trains a method; its state after each step can be saved and taken up again.

    Attributes:
        epoch: how many are finished.
        step: how many are taken, in all.
        tally: of the epoch that is under way; None between epochs.

    Args:
        config: the run's config.
        method: what to train, on the CPU.
        data: the batches, on the device of ``accelerator``.
        accelerator: device, precision and processes.
        say: told what a person should know about how the steps are computed.
    """

    def __init__(
        self,
        config: RunConfig,
        method: Method,
        data: DataModule,
        accelerator: Accelerator,
        say: Callable[[str], None],
    ) -> None:
        self.config = config
        self.data = data
        self.accelerator = accelerator
        self.device = accelerator.device
        self.total_steps = config.training.steps or config.epochs * data.steps_per_epoch
        self.epochs = math.ceil(self.total_steps / data.steps_per_epoch)
        self.epoch = 0
        self.step = 0
        self.tally: Tally | None = None
        self._share: Share | None = None
        method.begin(data.info.train_size, self.total_steps / data.steps_per_epoch)
        self.method = method.to(self.device)
        if config.training.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        recorder, how = self._recorder(say)
        if config.training.compile:
            # a graph of the whole step has no use for the compiler's own, of parts of it
            alone = self.device.type == "cuda" and recorder is None
            self.method.compile(mode="reduce-overhead" if alone else "default")
        keep_up(self.method, self.total_steps)
        optimizer = build_optimizer(config.optimizer, self.method, config.lr, **how)
        self.schedule = Schedule(config.schedule, optimizer, self.total_steps)
        rates: Rates = HostRates(self.schedule)
        if recorder is not None:
            rates = DeviceRates(self.schedule, optimizer, data.steps_per_epoch, self.device)
        model, self.optimizer = accelerator.prepare(self.method, optimizer)
        self.train_step = TrainingStep(
            config.training,
            self.method,
            model,
            self.optimizer,
            rates,
            accelerator,
            num_classes=data.info.num_classes,
            steps_per_epoch=data.steps_per_epoch,
            total_steps=self.total_steps,
            sharing=sharing(self.method, data.shares, config.training.sync_batch_norm),
        )
        self._steps: Steps = EagerSteps(self.train_step, data)
        if recorder is not None:
            self._steps = GraphedSteps(self.train_step, data, recorder, say)

    def _recorder(self, say: Callable[[str], None]) -> tuple[Recorder | None, dict[str, bool]]:
        """What records the step, and how the optimiser is to compute for that."""
        config = self.config
        recorder = recorder_for(self.device) if config.training.cuda_graph else None
        how = on_device(config.optimizer.name)
        reasons = {
            "several processes wait for each other in it": self.accelerator.num_processes > 1,
            "the host looks at the loss scale of fp16": self.accelerator.scaler is not None,
            "checkpointing sets random states on the host": config.training.checkpointing,
            f"{config.optimizer.name} takes its rate from the host": not how,
        }
        reason = next((text for text, holds in reasons.items() if holds), None)
        if recorder is not None and reason is not None:
            say(f"The step is not captured as a CUDA graph: {reason}.")
        if recorder is None or reason is not None:
            return None, {}
        return recorder, how

    def train_epoch(self, on_step: Callable[[Tally], None]) -> dict[str, float]:
        """Train for one epoch, or for what is left of it or of all steps.

        Args:
            on_step: called after each step, to show how it goes, or to save the state.

        Returns:
            the means of :meth:`Tally.compute`.

        Raises:
            DivergedError: the loss or a weight is no finite number.
        """
        start = self.step - self.epoch * self.data.steps_per_epoch if self._share else 0
        self._begin_epoch(start)
        tally = self.tally = self.train_step.tally
        self.method.train()
        for _ in islice(self._steps.epoch(self.epoch, start), self.total_steps - self.step):
            self.step += 1
            on_step(tally)
        self.tally = None
        self.epoch += 1
        agree(self.method)
        self.method.after_epoch()
        tally.add_up()
        means = tally.compute()
        self.check_weights()
        return means

    def _begin_epoch(self, start: int) -> None:
        self.train_step.begin(self.step, start)
        share, self._share = self._share, None
        if share is not None:
            self.train_step.tally.load_state_dict(share["tally"])
        if share is not None and share["random"] is not None:
            set_random_state(share["random"], self.device)
        else:
            rank = self.accelerator.process_index
            seed_epoch(self.config.seed, self.epoch, rank, start)

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step was the last one of its epoch."""
        return self.step in ((self.epoch + 1) * self.data.steps_per_epoch, self.total_steps)

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
        """All that the next step depends on; every process has to call it.

        Between epochs without randomness, which each epoch seeds anew.
        """
        scaler = self.accelerator.scaler
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }
        if self.tally is not None:
            own = share_of(self.method, self.tally, self.device)
            state["shares"] = gather_object([own])
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a state was saved, by as many processes or by another number."""
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(self._computed_here(state["optimizer"]))
        self._steps.forget()
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if "shares" in state:
            rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
            self._share = deal(state["shares"], rank, world_size)
            set_statistics(self.method, self._share)

    def _computed_here(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state, without what another device may have said of how to compute."""
        groups = []
        for saved, own in zip(state["param_groups"], self.optimizer.param_groups, strict=True):
            groups.append({**saved, **{key: own[key] for key in HOW if key in own}})
        return {**state, "param_groups": groups}
