"""Every method's loss and gradients are those of its paper's equations."""

import pytest
import torch
from methods_compared import actual, assert_equal, expected, expected_byot, expected_uskd
from methods_plain import SIZE, K, tiny_backbone

from kdzoo import registry
from kdzoo.backbones.create import BackboneConfig, make_backbone
from kdzoo.component import validate
from kdzoo.student import StudentInfo, save_student

BATCH = 6


def make(name, seed=0, backbones=None, **settings):
    method_class = registry.methods.get(name)
    config = validate(method_class.Config, {"name": name, **settings})
    method = method_class(config, backbones or [tiny_backbone()], seed).double()
    with torch.no_grad():  # away from the special values of fresh weights: zeros, ones
        generator = torch.Generator().manual_seed(5)
        for parameter in method.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.2 * noise)
    return method


def batch(method):
    generator = torch.Generator().manual_seed(1)
    views = (method.views,) if method.views > 1 else ()
    x = torch.randn(*views, BATCH, *SIZE, generator=generator, dtype=torch.float64)
    y = torch.randint(0, K, (BATCH,), generator=generator)
    return x, y, torch.nn.functional.one_hot(y, K).double()


CASES = {
    "independent": ("independent", {"peers": 3}),
    "independent branched": ("independent", {"peers": 3, "layout": "branched"}),
    "dml": ("dml", {}),
    "dml of 3": ("dml", {"peers": 3, "temperature": 2.5, "ramp_up": 0.5}),
    "dml branched": ("dml", {"peers": 3, "layout": "branched"}),
    "cl_ilr": ("cl_ilr", {}),
    "cl_ilr of 2, mean": ("cl_ilr", {"peers": 2, "aggregator": "mean"}),
    "one": ("one", {}),
    "one of 4": ("one", {"peers": 4, "temperature": 1.5, "ramp_up": 0.9}),
    "one, mean": ("one", {"aggregator": "mean"}),
    "one, leave_one_out": ("one", {"aggregator": "leave_one_out"}),
    "one, fusion": ("one", {"aggregator": "fusion"}),
    "one, concat": ("one", {"aggregator": "concat"}),
    "one, ffm, independent": ("one", {"aggregator": "ffm", "layout": "independent"}),
    "mbde": ("mbde", {}),
    "mbde, weights a class": ("mbde", {"aggregator": {"name": "ffm", "score": "class"}}),
    "okddip, ffm of classes": ("okddip", {"aggregator": {"name": "ffm", "score": "class"}}),
    "mbde, strong cd": ("mbde", {"regularizers": [{"name": "cd", "weight": 0.3}]}),
    "mbde, cosine": ("mbde", {"regularizers": [{"form": "cosine", "weight": 0.3}]}),
    "mbde, both": ("mbde", {"regularizers": ["cd", "negative_correlation"]}),
    "okddip": ("okddip", {}),
    "okddip independent": ("okddip", {"layout": "independent", "peers": 3}),
    "okddip, gate": ("okddip", {"aggregator": "gate"}),
    "okddip, mean": ("okddip", {"aggregator": "mean", "regularizers": ["negative_correlation"]}),
    "ffl": ("ffl", {}),
    "ffl independent": ("ffl", {"layout": "independent", "peers": 3}),
    "ffl, ffm": ("ffl", {"aggregator": "ffm"}),
    "pcl": ("pcl", {}),
    "pcl independent": ("pcl", {"layout": "independent", "peers": 2}),
    "dkel": ("dkel", {"fade": 0.2}),
    "dkel independent": ("dkel", {"layout": "independent", "peers": 4, "fade": 0.5}),
    "tf_kd": ("tf_kd", {"temperature": 2.0, "alpha": 0.3, "correct": 0.9}),
    "switokd": ("switokd", {"temperature": 1.7}),
    "cs_kd": ("cs_kd", {"weight": 0.7}),
    "bake": ("bake", {"weight": 0.7, "omega": 0.3, "temperature": 2.0}),
    "kdcl naive": ("kdcl", {"variant": "naive", "peers": 3, "weight": 0.7}),
    "kdcl minlogit": ("kdcl", {"variant": "minlogit", "peers": 3}),
    "kdcl linear": ("kdcl", {"variant": "linear"}),
    "ffsd": ("ffsd", {"diversity_weight": 0.5}),
    "ffsd independent of 4": (
        "ffsd",
        {"layout": "independent", "peers": 4, "diversity_weight": 0.5, "ramp_up": 0.5},
    ),
    "one, hierarchy": ("one", {"aggregator": "hierarchy"}),
    "ahbf": ("ahbf", {"extra_blocks": 1}),
    "ahbf of 3": (
        "ahbf",
        {"peers": 3, "weight": 0.5, "ensemble_weight": 3, "branch_weight": 1.5, "ramp_up": 0.1},
    ),
    "kdcl general": ("kdcl", {"variant": "general", "peers": 3, "ramp_up": 0.5}),
}


