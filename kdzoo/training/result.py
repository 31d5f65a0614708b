"""What ``result.json`` holds, and the figures of one epoch in ``metrics.jsonl``."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from kdzoo.errors import UserError, quoted

AGAIN = "The command that trained the run writes it again from its checkpoint."
"""The advice where a file of a run is damaged."""

Figures = TypeVar("Figures", bound=BaseModel)

# Bounds that no run reaches keep what is computed from a figure finite.
Percent = Annotated[FiniteFloat, Field(ge=0, le=100.01)]
Amount = Annotated[FiniteFloat, Field(ge=0, le=1e15)]
Count = Annotated[int, Field(ge=0, le=10**18)]


class _Lenient(BaseModel):
    """Later versions may write more than is read here, but nothing is taken for what it is not."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Score(_Lenient):
    """How good one network's predictions, or the ensemble's, are on a split."""

    top1: Percent
    nll: Amount
    """Nats."""
    ece: Percent | None = None
    """Not known of single peers."""


class PeerDiversity(_Lenient):
    """How much the peers differ, as means over pairs of them."""

    disagreement: Percent
    """Of the samples, those that a pair classifies differently."""
    l2: Amount
    """Distance of a pair's probabilities."""


class Evaluation(_Lenient):
    """The figures of one epoch on one split."""

    split: str
    student: Score
    """The deployed one, with averaged weights where there is an average."""
    unaveraged: Score | None = None
    """The student with the weights of the last step, where averaged ones are deployed."""
    ensemble: Score | None = None
    peers: Annotated[tuple[Score, ...], Field(min_length=1, strict=False)]
    diversity: PeerDiversity | None = None

    @property
    def mean_peer(self) -> float | None:
        """The peers' mean accuracy in percent; None where one peer is all there is."""
        several = len(self.peers) > 1
        return sum(peer.top1 for peer in self.peers) / len(self.peers) if several else None


class BestEpoch(Evaluation):
    """The epoch in which the student was best."""

    epoch: Count


class StudentSize(_Lenient):
    """What deploying the student costs."""

    params: Count
    macs: Count
    """Multiply-adds for one image."""
    sha256: str | None = None
    """The checksum of its weights; results of earlier versions do not have it."""


class Result(_Lenient):
    """``result.json`` as ``kdzoo run`` writes it."""

    method: str
    backbone: str
    dataset: str
    seed: int
    epochs: Annotated[int, Field(ge=1, le=10**9)]
    train_size: Count
    val_size: Count
    test_size: Count
    test_repeats: Count | None = None
    """Test images that are also in the training set, as far as is known."""
    identity: str | None = None
    """The SHA-256 of ``identity.json``; results of earlier versions do not have it."""
    last: Evaluation
    best: BestEpoch
    student: StudentSize
    training_params: Count
    seconds: Amount
    seconds_per_epoch: Amount
    left_out: Count | None = None
    """Steps that came to nothing, as ``training.on_nonfinite`` says; None where all counted."""
    peak_memory: Count
    """Bytes; of what, :func:`kdzoo.training.peak_memory.peak_memory` says. The highest of all
    epochs, evaluation included, in whichever process each was trained."""


class EpochRecord(_Lenient):
    """What is read of a line of ``metrics.jsonl``."""

    epoch: Count
    seconds: Amount
    peak_memory: Count | None = None
    train: dict[str, float] = Field(default_factory=dict)
    """Means over the epoch: ``loss``, its terms, and accuracies in percent."""
    evaluation: Annotated[Evaluation | None, Field(alias="eval")] = None


def check_figures(kind: type[Figures], value: Any, where: str) -> Figures:
    """A value of a JSON file as what it should be.

    Args:
        kind: what it should be.
        value: what it is.
        where: the file, and the place in it, for the message.

    Raises:
        UserError: it is something else, or a figure is impossible.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        reason = f"{place}: {problem['msg']}" if place else f"it holds {quoted(value)}"
        raise UserError(f"{where} is not one of kdzoo's: {reason}. {AGAIN}") from None


def epochs_in(metrics: Path, content: bytes) -> list[EpochRecord]:
    """The records of ``metrics.jsonl``, one an epoch.

    Raises:
        UserError: a line is no record, or not that of its epoch.
    """
    records = []
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        where = f"Line {number} of {metrics}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} cannot be read as JSON: {error}.") from None
        record = check_figures(EpochRecord, value, where)
        if record.epoch != number:
            raise UserError(f"{where} is of epoch {record.epoch}.")
        records.append(record)
    return records
