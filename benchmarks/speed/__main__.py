"""``python -m benchmarks.speed [METHOD]...``."""

import argparse
import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch

import benchmarks.speed
from benchmarks.speed.images import from_folder, noise
from benchmarks.speed.measure import measure_epoch, measure_step
from benchmarks.speed.networks import SHAPES
from benchmarks.speed.setting import PRECISIONS, Setting
from benchmarks.speed.table import markdown
from kdzoo.training.environment import describe_environment


def main(arguments: list[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    data = from_folder(given.images) if given.images else noise(*given.sizes)
    report: dict[str, Any] = {
        "environment": describe_environment(torch.device(given.device), "as in each row"),
        "load": os.getloadavg(),
        "rows": [],
    }
    for method, backbone, precision in product(
        given.methods or SHAPES, given.backbone, given.precision
    ):
        setting = Setting(
            method,
            backbone,
            precision,
            given.device,
            given.batch_size,
            given.workers,
            given.threads,
        )
        if given.rounds:
            report["rows"].append(measure_step(setting, data, given.rounds, given.steps))
            _show(report, given.json)
        if given.epochs:
            report["rows"].append(measure_epoch(setting, data, given.epochs))
            _show(report, given.json)
    clocks = {"The time that passed": ""}
    if given.device == "cpu":
        clocks["CPU time of the process, without the data loader's workers"] = "cpu_"
    for title, clock in clocks.items():
        table = markdown(report["rows"], clock)
        print(f"\n{title}, median [minimum] of steps, mean of epochs:\n\n{table}")


def _show(report: dict[str, Any], file: Path | None) -> None:
    """The last row, and all so far in the file: a long benchmark may be cut off."""
    print(markdown(report["rows"][-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    if file:
        file.write_text(json.dumps(report, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=benchmarks.speed.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("methods", nargs="*", metavar="METHOD", help=f"all by default: {', '.join(SHAPES)}")
    add("--backbone", nargs="+", default=["resnet32"], help="resnet32, resnet110, vgg16 ...")
    add("--precision", nargs="+", default=["fp32"], choices=list(PRECISIONS))
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--batch-size", type=int, default=128)
    add("--threads", type=int, help="CPU threads; torch's own number by default")
    add("--workers", type=int, default=2, help="of the conventional trainer's DataLoader")
    add("--rounds", type=int, default=12, help="turns of steps that count; 0 for none")
    add("--steps", type=int, default=1, help="steps in a turn; more of them on a GPU")
    add("--epochs", type=int, default=0, help="whole epochs that count; none by default")
    add("--images", type=Path, help="an image folder with train and test; noise by default")
    add("--sizes", type=int, nargs=2, default=[5000, 1000], metavar=("TRAIN", "TEST"))
    add("--json", type=Path, help="write everything there")
    return parser


if __name__ == "__main__":
    main()
