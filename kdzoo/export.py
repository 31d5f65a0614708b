"""A run's student, and any plain network, in formats for deployment.

ONNX runs without Python and a ``torch.export`` program without the network's source code. Both hold
the network in evaluation mode and take batches [B, C, H, W] of any size B.
A file is written only after what it holds has been run and gave the network's own outputs.
"""

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.errors import UserError
from kdzoo.files import ANOTHER_TO, replacing
from kdzoo.student import find_student, load_student, read_student_info, save_student

TOLERANCE = 1e-4
"""The largest difference to the network's own logits, relative to the largest of them or to 1."""

INPUT = "images"
OUTPUT = "logits"


def export_run(run: Path, form: str, to: Path | None, trust: bool = False) -> Path:
    """Write a finished run's student.

    Args:
        run: the run folder, or a file of it.
        form: ``safetensors`` with its description, ``onnx``, or a ``torch.export`` program.
        to: the file to write, a folder for safetensors; by default ``student.FORMAT`` in the run
            folder, or ``export`` there.
        trust: as in :func:`~kdzoo.student.load_student`.

    Returns:
        what was written.

    Raises:
        UserError: the run has no student, or it cannot be written like that.
    """
    run = find_student(run)
    network, info = load_student(run, trust), read_student_info(run)
    if form == "safetensors":
        folder = to or run / "export"
        save_student(folder, network, info, ANOTHER_TO)
        return folder
    path = to or run / f"student.{form}"
    write = export_onnx if form == "onnx" else export_program
    write(LogitsAlone(network, info.num_classes), info.input_size, path)
    return path


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


def export_onnx(network: nn.Module, input_size: tuple[int, int, int], path: Path) -> None:
    """Write a network as ONNX, with an input ``images`` [B, C, H, W] and an output ``logits``.

    Args:
        network: a plain network; it is left as it is.
        input_size: (C, H, W) of one image.
        path: the file to write or to replace.

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
                (_images(input_size, 2),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # None is for exports straight to a file
            program.save(str(temporary), external_data=False)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        _check(
            network,
            lambda x: torch.from_numpy(np.asarray(session.run([OUTPUT], {INPUT: x.numpy()})[0])),
            input_size,
        )


def export_program(network: nn.Module, input_size: tuple[int, int, int], path: Path) -> None:
    """Write a network as a ``torch.export`` program (``.pt2``), for PyTorch without its source.

    ``torch.export.load(path).module()`` gives it back; AOTInductor and ExecuTorch start from it.

    Args:
        network: a plain network; it is left as it is.
        input_size: (C, H, W) of one image.
        path: the file to write or to replace; torch wants it to end in ``.pt2``.

    Raises:
        UserError: the network cannot be exported, or the file cannot be written.
    """
    network = _for_deployment(network)
    with replacing(path, ANOTHER_TO) as temporary:
        with _explained("torch.export"):
            program = torch.export.export(
                network,
                (_images(input_size, 2),),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            content = io.BytesIO()  # torch looks at a file's ending, and does not say why it fails
            torch.export.save(program, content)
            temporary.write_bytes(content.getbuffer())
            with temporary.open("rb") as file:
                loaded = torch.export.load(file).module()
        _check(network, loaded, input_size)


def _for_deployment(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).cpu().float().eval()


def _images(input_size: tuple[int, int, int], samples: int) -> Tensor:
    return torch.randn(samples, *input_size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _check(
    network: nn.Module, exported: Callable[[Tensor], Tensor], input_size: tuple[int, int, int]
) -> None:
    for samples in (1, 3):
        images = _images(input_size, samples)
        expected = network(images)
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
