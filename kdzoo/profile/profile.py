"""A profile: where the time and the memory of a run's training step go, and a trace of some."""

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity

from kdzoo import registry
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.files import replacing
from kdzoo.profile.config import ProfileConfig
from kdzoo.profile.instruments import ELSEWHERE, parts_of
from kdzoo.profile.steps import Look, take_steps
from kdzoo.profile.watch import REST, Labels, Phase, SavedTensors, Stopwatch, Watch
from kdzoo.training.build import build_trainer, prerequisites
from kdzoo.training.device import cpu_threads, precision_of
from kdzoo.training.display import Display, Silent
from kdzoo.training.environment import describe_environment
from kdzoo.training.failures import explained
from kdzoo.training.peak_memory import peak_memory, reset_peak_memory
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import identify
from kdzoo.training.trainer import Trainer

TRACED = 2
"""Steps in the trace; one has ten thousand events and more."""

LAST = (ELSEWHERE, REST)
"""The parts that come at the end: what the others leave."""

Times = Counter[tuple[str, Phase]]


@dataclass(frozen=True)
class PartCost:
    """What one part of a step costs.

    Attributes:
        name: the part.
        forward_ms: milliseconds of a step, of the forward pass or of what has only one.
        backward_ms: of the backward pass.
        share: of the step, in percent.
        parameters: bytes of its parameters.
        saved: bytes that it saves for the backward pass, its activations.
    """

    name: str
    forward_ms: float
    backward_ms: float
    share: float
    parameters: int
    saved: int

    @property
    def total_ms(self) -> float:
        """Forward and backward."""
        return self.forward_ms + self.backward_ms


@dataclass(frozen=True)
class Memory:
    """What a training takes, in bytes.

    Attributes:
        peak: as ``result.json`` has it, see :func:`kdzoo.training.peak_memory.peak_memory`.
        before: the same just before the first step.
        parameters: of the method, those included that are not trained.
        gradients: of the parameters that are.
        optimizer: the optimiser's state.
        saved: all activations that a step saves for its backward pass.
    """

    peak: int
    before: int
    parameters: int
    gradients: int
    optimizer: int
    saved: int


