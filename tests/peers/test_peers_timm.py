"""A sample of timm's families; benchmarks/timm_families.py goes through all of them."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "timm_families.py"

# what each of them is here for
SAMPLE = {
    "resnet": "resnet10t",  # the plain case
    "efficientnet": "mobilenetv2_035",  # layers between the last block and the pooling
    "convnext": "convnext_zepto_rms",
    "mambaout": "mambaout_femto",  # NHWC
    "swin_transformer": "swin_tiny_patch4_window7_224",  # NHWC, constants made in tracing
    "vision_transformer": "vit_tiny_patch16_224",  # tokens, isotropic
    "eva": "vit_tiny_patch16_dinov3_qkvb",  # a rotary embedding crosses the cut
    "xcit": "xcit_nano_12_p8_224",  # the map's size crosses the cut
    "twins": "twins_svt_small",  # flow that depends on the map's size; stages are no modules
    "mvitv2": "mvitv2_tiny",  # stages return tuples
    "levit": "levit_128s",  # two classifiers
    "coat": "coat_tiny",  # modules that are used repeatedly
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
def test_family(script, family):
    row = script.examine(family, SAMPLE[family], millions=0)
    assert row.passed == script.CHECKS.keys(), row.reason


def test_the_page_lists_what_passes_and_what_does_not(script):
    good = script.Row("a", "a_tiny", 1.0, 64, "stage1", "NCHW", frozenset(script.CHECKS))
    bad = script.Row("b", "b_tiny", 70.0, reason="not tried")
    text = script.page([good, bad])
    assert (
        "Of 1 families with a model under 60M parameters, 1 pass everything; of all 2, 1." in text
    )
    assert "- **b** (b_tiny): split, equal, state, step, student, independent. not tried" in text
