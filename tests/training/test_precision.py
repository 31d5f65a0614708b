"""The number format that a run takes, and that bf16 is used only where its gradients are right."""

import pytest
import torch
from torch import nn

from kdzoo.api import create_method
from kdzoo.errors import ConfigError
from kdzoo.peers.padding_only import padding_only_taps
from kdzoo.training import precision
from kdzoo.training.precision import choose_precision

CPU = torch.device("cpu")


@pytest.fixture
def bf16_cpu(monkeypatch):
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: True)


def method(backbone="resnet8", image=8, name="mbde"):
    return create_method(name, backbone=backbone, num_classes=10, input_size=(3, image, image))


def test_a_cpu_without_instructions_for_bf16_computes_in_fp32(monkeypatch):
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: False)
    assert choose_precision("auto", CPU, method()) == ("fp32", None)


@pytest.mark.usefixtures("bf16_cpu")
@pytest.mark.parametrize("name", ["mbde", "pcl", "byot", "dml"])
def test_auto_takes_bf16_where_every_tap_meets_a_pixel(name):
    assert choose_precision("auto", CPU, method(name=name)).name == "bf16"


@pytest.mark.usefixtures("bf16_cpu")
def test_auto_takes_fp32_where_a_tap_meets_only_padding_and_says_so():
    chosen = choose_precision("auto", CPU, method(image=4))
    assert chosen.name == "fp32"
    # Stride 2 over two pixels: the kernel is put in one place, whose first row is outside.
    assert "the 3x3 convolution 'branches.0.layer3.0.conv1' on a map of 2x2" in chosen.note


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_that_is_asked_for_is_taken_with_a_warning(fast, monkeypatch):
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: fast)
    assert choose_precision("bf16", CPU, method()) == ("bf16", None)
    chosen = choose_precision("bf16", CPU, method(image=4))
    assert chosen.name == "bf16"
    assert "can be wrong" in chosen.note


@pytest.mark.usefixtures("bf16_cpu")
def test_the_formats_that_are_asked_for():
    assert choose_precision("fp32", CPU, method(image=4)) == ("fp32", None)
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        choose_precision("fp16", CPU, method())


@pytest.mark.usefixtures("bf16_cpu")
@pytest.mark.parametrize(("image", "used"), [("8", "bf16"), ("4", "fp32")])
def test_a_run_says_what_it_took(kdzoo, image, used, tmp_path):
    result = kdzoo(
        "run", "backbone=resnet8", "epochs=1", "training.steps=2", "device=cpu",
        f"dataset.image_size={image}", f"out={tmp_path}",
    )  # fmt: skip
    assert result.code == 0
    assert f"precision=auto took {used}" in " ".join(result.out.split())
    (environment,) = tmp_path.rglob("environment.json")
    assert f'"precision": "{used}"' in environment.read_text()


def fill_freed_memory_with_nan(like):
    """So that what is read without being written shows."""
    for _ in range(4):
        for count in {like.numel(), 2 * like.numel(), 4096}:
            torch.full((count,), float("nan"), dtype=torch.bfloat16)
            torch.full((count,), float("nan"))


SHAPES = [
    (kernel, stride, size, groups)
    for kernel in (1, 3, 5, 7)
    for stride in (1, 2)
    for size in (1, 2, 3, 4, 5, 8)
    for groups in (1, 16)
]


def test_bf16_weight_gradients_are_right_where_every_tap_meets_a_pixel():
    torch.manual_seed(0)
    tried = 0
    for kernel, stride, size, groups in SHAPES:
        layer = nn.Conv2d(16, 16, kernel, stride, kernel // 2, groups=groups, bias=False)
        x = torch.randn(4, 16, size, size).to(memory_format=torch.channels_last)
        if padding_only_taps(layer, x) is not None:
            continue
        tried += 1
        (exact,) = torch.autograd.grad(layer(x).square().sum(), layer.weight)
        fill_freed_memory_with_nan(layer.weight)
        with torch.autocast("cpu", torch.bfloat16):
            z = layer(x)
        (short,) = torch.autograd.grad(z.float().square().sum(), layer.weight)
        error = (short - exact).norm() / exact.norm()
        assert error < 0.02, (kernel, stride, size, groups)
    assert tried > len(SHAPES) / 2
