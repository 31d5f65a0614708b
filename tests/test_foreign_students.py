"""Students that somebody wrote by hand or damaged: what does not fit is named, and never used."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdzoo import create_backbone, load_predictor
from kdzoo.backbones.weights import match_weights, read_weights
from kdzoo.errors import UserError
from kdzoo.student import load_student
from kdzoo.training.evaluate_student import evaluate_student

DESCRIPTION = {
    "backbone": "resnet8",
    "kwargs": {},
    "num_classes": 10,
    "input_size": [3, 8, 8],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "classes": list("0123456789"),
}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return create_backbone("resnet8", 10, (3, 8, 8)).state_dict()


@pytest.fixture
def student(tmp_path, state):
    """Writes a student without a checksum and gives its folder."""

    def write(change=None, **described):
        weights = {name: value.clone() for name, value in state.items()}
        if change is not None:
            change(weights)
        save_file(weights, tmp_path / "student.safetensors")
        (tmp_path / "student.json").write_text(json.dumps({**DESCRIPTION, **described}))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"classes": list("0023456789")}, r"classes: Two classes have the name '0'"),
        ({"classes": ["\u00e9", "e\u0301", *"23456789"]}, "Two classes have the name '\u00e9'"),
        ({"classes": list("01234")}, "classes: These are 5 names, and num_classes is 10"),
        ({"num_classes": -1}, "num_classes"),
        ({"num_classes": 10**12}, "num_classes is 1000000000000"),
        ({"mean": [128.0, 128.0, 128.0]}, "mean: 128 is no mean of pixels in"),
        ({"std": [0.25, 0, 0.25]}, "std: 0 is no std"),
        ({"std": [0.25, -0.25, 0.25]}, "std: -0.25 is no std"),
        ({"std": [0.25]}, "std: These are 1 numbers, and images have 3 channels"),
        ({"input_size": [3, 0, 0]}, "input_size"),
        ({"input_size": [3, 10**6, 10**6]}, "input_size"),
        ({"input_size": [1, 8, 8]}, "mean: These are 3 numbers, and images have 1 channels"),
        ({"pixel_range": [9, 1]}, "pixel_range"),
        ({"kwargs": {"width": 3}}, r"student\.json: backbone\.kwargs\.width"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(student, described, words):
    with pytest.raises(UserError, match=words):
        load_student(student(**described))


def to_whole_numbers(weights):
    weights["fc.weight"] = (weights["fc.weight"] * 100).to(torch.int8)


def to_nan(weights):
    weights["fc.weight"][3, 5] = float("nan")


def beyond_32_bits(weights):
    weights["fc.weight"] = weights["fc.weight"].double() * 1e300


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (to_whole_numbers, r"1 are no floating-point numbers \(fc\.weight\)"),
        (to_nan, r"1 are not finite \(fc\.weight\)"),
        (beyond_32_bits, r"1 are not finite \(fc\.weight\)"),
        (lambda weights: weights.pop("fc.bias"), r"1 are missing \(fc\.bias\).*'resnet8'"),
        (lambda weights: weights.update(odd=torch.zeros(2)), r"not the network's \(odd\)"),
    ],
)
def test_weights_that_mean_nothing_are_named(student, change, words):
    with pytest.raises(UserError, match=words):
        load_student(student(change))


def test_weights_of_another_precision_are_taken(student, state):
    def to_half(weights):
        weights["fc.weight"] = weights["fc.weight"].half()

    network = load_student(student(to_half))
    assert torch.equal(network.fc.weight, state["fc.weight"].half().float())


def test_a_mask_may_be_infinite_where_the_networks_own_is():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
            self.register_buffer("scale", torch.ones(2))

    masked = Masked()
    assert match_weights(masked, masked.state_dict(), None, "it").kept == ("mask", "scale")
    with pytest.raises(UserError, match=r"1 are not finite \(scale\)"):
        match_weights(masked, {"mask": masked.mask, "scale": masked.mask}, None, "it")


def test_outputs_beyond_32_bits_are_no_prediction(student, kdzoo):
    def too_large(weights):
        weights["fc.weight"].fill_(3e38)

    folder = student(too_large)
    with pytest.raises(UserError, match="no finite number"):
        load_predictor(folder)(np.full((8, 8, 3), 200, np.uint8))
    with pytest.raises(UserError, match="no finite number"):
        evaluate_student(folder, ["dataset=digits"])
    done = kdzoo("eval", str(folder), "dataset=digits")
    assert (done.code, "Mean confidence" in done.out) == (2, False)


def test_what_is_no_image_and_no_number_of_classes_is_refused(student):
    predictor = load_predictor(student())
    for nothing in (None, 3, {"a": 1}, np.uint8(3), [None], np.zeros((0, 0, 3), np.uint8)):
        with pytest.raises(UserError, match="image"):
            predictor(nothing)
    found = predictor(np.zeros((8, 8, 3), np.uint8))
    for k in (0, -1, 1.5, None):
        with pytest.raises(UserError, match="number of classes to name"):
            found.top(k)
    assert [len(one) for one in found.top(100)] == [10]


def test_a_student_is_not_exported_over_that_of_another_run(student, tmp_path, kdzoo):
    folder = student()
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "student.json", "student.safetensors"):
        (run / name).write_text("its own")
    done = kdzoo("export", str(folder), "--to", str(run))
    assert (done.code, "own files would be lost" in done.err) == (2, True)
    assert {path.read_text() for path in run.iterdir()} == {"its own"}


@pytest.mark.parametrize("content", [b"hello", b"", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_a_file_that_is_something_else_is_no_weights(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pt"):
        read_weights(path)
