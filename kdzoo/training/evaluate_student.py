"""The student of a run folder, rebuilt and measured."""

from pathlib import Path

import torch

from kdzoo.component import validate
from kdzoo.compose import read_stored
from kdzoo.config import RunConfig
from kdzoo.data.open import open_data
from kdzoo.errors import UserError
from kdzoo.student import load_student
from kdzoo.training.device import choose_device
from kdzoo.training.metrics import Accuracy
from kdzoo.training.run_folder import RunFolder


@torch.inference_mode()
def evaluate_student(path: Path, trust: bool = False) -> dict[str, float]:
    """Top-1 and top-5 (percent) and nll (nats) of a run's student on the run's test set.

    Args:
        path: the run folder.
        trust: as in :func:`~kdzoo.student.load_student`.

    Raises:
        UserError: the folder holds no finished run.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise UserError(f"{path} is no run folder: there is no {folder.config.name} in it.")
    config = validate(RunConfig, read_stored(folder.config))
    network = load_student(path, trust)
    device = choose_device(config.device)
    data = open_data(config.dataset, batch_size=config.batch_size, seed=config.seed, device=device)
    network.to(device)
    accuracy = Accuracy(1, device)
    for x, y in data.eval_batches("test"):
        accuracy.update(network(x)[None], y)
    return accuracy.compute()[0]
