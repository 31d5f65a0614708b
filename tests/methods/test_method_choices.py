"""What fits together, and what is refused with a reason before any work."""

import pytest
import torch

from kdzoo import registry
from kdzoo.api import create_method
from kdzoo.backbones.create import BackboneConfig
from kdzoo.component import validate
from kdzoo.errors import ConfigError
from kdzoo.testing import batch, make_method, make_test_backbone, train_step

TRAINED = {"gate", "ffm", "fusion", "concat", "hierarchy"}
UNTRAINED = {"mean", "leave_one_out"}
FITTING = {
    "independent": {"mean"},
    "dml": {"mean"},
    "cl_ilr": UNTRAINED,
    "kdcl": {"mean"},
    "byot": {"mean"},
    "one": UNTRAINED | TRAINED,
    "mbde": UNTRAINED | TRAINED,
    "ffl": UNTRAINED | TRAINED,
    "pcl": UNTRAINED | TRAINED,
    "okddip": UNTRAINED | TRAINED | {"attention"},
}


@pytest.mark.parametrize("aggregator", sorted(UNTRAINED | TRAINED | {"attention"}))
@pytest.mark.parametrize("name", FITTING)
def test_an_aggregator_is_trained_or_refused(name, aggregator):
    settings = {"peers": 3, "aggregator": aggregator}
    if aggregator in FITTING[name]:
        method = make_method(name, **settings)
        torch.stack([*train_step(method).terms.values()]).sum().backward()
        for parameter in method.aggregator.parameters():
            assert parameter.grad is not None
    else:
        with pytest.raises(ConfigError, match=rf"method\.aggregator: .*\b{aggregator}\b"):
            make_method(name, **settings)


def test_every_aggregator_and_method_is_in_this_file():
    assert set(registry.aggregators.names()) == UNTRAINED | TRAINED | {"attention"}
    assert set(registry.methods.names()) >= {*FITTING, "kd"}


def test_the_reason_why_an_aggregator_would_not_learn_is_said():
    with pytest.raises(ConfigError, match=r"no gradient through the aggregator's targets"):
        make_method("one", aggregator="attention")
    with pytest.raises(ConfigError, match=r"mean and leave_one_out need no training"):
        make_method("dml", aggregator="ffm")


