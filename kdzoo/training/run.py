"""One run, from its config to its finished folder."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from statistics import median_high
from typing import Any

from accelerate import Accelerator, PartialState
from pydantic import ValidationError

from kdzoo import registry
from kdzoo.backbones.create import BackboneLike, as_backbone
from kdzoo.backbones.task import Task
from kdzoo.component import validate
from kdzoo.config import RunConfig
from kdzoo.data.dataset import Dataset
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import DataModule
from kdzoo.data.resize import choose_size
from kdzoo.data.splits import Splits
from kdzoo.errors import ConfigError, UserError
from kdzoo.files import write_json
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.checkpointing import checkpoint_blocks
from kdzoo.peers.cost import measure_cost
from kdzoo.peers.one_sample import check_one_sample
from kdzoo.seeding import derive
from kdzoo.student import DESCRIPTION, WEIGHTS, StudentInfo, encode_weights, save_student
from kdzoo.training.device import build_accelerator, cpu_threads, join_processes, precision_of
from kdzoo.training.display import Display, Silent
from kdzoo.training.environment import describe_environment
from kdzoo.training.eval_every import has_its_turn, settle
from kdzoo.training.failures import explained
from kdzoo.training.folding import ConvBatchNorm, find_foldable
from kdzoo.training.metrics import evaluate
from kdzoo.training.neighbours import look_around
from kdzoo.training.peak_memory import peak_memory, reset_peak_memory
from kdzoo.training.precision import check_precision, choose_precision
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
    asked, config = config, settle(config, identity.data.samples)
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
        _check_students(config, splits, networks)
    for field, first in before.items():
        same = networks if first.backbone == config.backbone else ()
        filled[field] = str(train(first, display, same, dataset).path)
    if asked != config:
        display.say(f"training.eval_every=auto is {config.training.eval_every} for data like these")
    trainer = build_trainer(config, source, splits, networks, filled, display)
    lock = folder.locked() if trainer.accelerator.is_main_process else nullcontext()
    with lock, display, cpu_threads(config.training.threads):
        _Run(folder, identity, trainer, display).go()
    return folder


def build_trainer(
    config: RunConfig,
    source: Dataset,
    splits: Splits,
    networks: Sequence[BackboneLike],
    filled: Mapping[str, str],
    display: Display,
) -> Trainer:
    """The data, the method and the optimiser of a run, ready for the first step.

    Args:
        config: the run.
        source: its data set.
        splits: what that loads.
        networks: a person's own, in place of the backbones that the config names.
        filled: for each setting that :func:`prerequisites` names, the folder of that run.
        display: told what a person should know about the data and the networks.

    Raises:
        UserError: the config cannot be carried out here.
    """
    processes = join_processes(config)
    check_precision(config.precision, processes.device)
    data = open_data(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
        channels_last=config.training.channels_last,
        splits=splits,
    )
    display.say(f"{data.info.name}: {data.info.summary()}; {data.description}")
    for remark in splits.remarks():
        display.say(remark)
    for note in data.notes:
        display.say(note)
    for reason in data.skipped:
        display.say(f"left out: {reason}")
    info = data.info
    task = Task(info.classes, info.mean, info.std)
    backbones = [
        replace(as_backbone(given, info.num_classes, info.input_size), task=task)
        for given in networks or config.backbones
    ]
    method_config = config.method.model_copy(update=filled)
    method_class = registry.methods.get(config.method.name)
    method = method_class(method_config, backbones, derive(config.seed, "weights"))
    if _are_alone(config, info.train_size, processes):
        try:
            method.check_one_sample()
        except ConfigError as error:
            raise error.inside("batch_size") from None
    for note in method.notes:
        display.say(note)
    precision = choose_precision(config.precision, processes.device, method)
    if precision.note is not None:
        display.say(precision.note)
    if config.training.checkpointing:
        blocks = checkpoint_blocks(method.peers)
        display.say(f"Activation checkpointing: {len(blocks)} blocks are computed twice.")
    return Trainer(config, method, data, build_accelerator(processes, precision.name))


def prerequisites(config: RunConfig) -> dict[str, RunConfig]:
    """The runs that a method needs finished before its own, by the setting each one fills.

    Each is the method's own run but for the settings that the method asks for, e.g. a teacher.
    """
    method_class = registry.methods.get(config.method.name)
    return {
        field: validate(RunConfig, {**config.model_dump(), **settings, "resume": "auto"})
        for field, settings in method_class.prerequisites(config.method).items()
    }


def _check_students(config: RunConfig, splits: Splits, networks: Sequence[BackboneLike]) -> None:
    """Refuse what cannot be trained on batches of one before other runs are trained for it."""
    if not _are_alone(config, len(splits.train), join_processes(config)):
        return
    size = choose_size(splits.train.images, config.dataset.image_size)
    input_size = (3, size.height, size.width)
    for given in networks or config.backbones:
        network = as_backbone(given, len(splits.classes), input_size).build(config.seed)
        try:
            check_one_sample(network, probe_batch(network, input_size, samples=1))
        except ConfigError as error:
            raise error.inside("batch_size") from None


def _are_alone(config: RunConfig, samples: int, processes: PartialState) -> bool:
    """Whether each process has one sample of a batch."""
    return min(config.batch_size, samples) // processes.num_processes == 1


class _Run:
    """The epochs of a run and what they leave in its folder.

    Every process of a distributed run trains and evaluates; the main one writes.
    """

    def __init__(
        self, folder: RunFolder, identity: RunIdentity, trainer: Trainer, display: Display
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.trainer = trainer
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
        if last or has_its_turn(self.trainer.epoch, self.config):
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
            "training_params": sum(p.numel() for p in method.parameters()),
            "seconds": sum(seconds),
            "seconds_per_epoch": median_high(seconds),
            "peak_memory": self._peak_memory(),
        }
        if self.tracking is not None:
            files = [self.folder.path / WEIGHTS, self.folder.path / DESCRIPTION]
            self.tracking.finish(result, files)
        self.folder.write_result(result)
