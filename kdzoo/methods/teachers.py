"""Teachers that were trained before: from a folder, a file, a name or a module to a ``Teacher``."""

import copy
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.create import make_backbone
from kdzoo.backbones.logits import logits_of
from kdzoo.backbones.names import OWN
from kdzoo.backbones.task import OtherClassesError, Task, listed, places
from kdzoo.backbones.timm_models import pretrained_timm_model
from kdzoo.backbones.weights import load_weights, read_weights, without_prefixes
from kdzoo.errors import UserError
from kdzoo.fingerprint import content, digest_of
from kdzoo.home import expand_user
from kdzoo.identity import identity_of
from kdzoo.peers.calls import mode, probe_batch
from kdzoo.student import DESCRIPTION, WEIGHTS, StudentInfo, load_student, read_student_info
from kdzoo.student import read_weights as read_student

TIMM = "timm/"
CHECKPOINTS = ("checkpoint.pt", "checkpoint-previous.pt")
"""Files of a run that hold all its networks, and not the student alone."""

TeacherLike = str | nn.Module
"""What stands for a teacher: a run's folder, a file of weights, ``timm/NAME``, or a network."""


@dataclass(frozen=True)
class Known:
    """A trained network with what is known of it.

    Attributes:
        name: what the user called it.
        network: any network.
        num_classes: K of its logits.
        input_size: (C, H, W) of the images it was trained on; None if nobody said.
        task: its classes and normalisation, as far as they are known.
    """

    name: str
    network: nn.Module
    num_classes: int
    input_size: tuple[int, int, int] | None
    task: Task


class Teacher(nn.Module):
    """A trained network that sees the student's batches as its own images, and never changes.

    Batches are resized to its input size and normalised with its mean and std; its logits are put
    in the order of the student's classes.

    Args:
        known: the network.
        student: the backbone that it teaches.

    Attributes:
        notes: what had to be taken for granted, a sentence each.

    Raises:
        UserError: it knows other classes or other channels than the student, or does not run.
    """

    to_own_scale: Tensor
    to_own_shift: Tensor
    order: Tensor

    def __init__(self, known: Known, student: Backbone) -> None:
        super().__init__()
        self.network = known.network.requires_grad_(False).eval()
        self.num_classes = known.num_classes
        order, self.notes = _order(known, student)
        scale, shift = _renormalisation(known, student)
        if known.task.mean is None or known.task.std is None:
            self.notes.append(
                f"Nothing says how the images of the teacher {known.name} were normalised; it sees "
                "them as the student does."
            )
        size = known.input_size or student.input_size
        if size[0] != student.input_size[0]:
            raise UserError(
                f"The teacher {known.name} takes images of {size[0]} channels, and the student's "
                f"have {student.input_size[0]}."
            )
        self.size = size[1:]
        # derived from the teacher's description, so no part of a checkpoint
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("to_own_scale", scale, persistent=False)
        self.register_buffer("to_own_shift", shift, persistent=False)
        self._try_out(known, student)

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] in the order of the student's classes, of a batch as the student sees it.

        Args:
            x: [B, C, H, W].
        """
        return logits_of(self.network(self.as_own(x)), self.num_classes)[:, self.order]

    def as_own(self, x: Tensor) -> Tensor:
        """The student's batch as the teacher was trained on its own: normalised and resized."""
        x = x * self.to_own_scale + self.to_own_shift
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return x

    def _try_out(self, known: Known, student: Backbone) -> None:
        like = next((p for p in self.network.parameters()), self.to_own_scale)
        try:
            self(torch.zeros(2, *student.input_size, device=like.device))
        except UserError as error:
            raise UserError(f"The teacher {known.name}: {error}") from None
        except Exception as error:  # whatever a foreign network raises
            size = "x".join(map(str, (student.input_size[0], *self.size)))
            raise UserError(
                f"The teacher {known.name} does not run on inputs of {size} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
            ) from error