@pytest.mark.parametrize("layout", ["branched", "independent"])
@pytest.mark.parametrize("regularizer", ["cd", "negative_correlation"])
@pytest.mark.parametrize("name", [*FITTING])
def test_every_regularizer_goes_with_every_method(name, regularizer, layout):
    fixed = {"cl_ilr": "branched", "byot": "branched"}
    needs_trunk = {"one": {"aggregator": "ffm"}}
    settings = {"layout": fixed.get(name, layout), **needs_trunk.get(name, {})}
    peers = 3
    method = make_method(
        name, peers=peers, regularizers=[{"name": regularizer, "weight": 0.5}], **settings
    )
    terms = train_step(method).terms
    assert torch.isfinite(terms[regularizer])
    half = make_method(
        name, peers=peers, regularizers=[{"name": regularizer, "weight": 0.25}], **settings
    )
    torch.testing.assert_close(train_step(half).terms[regularizer], terms[regularizer] / 2)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("one", {"layout": "independent"}, "independent peers share none"),
        ("one", {"peers": 1}, "peers: .* greater than or equal to 2, not 1"),
        ("dml", {"peers": 1}, "peers"),
        ("okddip", {"peers": 2}, "peers"),
        ("kd", {"peers": 2}, "peers"),
        ("kd", {"teacher": None}, "method.teacher"),
        ("cl_ilr", {"layout": "independent"}, "layout"),
        ("byot", {"peers": 4}, "resnet8 has 3 stages"),
        (
            "lmcl",
            {"aggregator": "leave_one_out"},
            "is the mean of all peers: it would",
        ),
        ("mcl", {"aggregator": "leave_one_out"}, "mcl compares no logits"),
        ("ffsd", {"rebuilt_stages": 1}, r"^rebuilt_stages: .*self_distillation=true"),
        ("ffsd", {"decoder_weight": 1}, r"^decoder_weight: .*self_distillation=true"),
        ("ffsd", {"decoder_lr": 0.5}, r"^decoder_lr: .*self_distillation=true"),
        ("lmcl", {"meta_steps": 3}, r"^meta_steps: .*meta_every=50"),
        ("ahbf", {"aggregator": "mean"}, "by a hierarchy of ensembles, and mean makes none"),
        ("independent", {"regularizers": ["cd"]}, "cd needs 2 peers"),
        (
            "independent",
            {"regularizers": ["negative_correlation"]},
            "negative_correlation needs 2 peers",
        ),
        (
            "independent",
            {"aggregator": "leave_one_out"},
            "needs 2 peers .*peers=2 or more",
        ),
        ("one", {"regularizers": ["cd", "cd"]}, "there twice"),
        ("one", {"regularizers": ["cb"]}, "Did you mean cd"),
        ("one", {"aggregator": "ff"}, "Did you mean ffm"),
        ("one", {"aggregator": {"name": "ffm", "hiden": 3}}, "Did you mean hidden"),
        ("mbde", {"temperature": 0}, "temperature"),
        ("mbde", {"ramp_up": 1.5}, "ramp_up"),
        ("pcl", {"decay": 1.0}, "decay"),
        ("kdcl", {"variant": "max"}, "variant"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        create_method(name, "resnet8", num_classes=5, input_size=(3, 16, 16), **settings)


@pytest.mark.parametrize(
    ("name", "switch", "settings"),
    [
        (
            "ffsd",
            {"self_distillation": True},
            {"rebuilt_stages": 1, "decoder_weight": 1, "decoder_lr": 0.5},
        ),
        ("lmcl", {"meta_every": 1}, {"meta_steps": 3}),
    ],
)
def test_settings_of_what_is_switched_on_are_taken_and_so_are_defaults(name, switch, settings):
    config_class = registry.methods.get(name).Config
    taken = validate(config_class, {"name": name, **switch, **settings})
    assert {key: getattr(taken, key) for key in settings} == settings
    plain = validate(config_class, {"name": name})
    assert validate(config_class, plain.model_dump(mode="json")) == plain


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    from kdzoo.backbones.create import make_backbone
    from kdzoo.student import StudentInfo, save_student

    info = StudentInfo(
        backbone="resnet8",
        kwargs={},
        num_classes=7,
        input_size=(3, 16, 16),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        classes=tuple("abcdefg"),
    )
    seven = make_backbone(BackboneConfig(name="resnet8"), 7, (3, 16, 16)).build(0)
    save_student(tmp_path, seven, info)
    with pytest.raises(ConfigError, match=r"knows 7 classes .*, and the data has 5"):
        make_method("kd", teacher=str(tmp_path))


def test_kd_says_which_run_it_needs_first():
    method_class = registry.methods.get("kd")

    def needed(**settings):
        return method_class.prerequisites(validate(method_class.Config, {"name": "kd", **settings}))

    assert needed() == {"teacher": {"method": {"name": "independent"}}}
    assert needed(teacher="runs/x") == {}
    settings = needed(teacher_backbone="resnet56")["teacher"]
    assert settings["backbone"]["name"] == "resnet56"
    assert registry.methods.get("dml").prerequisites(None) == {}


def mixed(name, *backbones, **settings):
    from kdzoo.backbones.create import make_backbone

    method_class = registry.methods.get(name)
    config = validate(method_class.Config, {"name": name, **settings})
    made = [make_backbone(BackboneConfig(name=b), 5, (3, 16, 16)) for b in backbones]
    return method_class(config, made, seed=0)


@pytest.mark.parametrize("name", ["dml", "kdcl", "independent"])
def test_peers_of_different_backbones(name):
    method = mixed(name, "resnet8", "resnet14", peers=2)
    terms = train_step(method).terms
    torch.stack([*terms.values()]).sum().backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    sizes = [sum(p.numel() for p in method.peers.network(i).parameters()) for i in range(2)]
    assert sizes[0] < sizes[1]
    student = method.eval().student()
    x = batch(method)[0]
    with torch.no_grad():
        torch.testing.assert_close(student(x), method.predict(method.outputs(x))["student"])


def test_fusion_of_different_backbones_and_resolutions():
    method = mixed("ffl", "resnet8", "resnet14", layout="independent")
    assert torch.isfinite(torch.stack([*train_step(method).terms.values()])).all()


@pytest.mark.parametrize(
    ("name", "backbones", "settings", "message"),
    [
        (
            "one",
            ["resnet8", "resnet14"],
            {},
            "one trains copies of one backbone.* different ones: afd, dml, ffl, independent, kdcl",
        ),
        ("dml", ["resnet8", "resnet14"], {"peers": 3}, "2 backbones for 3 peers"),
        ("dml", ["resnet8", "resnet14"], {"layout": "branched"}, "share no trunk"),
    ],
)
def test_backbones_that_do_not_fit_are_refused(name, backbones, settings, message):
    with pytest.raises(ConfigError, match=message):
        mixed(name, *backbones, **settings)


def test_one_with_ffm_and_cd_is_mbde_to_the_bit():
    composed = make_method("one", aggregator="ffm", regularizers=["cd"])
    named = make_method("mbde")
    results = []
    for method in (composed, named):
        terms = train_step(method).terms
        torch.stack([*terms.values()]).sum().backward()
        results.append((terms, {name: p.grad for name, p in method.named_parameters()}))
    (terms, gradients), (named_terms, named_gradients) = results
    assert terms.keys() == named_terms.keys()
    assert all(torch.equal(terms[name], named_terms[name]) for name in terms)
    assert gradients.keys() == named_gradients.keys()
    assert all(torch.equal(gradients[name], named_gradients[name]) for name in gradients)


def test_heads_do_not_start_from_the_numbers_that_the_peers_start_from():
    """Seeding both alike would make, say, a gate of the first layer's very draws."""
    method = make_method("pcl")
    first = make_test_backbone().build(seed=0)
    draws = next(first.parameters()).flatten()[:8]
    head = method.aggregator.classifier.weight.flatten()[:8]
    assert not torch.allclose(draws / draws.norm(), head / head.norm(), atol=1e-3)
