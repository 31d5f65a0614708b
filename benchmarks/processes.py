"""What a second core brings: two processes that share each batch, or two threads of one.

    python benchmarks/processes.py
    python benchmarks/processes.py --backbone resnet8 --steps 4

Seconds a step, the least of ``--rounds`` interleaved trainings of ``--steps`` steps each.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.multiprocessing as mp

from kdzoo import registry
from kdzoo.compose import compose
from kdzoo.training.build import build_trainer
from kdzoo.training.display import Silent

LAYOUTS = {
    "1 process, 1 thread": (1, 1, "auto"),
    "1 process, 2 threads": (1, 2, "auto"),
    "2 processes, batch norm over each share": (2, 1, "false"),
    "2 processes, batch norm over the whole batch": (2, 1, "true"),
}
"""Processes, threads of each, and ``training.sync_batch_norm``."""


def train(
    rank: int, processes: int, threads: int, sync: str, args: argparse.Namespace, folder: str
) -> None:
    """Train as one process of several, and leave the least seconds of a step in the folder."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    os.environ.update(LOCAL_WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    if processes > 1:
        meeting = f"file://{folder}/meeting"
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=processes)
    config = compose(
        [
            *(f"method={args.method}", f"backbone={args.backbone}", "dataset.image_size=32"),
            *("device=cpu", "precision=fp32", f"batch_size={args.batch_size}"),
            *(f"training.steps={args.steps}", f"training.sync_batch_norm={sync}"),
        ]
    )
    source = registry.datasets.get(config.dataset.name)(config.dataset)
    trainer = build_trainer(config, source, source.load(), (), {}, Silent())
    torch.set_num_threads(threads)  # not before: Accelerate takes a number of its own
    ends = [time.perf_counter()]
    trainer.train_epoch(lambda tally: ends.append(time.perf_counter()))
    steps = [end - start for start, end in pairwise(ends[1:])]
    if rank == 0:
        Path(folder, "seconds.json").write_text(json.dumps(min(steps)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="mbde")
    parser.add_argument("--backbone", default="resnet32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        for name, (processes, threads, sync) in LAYOUTS.items():
            with tempfile.TemporaryDirectory() as folder:
                work = partial(
                    train,
                    processes=processes,
                    threads=threads,
                    sync=sync,
                    args=args,
                    folder=folder,
                )
                mp.start_processes(work, nprocs=processes, start_method="spawn")
                seconds[name].append(json.loads(Path(folder, "seconds.json").read_text()))
    for name, measured in seconds.items():
        print(f"{name:<46} {min(measured):.3f} s a step")


if __name__ == "__main__":
    main()
