"""The training loop: epochs of steps over a method's loss."""

import math
import warnings
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from kdzoo.config import RunConfig
from kdzoo.data.pipeline import DataModule
from kdzoo.methods.base import Method
from kdzoo.optim.build import build_optimizer, on_device
from kdzoo.optim.rates import DeviceRates, HostRates, Rates
from kdzoo.optim.schedule import Schedule
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.streams import side_by_side
from kdzoo.seeding import seed_epoch, set_random_state
from kdzoo.training.compile import StepCompiler, should_compile
from kdzoo.training.cuda_graph import Recorder, recorder_for
from kdzoo.training.distributed_step import distributed_step
from kdzoo.training.fused_kernels import fuse_kernels
from kdzoo.training.rank_state import RankState, rank_state, redistribute, set_statistics
from kdzoo.training.running_statistics import agree, keep_up
from kdzoo.training.step import TrainingStep
from kdzoo.training.steps import EagerSteps, GraphedSteps, Steps
from kdzoo.training.tally import DivergedError, Tally
from kdzoo.training.teacher_cache import TeacherCache
from kdzoo.training.weight_average import weight_average

HOW = ("lr", "foreach", "fused", "capturable")
"""Of an optimiser's settings, those that say how to compute. The rate is set before each step."""


class Trainer:
    """Trains a method; its state after each step can be saved and taken up again.

    Attributes:
        epoch: how many are finished.
        step: how many are taken, in all.
        tally: of the epoch that is under way; None between epochs.
        average: the mean of the weights that is deployed; None where the last ones are.
        compiled_until: the last step that was compiled, where a later one could not be.
        fused_kernels: whether the steps are computed with them.

    Args:
        config: the run's config.
        method: what to train, on the CPU.
        data: the batches, on the device of ``accelerator``.
        accelerator: device, precision and processes.
        say: told what a person should know about how the steps are computed.
        teacher_cache: where the method's teachers are not run in every step.
    """

    def __init__(
        self,
        config: RunConfig,
        method: Method,
        data: DataModule,
        accelerator: Accelerator,
        say: Callable[[str], None],
        teacher_cache: TeacherCache | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.accelerator = accelerator
        self.device = accelerator.device
        self.total_steps = config.training.steps or config.epochs * data.steps_per_epoch
        self.epochs = math.ceil(self.total_steps / data.steps_per_epoch)
        self._teacher_cache = teacher_cache
        if teacher_cache is not None:
            teacher_cache.announce(self.epochs)
        self.epoch = 0
        self.step = 0
        self.tally: Tally | None = None
        self._rank_state: RankState | None = None
        method.begin(data.info.train_size, self.total_steps / data.steps_per_epoch)
        self.method = method.to(self.device)
        if config.training.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        recorder, how = self._recorder(say)
        keep_up(self.method, self.total_steps)
        self.average = weight_average(config.training, self.method)
        optimizer = build_optimizer(config.optimizer, self.method, config.lr, **how)
        self.schedule = Schedule(config.schedule, optimizer, self.total_steps)
        rates: Rates = HostRates(self.schedule)
        if recorder is not None:
            rates = DeviceRates(self.schedule, optimizer, data.steps_per_epoch, self.device)
            if self.device.type == "cuda":
                _call_side_by_side(self.method)
        self.fused_kernels = self._fuse(recorder, say)
        with warnings.catch_warnings():  # of a name that Accelerate has for a setting of torch's
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
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
            sharing=distributed_step(self.method, data.shares, config.training.sync_batch_norm),
        )
        self._steps: Steps = EagerSteps(self.train_step, data)
        if recorder is not None:
            self._steps = GraphedSteps(self.train_step, data, recorder, say)
        # a graph of the whole step has no use for the compiler's own, of parts of it
        self._cuda_graphs = self.device.type == "cuda" and recorder is None
        self._compiler: StepCompiler | None = None
        self.compiled_until: int | None = None
        self._went_compiled: bool | None = None

    def _recorder(self, say: Callable[[str], None]) -> tuple[Recorder | None, dict[str, bool]]:
        """What records the step, and how the optimiser is to compute for that."""
        config = self.config
        recorder = recorder_for(self.device) if config.training.cuda_graph else None
        how = on_device(config.optimizer.name)
        takes_meta_steps = self.method.meta_every(self.method.config) is not None
        reasons = {
            "several processes wait for each other in it": self.accelerator.num_processes > 1,
            "the host looks at the loss scale of fp16": self.accelerator.scaler is not None,
            "checkpointing sets random states on the host": config.training.checkpointing,
            f"{config.optimizer.name} takes its rate from the host": not how,
            "the host decides when a meta step is due": takes_meta_steps,
        }
        reason = next((text for text, holds in reasons.items() if holds), None)
        if recorder is not None and reason is not None:
            say(f"The step is not captured as a CUDA graph: {reason}.")
        if recorder is None or reason is not None:
            return None, {}
        return recorder, how

    def _fuse(self, recorder: Recorder | None, say: Callable[[str], None]) -> bool:
        """Set the fused kernels, where the config says so; returns whether it could be done."""
        if not self.config.training.fused_kernels:
            return False
        why_not: str | None = "they are for captured steps in bf16 on CUDA"
        if recorder is not None and self.accelerator.mixed_precision == "bf16":
            why_not = fuse_kernels(self.method, self.device)
        if why_not is not None:
            say(f"training.fused_kernels=true has no effect: {why_not}.")
        return why_not is None

    def compile(self, say: Callable[[str], None]) -> None:
        """Compile the step, where the config or the rule of ``auto`` says so and torch can.

        To be called before the training begins, and after its state is loaded where it goes on.

        Args:
            say: told what a person should know of it.
        """
        if self.epoch == self.epochs or not self.is_to_compile():
            return
        why_not = self._why_auto_does_not() or self._compile(say)
        if why_not is None:
            if self.config.training.compile == "auto":
                say("training.compile=auto compiled the step, since the training is long.")
        elif self._went_compiled:
            self.compiled_until = self.step
            say(f"{why_not} Up to step {self.step} it was.")
        else:
            say(why_not)

    def _why_auto_does_not(self) -> str | None:
        if self.config.training.compile != "auto":
            return None
        if self.config.training.checkpointing:
            return "training.compile=auto does not compile, because of training.checkpointing."
        if self.accelerator.num_processes > 1:
            return "training.compile=auto does not compile on several processes."
        return None

    def _compile(self, say: Callable[[str], None]) -> str | None:
        """Set the compiler, or return why there is none."""
        self.method.train()
        samples = next(iter(self.data.train_batches(self.epoch, self.method.views)))
        compiler = StepCompiler(self.method, say, self._cuda_graphs)
        with self.train_step.sharing:
            reason = compiler.compile(*self.train_step.inputs(*samples))
        reasons = [one for one in gather_object([reason]) if one is not None]
        if reasons:  # all processes compute in the same way
            compiler.give_up()
            return f"torch.compile cannot compile this step ({reasons[0]}): it is not compiled."
        self._compiler, self._say = compiler, say
        return None

    def _watch_compiler(self) -> None:
        """Go on without it where it could not compile the last step."""
        if self._compiler is None or self._compiler.failed is None:
            return
        self._say(
            f"torch.compile cannot compile step {self.step} ({self._compiler.failed}): from there "
            "on the training is not compiled."
        )
        self._compiler.give_up()
        self._compiler = None
        self.compiled_until = self.step - 1

    def is_to_compile(self) -> bool:
        """As it was before where the training goes on; else as the config or the rule says."""
        wish = self.config.training.compile
        if self._went_compiled is not None:
            return self._went_compiled
        if wish != "auto":
            return wish
        samples = sum(self.data.shares) * self.method.views // self.accelerator.num_processes
        if self.config.training.sam_rho is not None:
            samples *= 2
        return should_compile(self.method, self.data.info.input_size, samples, self.total_steps)

    @property
    def compiled(self) -> bool | str:
        """Whether the steps so far were, or until which one."""
        if self.compiled_until is not None:
            return f"until step {self.compiled_until}"
        over = self.epoch == self.epochs  # then nothing more is compiled
        return self._compiler is not None or (over and bool(self._went_compiled))

    def train_epoch(self, on_step: Callable[[Tally], None]) -> dict[str, float]:
        """Train for one epoch, or for what is left of it or of all steps.

        Args:
            on_step: called after each step, to show how it goes, or to save the state.

        Returns:
            the means of :meth:`Tally.compute`.

        Raises:
            DivergedError: the loss or a weight is no finite number.
        """
        start = self.step - self.epoch * self.data.steps_per_epoch if self._rank_state else 0
        if self._teacher_cache is not None:
            self._teacher_cache.begin(self.epoch)  # before the epoch seeds what it draws
        self._begin_epoch(start)
        tally = self.tally = self.train_step.tally
        self.method.train()
        for _ in islice(self._steps.epoch(self.epoch, start), self.total_steps - self.step):
            self.step += 1
            if self.average is not None:
                self.average.after_step(self.train_step.taken)
            self._watch_compiler()
            on_step(tally)
        self.tally = None
        self.epoch += 1
        agree(self.method)
        self.method.after_epoch()
        if self.average is not None:
            self.average.after_epoch(self.step / self.total_steps)
        tally.add_up()
        means = tally.compute()
        self.check()
        return means

    def averaged_student(self) -> nn.Module | None:
        """What is deployed in place of the method's student, in eval mode; None where that is.

        To be called between epochs, by every process. It is the same whenever it is called after
        the same epoch.
        """
        if self.average is None or not self.average.has_begun:
            return None
        seed_epoch(self.config.seed, self.epoch, self.accelerator.process_index, 0)
        return self.average.student(self.data.train_batches(self.epoch))

    def _begin_epoch(self, start: int) -> None:
        self.train_step.begin(self.step, start)
        state, self._rank_state = self._rank_state, None
        if state is not None:
            self.train_step.tally.load_state_dict(state["tally"])
        if state is not None and state["random"] is not None:
            set_random_state(state["random"], self.device)
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

    def check(self) -> None:
        """Raises DivergedError where the training cannot go on; says which weight is not finite."""
        self.train_step.nonfinite.check()
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
            "compiled": self._compiler is not None,
            "compiled_until": self.compiled_until,
        }
        if self.tally is not None:
            own = rank_state(self._with_statistics(), self.tally, self.device)
            state["shares"] = gather_object([own])
        if self.average is not None:
            state["average"] = self.average.averaged.state_dict()
        if nonfinite := self.train_step.nonfinite.state_dict():
            if not self.accelerator.is_main_process:
                nonfinite = {"own": nonfinite.get("own")}
            state["nonfinite"] = gather_object([nonfinite])
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a state was saved, by as many processes or by another number."""
        self.epoch = state["epoch"]
        self.step = state["step"]
        # versions without auto did as the config says
        self._went_compiled = state.get("compiled", self.config.training.compile is True)
        self.compiled_until = state.get("compiled_until")
        self.method.load_state_dict(state["method"])
        if self.average is not None:
            self.average.averaged.load_state_dict(state["average"])
        self.optimizer.load_state_dict(self._computed_here(state["optimizer"]))
        self._steps.forget()
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        if "nonfinite" in state:
            self.train_step.nonfinite.load_state_dict(state["nonfinite"], rank, world_size)
        if "shares" in state:
            self._rank_state = redistribute(state["shares"], rank, world_size)
            set_statistics(self._with_statistics(), self._rank_state)

    def _with_statistics(self) -> dict[str, nn.Module]:
        if self.average is None:
            return {"": self.method}
        return {"": self.method, "average/": self.average.averaged}

    def _computed_here(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state, without what another device may have said of how to compute."""
        groups = []
        for saved, own in zip(state["param_groups"], self.optimizer.param_groups, strict=True):
            groups.append({**saved, **{key: own[key] for key in HOW if key in own}})
        return {**state, "param_groups": groups}


def _call_side_by_side(method: Method) -> None:
    """Let all groups of peers, those of teachers as well, share the GPU in a captured step."""
    for module in method.modules():
        if isinstance(module, PeerGroup):
            module.call_each = side_by_side
