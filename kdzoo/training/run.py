"""One run, from its config to its finished folder."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from statistics import median_high
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError

from kdzoo import __version__, registry
from kdzoo.backbones.create import BackboneLike
from kdzoo.config import RunConfig
from kdzoo.data.dataset import Dataset
from kdzoo.data.pipeline import DataModule
from kdzoo.errors import UserError
from kdzoo.files import write_json
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.cost import measure_cost
from kdzoo.student import DESCRIPTION, WEIGHTS, StudentInfo, encode_weights, save_student
from kdzoo.training.build import build_trainer, check_students, prerequisites
from kdzoo.training.device import cpu_threads, precision_of
from kdzoo.training.display import Display, Silent
from kdzoo.training.environment import describe_environment
from kdzoo.training.eval_every import evaluation_interval
from kdzoo.training.failures import explained
from kdzoo.training.folding import ConvBatchNorm, find_foldable
from kdzoo.training.metrics import evaluate
from kdzoo.training.neighbours import look_around
from kdzoo.training.peak_memory import peak_memory, reset_peak_memory
from kdzoo.training.result import Evaluation
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import RunIdentity, identify
from kdzoo.training.tally import DivergedError
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
    """
    display = display or Silent()
    source = dataset or registry.datasets.get(config.dataset.name)(config.dataset)
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
    for field, first in before.items():
        same = networks if first.backbone == config.backbone else ()
        filled[field] = str(train(first, display, same, dataset).path)
    every = evaluation_interval(config, identity.data.samples)
    if config.training.eval_every == "auto":
        display.say(f"training.eval_every=auto is {every} for data like these")
    trainer = build_trainer(config, source, splits, networks, filled, display)
    lock = folder.locked() if trainer.accelerator.is_main_process else nullcontext()
    with lock, display, cpu_threads(config.training.threads):
        _Run(folder, identity, trainer, every, display).go()
    return folder


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
        self.config: RunConfig = trainer.config
        self.data: DataModule = trainer.data
        self.accelerator: Accelerator = trainer.accelerator
        self.records: list[dict[str, Any]] = []
        self.tracking: Tracking | None = None
        # With validation data, the test set is touched once, at the end.
        self.split = "val" if self.data.info.val_size else "test"

    def go(self) -> None:
        encode_weights(self.trainer.method.student())  # what cannot be saved is not trained
        with self._connected() as self.tracking:
            if self.accelerator.is_main_process:
                self.folder.claim(self.config, self.identity)
                if not self.folder.checkpoint.is_file():
                    self._look_around()
            self.accelerator.wait_for_everyone()
            self._resume()
            self.trainer.check_weights()
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
        environment = describe_environment(self.accelerator.device, precision_of(self.accelerator))
        write_json(self.folder.environment, environment)
        if self.tracking is not None:
            self.tracking.begin({**self.config.model_dump(mode="json"), "environment": environment})
            self.tracking.tell(self.records)

    def _peak_memory(self) -> int:
        """Of all processes that the run has had; records of an earlier version do not have it."""
        known = [record["peak_memory"] for record in self.records if "peak_memory" in record]
        return max(known, default=peak_memory(self.accelerator.device))

    def _look_around(self) -> None:
        line = look_around(self.folder, self.identity, self.trainer)
        if line is not None:
            self.display.say(line)

    def _resume(self) -> None:
        if not self.folder.checkpoint.exists():
            return
        state = self.folder.read_checkpoint(self.identity)
        try:
            self.trainer.load_state_dict(state)
            self.records = state["records"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.folder.checkpoint} is of another network or method "
                f"({str(error).splitlines()[0]}). Move it away, or start this run over with "
                "resume=never."
            ) from None
        self.display.say(f"Going on after epoch {self.trainer.epoch} in {self.folder.path}.")

    def _epoch(self) -> None:
        started = time.perf_counter()
        lr = self.trainer.lr
        means = self.trainer.train_epoch(self.display.step)
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {
            "epoch": self.trainer.epoch,
            "step": self.trainer.step,
            "lr": lr,
            "seconds": seconds,
            "train": means,
        }
        last = self.trainer.epoch == self.trainer.epochs
        if last or self.trainer.epoch % self.eval_every == 0:
            record["eval"] = {"split": self.split, **self._evaluate(self.split)}
        record["peak_memory"] = peak_memory(self.accelerator.device)
        self.records.append(record)
        if self.accelerator.is_main_process:
            self.folder.write_metrics(self.records)
            state = {"records": self.records, **self.trainer.state_dict()}
            self.folder.write_checkpoint(state, self.identity)
        if self.tracking is not None:
            self.tracking.tell(self.records)
        self.display.epoch(record, self.trainer.epochs)

    @cached_property
    def foldable(self) -> list[ConvBatchNorm]:
        """What is folded in every evaluation of the run."""
        method = self.trainer.method
        size = self.data.info.input_size
        return find_foldable(method, lambda: method.evaluate(probe_batch(method, size)))

    def _evaluate(self, split: Any) -> dict[str, Any]:
        figures = evaluate(self.trainer.method, self.data.eval_batches(split), self.foldable)
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

    def _finish(self) -> None:
        judged = self.records[-1]["eval"]
        if self.split == "val":
            judged = {"split": "test", **self._evaluate("test")}
        if not self.accelerator.is_main_process:
            return
        method = self.trainer.method
        backbone = method.peers.backbones[method.student_peer]
        network = method.student().cpu()
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
        if self.tracking is not None:
            files = [self.folder.path / WEIGHTS, self.folder.path / DESCRIPTION]
            self.tracking.finish(result, files)
        self.folder.write_result(result)
