"""The logits of trained teachers on disk, so that only the first of many runs computes them.

What a teacher says belongs to one view of one sample. Which views a training sees follows from its
data, their augmentation, the seed and the epoch; so there is a file for each epoch, in a folder
whose name stands for all the rest. Trainings that see the same views, of other students or with
other settings of the method, read what the first has written.
"""

import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdzoo.config import RunConfig
from kdzoo.data.fingerprint import data_fingerprint
from kdzoo.data.pipeline import DataModule, Samples
from kdzoo.data.splits import Splits
from kdzoo.errors import ConfigError, UserError
from kdzoo.files import replacing, write_json
from kdzoo.fingerprint import digest_of, fingerprint
from kdzoo.home import expand_user
from kdzoo.methods.base import Method
from kdzoo.methods.kd import KD
from kdzoo.methods.teachers import Teacher
from kdzoo.training.device import precision_of

FORMAT = "kdzoo-teacher-logits-1"
"""To be changed whenever the same settings would stand for other views."""
ABOUT = "about.json"
ADVICE = "Choose another folder with method.cache=DIR"
APART = 1e-2
"""How far apart, relative to their norm, the logits of a batch may be that are computed again:
rounding on another machine, in bf16 too, is less, and another augmentation more."""


class TeacherCache:
    """Gives a method its teachers' logits of an epoch: from a file, or computed and written.

    Every process has to call what it offers; the first one alone reads and writes.

    Args:
        folder: of all epochs of one sequence of views.
        about: what stands for that, written beside the epochs.
        method: is given the logits.
        data: its batches.
        accelerator: device, precision and processes.
        say: told what a person should know.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        method: KD,
        data: DataModule,
        accelerator: Accelerator,
        say: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.about = about
        self._method = method
        self._data = data
        self._accelerator = accelerator
        self._say = say
        self._known = method.recall(data.info.train_size, accelerator.device)
        self._checked = False
        self._writes = accelerator.is_main_process

    def announce(self, epochs: int) -> None:
        """Say how much will be written.

        Raises:
            ConfigError: there is no room for it.
        """
        there = sum(self._path(epoch).is_file() for epoch in range(epochs))
        needed = (epochs - there) * self._known.nbytes
        self._say(
            f"Teachers' logits: {there} of {epochs} epochs are in {self.folder}; each takes "
            f"{_size(self._known.nbytes)}, so {_size(needed)} more will be written there."
        )
        problem = None
        if self._accelerator.is_main_process:
            place = next(one for one in (self.folder, *self.folder.parents) if one.is_dir())
            free = shutil.disk_usage(place).free
            if free < needed:
                problem = f"{_size(needed)} are needed, and {_size(free)} are free in {place}."
        (problem,) = broadcast_object_list([problem])
        if problem is not None:
            raise ConfigError(problem, ("method", "cache"))

    def begin(self, epoch: int) -> None:
        """Have the method know what its teachers say of every view of an epoch.

        Raises:
            UserError: two views of a sample are in it.
        """
        if self._read(epoch) and self._is_sound(epoch):
            return
        self._known.copy_(self._computed(self._data.train_batches(epoch)))
        if self._writes:
            self._write(epoch)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def _read(self, epoch: int) -> bool:
        """Whether there is a file of the epoch, whose logits are then known."""
        found: list[bool] = [False]
        if self._accelerator.is_main_process:
            try:
                self._known.copy_(_read(self._path(epoch), self._known.shape))
                found = [True]
            except FileNotFoundError:
                pass
            except (OSError, SafetensorError, ValueError) as error:
                reason = str(error).splitlines()[0]
                self._say(f"{self._path(epoch)} is damaged ({reason}) and is made anew.")
        broadcast_object_list(found)
        if found[0]:
            broadcast(self._known)
        return found[0]

    def _is_sound(self, epoch: int) -> bool:
        """Whether the first batch, computed again, is what was read; looked at once a run."""
        if self._checked:
            return True
        x, _, index = next(self._data.train_batches(epoch))
        read, again = self._known.index_select(1, index), self._teach(x)
        squares = torch.stack([(read - again).square().sum(), again.square().sum()])
        off, norm = self._accelerator.reduce(squares, "sum").sqrt().tolist()
        self._checked = off <= APART * norm
        if not self._checked:
            self._say(
                f"What is in {self.folder} is not what the teachers say here, by {off / norm:.1%}: "
                "another version has written it. It is removed and made anew."
            )
            if self._writes:
                for path in self.folder.glob("epoch-*.safetensors"):
                    path.unlink(missing_ok=True)
            self._checked = True  # from here on, all that is read was written by this version
        return off <= APART * norm

    def _computed(self, batches: Iterator[Samples]) -> Tensor:
        """The logits [M, N, K] of an epoch; no numbers for samples that are not in it."""
        said = torch.zeros_like(self._known)
        times = torch.zeros(said.shape[1], dtype=torch.int64, device=said.device)
        for x, _, index in batches:
            said.index_copy_(1, index, self._teach(x))
            times.index_add_(0, index, torch.ones_like(index))
        said, times = (self._accelerator.reduce(each, "sum") for each in (said, times))
        if (times > 1).any():
            raise UserError(
                f"Sample {int((times > 1).nonzero()[0])} of the training set comes twice in an "
                "epoch, as where others cannot be read, and teachers' logits are kept of one view "
                "of each. Leave method.cache out, or the images that cannot be read."
            )
        self._checked = True  # by definition
        return said.masked_fill(times[:, None] == 0, torch.nan)

    @torch.no_grad()
    def _teach(self, x: Tensor) -> Tensor:
        with self._accelerator.autocast():
            return self._method.teach(x)

    def _write(self, epoch: int) -> None:
        logits = self._known.cpu().contiguous()
        facts = {"format": FORMAT, "crc32": _checksum(logits)}
        try:
            if not (self.folder / ABOUT).is_file():
                write_json(self.folder / ABOUT, self.about, ADVICE)
            with replacing(self._path(epoch), ADVICE) as temporary:
                temporary.write_bytes(save({"logits": logits}, facts))
        except UserError as error:
            self._writes = False
            self._say(f"Teachers' logits are not kept. {error} This run goes on without.")


def teacher_cache(
    config: RunConfig,
    method: Method,
    data: DataModule,
    splits: Splits,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> TeacherCache | None:
    """The cache that a config asks for, if it does.

    Args:
        config: the run.
        method: built from it.
        data: its batches.
        splits: all images, as they were loaded.
        accelerator: device, precision and processes.
        say: told what a person should know.

    Raises:
        ConfigError: the same image is not the same each time it is read.
    """
    if not isinstance(method, KD) or method.config.cache is None:
        return None
    images = data_fingerprint(splits)
    if images.splits["train"].images is None:
        raise ConfigError(
            "The training images are other ones each time they are read, so what a teacher says of "
            "one cannot be kept. Leave it out.",
            ("method", "cache"),
        )
    about = {
        "format": FORMAT,
        "teachers": [_teacher(cast(Teacher, teacher)) for teacher in method.teachers],
        "data": asdict(images),
        "dataset": config.identity()["dataset"],
        "seed": config.seed,
        "batch_size": config.batch_size,
        "input_size": list(data.info.input_size),
        "mean": list(data.info.mean),
        "std": list(data.info.std),
        "pixel_range": data.info.pixel_range and list(data.info.pixel_range),
        "precision": precision_of(accelerator),
        "device": accelerator.device.type,
        "channels_last": config.training.channels_last,
    }
    folder = expand_user(method.config.cache) / digest_of(about)
    return TeacherCache(folder, about, method, data, accelerator, say)


def _teacher(teacher: Teacher) -> dict[str, Any]:
    """What a teacher's logits of an image depend on."""
    return {
        "network": fingerprint(teacher),
        "layers": digest_of(str(teacher)),
        "input_size": list(teacher.size),
    }


def _read(path: Path, shape: torch.Size) -> Tensor:
    """The logits of an epoch.

    Raises:
        OSError, SafetensorError, ValueError: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
        if facts.get("format") != FORMAT or list(file.keys()) != ["logits"]:
            raise ValueError("it holds something else")
        logits: Tensor = file.get_tensor("logits")
    if logits.shape != shape or logits.dtype != torch.float32:
        raise ValueError(f"it holds {logits.dtype} {list(logits.shape)}")
    if facts.get("crc32") != _checksum(logits):
        raise ValueError("its checksum is another")
    return logits


def _checksum(logits: Tensor) -> str:
    return f"{zlib.crc32(logits.numpy().data):08x}"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2g} MB"
