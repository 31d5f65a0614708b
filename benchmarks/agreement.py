"""How far several processes are from one: python benchmarks/agreement.py

Every registered method takes the same steps on one, two and three processes (gloo, on this machine)
that share each batch, with batch norm over the whole batch. Largest relative differences to one
process, of 20 steps, of two and of three processes:

- loss, float64: of a step's loss, in double precision;
- loss, gradient: in single precision, each step from the weights, buffers and memories that the one
  process had before it, so that only the step itself differs (of a gradient: of all weights, in the
  2-norm);
- 20 steps: of a step's loss in single precision, each from what the step before has left;
- small rate: the same at a small rate throughout, at which rounding is not magnified from step to
  step, and without clipping, which would hide a gradient of another length;
- half of it: of one process at half that rate, which is what a gradient half as large would do;
- smooth: as *20 steps* with softplus for every ReLU, whose gradient then has no step at zero;
- noise floor: as *20 steps* of one process whose first weights were rounded once more, by one part
  in 16 million, the most that a sum in another order may do to a number in single precision.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from kdzoo import registry
from kdzoo.backbones.create import as_backbone
from kdzoo.compose import compose
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import DataModule
from kdzoo.training.build import prerequisites
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.run import train
from kdzoo.training.trainer import Trainer

ROUNDING = 2.0**-24
PLAIN_STEPS = ("schedule.name=constant", "schedule.warmup=0", "training.clip_norm=null")
COLUMNS = {
    "loss, float64": "double",
    "loss": "forced",
    "gradient": "forced",
    "20 steps": "free",
    "small rate": "small",
    "half of it": "small",
    "smooth": "smooth",
    "noise floor": "free",
}
"""Of the table, and the training that each is of."""
SETTINGS = (
    *("backbone=resnet8", "device=cpu", "precision=fp32", "training.threads=1", "epochs=1"),
    "training.sync_batch_norm=true",
)


class Doubled(DataModule):
    """The batches of another, in double precision."""

    description = "in double precision"

    def __init__(self, data: DataModule) -> None:
        self.info, self.data = data.info, data
        self.steps_per_epoch, self.shares = data.steps_per_epoch, data.shares

    def train_batches(self, *args, **kwargs):
        for x, *rest in self.data.train_batches(*args, **kwargs):
            yield x.double(), *rest

    def eval_batches(self, split):
        return self.data.eval_batches(split)


@dataclass
class Steps:
    """What the steps of a training came to, by step.

    Attributes:
        losses: of the whole batch.
        gradients: of all weights, each a vector.
        before: the weights and buffers that it started from.
    """

    losses: list[float] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    before: list[list[Tensor]] = field(default_factory=list)


def steps(
    settings: Sequence[str],
    *,
    double: bool = False,
    smooth: bool = False,
    noise: int | None = None,
    forced: Sequence[Sequence[Tensor]] = (),
) -> Steps:
    """Train for some steps.

    Args:
        settings: of the run.
        double: whether in double precision.
        smooth: whether with softplus for every ReLU.
        noise: seed of a rounding of the first weights.
        forced: what each step is to start from; left out, from what the one before has left.
    """
    torch.manual_seed(0)
    config = compose([*SETTINGS, *settings])
    processes = join_processes(config)
    method = registry.methods.get(config.method.name)
    data = open_data(
        config.dataset,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
        per_class=method.images_per_class(config.method),
        last_batch=method.repeats_last_batch(config.method),
    )
    backbone = as_backbone(config.backbones[0], data.info.num_classes, data.info.input_size)
    built = method(config.method, [backbone], config.seed)
    if smooth:
        soften(built)
    if double:
        built, data = built.double(), Doubled(data)
    trainer = Trainer(config, built, data, build_accelerator(processes, "fp32"), lambda line: None)
    if noise is not None:
        generator = torch.Generator().manual_seed(noise)
        with torch.no_grad():
            for weight in built.parameters():
                signs = torch.randint(2, weight.shape, generator=generator) * 2 - 1
                weight.mul_(1 + ROUNDING * signs)
    found = Steps()
    state = [*built.parameters(), *built.buffers()]

    @torch.no_grad()
    def begin(*_) -> None:
        if forced:
            for present, given in zip(state, forced[len(found.losses)], strict=True):
                present.copy_(given)
        found.before.append([tensor.detach().clone() for tensor in state])

    def keep_gradient(*_) -> None:
        gradients = [weight.grad for weight in built.parameters() if weight.grad is not None]
        found.gradients.append(torch.cat([gradient.flatten() for gradient in gradients]))

    built.register_forward_pre_hook(begin)
    built.register_forward_hook(
        lambda _, inputs, result: found.losses.append(sum(map(float, result.terms.values())))
    )
    trainer.optimizer.optimizer.register_step_pre_hook(keep_gradient)
    trainer.train_epoch(lambda tally: None)
    if len(found.losses) < (config.training.steps or 0):
        raise SystemExit(f"An epoch has {len(found.losses)} steps: take fewer, or smaller batches.")
    return found


def soften(network: nn.Module) -> None:
    """Put softplus in the place of every ReLU."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus())


