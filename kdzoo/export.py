"""A run's student, and any plain network, in formats for deployment.

ONNX runs without Python and a ``torch.export`` program without the network's source code. Both hold
the network in evaluation mode and take batches of any size B: [B, C, H, W], normalised; or, with
preprocessing, bytes [B, H, W, C], as image libraries hand them out. Resizing is left to who opens
the images: ONNX has no resizing that rounds to bytes as evaluation's does.
A file is written only after what it holds has been run and gave the network's own outputs. All
formats carry what ``student.json`` says in their metadata.
"""

import copy
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.data.transform import Normalise
from kdzoo.errors import UserError, in_line
from kdzoo.files import ANOTHER_TO, check_place, replacing
from kdzoo.predict import Predictor
from kdzoo.student import (
    DESCRIPTION,
    WEIGHTS,
    StudentInfo,
    find_student,
    load_student,
    read_student_info,
    refuse_run,
    save_student,
)

TOLERANCE = 1e-4
"""The largest difference to the network's own logits, relative to the largest of them or to 1."""

INPUT = "images"
OUTPUT = "logits"


def export_run(
    run: Path, form: str, to: Path | None, trust: bool = False, with_preprocessing: bool = False
) -> Path:
    """Write a finished run's student.

    Args:
        run: the run folder, or a file of it.
        form: ``safetensors`` with its description, ``onnx``, or a ``torch.export`` program.
        to: the file to write, a folder for safetensors; by default ``student.FORMAT`` in the run
            folder, ``student-uint8.FORMAT`` for one that takes bytes, or ``export`` there.
        trust: as in :func:`~kdzoo.student.load_student`.
        with_preprocessing: let the network take bytes; not for safetensors, which are weights.

    Returns:
        what was written.

    Raises:
        UserError: the run has no student, or it cannot be written like that.
    """
    run = find_student(run)
    network, info = load_student(run, trust), read_student_info(run)
    if form == "safetensors":
        if with_preprocessing:
            raise UserError(
                "safetensors hold weights alone. Preprocessing goes into --format onnx or pt2; or "
                "let kdzoo.load_predictor do it."
            )
        folder = to or run / "export"
        if folder.exists() and not folder.is_dir():
            raise UserError(f"For safetensors --to is a folder, and {folder} is a file.")
        refuse_run(folder)
        check_place(folder, (WEIGHTS, DESCRIPTION), lambda: _is_student(folder))
        save_student(folder, network, info, ANOTHER_TO, info.as_text())
        return folder
    path = to or run / f"student{'-uint8' if with_preprocessing else ''}.{form}"
    if path.exists() and path.suffix != f".{form}":
        raise UserError(f"{path} is there already, and no .{form} file. {ANOTHER_TO}.")
    write = export_onnx if form == "onnx" else export_program
    alone = LogitsAlone(network, info.num_classes)
    if not with_preprocessing:
        write(alone, info.input_size, path, metadata=info.as_text())
        return path
    channels, height, width = info.input_size
    predictor = Predictor(copy.deepcopy(network).float(), info, torch.device("cpu"))
    write(
        Preprocessed(alone, info),
        (height, width, channels),
        path,
        dtype=torch.uint8,
        reference=predictor.logits,
        metadata=info.as_text(),
    )
    return path


def _is_student(folder: Path) -> bool:
    try:
        read_student_info(folder)
    except UserError:
        return False
    return True


def describe_input(info: StudentInfo, with_preprocessing: bool = False) -> list[str]:
    """What an exported student takes and gives, in lines for people."""
    channels, height, width = info.input_size
    if with_preprocessing:
        takes = f"uint8 [B, {height}, {width}, {channels}], RGB"
    else:
        mean, std = (", ".join(f"{one:.4g}" for one in values) for values in (info.mean, info.std))
        takes = (
            f"float32 [B, {channels}, {height}, {width}], RGB pixels in [0, 1], minus mean "
            f"({mean}), divided by std ({std})"
        )
    if info.resize_mode == "shortest":
        size = (
            f"Images of another size: resize the shorter side to {height} ({info.interpolation}, "
            "antialiased), then crop the center."
        )
    else:
        size = f"Images of another size than {width}x{height} are not for this student."
    listed = ", ".join(map(in_line, info.classes[:3])) + (", ..." if info.classes[3:] else "")
    lines = [f"Input: {takes}.", size]
    if info.pixel_range is not None:
        low, high = info.pixel_range
        lines.append(f"Images of more than 8 bits: {low:g} to {high:g} become 0 to 255.")
    return [*lines, f"Output: logits [B, {info.num_classes}] of {listed}."]


