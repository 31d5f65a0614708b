"""How far the losses of several processes are from those of one: python benchmarks/agreement.py

Every method takes the same steps on one, two and three processes (gloo, on this machine) that share
each batch, with batch norm over the whole batch. Beside the largest relative difference of a step's
loss stands the noise floor: that of one process whose first weights were rounded once more, by one
part in 16 million, the most that a sum in another order may do to a number in single precision.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.multiprocessing as mp

from kdzoo import registry
from kdzoo.backbones.create import as_backbone
from kdzoo.compose import compose
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import DataModule
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.trainer import Trainer

ROUNDING = 2.0**-24
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
        for x, y in self.data.train_batches(*args, **kwargs):
            yield x.double(), y

    def eval_batches(self, split):
        return self.data.eval_batches(split)


def losses(method: str, settings: Sequence[str], double: bool, noise: int | None = None):
    """The loss of each step, of the whole batch; ``noise`` is the seed of a rounding."""
    torch.manual_seed(0)
    config = compose([*SETTINGS, f"method={method}", *settings])
    processes = join_processes(config)
    data = open_data(
        config.dataset,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
    )
    backbone = as_backbone(config.backbones[0], data.info.num_classes, data.info.input_size)
    built = registry.methods.get(method)(config.method, [backbone], config.seed)
    if double:
        built, data = built.double(), Doubled(data)
    trainer = Trainer(config, built, data, build_accelerator(processes, "fp32"), lambda line: None)
    if noise is not None:
        generator = torch.Generator().manual_seed(noise)
        with torch.no_grad():
            for weight in built.parameters():
                signs = torch.randint(2, weight.shape, generator=generator) * 2 - 1
                weight.mul_(1 + ROUNDING * signs)
    found = []
    built.register_forward_hook(
        lambda _, inputs, result: found.append(sum(map(float, result.terms.values())))
    )
    trainer.train_epoch(lambda tally: None)
    return found


def on_processes(count: int, work: Callable[[int], None], folder: Path) -> None:
    """Call ``work(rank)`` in so many processes of one run."""
    start = partial(_as_rank, work, folder / f"meeting-{count}", count)
    mp.start_processes(start, nprocs=count, start_method="fork")


def _as_rank(work: Callable[[int], None], meeting: Path, count: int, rank: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    os.environ.update(LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=count)
    work(rank)
    torch.distributed.destroy_process_group()


def furthest(ours: Sequence[float], others: Sequence[float]) -> float:
    """The largest relative difference of a step."""
    return max(abs(a - b) / abs(a) for a, b in zip(ours, others, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=sorted(registry.methods.names()))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=0.1)
    arguments = parser.parse_args()
    methods = [name for name in arguments.methods if name != "kd"]  # its teacher is a run
    settings = [f"training.steps={arguments.steps}", f"batch_size={arguments.batch}"]
    settings.append(f"lr={arguments.lr}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print("| method | float64: 2 processes | 3 | float32: 2 processes | 3 | noise floor |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def work(rank: int, count: int) -> None:
            both = {
                (method, double): losses(method, settings, double)
                for method in methods
                for double in (True, False)
            }
            if rank == 0:
                torch.save(both, folder / str(count))

        for count in (1, 2, 3):
            on_processes(count, partial(work, count=count), folder)
        alone, *several = (torch.load(folder / str(count)) for count in (1, 2, 3))
        for method in methods:
            cells = [
                f"{furthest(alone[method, double], one[method, double]):.0e}"
                for double in (True, False)
                for one in several
            ]
            noise = [
                furthest(alone[method, False], losses(method, settings, False, seed))
                for seed in (0, 1, 2)
            ]
            print(f"| `{method}` | {' | '.join(cells)} | {max(noise):.0e} |", flush=True)


if __name__ == "__main__":
    main()
