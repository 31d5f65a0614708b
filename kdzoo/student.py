"""The deployed network on disk: its weights, and how to rebuild what they belong to."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kdzoo.backbones.create import BackboneConfig, make_backbone
from kdzoo.component import Config
from kdzoo.errors import UserError, quoted
from kdzoo.files import read_json, replacing, write_json

WEIGHTS = "student.safetensors"
DESCRIPTION = "student.json"


class StudentInfo(Config):
    """How to rebuild a student and how to feed it."""

    backbone: str
    """The backbone's name, for ``kdzoo.create_backbone`` or, behind ``timm/``, timm's."""
    kwargs: dict[str, Any]
    """Keyword arguments the backbone was built with."""
    num_classes: int
    """K, the number of outputs."""
    input_size: tuple[int, int, int]
    """(C, H, W) of one image."""
    mean: tuple[float, ...]
    """Of each channel, for pixels in [0, 1]: subtracted from an image."""
    std: tuple[float, ...]
    """Of each channel: what the image is then divided by."""
    classes: tuple[str, ...]
    """The classes' names, in the order of the outputs."""


def save_student(folder: Path, network: nn.Module, info: StudentInfo) -> None:
    """Write ``student.safetensors`` and ``student.json``.

    Raises:
        UserError: the folder cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / DESCRIPTION, info.model_dump(mode="json"))


def read_student_info(folder: Path) -> StudentInfo:
    """What ``student.json`` says.

    Raises:
        UserError: the folder holds no student, or not one of kdzoo's.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(
            f"{folder} holds no student: there is no {DESCRIPTION}. Is the run finished?"
        )
    try:
        return StudentInfo.model_validate(read_json(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path} does not describe a student: {where}: {problem['msg']}.") from None


def load_student(folder: str | Path, trust: bool | Collection[str] = False) -> nn.Module:
    """The plain network with the student's weights, in eval mode, on the CPU.

    Args:
        folder: a run folder, or any folder with ``student.safetensors`` and ``student.json``.
        trust: import the code that ``student.json`` names, where its backbone is a
            ``package.module:callable``; or the names for which to. No other file of the folder, and
            no other name in it, can have code carried out.

    Raises:
        UserError: there is no student, its backbone is code that is not trusted, or its weights are
            damaged or of another network.
    """
    folder = Path(folder)
    info = read_student_info(folder)
    trusted = trust if isinstance(trust, bool) else info.backbone in trust
    if ":" in info.backbone and not trusted:
        raise UserError(
            f"The student in {folder} is built by code: {quoted(info.backbone)}. If you know that "
            "code and trust the folder, say so: --trust on the command line, trust=True in Python, "
            f"method.teacher_backbone={info.backbone} for a teacher."
        )
    config = BackboneConfig(name=info.backbone, kwargs=_without_files(info.kwargs))
    network = make_backbone(config, info.num_classes, info.input_size).network()
    path = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{path} does not hold the weights of a {info.backbone}: {str(error).splitlines()[0]} "
            "Train it again with resume=never."
        ) from None
    return network.eval()


NAMES_FILES = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"}
    | {"checkpoint_path", "cache_dir", "weights"}
)
"""Arguments of networks that say where to read weights, which would only be overwritten."""


def _without_files(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key not in NAMES_FILES}