def on_processes(count: int, work: Callable[[int], None], folder: Path) -> None:
    """Call ``work(rank)`` in so many processes of one run."""
    start = partial(as_rank, work, folder / f"meeting-{count}", count)
    mp.start_processes(start, nprocs=count, start_method="fork")


def as_rank(work: Callable[[int], None], meeting: Path, count: int, rank: int) -> None:
    """Call ``work(rank)`` as one process of so many, which meet in a file that is not there yet."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    os.environ.update(LOCAL_WORLD_SIZE=str(count))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="1")  # looked at, not used
    os.environ["OMP_NUM_THREADS"] = "1"  # or Accelerate takes as many threads as there are cores
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=count)
    work(rank)
    torch.distributed.destroy_process_group()


def furthest(ours: Sequence[float], others: Sequence[float]) -> float:
    """The largest relative difference of a step."""
    return max(abs(a - b) / abs(a) for a, b in zip(ours, others, strict=True))


def furthest_gradient(ours: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest relative distance of a step's gradients."""
    pairs = zip(ours, others, strict=True)
    return max(float((a - b).norm() / a.norm()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=sorted(registry.methods.names()))
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--small-rate", type=float, default=1e-5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"| method | {' | '.join(arguments.columns)} |")
    print("|---" * (1 + len(arguments.columns)) + "|", flush=True)
    for method in arguments.methods:
        settings = [f"method={method}", f"training.steps={arguments.steps}"]
        settings += [f"batch_size={arguments.batch}", f"lr={arguments.lr}"]
        with tempfile.TemporaryDirectory() as name:
            cells = row(settings, arguments.small_rate, arguments.columns, Path(name))
        print(f"| `{method}` | {' | '.join(f'{cell:.0e}' for cell in cells)} |", flush=True)


def row(
    settings: list[str], small_rate: float, columns: Sequence[str], folder: Path
) -> list[float]:
    """A method's differences, in the order of the columns."""
    config = compose([*SETTINGS, *settings, f"out={folder / 'runs'}"])
    for setting, first in prerequisites(config).items():
        settings.append(f"method.{setting}={train(first).path}")
    small = [*settings, *PLAIN_STEPS, f"lr={small_rate}"]
    alone: dict[str, Steps] = {}
    trainings: dict[str, Callable[[], Steps]] = {
        "double": lambda: steps(settings, double=True),
        "free": lambda: steps(settings),
        "forced": lambda: steps(settings, forced=alone["forced"].before if alone else ()),
        "small": lambda: steps(small),
        "smooth": lambda: steps(settings, smooth=True),
    }
    wanted = {COLUMNS[column] for column in columns}

    def work(rank: int, count: int) -> None:
        found = {name: trainings[name]() for name in trainings if name in wanted}
        if rank == 0:
            torch.save(found, folder / str(count))

    torch.serialization.add_safe_globals([Steps])
    on_processes(1, partial(work, count=1), folder)
    alone.update(torch.load(folder / "1"))
    for count in (2, 3):
        on_processes(count, partial(work, count=count), folder)
    several = [torch.load(folder / str(count)) for count in (2, 3)]

    def cell(column: str) -> float:
        name = COLUMNS[column]
        one, others = alone[name], [found[name] for found in several]
        if column == "gradient":
            return max(furthest_gradient(one.gradients, other.gradients) for other in others)
        if column == "half of it":
            others = [steps([*small, f"lr={small_rate / 2}"])]
        if column == "noise floor":
            others = [steps(settings, noise=seed) for seed in (0, 1, 2)]
        return max(furthest(one.losses, other.losses) for other in others)

    return [cell(column) for column in columns]


if __name__ == "__main__":
    main()