class LogitsAlone(nn.Module):
    """A network that returns its logits [B, K] and nothing else it may return besides.

    Args:
        network: any network that a backbone may be.
        num_classes: K.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.network(x), self.num_classes)


class Preprocessed(nn.Module):
    """A network that takes bytes [B, H, W, C] of its own size and normalises them.

    Args:
        network: what takes images [B, C, H, W].
        info: how they are normalised.
    """

    def __init__(self, network: nn.Module, info: StudentInfo) -> None:
        super().__init__()
        self.normalise = Normalise((1, 1), info.mean, info.std)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.normalise(images).permute(0, 3, 1, 2))


Outputs = Callable[[Tensor], Tensor]
"""From a batch of images to logits [B, K]."""


def export_onnx(
    network: nn.Module,
    input_size: tuple[int, int, int],
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    reference: Outputs | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as ONNX, with an input ``images`` [B, C, H, W] and an output ``logits``.

    Args:
        network: a plain network; it is left as it is.
        input_size: of one image, (C, H, W), or whatever else the network takes.
        path: the file to write or to replace.
        dtype: of the images.
        reference: whose outputs the file's are held against; by default the network's own.
        metadata: goes into ``metadata_props``.

    Raises:
        UserError: the optional packages are missing, the network cannot be expressed in ONNX,
            onnxruntime gives other outputs than the network, or the file cannot be written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch writes ONNX with
    except ImportError as error:
        raise UserError(
            f"ONNX needs a package that is not installed ({error.name}). Install kdzoo's extra: "
            'pip install "kdzoo[export]"'
        ) from error

    network = _for_deployment(network)
    with replacing(path, ANOTHER_TO) as temporary:
        with _explained("ONNX"):
            program = torch.onnx.export(
                network,
                (_images(input_size, dtype, 2),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # None is for exports straight to a file
            program.model.metadata_props.update(metadata or {})
            program.save(str(temporary), external_data=False)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        _check(
            reference or network,
            lambda x: torch.from_numpy(np.asarray(session.run([OUTPUT], {INPUT: x.numpy()})[0])),
            partial(_images, input_size, dtype),
        )


def export_program(
    network: nn.Module,
    input_size: tuple[int, int, int],
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    reference: Outputs | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as a ``torch.export`` program (``.pt2``), for PyTorch without its source.

    ``torch.export.load(path).module()`` gives it back; AOTInductor and ExecuTorch start from it.

    Args:
        network: a plain network; it is left as it is.
        input_size: as in :func:`export_onnx`.
        path: the file to write or to replace; torch wants it to end in ``.pt2``.
        dtype: as there.
        reference: as there.
        metadata: goes into an extra file ``student.json``, which ``torch.export.load`` reads.

    Raises:
        UserError: the network cannot be exported, or the file cannot be written.
    """
    network = _for_deployment(network)
    with replacing(path, ANOTHER_TO) as temporary:
        with _explained("torch.export"):
            program = torch.export.export(
                network,
                (_images(input_size, dtype, 2),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            extra = {DESCRIPTION: json.dumps(dict(metadata or {}))}
            content = io.BytesIO()  # torch looks at a file's ending, and does not say why it fails
            torch.export.save(program, content, extra_files=extra)
            temporary.write_bytes(content.getbuffer())
            with temporary.open("rb") as file:
                loaded = torch.export.load(file).module()
        _check(reference or network, loaded, partial(_images, input_size, dtype))


def _for_deployment(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).cpu().float().eval()


def _images(size: tuple[int, int, int], dtype: torch.dtype, samples: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randn(samples, *size, generator=random, dtype=dtype)
    return torch.randint(256, (samples, *size), generator=random, dtype=dtype)


@torch.no_grad()
def _check(reference: Outputs, exported: Outputs, make_images: Callable[[int], Tensor]) -> None:
    for samples in (1, 3):
        images = make_images(samples)
        expected = reference(images)
        error = (exported(images) - expected).abs().max() / expected.abs().max().clamp(min=1)
        if not error <= TOLERANCE:
            raise UserError(
                f"The exported network's logits differ from the network's own by {error:.1e}, more "
                f"than {TOLERANCE:.0e}; nothing was written."
            )


@contextmanager
def _explained(target: str) -> Iterator[None]:
    """Say in one line what the exporters say in pages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:  # whatever the exporter, or the network under it, raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"This network cannot be written as {target}: {reason[0]}") from error
