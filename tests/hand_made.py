"""Run folders made by hand, in the format that ``kdzoo run`` writes."""

import json
from pathlib import Path

import numpy as np
from torch import nn

from kdzoo.compose import to_yaml
from kdzoo.data.fingerprint import DataFingerprint
from kdzoo.files import write_json
from kdzoo.student import StudentInfo, save_student
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import Identities, RunIdentity

IDENTITIES = Identities()
ENVIRONMENT = {
    "python": "3.11.7",
    "system": "Linux x86_64",
    "packages": {"kdzoo": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.2", "timm": "1.0.31"},
    "commit": "0123456789ab",
    "device": "Test CPU",
    "precision": "fp32",
    "threads": 1,
    "cpus": 2,
    "cuda": None,
}


def _score(top1: float) -> dict[str, float]:
    return {"top1": top1, "top5": min(100.0, top1 + 3), "nll": (100 - top1) / 30, "ece": 1.5}


def judged(student: float, peers: int) -> dict:
    figures = {"split": "test", "student": _score(student)}
    figures["peers"] = [_score(student - 0.2 * index) for index in range(peers)]
    if peers > 1:
        figures["ensemble"] = _score(min(100.0, student + 1.0))
        figures["diversity"] = {"disagreement": 4.0 + student % 1, "l2": 0.1}
    return figures


def identity_of(config) -> RunIdentity:
    """The identity of a run; of one whose data are not bundled, it is made up."""
    if config.dataset.name == "digits":
        return IDENTITIES.identify(config)
    return RunIdentity(config.identity(), DataFingerprint(10, config.dataset.name, {}), (), {})


def folder_of(config) -> RunFolder:
    """Where a run belongs."""
    return RunFolder.of(config, identity_of(config))


def finish(config, student: float, epochs: int = 5, **figures) -> RunFolder:
    """A finished run folder whose student has that accuracy; ``figures`` replace its result's."""
    folder = folder_of(config)
    folder.path.mkdir(parents=True, exist_ok=True)
    peers = config.method.peers
    curve = student - 40 * np.exp(-np.arange(1, epochs + 1) / (epochs / 5))
    folder.config.write_text(to_yaml(config))
    write_json(folder.identity, identity_of(config).to_json())
    folder.environment.write_text(json.dumps(ENVIRONMENT))
    records = [
        {
            "epoch": epoch + 1,
            "step": 10 * (epoch + 1),
            "lr": 0.1,
            "seconds": 0.5,
            "train": {"loss": 1.0, "ce": 1.0, "student_top1": 90.0},
            "eval": judged(float(top1), peers),
        }
        for epoch, top1 in enumerate(curve)
    ]
    folder.write_metrics(records)
    info = StudentInfo(
        backbone=config.backbone_name,
        kwargs={},
        num_classes=10,
        input_size=(3, 8, 8),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=tuple("0123456789"),
    )
    checksum = save_student(folder.path, nn.Linear(2, 2), info)
    folder.write_result(
        {
            "method": config.method.name,
            "backbone": config.backbone_name,
            "dataset": config.dataset.name,
            "seed": config.seed,
            "epochs": epochs,
            "steps": 10 * epochs,
            "train_size": 1437,
            "val_size": 0,
            "test_size": 360,
            "last": judged(student, peers),
            "best": {"epoch": epochs - 1, **judged(student + 0.3, peers)},
            "student": {"params": 78_042, "macs": 12_461_632, "sha256": checksum},
            "training_params": 78_042 * peers,
            "seconds": 0.5 * epochs * peers,
            "seconds_per_epoch": 0.5 * peers,
            "peak_memory": 700 * 2**20,
            **figures,
        }
    )
    return folder


def write_unsealed(file: Path, results: dict) -> None:
    """A ``results.json`` that somebody has changed and trusts: without its checksum."""
    results.pop("sha256", None)
    file.write_text(json.dumps(results))


def read_records(folder: RunFolder) -> list[dict]:
    """What ``metrics.jsonl`` holds, a record an epoch."""
    return [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
