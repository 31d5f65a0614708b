"""A sample of timm's families; benchmarks/timm_families.py goes through all of them."""

import importlib.util
import sys
from pathlib import Path

import pytest
from timm.models import mvitv2
from timm.models.mvitv2 import MultiScaleVitCfg

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "timm_families.py"

# What each of them is here for; they are as thin and shallow as they come, in all of their stages.
SAMPLE = {
    "resnet": ("resnet10t", {}),  # the plain case
    "efficientnet": ("mobilenetv2_035", {}),  # layers between the last block and the pooling
    "convnext": ("convnext_zepto_rms", {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)}),
    "mambaout": (  # NHWC
        "mambaout_femto",
        {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64)},
    ),
    "swin_transformer": (  # NHWC, constants made in tracing
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "img_size": 64},
    ),
    "vision_transformer": (  # tokens, isotropic
        "vit_tiny_patch16_224",
        {"embed_dim": 48, "depth": 3, "img_size": 64},
    ),
    "eva": (  # a rotary embedding crosses the cut
        "vit_tiny_patch16_dinov3_qkvb",
        {"embed_dim": 48, "depth": 3},
    ),
    "xcit": ("xcit_nano_12_p8_224", {"embed_dim": 32, "depth": 3}),  # the map's size crosses it
    "twins": (  # flow that depends on the map's size; stages are no modules
        "twins_svt_small",
        {"embed_dims": (16, 32, 64, 128), "num_heads": (1, 2, 4, 8), "depths": (2, 2, 2, 2)},
    ),
    "mvitv2": ("mvitv2_tiny", {"img_size": 64}),  # stages return tuples
    "levit": ("levit_128s", {"embed_dim": (32, 48, 64), "depth": (1, 2, 2)}),  # two classifiers
    "coat": (  # modules that are used repeatedly
        "coat_tiny",
        {"embed_dims": (32, 32, 32, 32), "serial_depths": (1, 1, 1, 1), "parallel_depth": 2},
    ),
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("timm_families", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["timm_families"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("family", SAMPLE)
def test_family(script, family, monkeypatch):
    small = MultiScaleVitCfg(depths=(1, 1, 1, 1), embed_dim=24, num_heads=1)
    monkeypatch.setitem(mvitv2.model_cfgs, "mvitv2_tiny", small)  # which takes no arguments
    model, kwargs = SAMPLE[family]
    row = script.examine(family, model, millions=0, **kwargs)
    assert row.passed == script.CHECKS.keys(), row.reason


def test_the_page_lists_what_passes_and_what_does_not(script):
    good = script.Row("a", "a_tiny", 1.0, 64, "stage1", "NCHW", frozenset(script.CHECKS))
    bad = script.Row("b", "b_tiny", 70.0, reason="not tried")
    text = script.page([good, bad])
    assert (
        "Of 1 families with a model under 60M parameters, 1 pass everything; of all 2, 1." in text
    )
    assert "- **b** (b_tiny): split, equal, state, step, student, independent. not tried" in text
