"""The deployed network on disk: its weights, and how to rebuild what they belong to."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.create import make_backbone
from kdzoo.backbones.weights import load_weights, without_prefixes
from kdzoo.component import Config, validate
from kdzoo.errors import ConfigError, UnreadableError, UserError, printable, quoted
from kdzoo.files import ANOTHER_FOLDER, ANOTHER_TO, read_bytes, read_json, replacing, write_json
from kdzoo.identity import NotIdentity, identity_of
from kdzoo.seal import is_broken, seal
from kdzoo.task_checks import check_task

WEIGHTS = "student.safetensors"
DESCRIPTION = "student.json"
WRITTEN_AGAIN = "The command that trained the run writes it again from its checkpoint."


def _usual_resize(said: dict[str, Any]) -> Literal["shortest", "none"]:
    """What evaluation has always done, as for students of versions that did not write it down."""
    _, height, width = said["input_size"]
    return "shortest" if height == width else "none"


class StudentInfo(Config):
    """How to rebuild a student and how to feed it.

    What is marked as no part of its identity came with later versions. It is not in the checksum,
    so that the same student has the same one, whichever version trained it.
    """

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
    pixel_range: tuple[float, float] | None = None
    """The values that become 0 and 255 in images of more than 8 bits a channel."""
    resize_mode: Annotated[Literal["shortest", "none"], NotIdentity] = Field(
        default_factory=_usual_resize
    )
    """How an image of another size is brought to H x W: its shorter side is resized to H and the
    middle cropped; or it is refused, where H and W differ. A word of OpenCLIP's."""
    interpolation: Annotated[Literal["bilinear"], NotIdentity] = "bilinear"
    """How pixels are resized, with antialiasing and in bytes; a word of timm's, as the next."""
    crop_mode: Annotated[Literal["center"], NotIdentity] = "center"
    """What is cropped."""
    method: Annotated[str | None, NotIdentity] = None
    """The method that it was trained by; None in files made by hand or of older versions."""
    kdzoo_version: Annotated[str | None, NotIdentity] = None
    """Of the kdzoo that trained it, likewise."""
    sha256: str | None = None
    """Checksum of the settings and of ``student.safetensors``; None in files made by hand."""

    @model_validator(mode="after")
    def _squares_are_cropped(self) -> "StudentInfo":
        if self.resize_mode == "shortest" and self.input_size[1] != self.input_size[2]:
            raise ValueError("resize_mode is 'shortest', which is for square images alone.")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> "StudentInfo":
        check_task(self.num_classes, self.input_size, self.classes, self.mean, self.std)
        if self.pixel_range is not None and self.pixel_range[0] > self.pixel_range[1]:
            raise ConfigError(
                f"{quoted(self.pixel_range)} is no range: the first is to be the lower one.",
                ("pixel_range",),
            )
        return self

    def as_text(self) -> dict[str, str]:
        """All of it for the metadata of a file: text as it is, the rest as JSON."""
        said = self.model_dump(mode="json", exclude_none=True)
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in said.items()
        }

    def timm_config(self) -> dict[str, Any]:
        """It as timm's ``pretrained_cfg``, which ``timm.data.resolve_data_config`` reads."""
        return {
            "input_size": self.input_size,
            "interpolation": self.interpolation,
            "crop_pct": 1.0,
            "crop_mode": self.crop_mode,
            "mean": self.mean,
            "std": self.std,
            "num_classes": self.num_classes,
            "label_names": self.classes,
        }