@dataclass(frozen=True)
class Profile:
    """Where a step's time and memory go.

    Attributes:
        parts: in the order of the step; ``other`` last, with what is left.
        step_ms: milliseconds of a step that nothing looks into.
        in_parts_ms: of a step that is measured in parts, which the parts add up to, without what
            can be told to be work of the measuring itself.
        images_per_second: in training, from ``step_ms``.
        memory: of the training.
        steps: how many were measured either way; the figures are means of the faster half.
        environment: where.
    """

    parts: tuple[PartCost, ...]
    step_ms: float
    in_parts_ms: float
    images_per_second: float
    memory: Memory
    steps: int
    environment: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON can hold it."""
        return asdict(self)


@explained()
def profile(config: ProfileConfig, trace: Path, display: Display | None = None) -> Profile:
    """Carry out some steps of the training that a config describes, and see what they cost.

    Nothing of the run is left: no folder, no weights.

    Args:
        config: the run, and how many steps.
        trace: where the trace goes, a gzipped JSON file that Perfetto opens.
        display: told what a person should know about the data and the networks.

    Raises:
        UserError: the config cannot be carried out here, there are several processes, or the trace
            cannot be written.
    """
    display = display or Silent()
    with TemporaryDirectory() as folder, cpu_threads(config.training.threads):
        trainer = _trainer(config.run, Path(folder), display)
        if trainer.accelerator.num_processes > 1:
            raise UserError("kdzoo profile looks at one process: start it without torchrun.")
        trainer.check()
        trainer.compile(display.say)
        return _profile(trainer, config, trace)


def _trainer(config: RunConfig, folder: Path, display: Display) -> Trainer:
    source = registry.datasets.get(config.dataset.name)(config.dataset)
    splits = source.load()
    filled = {}
    for field, first in prerequisites(config).items():
        place = RunFolder.of(first, identify(first, splits))
        if not place.is_finished:
            display.say(f"method.{field}: one that is hardly trained stands for {place.path}.")
            training = first.training.model_copy(update={"steps": 1, "tracker": None})
            brief = first.model_copy(update={"out": str(folder), "training": training})
            place = train(brief)
        filled[field] = str(place.path)
    # of a captured step no part can be seen, and of a compiled one few
    compiles = config.training.compile is True
    training = config.training.model_copy(update={"cuda_graph": False, "compile": compiles})
    eager = config.model_copy(update={"training": training})
    return build_trainer(eager, source, splits, (), filled, display)


def _profile(trainer: Trainer, config: ProfileConfig, trace: Path) -> Profile:
    device, method = trainer.device, trainer.method
    whole, in_parts = Stopwatch(device), Stopwatch(device)
    saved = SavedTensors([*method.parameters(), *method.buffers()])
    reset_peak_memory(device)
    before = peak_memory(device)
    take_steps(trainer, [Look(Watch())] * config.warmup)
    reset_peak_memory(device)
    # in turn, so that whatever else the machine does meanwhile meets both alike
    take_steps(trainer, [Look(whole), Look(in_parts, in_parts=True)] * config.steps)
    peak = peak_memory(device)
    take_steps(trainer, [Look(saved, in_parts=True)])
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        take_steps(trainer, [Look(Labels(), in_parts=True)] * TRACED)
        _wait(device)
    content = _trace_of(profiler)
    with replacing(trace) as temporary:
        temporary.write_bytes(gzip.compress(content))

    step_ms = sum(_faster_half(whole.times()).values())
    times = _faster_half(in_parts.times())
    trained = [p for p in method.parameters() if p.requires_grad]
    state = trainer.optimizer.state_dict()["state"].values()
    sizes = {name: _size(part.parameters()) for name, part in parts_of(method).items()}
    return Profile(
        parts=_costs(times, saved.bytes, sizes),
        step_ms=step_ms,
        in_parts_ms=sum(times.values()),
        images_per_second=1000 * _batch_size(trainer) / step_ms,
        memory=Memory(
            peak=peak,
            before=before,
            parameters=_size(method.parameters()),
            gradients=_size(trained),
            optimizer=_size(v for one in state for v in one.values() if isinstance(v, Tensor)),
            saved=saved.bytes.total(),
        ),
        steps=config.steps,
        environment=describe_environment(device, precision_of(trainer.accelerator)),
    )


def _trace_of(profiler: torch.profiler.profile) -> bytes:
    """What was recorded, as Perfetto reads it."""
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder, "trace.json")
            profiler.export_chrome_trace(str(path))
            content = path.read_bytes()
        json.loads(content)
    except (OSError, ValueError):  # torch says nothing of a full disk, and leaves no file or a part
        raise UserError(
            f"The trace could not be written whole to {tempfile.gettempdir()}, the folder of "
            "temporary files. Make room there; TMPDIR names another one."
        ) from None
    return content


def _faster_half(times: Sequence[Times]) -> Times:
    """The means over the faster half of the steps, which other programs have disturbed less."""
    fast = sorted(times, key=lambda one: one.total())[: (len(times) + 1) // 2]
    names = dict.fromkeys(name for one in fast for name in one)
    return Counter({name: fmean(one[name] for one in fast) for name in names})


def _costs(times: Times, saved: Counter[str], sizes: dict[str, int]) -> tuple[PartCost, ...]:
    total = sum(times.values())
    names = [name for name, _ in times if name not in LAST]
    return tuple(
        PartCost(
            name,
            forward_ms=times[name, "forward"],
            backward_ms=times[name, "backward"],
            share=100 * (times[name, "forward"] + times[name, "backward"]) / total,
            parameters=sizes.get(name, 0),
            saved=saved[name],
        )
        for name in [*dict.fromkeys(names), *LAST]
        if times[name, "forward"] or times[name, "backward"]
    )


def _batch_size(trainer: Trainer) -> int:
    """Images of a step; the last, smaller batch of an epoch is dropped."""
    return min(trainer.config.batch_size, trainer.data.info.train_size)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
