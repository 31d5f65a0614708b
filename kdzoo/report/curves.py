"""The learning curves of one run, whether it is finished or not."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from kdzoo.errors import UserError
from kdzoo.report.labels import one_line
from kdzoo.report.plot_style import SERIES, Dashes, Drawing
from kdzoo.training.result import EpochRecord
from kdzoo.training.run_folder import RunFolder

Curve = list[tuple[int, float]]
"""Points of (epoch, value)."""

EVALUATED = {
    "student": Dashes("student", "-"),
    "mean peer": Dashes("mean peer", (0, (5, 1.5))),
    "ensemble": Dashes("ensemble", (0, (1.5, 1.5))),
}
TRAINED = "student, training"
"""What the student's accuracy on the samples that it is being trained on is called."""


@dataclass(frozen=True)
class LearningCurves:
    """What a run learnt, epoch by epoch.

    Attributes:
        run: its folder, printable.
        split: the split that it is evaluated on; None where it has not been yet.
        accuracy: in percent, by what they are of; only those that the run has.
        loss: the mean of each epoch of training.
    """

    run: str
    split: str | None
    accuracy: dict[str, Curve]
    loss: Curve


def learning_curves(folder: RunFolder) -> LearningCurves:
    """The curves of a run.

    Raises:
        UserError: there is no run, no epoch of it is done, or its records are damaged.
    """
    if folder.result.exists():
        folder.read_result()  # which says where the records are not those of the run any more
    epochs = folder.read_epochs() if folder.metrics.exists() else []
    if not epochs:
        what = "no epoch of it is done yet" if folder.config.exists() else "it is no run folder"
        raise UserError(f"There are no learning curves in {folder.path}: {what}.")
    evaluated = [one.evaluation for one in epochs if one.evaluation is not None]
    accuracy: dict[str, Curve] = {}
    for epoch, name, value in _accuracies(epochs):
        accuracy.setdefault(name, []).append((epoch, value))
    return LearningCurves(
        one_line(str(folder.path)),
        evaluated[-1].split if evaluated else None,
        accuracy,
        [(one.epoch, one.train["loss"]) for one in epochs if "loss" in one.train],
    )


def _accuracies(epochs: list[EpochRecord]) -> Iterator[tuple[int, str, float]]:
    for one in epochs:
        found = one.evaluation
        if found is not None:
            yield one.epoch, "student", found.student.top1
            if found.mean_peer is not None:
                yield one.epoch, "mean peer", found.mean_peer
            if found.ensemble is not None:
                yield one.epoch, "ensemble", found.ensemble.top1
        if "student_top1" in one.train:
            yield one.epoch, TRAINED, one.train["student_top1"]


def curves_plot(curves: LearningCurves) -> Drawing:
    """Accuracy above, the loss of the training below, where the run has both."""
    shown = [one for name, one in EVALUATED.items() if name in curves.accuracy]
    both = bool(curves.accuracy) and bool(curves.loss)
    heights = (2, 1) if both else (1,)
    training = Dashes(TRAINED, "-", SERIES[1])
    legend = [*shown, *([training] if TRAINED in curves.accuracy else [])]
    drawing = Drawing("curves", legend, panels=len(heights), heights=heights)
    upper, lower = drawing.panels[0], drawing.panels[-1]
    if curves.accuracy:
        on = "" if curves.split is None else f" on {curves.split}"
        upper.set_ylabel(f"accuracy{on}, %")
    for name, points in curves.accuracy.items():
        style = EVALUATED.get(name, training).line_style()
        marker = "o" if len(points) == 1 else None
        upper.plot(*zip(*points, strict=True), **style, marker=marker, markersize=4)
    if curves.loss:
        marker = "o" if len(curves.loss) == 1 else None
        lower.plot(*zip(*curves.loss, strict=True), color=SERIES[0], marker=marker, markersize=4)
        lower.set_ylabel("loss")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawing
