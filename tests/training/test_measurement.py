"""What is found out class by class, against torchmetrics and against counting by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

from kdzoo.training.measurement import Meter

CPU = torch.device("cpu")


def measured(logits, y, batch=64):
    meter = Meter([f"class {k}" for k in range(logits.shape[1])], CPU)
    for rows in torch.arange(len(y)).split(batch):
        meter.update(logits[rows], y[rows])
    return meter.compute()


@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_it_is_what_torchmetrics_finds(classes):
    generator = torch.Generator().manual_seed(classes)
    y = torch.randint(classes, (2000,), generator=generator)
    logits = torch.randn(2000, classes, generator=generator)
    logits[torch.arange(2000), y] += 2
    found = measured(logits, y)
    matrix = multiclass_confusion_matrix(logits, y, classes)
    assert np.array_equal(found.confusion_matrix(), matrix.numpy())
    for name, theirs in (("recall", multiclass_recall), ("precision", multiclass_precision)):
        ours = [getattr(one, name) for one in found.by_class]
        expected = 100 * theirs(logits, y, classes, average=None)
        assert [one or 0.0 for one in ours] == pytest.approx(expected.tolist(), abs=1e-4)
    ece = multiclass_calibration_error(logits.softmax(1), y, classes, n_bins=15)
    assert found.figures["ece"] == pytest.approx(100 * ece.item(), abs=1e-4)
    assert found.figures["top1"] == 100 * matrix.diagonal().sum().item() / 2000
    assert found.figures["images"] == 2000


def test_the_calibration_curve_is_that_of_counting():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (500,), generator=generator)
    logits = 4 * torch.randn(500, 3, generator=generator)
    logits[:5] = torch.tensor([0.0, 0.0, 1000.0])  # certain
    found = measured(logits, y)
    confidence, guess = (one.numpy() for one in logits.softmax(1).max(1))
    assert [(one.low, one.high) for one in found.calibration[:-1]] == [
        (at / 15, (at + 1) / 15) for at in range(15)
    ]
    assert found.calibration[-1].low == found.calibration[-1].high == 1
    gaps = 0.0
    for at, one in enumerate(found.calibration):
        inside = np.floor(confidence * np.float32(15)).astype(int) == at
        assert one.images == inside.sum()
        if one.images == 0:
            assert one.accuracy is one.confidence is None
            continue
        assert one.accuracy == pytest.approx((guess == y.numpy())[inside].mean())
        assert one.confidence == pytest.approx(confidence[inside].mean())
        gaps += one.images * abs(one.accuracy - one.confidence)
    assert found.figures["ece"] == pytest.approx(100 * gaps / 500)


def test_confusions_and_classes_by_hand():
    y = torch.tensor([0, 0, 0, 1, 1, 3])
    guesses = torch.tensor([0, 1, 1, 0, 1, 0])
    found = measured(torch.eye(4)[guesses], y, batch=2)
    assert [(one.label, one.taken_for, one.images) for one in found.confusions] == [
        ("class 0", "class 1", 2),
        ("class 1", "class 0", 1),
        ("class 3", "class 0", 1),
    ]
    assert [one.share for one in found.confusions] == pytest.approx([200 / 3, 50, 100])
    rows = [(one.images, one.taken_for, one.recall, one.precision) for one in found.by_class]
    assert rows[1:] == [(2, 3, 50, pytest.approx(100 / 3)), (0, 0, None, None), (1, 0, 0, None)]


def test_equal_logits_are_counted_as_in_the_accuracy():
    """An untrained head gives the same logit to all classes: still one guess an image."""
    y = torch.arange(10).repeat(20)
    found = measured(torch.zeros(200, 10), y)
    assert found.confusion_matrix().trace() == found.figures["top1"] * 2
