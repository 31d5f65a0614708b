"""How often a run is evaluated where its config leaves that open."""

import pytest

from kdzoo.compose import compose
from kdzoo.training.display import Silent
from kdzoo.training.eval_every import evaluation_interval
from kdzoo.training.run import train

CIFAR = {"train": 50_000, "test": 10_000}
QUICK = ("method=independent", "backbone=resnet8", "device=cpu", "precision=fp32", "batch_size=64")


@pytest.mark.parametrize(
    ("settings", "samples", "every"),
    [
        ([], CIFAR, 1),
        ([], {"train": 1437, "test": 360}, 1),  # the digits
        ([], {"train": 10_000, "test": 10_000}, 4),  # 9 / 2.4
        ([], {"train": 10_000, "val": 1_000, "test": 10_000}, 1),
        (["dataset.train_subset=5000"], CIFAR, 8),  # 9 * 2 / 2.4
        (["dataset.val_fraction=0.5"], CIFAR, 4),
        (["dataset.train_subset=5000", "dataset.val_fraction=0.1"], CIFAR, 4),
        (["dataset.imbalance=100"], CIFAR, 4),  # 10,749 images are left
        (["training.eval_every=1"], {"train": 10, "test": 10_000}, 1),
    ],
)
def test_evaluation_takes_no_more_than_a_tenth_of_the_time(settings, samples, every):
    assert evaluation_interval(compose(settings), samples) == every


class Heard(Silent):
    def __init__(self):
        self.lines, self.evaluated = [], []

    def say(self, line):
        self.lines.append(line)

    def epoch(self, record, epochs):
        if "eval" in record:
            self.evaluated.append(record["epoch"])


def test_a_run_says_what_it_chose_and_its_config_repeats_it(tmp_path):
    config = [*QUICK, "epochs=3", "dataset.train_subset=700", f"out={tmp_path}"]
    heard, again = Heard(), Heard()
    folder = train(compose(config), heard)
    assert heard.evaluated == [2, 3]
    assert any(line.startswith("Evaluated after every 2 epochs") for line in heard.lines)
    assert train(compose([str(folder.config)]), again).path == folder.path
    assert [line for line in again.lines if "is finished" in line]