def encode_weights(network: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """A network's state as the content of a safetensors file.

    Tensors that share memory, as tied weights do, are written once under each of their names.

    Args:
        network: whose state.
        metadata: what the file's header says besides.

    Raises:
        UserError: the state holds what such a file cannot, e.g. other things than tensors.
    """
    tensors = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            kind = value.layout if isinstance(value, Tensor) else type(value).__name__
            raise _unsavable(f"'{name}' is a {kind}")
        tensors[name] = value.detach().cpu().contiguous().clone()
    try:
        return save(tensors, metadata={**(metadata or {}), "format": "pt"})
    except (KeyError, RuntimeError, ValueError, SafetensorError) as error:
        raise _unsavable(str(error).splitlines()[0]) from error


def _unsavable(reason: str) -> UserError:
    return UserError(
        "This network's state cannot be saved as safetensors, which hold dense tensors of real "
        f"numbers and nothing else: {reason}."
    )


def save_student(
    folder: Path,
    network: nn.Module,
    info: StudentInfo,
    advice: str = ANOTHER_FOLDER,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write ``student.safetensors`` and ``student.json``.

    Args:
        folder: made where it is missing.
        network: the network that ``info`` describes.
        info: what is written beside the weights.
        advice: as in :func:`~kdzoo.files.replacing`.
        metadata: as in :func:`encode_weights`; a run writes none, so that equal weights are equal
            files.

    Returns:
        their checksum, as in ``student.json``.

    Raises:
        UserError: the folder cannot be written, or the network's state not saved.
    """
    weights = encode_weights(network, metadata)
    said = info.model_dump(mode="json")
    checksum = seal(identity_of(said, StudentInfo), _content(load(weights)))["sha256"]
    with replacing(folder / WEIGHTS, advice) as temporary:
        temporary.write_bytes(weights)
    write_json(folder / DESCRIPTION, {**said, "sha256": checksum}, advice)
    return checksum


def find_student(given: Path) -> Path:
    """The folder of the student that a person means: that folder, or a file of the run in it.

    Raises:
        UserError: there is none; the message says what to give.
    """
    if (given / DESCRIPTION).is_file():
        return given
    folder = given.parent
    is_of_run = given.suffix in (".json", ".jsonl", ".yaml") or given.name == WEIGHTS
    if given.is_file() and is_of_run and (folder / DESCRIPTION).is_file():
        return folder
    if not given.exists():
        raise UserError(f"There is no {printable(str(given))}. Give the folder of a finished run.")
    if not given.is_dir():
        holds = f": {folder}" if (folder / DESCRIPTION).is_file() else ""
        raise UserError(f"{given} is no student. Give the folder of a finished run{holds}.")
    if (given / "config.yaml").is_file():
        raise UserError(
            f"{given} holds no student: there is no {DESCRIPTION}. The run is not finished: give "
            "its command again, and it goes on to its end."
        )
    below = sorted(path.parent for path in given.rglob(DESCRIPTION))
    if below:
        several = "" if len(below) == 1 else f", one of {len(below)} there"
        raise UserError(f"{given} is no run. Give one that is in it, such as {below[0]}{several}.")
    raise UserError(
        f"{given} holds no student: there is no {DESCRIPTION} in it, nor in a folder in it. Give "
        "the folder of a finished run."
    )


def refuse_run(folder: Path) -> None:
    """Make sure that an export into a folder writes over no run.

    Raises:
        UserError: it is the folder of a run.
    """
    if (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is a run, and its own files would be lost. {ANOTHER_TO}.")


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
    return _described(path, _read_description(path))


def read_weights(folder: Path) -> tuple[dict[str, Tensor], StudentInfo]:
    """The state dict in ``student.safetensors``, which is what ``student.json`` describes.

    The checksum does not depend on the prefixes that wrappers put before every name.

    Raises:
        UserError: the folder holds no student, or its files are damaged, of different students or
            not for this user.
    """
    info = read_student_info(folder)
    path = folder / WEIGHTS
    try:
        state = load(read_bytes(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}. {WRITTEN_AGAIN}") from None
    except PermissionError as error:
        raise UnreadableError(path, error) from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _unusable(path, f"it is no safetensors file: {str(error).splitlines()[0]}") from None
    said = identity_of(_read_description(folder / DESCRIPTION), StudentInfo)
    if is_broken(said, _content(state)):
        raise _unusable(
            path,
            f"the checksum in {DESCRIPTION} is another. One of the two files is damaged, edited or "
            "of another run",
        )
    return state, info


def _content(state: dict[str, Tensor]) -> bytes:
    """A digest of the tensors, whatever the file that they are in looks like."""
    digest = hashlib.sha256()
    for name, tensor in sorted(without_prefixes(state).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _unusable(path: Path, reason: str) -> UserError:
    return UserError(f"{path} cannot be used: {reason}. Remove it. {WRITTEN_AGAIN}")


def _read_description(path: Path) -> Any:
    try:
        return read_json(path)
    except UnreadableError:
        raise
    except UserError as error:
        raise UserError(f"{error} Remove it. {WRITTEN_AGAIN}") from None


def _described(path: Path, description: Any) -> StudentInfo:
    if not isinstance(description, dict):
        raise _unusable(path, f"it holds {quoted(description)} and describes no student")
    try:
        info: StudentInfo = validate(StudentInfo, description)
    except ConfigError as error:
        reason = str(error).rstrip(".")
        raise _unusable(path, f"it does not describe a student: {reason}") from None
    return info


def load_student(folder: str | Path, trust: bool | Collection[str] = False) -> nn.Module:
    """The plain network with the student's weights, in eval mode, on the CPU.

    Of kdzoo's and timm's networks, ``pretrained_cfg`` says what images it takes, in timm's words.

    Args:
        folder: a run folder, any folder with ``student.safetensors`` and ``student.json``, or one
            of these files.
        trust: import the code that ``student.json`` names, where its backbone is a
            ``package.module:callable``; or the names for which to. No other file of the folder, and
            no other name in it, can have code carried out.

    Raises:
        UserError: there is no student, its backbone is code that is not trusted, or its weights are
            damaged or of another network.
    """
    folder = find_student(Path(folder))
    state, info = read_weights(folder)
    trusted = trust if isinstance(trust, bool) else info.backbone in trust
    if ":" in info.backbone and not trusted:
        raise UserError(
            f"The student in {folder} is built by code: {quoted(info.backbone)}. If you know that "
            "code and trust the folder, say so: --trust on the command line, trust=True in Python, "
            f"method.teacher_backbone={info.backbone} for a teacher."
        )
    config = BackboneConfig(name=info.backbone, kwargs=_without_files(info.kwargs))
    try:
        network = make_backbone(config, info.num_classes, info.input_size).build(seed=0)
    except UserError as error:
        raise UserError(f"{folder / DESCRIPTION}: {error}") from None
    if state.keys() != network.state_dict().keys():
        state = without_prefixes(state)
    try:
        load_weights(network, state, num_classes=None, source=str(folder / WEIGHTS))
    except UserError as error:
        raise UserError(f"{error} {DESCRIPTION} says that it is {quoted(info.backbone)}.") from None
    if ":" not in info.backbone:  # a person's own network is left as it is
        _describe(network, info)
    return network.eval()


OF_ARCHITECTURE = ("architecture", "first_conv", "classifier", "fixed_input_size")
"""What of timm's description of a network holds whatever it was trained on."""


def _describe(network: Any, info: StudentInfo) -> None:
    """Let timm's tools know what the student takes: timm has put ImageNet's in that place."""
    known = getattr(network, "pretrained_cfg", None) or {}
    kept = {key: known[key] for key in OF_ARCHITECTURE if key in known}
    network.pretrained_cfg = network.default_cfg = {**kept, **info.timm_config()}


NAMES_FILES = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"}
    | {"checkpoint_path", "cache_dir", "weights"}
)
"""Arguments of networks that say where to read weights, which would only be overwritten."""


def _without_files(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key not in NAMES_FILES}