@pytest.mark.parametrize("progress", [0.07, 0.9])
@pytest.mark.parametrize("case", CASES)
def test_terms_and_gradients_are_those_of_the_equations(case, progress):
    name, settings = CASES[case]
    method = make(name, **settings)
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, progress), expected(method, x, one_hot, progress))


@pytest.mark.parametrize("name", ["one", "dml", "cl_ilr", "okddip", "pcl", "ffl"])
def test_labels_may_be_probabilities(name):
    method = make(name)
    x = batch(method)[0]
    generator = torch.Generator().manual_seed(2)
    y = torch.rand(BATCH, K, generator=generator, dtype=torch.float64)
    y = y / y.sum(dim=1, keepdim=True)
    assert_equal(actual(method, x, y, 0.4), expected(method, x, y, 0.4))


def test_kd(tmp_path):
    teacher = make_backbone(BackboneConfig(name="resnet8"), K, SIZE).build(seed=3)
    info = StudentInfo(
        backbone="resnet8",
        kwargs={},
        num_classes=K,
        input_size=SIZE,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        classes=tuple("abcde"),
    )
    save_student(tmp_path, teacher, info)
    method = make("kd", teacher=str(tmp_path), alpha=0.3, temperature=2.0)
    x, y, one_hot = batch(method)
    assert_equal(actual(method, x, y, 0.5), expected(method, x, one_hot, 0.5))


def test_byot():
    method = make("byot", alpha=0.3, feature_weight=0.2, temperature=2.0)
    x, y, one_hot = batch(method)
    found = actual(method, x, y, 0.5)
    assert_equal(found, expected_byot(method, x, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, expected_byot(method, x, one_hot, held=False))


def test_uskd():
    method = make("uskd", alpha=0.3, beta=0.7, mu=0.4)
    x, y, one_hot = batch(method)
    found = actual(method, x, y, 0.5)
    assert_equal(found, expected_uskd(method, x, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, expected_uskd(method, x, one_hot, held=False))


def test_different_backbones():
    """Peers of different widths: dml and kdcl look at logits only."""
    for name in ("dml", "kdcl"):
        method = make(name, backbones=[tiny_backbone(6), tiny_backbone(3)])
        x, y, one_hot = batch(method)
        assert_equal(actual(method, x, y, 0.5), expected(method, x, one_hot, 0.5))


# The comparison above has to notice each of the mistakes that re-implementations make.


@pytest.mark.parametrize("name", ["dml", "cl_ilr", "one", "mbde", "ffl", "kdcl", "ffsd", "cs_kd"])
def test_it_matters_what_is_held_constant(name):
    method = make(name)
    x, y, one_hot = batch(method)
    with pytest.raises(AssertionError):
        assert_equal(actual(method, x, y, 0.9), expected(method, x, one_hot, 0.9, held=False))


@pytest.mark.parametrize("name", ["cl_ilr", "one", "mbde", "okddip", "ffl", "pcl"])
def test_it_matters_how_far_the_training_is(name):
    method = make(name)
    x, y, one_hot = batch(method)
    wrong = expected(method, x, one_hot, 0.1)
    with pytest.raises(AssertionError):
        assert_equal(actual(method, x, y, 0.12), wrong)


@pytest.mark.parametrize("name", ["dml", "cl_ilr", "one", "mbde", "okddip", "ffl", "pcl", "kdcl"])
def test_the_temperature_matters(name):
    method, other = make(name), make(name, temperature=1.7)
    x, y, one_hot = batch(method)
    with pytest.raises(AssertionError):
        assert_equal(actual(method, x, y, 0.9), expected(other, x, one_hot, 0.9))


def test_only_the_trunk_of_cl_ilr_gets_a_pth_of_the_gradient():
    """Beside the same peers without rescaling: a P-th in the trunk, the same in the branches."""
    rescaled = make("cl_ilr")
    plain = make("cl_ilr")
    plain.peers.trunk_gradient = 1.0
    x, y, _ = batch(plain)
    _, summed = actual(plain, x, y, 0.5)
    _, averaged = actual(rescaled, x, y, 0.5)
    for name, gradient in summed.items():
        share = 1 / 3 if name.startswith("peers.trunk.") else 1.0
        torch.testing.assert_close(averaged[name], share * gradient, rtol=1e-9, atol=1e-14)
