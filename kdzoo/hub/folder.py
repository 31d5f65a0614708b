"""A run's student as a folder that timm loads: ``timm.create_model("local-dir:PATH", ...)``."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from kdzoo.errors import UserError, quoted
from kdzoo.files import ANOTHER_TO, check_place, read_json, replacing
from kdzoo.hub.card import model_card
from kdzoo.registry import backbones
from kdzoo.student import (
    NAMES_FILES,
    OF_ARCHITECTURE,
    StudentInfo,
    encode_weights,
    find_student,
    load_student,
    read_student_info,
    refuse_run,
)
from kdzoo.timm import PREFIX
from kdzoo.training.result import Result, check_figures
from kdzoo.training.run_folder import RunFolder

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
"""Under these names timm, and the hub, look for them."""

TOLERANCE = 1e-4
"""The largest difference to the student's own logits, relative to the largest of them or to 1."""


def write_timm_folder(run: Path, to: Path | None, repo: str | None = None) -> Path:
    """Write a finished run's student as timm's ``config.json`` and weights, with a model card.

    Nothing is written before timm has loaded it and given the student's own logits.

    Args:
        run: the run folder, or a file of it.
        to: the folder to write; by default ``timm`` in the run folder.
        repo: where on the hub it is going to be, for the card.

    Returns:
        the folder.

    Raises:
        UserError: the run has no student, its network is neither kdzoo's nor timm's, timm does not
            give the same logits, or the folder cannot be written or holds files of something else.
    """
    run = find_student(run)
    info = read_student_info(run)
    architecture = _architecture(info.backbone)
    student = load_student(run)
    folder = to or run / "timm"
    refuse_run(folder)
    check_place(folder, FILES, lambda: _is_export(folder))
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary)
        (prepared / WEIGHTS).write_bytes(encode_weights(student, info.as_text()))
        config = json.dumps(_config(architecture, info), indent=2, allow_nan=False)
        (prepared / CONFIG).write_text(config + "\n", encoding="utf-8")
        card = model_card(info, architecture, _result(run), repo)
        (prepared / CARD).write_text(card, encoding="utf-8")
        _check(prepared, student, info.input_size)
        for name in FILES:
            with replacing(folder / name, ANOTHER_TO) as path:
                shutil.copyfile(prepared / name, path)
    return folder


def _is_export(folder: Path) -> bool:
    """Whether it is a model of timm's, with a card that names kdzoo."""
    try:
        config = read_json(folder / CONFIG)
        card = (folder / CARD).read_text(encoding="utf-8")
    except (UserError, OSError, UnicodeDecodeError):
        return False
    known = isinstance(config, dict) and {"architecture", "pretrained_cfg"} <= config.keys()
    return known and "kdzoo" in card


def _architecture(backbone: str) -> str:
    """The name in timm's registry of what a student calls its backbone."""
    if backbone.startswith("timm/"):
        return backbone.removeprefix("timm/").partition(".")[0]  # without the tag of other weights
    if backbone in backbones.names():
        return PREFIX + backbone
    raise UserError(
        f"timm cannot load the student's network, {quoted(backbone)}: it is neither timm's nor "
        "kdzoo's own. Export it as safetensors, onnx or pt2."
    )


def _config(architecture: str, info: StudentInfo) -> dict[str, Any]:
    """What ``config.json`` says: the network, and what its weights were trained on."""
    kwargs = {key: value for key, value in info.kwargs.items() if key not in NAMES_FILES}
    network = timm.create_model(
        architecture, num_classes=info.num_classes, in_chans=info.input_size[0], **kwargs
    )
    # what timm says of its own weights, such as their licence, is not true of these
    described: Any = network.pretrained_cfg
    kept = {key: described[key] for key in OF_ARCHITECTURE if key in described}
    return {
        "architecture": architecture,
        "num_classes": info.num_classes,
        "num_features": network.num_features,
        "model_args": kwargs,
        "pretrained_cfg": {**kept, **info.timm_config()},
    }


def _result(run: Path) -> Result | None:
    """The run's figures; None where the folder holds a student and no run."""
    folder = RunFolder(run)
    if not folder.result.exists():
        return None
    return check_figures(Result, folder.read_result(), str(folder.result))


@torch.no_grad()
def _check(folder: Path, student: nn.Module, input_size: tuple[int, int, int]) -> None:
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    expected = student(images)
    error = (loaded(images) - expected).abs().max() / expected.abs().max().clamp(min=1)
    if not error <= TOLERANCE:
        raise UserError(
            f"timm's network gives logits that differ from the student's by {error:.1e}, more than "
            f"{TOLERANCE:.0e}; nothing was written."
        )