def network_text(network: nn.Module) -> str:
    """What stands in files for a network that was handed over: its kind and a digest of it."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"{OWN}{type(network).__name__}-{digest.hexdigest()[:8]}"


def find_teacher(given: TeacherLike, backbone: BackboneConfig | None, student: Backbone) -> Known:
    """The trained network that a setting names.

    Args:
        given: what stands for it.
        backbone: how to build it, where ``given`` is a file of weights.
        student: the backbone that it is to teach.

    Raises:
        UserError: there is none; the message says what is there instead.
    """
    if isinstance(given, nn.Module):
        own = copy.deepcopy(given)  # the person's network goes on being theirs
        known = _described_by_timm(type(own).__name__, own, student.num_classes)
        return replace(known, num_classes=_count_classes(own, known, student))
    if _is_of_timm(given):
        network = pretrained_timm_model(given.removeprefix(TIMM))
        return _described_by_timm(given, network, student.num_classes)
    path = _place_of(given)
    if path.is_dir():
        typed = {student.name, backbone.name} if backbone else {student.name}
        return _student_of(path, trust=typed)
    return _from_file(path, backbone, student)


def check_backbone_is_for_one(given: Sequence[TeacherLike], backbone: BackboneConfig) -> None:
    """Refuse a backbone that none of the teachers is built of, since all say what they are.

    Args:
        given: what stands for each teacher.
        backbone: what is said of those that are files of weights.

    Raises:
        UserError: there is no such file, and no teacher is a network of that name.
    """
    known = [_says_it_is(one) for one in given]
    if None not in known and backbone.name not in known:
        raise UserError(
            f"method.teacher_backbone={backbone.name} is for a teacher that is a file of weights, "
            f"and this one says itself that it is {known[0]}. Leave it out, or name another "
            "teacher."
        )


def _says_it_is(given: TeacherLike) -> str | None:
    """The name of the network that a teacher is; None where it does not say."""
    if isinstance(given, nn.Module):
        return type(given).__name__
    if _is_of_timm(given):
        return given
    path = _place_of(given)
    return read_student_info(path).backbone if path.is_dir() else None


def teacher_content(given: str) -> str:
    """What stands for a teacher wherever it lies: a digest of its files, or timm's name.

    Raises:
        UserError: there is no such teacher.
    """
    if _is_of_timm(given):
        return given
    path = _place_of(given)
    if path.is_dir():
        state, info = read_student(path)
        described = identity_of(info.model_dump(mode="json", exclude={"sha256"}), StudentInfo)
        tensors = {name: content(value) for name, value in without_prefixes(state).items()}
        return f"student {digest_of([tensors, described])}"
    tensors = {name: content(value) for name, value in read_weights(path).items()}
    return f"weights {digest_of(tensors)}"


def _is_of_timm(given: str) -> bool:
    return given.startswith(TIMM) and not Path(given).exists()


def _place_of(given: str) -> Path:
    """The folder of a student, or the file of weights, that a teacher is."""
    path = expand_user(given)
    if path.name == WEIGHTS and (path.parent / DESCRIPTION).is_file():
        path = path.parent
    if not path.exists():
        raise UserError(
            f"There is no {given}. A teacher is the folder of a finished run, a file of weights, "
            f"or {TIMM}NAME for one that timm has trained."
        )
    unfinished = (path / "config.yaml").is_file() and not (path / DESCRIPTION).is_file()
    if unfinished:
        raise UserError(
            f"The run in {path} is not finished and has no student yet. Give its command again, "
            "and it goes on to its end."
        )
    if path.name in CHECKPOINTS and (path.parent / "config.yaml").is_file():
        raise UserError(
            f"{path} is the checkpoint of a run, which goes on from it; a teacher is the run's "
            f"student: give its folder, {path.parent}."
        )
    return path


def _student_of(folder: Path, trust: Collection[str]) -> Known:
    info = read_student_info(folder)
    return Known(
        name=str(folder),
        network=load_student(folder, trust),
        num_classes=info.num_classes,
        input_size=info.input_size,
        task=Task(info.classes, info.mean, info.std),
    )


def _from_file(path: Path, backbone: BackboneConfig | None, student: Backbone) -> Known:
    if backbone is None:
        raise UserError(
            f"{path} holds weights, and nothing says of which network. Set "
            "method.teacher_backbone=NAME."
        )
    network = make_backbone(backbone, student.num_classes, student.input_size).build(seed=0)
    state = read_weights(path)
    load_weights(network, state, num_classes=None, source=str(path))
    return Known(str(path), network, student.num_classes, None, Task())


def _described_by_timm(name: str, network: nn.Module, num_classes: int) -> Known:
    """What a timm model says of itself; of any other network, nothing is known."""
    described = getattr(network, "pretrained_cfg", None) or {}
    if not isinstance(described, dict):
        return Known(name, network, num_classes, None, Task())
    classes = described.get("label_names")
    return Known(
        name=name,
        network=network,
        num_classes=int(getattr(network, "num_classes", num_classes)),
        input_size=described.get("input_size"),
        task=Task(
            tuple(map(str, classes)) if classes else None,
            described.get("mean"),
            described.get("std"),
        ),
    )


def _count_classes(network: nn.Module, known: Known, student: Backbone) -> int:
    """K of a network that was handed over: of its output, where that is a plain tensor."""
    x = probe_batch(network, known.input_size or student.input_size, samples=2)
    try:
        with torch.no_grad(), mode(network, training=False):
            output = network(x)
    except Exception:  # what is wrong is said when the teacher is tried out
        return known.num_classes
    is_plain = isinstance(output, Tensor) and output.ndim == 2
    return output.shape[1] if is_plain else known.num_classes


def _order(known: Known, student: Backbone) -> tuple[Tensor, list[str]]:
    """For each of the student's classes, which of the teacher's logits it is, [K]."""
    theirs, ours = known.task.classes, student.task.classes
    if known.num_classes != student.num_classes:
        raise UserError(
            f"The teacher {known.name} knows {known.num_classes} classes{_in_brackets(theirs)}, "
            f"and the data has {student.num_classes}{_in_brackets(ours)}. Both must know the same."
        )
    if theirs is None or ours is None:
        whose = f"the teacher {known.name}" if theirs is None else "the data"
        return torch.arange(student.num_classes), [
            f"Nothing says the names of the classes of {whose}; the teacher's {known.num_classes} "
            f"outputs are taken for the data's classes in their order{_in_brackets(ours)}."
        ]
    try:
        order = places(ours, theirs)
    except OtherClassesError as error:
        raise UserError(
            f"The teacher {known.name} knows other classes than the data: {error}. Both must know "
            "the same."
        ) from None
    moved = order != list(range(len(order)))
    notes = [f"The outputs of the teacher {known.name} are put in the data's order of classes."]
    return torch.tensor(order), notes if moved else []


def _renormalisation(known: Known, student: Backbone) -> tuple[Tensor, Tensor]:
    """From the student's normalised images to the teacher's: a factor and a summand, [C, 1, 1]."""
    theirs, ours = known.task, student.task
    if theirs.mean is None or theirs.std is None or ours.mean is None or ours.std is None:
        return torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    own_mean, own_std = torch.tensor(theirs.mean), torch.tensor(theirs.std)
    mean, std = torch.tensor(ours.mean), torch.tensor(ours.std)
    return (std / own_std)[:, None, None], ((mean - own_mean) / own_std)[:, None, None]


def _in_brackets(names: Sequence[str] | None) -> str:
    return f" ({listed(names)})" if names else ""
