"""One row: a step, or an epoch, of each contestant."""

import tempfile
from pathlib import Path
from typing import Any

import kdzoo
from benchmarks.speed.bare import Bare
from benchmarks.speed.conventional import Conventional
from benchmarks.speed.images import Decoded
from benchmarks.speed.objectives import OBJECTIVES
from benchmarks.speed.setting import Setting
from benchmarks.speed.turns import AfterEpochs, AfterSteps, Turns
from kdzoo.compose import compose, merge_all
from kdzoo.training.run import train

WARM_UP = 2


def measure_step(setting: Setting, data: Decoded, rounds: int, steps: int) -> dict[str, Any]:
    """Seconds of a training step: ``rounds`` turns of ``steps`` steps each."""
    few = data.first(len(data.splits.train), min(setting.batch_size, len(data.splits.test)))
    steps = min(steps, len(data.splits.train) // setting.batch_size)
    bare = Bare(setting, len(data.splits.classes))
    with tempfile.TemporaryDirectory() as folder:
        others = {"bare": _times(steps, bare.step)}
        if setting.method in OBJECTIVES:
            conventional = Conventional(setting, few, Path(folder))
            others["conventional"] = _times(steps, conventional.step)
        turns = Turns(others, WARM_UP, setting.device)
        per_epoch = len(data.splits.train) // setting.batch_size
        epochs, rest = divmod(rounds + WARM_UP, per_epoch // steps)
        total = epochs * per_epoch + rest * steps
        _train(setting, few, AfterSteps(turns, steps), folder, {"training": {"steps": total}})
    return _row(setting, "step", turns, steps)


def measure_epoch(setting: Setting, data: Decoded, rounds: int) -> dict[str, Any]:
    """Seconds of an epoch with its evaluation and checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        others = {}
        if setting.method in OBJECTIVES:
            others["conventional"] = Conventional(setting, data, Path(folder)).epoch
        turns = Turns(others, WARM_UP - 1, setting.device)
        epochs = rounds + WARM_UP - 1
        _train(setting, data, AfterEpochs(turns), folder, {"epochs": epochs})
    row = _row(setting, "epoch", turns, 1)
    sizes = {f"{name}_images": len(split) for name, split in data.splits.as_dict().items()}
    return {**row, **sizes}


def _times(count: int, act: Any) -> Any:
    def turn() -> None:
        for _ in range(count):
            act()

    return turn


def _train(
    setting: Setting, data: Decoded, display: Any, folder: str, length: dict[str, Any]
) -> None:
    method: dict[str, Any] = {"name": setting.method}
    if setting.method in ("kd", "shake"):  # or its teacher would be trained first
        classes = len(data.splits.classes)
        method["teacher"] = kdzoo.create_backbone(setting.backbone, classes)
    settings = {
        "method": method,
        "dataset": data.config,
        "lr": 0.001,  # on noise a network diverges at the usual rate
        "out": folder,
    }
    config = compose(settings=merge_all([setting.run(), settings, length]))
    train(config, display, dataset=data)


def _row(setting: Setting, what: str, turns: Turns, per_turn: int) -> dict[str, Any]:
    seconds = turns.summary(per_turn)
    return {
        **setting.as_dict(),
        "what": what,
        "rounds": len(turns.seconds["kdzoo"]) - turns.warm_up,
        "seconds": seconds,
        "ratios": {
            f"{one}/{other}": {
                figure: seconds[one][figure] / seconds[other][figure] for figure in seconds[one]
            }
            for one, other in (("kdzoo", "bare"), ("conventional", "kdzoo"))
            if {one, other} <= seconds.keys()
        },
    }
