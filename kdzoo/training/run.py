"""One run, from its config to its finished folder."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from statistics import median_high
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError
from torch import nn

from kdzoo import __version__, registry
from kdzoo.backbones.create import BackboneLike
from kdzoo.config import RunConfig
from kdzoo.data.dataset import Dataset
from kdzoo.data.pipeline import DataModule
from kdzoo.errors import UserError
from kdzoo.files import write_json
from kdzoo.lease import EXPIRES
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.cost import measure_cost
from kdzoo.student import DESCRIPTION, WEIGHTS, StudentInfo, encode_weights, save_student
from kdzoo.training.agreement import Agreement, Wish
from kdzoo.training.build import (
    build_trainer,
    check_batches,
    check_method,
    check_students,
    prerequisites,
)
from kdzoo.training.clock import Clock
from kdzoo.training.cuda_graph import recorder_for
from kdzoo.training.device import cpu_threads, precision_of
from kdzoo.training.display import Display, Silent
from kdzoo.training.environment import describe_environment
from kdzoo.training.eval_every import evaluation_interval
from kdzoo.training.evaluation import Evaluator, evaluate_network
from kdzoo.training.failures import explained
from kdzoo.training.folding import find_foldable
from kdzoo.training.neighbours import look_around
from kdzoo.training.peak_memory import peak_memory, reset_peak_memory
from kdzoo.training.preemption import Stopped, StopSignals
from kdzoo.training.result import Evaluation
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import RunIdentity, identify
from kdzoo.training.tally import DivergedError, Tally
from kdzoo.training.tracking import Tracking, check_tracker, tracked
from kdzoo.training.trainer import Trainer


@explained()
def train(
    config: RunConfig,
    display: Display | None = None,
    networks: Sequence[BackboneLike] = (),
    dataset: Dataset | None = None,
) -> RunFolder:
    """Train what a config describes, or go on with it, and leave a finished run folder.

    Args:
        config: the run.
        display: what a person sees of it; nothing by default.
        networks: a person's own, in place of the backbones that the config names.
        dataset: a person's own, in place of the one that the config names.

    Raises:
        UserError: the config cannot be carried out here, or the folder is not this run's.
        DivergedError: the loss stopped being a finite number.
        Stopped: a signal has ended the run, which can go on.
    """
    display = display or Silent()
    source = dataset or registry.datasets.get(config.dataset.name)(config.dataset)
    check_batches(config, source)
    splits = source.load()
    identity = identify(config, splits, networks)
    folder = RunFolder.of(config, identity)
    if folder.result.exists() and config.resume == "auto":
        folder.check(identity)
        damage = folder.damage()
        if damage is None:
            display.say(f"{folder.path} is finished; resume=never would start it over.")
            return folder
        display.say(f"{damage} The run is finished again.")
    check_tracker(config.training.tracker)
    filled = {}
    before = prerequisites(config)
    if before:
        check_students(config, splits, networks)
        check_method(config, splits, networks, before)
    for field, first in before.items():
        same = networks if first.backbone == config.backbone else ()
        filled[field] = str(train(first, display, same, dataset).path)
    every = evaluation_interval(config, identity.data.samples)
    if config.training.eval_every == "auto":
        display.say(_how_often(every))
    trainer = build_trainer(config, source, splits, networks, filled, display)
    run = _Run(folder, identity, trainer, every, display)
    writes = trainer.accelerator.is_main_process
    lock = folder.locked(patience=2 * EXPIRES) if writes else nullcontext()
    with lock, display, cpu_threads(config.training.threads):
        run.go()
    return folder


def _how_often(every: int) -> str:
    epochs = "every epoch" if every == 1 else f"every {every} epochs and the last"
    return f"Evaluated after {epochs}; training.eval_every=N sets another number."


class _Run:
    """The epochs of a run and what they leave in its folder.

    Every process of a distributed run trains and evaluates; the main one writes.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: RunIdentity,
        trainer: Trainer,
        eval_every: int,
        display: Display,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.trainer = trainer
        self.eval_every = eval_every
        self.display = display
        self.signals = StopSignals()
        self.agreement = Agreement()
        self.config: RunConfig = trainer.config
        self.data: DataModule = trainer.data
        self.accelerator: Accelerator = trainer.accelerator
        self.records: list[dict[str, Any]] = []
        self.tracking: Tracking | None = None
        self.spent: dict[str, Any] | None = None
        """What the epoch that is gone on with took so far; None for one that begins."""
        self.clock = Clock(self.config.training.checkpoint_every)
        # With validation data, the test set is touched once, at the end.
        self.split = "val" if self.data.info.val_size else "test"

    def go(self) -> None:
        # Not before all processes have met: one that waits for the others hears no handler.
        with self.signals, explained():
            self._go()

    def _go(self) -> None:
        encode_weights(self.trainer.method.student())  # what cannot be saved is not trained
        with self._connected() as self.tracking:
            if self.accelerator.is_main_process:
                self.folder.claim(self.config, self.identity)
                if not self.folder.has_checkpoint:
                    self._look_around()
            self.accelerator.wait_for_everyone()
            self._resume()
            self.trainer.check()
            if (average := self.config.training.average) != "none":
                self.display.say(
                    f"training.average={average}: the student that is judged and deployed has "
                    "averaged weights; 'unaveraged' is the one with the last weights."
                )
            if (rho := self.config.training.sam_rho) is not None:
                self.display.say(
                    f"training.sam_rho={rho:g}: each step has two forward and backward passes; its "
                    "loss and accuracy are those of the first, at the weights."
                )
            self.trainer.compile(self.display.say)
            if self.accelerator.is_main_process:
                self._describe()
            self.display.start(self.trainer.total_steps, self.trainer.step)
            reset_peak_memory(self.accelerator.device)
            while self.trainer.epoch < self.trainer.epochs:
                self._epoch()
            self._finish()
        self.accelerator.wait_for_everyone()

    def _connected(self) -> AbstractContextManager[Tracking | None]:
        """The tracker, before anything of an earlier run in the folder makes room."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        over = self.config.resume == "never"
        if not over:
            self.folder.check(self.identity)
        return tracked(self.config.training.tracker, self.folder.path, self.display.say, over)

    def _describe(self) -> None:
        environment = self._write_environment()
        if self.tracking is not None:
            self.tracking.begin({**self.config.model_dump(mode="json"), "environment": environment})
            self.tracking.tell(self.records)

    def _write_environment(self) -> dict[str, Any]:
        environment = {
            **describe_environment(self.accelerator.device, precision_of(self.accelerator)),
            "compiled": self.trainer.compiled,
            "fused_kernels": self.trainer.fused_kernels,
        }
        write_json(self.folder.environment, environment)
        return environment

    def _peak_memory(self) -> int:
        """Of all processes that the run has had; records of an earlier version do not have it."""
        known = [record["peak_memory"] for record in self.records if "peak_memory" in record]
        return max(known, default=peak_memory(self.accelerator.device))

    def _look_around(self) -> None:
        line = look_around(self.folder, self.identity, self.trainer)
        if line is not None:
            self.display.say(line)
        if self.folder.metrics.exists() and not self.folder.has_checkpoint:
            self.display.say(
                f"{self.folder.metrics} holds epochs, but there is no checkpoint to go on from: "
                "the run starts from the beginning."
            )

    def _resume(self) -> None:
        found = self.agreement.of_first(self._read_checkpoint)
        if found is None:
            return
        state, damage = found
        try:
            self.trainer.load_state_dict(state)
            self.records = state["records"]
            self.spent = state["spent"] if "shares" in state else None
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.folder.checkpoint} is of another network or method "
                f"({str(error).splitlines()[0]}). Move it away, or start this run over with "
                "resume=never."
            ) from None
        if damage is not None:
            self.display.say(damage)
            if self.accelerator.is_main_process:
                self.folder.drop_last_checkpoint()
        place = f"after epoch {self.trainer.epoch}"
        if self.spent is not None:
            place = f"in epoch {self.trainer.epoch + 1}, after step {self.trainer.step},"
        self.display.say(f"Going on {place} in {self.folder.path}.")

    def _read_checkpoint(self) -> tuple[dict[str, Any], str | None] | None:
        return self.folder.read_checkpoint(self.identity) if self.folder.has_checkpoint else None

    def _epoch(self) -> None:
        before = self.spent or {"lr": self.trainer.lr, "seconds": 0.0, "peak_memory": 0}
        self.spent = None
        started = time.perf_counter()

        def spent() -> dict[str, Any]:
            peak = max(before["peak_memory"], peak_memory(self.accelerator.device))
            seconds = before["seconds"] + time.perf_counter() - started
            return {"lr": before["lr"], "seconds": seconds, "peak_memory": peak}

        means = self.trainer.train_epoch(lambda tally: self._after_step(tally, spent))
        left_out = self.trainer.train_step.nonfinite.left_out()
        if left_out is not None:
            self.display.say(f"Epoch {self.trainer.epoch}: {left_out}")
        record: dict[str, Any] = {
            "epoch": self.trainer.epoch,
            "step": self.trainer.step,
            **spent(),
            "train": means,
        }
        if (count := self.trainer.train_step.nonfinite.count) is not None:
            record["left_out"] = count
        self.signals.release()
        last = self.trainer.epoch == self.trainer.epochs
        if last or self.trainer.epoch % self.eval_every == 0:
            record["eval"] = {"split": self.split, **self._evaluate(self.split)}
        record["peak_memory"] = spent()["peak_memory"]
        self.records.append(record)
        self.signals.hold()
        if self.accelerator.is_main_process:
            self.folder.write_metrics(self.records)
        self._save()
        self.signals.release()
        if self.tracking is not None:
            self.tracking.tell(self.records)
        self.display.epoch(record, self.trainer.epochs)

    def _after_step(self, tally: Tally, spent: Callable[[], dict[str, Any]]) -> None:
        """Save the state within an epoch where it is time to, or a signal ends the run."""
        self.signals.hold()  # from the first step on, there is something to lose
        self.display.step(tally)
        at_once = self.trainer.ends_epoch
        stop, save = self.agreement.after_step(self.trainer.step, self._wish, at_once)
        if stop or save:
            tally.total().compute()
            self.trainer.check()  # what goes on from it is to be sound
            self._save(spent=spent())
        if stop:
            raise Stopped(stop, self.trainer.step)

    def _wish(self) -> Wish:
        late = self.clock.is_late() and self.accelerator.is_main_process
        return Wish(self.signals.received, int(late))

    def _save(self, **more: Any) -> None:
        """Replace the checkpoint; no process goes on before that is done."""
        state = {"records": self.records, **more, **self.trainer.state_dict()}
        if self.accelerator.is_main_process:
            self.folder.write_checkpoint(state, self.identity)
        self.accelerator.wait_for_everyone()
        self.clock.restart()

    @cached_property
    def evaluator(self) -> Evaluator:
        """Of every evaluation of the run."""
        method = self.trainer.method
        size = self.data.info.input_size
        foldable = find_foldable(method, lambda: method.evaluate(probe_batch(method, size)))
        graph = self.config.training.cuda_graph
        recorder = recorder_for(self.accelerator.device) if graph else None
        return Evaluator(method, foldable, recorder, self.display.say)

    def _evaluate(self, split: Any) -> dict[str, Any]:
        figures = self.evaluator(self.data.eval_batches(split))
        averaged = self.trainer.averaged_student()
        if averaged is not None:
            score = self._evaluate_network(averaged, split)
            figures |= {"student": score, "unaveraged": figures["student"]}
        try:
            Evaluation.model_validate({"split": split, **figures})
        except ValidationError as error:
            figure = ".".join(map(str, error.errors()[0]["loc"]))
            raise DivergedError(
                f"{figure} of the {split} split is no finite number after epoch "
                f"{self.trainer.epoch}, or is beyond all bounds. The last good checkpoint is kept. "
                "Lower lr, clip the gradient (training.clip_norm=1) or train for more steps."
            ) from None
        return figures

    def _evaluate_network(self, network: nn.Module, split: Any) -> dict[str, float]:
        info = self.data.info
        foldable = find_foldable(network, lambda: network(probe_batch(network, info.input_size)))
        return evaluate_network(network, self.data.eval_batches(split), info.num_classes, foldable)

    def _finish(self) -> None:
        judged = self.records[-1]["eval"]
        if self.split == "val":
            judged = {"split": "test", **self._evaluate("test")}
        averaged = self.trainer.averaged_student()
        if not self.accelerator.is_main_process:
            return
        method = self.trainer.method
        backbone = method.peers.backbones[method.student_peer]
        network = (method.student() if averaged is None else averaged).cpu()
        info = self.data.info
        checksum = save_student(
            self.folder.path,
            network,
            StudentInfo(
                backbone=backbone.name,
                kwargs=dict(backbone.kwargs),
                num_classes=info.num_classes,
                input_size=info.input_size,
                mean=info.mean,
                std=info.std,
                classes=info.classes,
                pixel_range=info.pixel_range,
                method=self.config.method.name,
                kdzoo_version=__version__,
            ),
        )
        evaluated = [record for record in self.records if "eval" in record]
        best = max(evaluated, key=lambda record: record["eval"]["student"]["top1"])
        seconds = [record["seconds"] for record in self.records]
        self.folder.write_metrics(self.records)  # the checkpoint's, should the file be damaged
        self._write_environment()  # it may not have been compiled to the end
        result = {
            "method": self.config.method.name,
            "backbone": self.config.backbone_name,
            "dataset": self.config.dataset.name,
            "seed": self.config.seed,
            "epochs": self.trainer.epochs,
            "steps": self.trainer.step,
            "train_size": info.train_size,
            "val_size": info.val_size,
            "test_size": info.test_size,
            "test_repeats": info.test_repeats,
            "last": judged,
            "best": {"epoch": best["epoch"], **best["eval"]},
            "student": {**measure_cost(network, info.input_size), "sha256": checksum},
            "identity": self.folder.identity_digest(),
            "training_params": sum(p.numel() for p in method.parameters()),
            "seconds": sum(seconds),
            "seconds_per_epoch": median_high(seconds),
            "peak_memory": self._peak_memory(),
        }
        counts = [record["left_out"] for record in self.records if "left_out" in record]
        if counts:
            result["left_out"] = sum(counts)
        if self.tracking is not None:
            files = [self.folder.path / WEIGHTS, self.folder.path / DESCRIPTION]
            self.tracking.finish(result, files)
        self.folder.write_result(result)
