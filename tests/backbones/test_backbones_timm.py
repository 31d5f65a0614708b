"""Our networks by the names that timm's models have for their parts."""

import sys

import pytest
import timm
import torch
from timm.models import FeatureInfo, group_parameters

import kdzoo.timm
from kdzoo import create_backbone
from kdzoo.errors import UserError
from kdzoo.timm.__main__ import main

# name, shape of the last map of a 32x32 image, the stages' channels and reductions
NETWORKS = [
    ("resnet8", (64, 8, 8), [16, 32, 64], [1, 2, 4]),
    ("resnet110", (256, 8, 8), [64, 128, 256], [1, 2, 4]),
    ("wrn16_2", (128, 8, 8), [32, 64, 128], [1, 2, 4]),
    ("vgg16", (512, 1, 1), [64, 128, 256, 512, 512], [2, 4, 8, 16, 32]),
    ("densenet40_12", (132, 8, 8), [48, 60, 132], [2, 4, 4]),
    ("mobilenetv2", (1280, 4, 4), [24, 32, 96, 320], [1, 2, 4, 8]),
    ("shufflenetv2", (1024, 4, 4), [24, 116, 232, 464], [1, 2, 4, 8]),
]
NAMES = [name for name, *_ in NETWORKS]
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def create(name, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(f"kdzoo_{name}", **kwargs).eval()


@pytest.mark.parametrize(("name", "last", "channels", "reductions"), NETWORKS)
def test_features_and_head_are_the_network(name, last, channels, reductions):
    network = create(name, num_classes=7)
    features = network.forward_features(X)
    assert features.shape[1:] == last
    assert network.num_features == last[0]
    assert network.default_cfg["pool_size"] == last[1:]
    assert torch.equal(network.forward_head(features), network(X))
    embedding = network.forward_head(features, pre_logits=True)
    assert embedding.shape == (2, network.head_hidden_size)
    assert torch.equal(network.get_classifier()(embedding), network(X))
    info = FeatureInfo(network.feature_info, len(network.feature_info))
    assert (info.channels(), info.reduction()) == (channels, reductions)


@pytest.mark.parametrize(("name", "last", "channels", "reductions"), NETWORKS)
def test_features_only_gives_the_stages(name, last, channels, reductions):
    outputs = create(name, features_only=True)(X)
    shapes = [tuple(output.shape[1:]) for output in outputs]
    assert shapes == [(c, 32 // r, 32 // r) for c, r in zip(channels, reductions, strict=True)]
    (second,) = create(name, features_only=True, out_indices=(1,))(X)
    assert torch.equal(second, outputs[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_timms_registry_starts_as_ours(name):
    ours = create(name, num_classes=7, in_chans=1).state_dict()
    torch.manual_seed(0)
    expected = create_backbone(name, 7, (1, 32, 32)).state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_can_be_taken_off_and_replaced(name):
    network = create(name).double()
    embedding = network.forward_head(network.forward_features(X.double()), pre_logits=True)
    network.reset_classifier(0)
    assert network.num_classes == 0
    assert torch.equal(network(X.double()), embedding)
    network.reset_classifier(0, "")
    assert torch.equal(network(X.double()), network.forward_features(X.double()))
    network.reset_classifier(3, "catavgmax")
    assert network.head_hidden_size == 2 * network.num_features
    assert network(X.double()).shape == (2, 3)
    network.reset_classifier(4, "avg")
    assert network(X.double()).shape == (2, 4)
    assert network.head_hidden_size == network.num_features


def test_a_new_classifier_starts_as_the_first_one():
    network = create("vgg16")
    network.reset_classifier(1000)
    assert network.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (network.fc.bias == 0).all()


def test_without_classifier_and_pooling_from_the_start():
    network = create("resnet8", num_classes=0, global_pool="")
    assert network(X).shape == (2, 64, 8, 8)


@pytest.mark.parametrize(
    ("num_classes", "pool", "message"),
    [(5, "", "needs a pooling"), (5, "average", "Invalid pool type: average. Try avg")],
)
def test_a_head_that_cannot_be_is_refused(num_classes, pool, message):
    network = create("resnet8")
    with pytest.raises(UserError, match=message):
        network.reset_classifier(num_classes, pool)
    assert network(X).shape == (2, 10)


def test_gradient_checkpointing_is_refused_and_not_passed_over():
    network = create("resnet8")
    network.set_grad_checkpointing(enable=False)
    with pytest.raises(UserError, match=r"training\.checkpointing=true"):
        network.set_grad_checkpointing()


@pytest.mark.parametrize("name", ["resnet8", "vgg16", "mobilenetv2", "shufflenetv2"])
def test_dropout_before_the_classifier(name):
    network = create(name, drop_rate=0.5)
    features = network.forward_features(X)
    full = network.forward_head(features, pre_logits=True)
    assert torch.equal(network(X), network.get_classifier()(full))
    dropped = network.train().forward_head(features, pre_logits=True)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * full[kept])
    assert 0.4 < kept[full != 0].float().mean() < 0.6


def layers_of(name, coarse):
    network = create(name)
    return group_parameters(network, network.group_matcher(coarse), reverse=True)


def test_layers_are_counted_from_the_stem_to_the_classifier():
    blocks = layers_of("resnet14", coarse=False)
    assert blocks["conv1.weight"] == blocks["bn1.bias"] == 0
    assert blocks["layer1.0.conv1.weight"] == 1
    assert blocks["layer1.1.bn2.weight"] == 2
    assert blocks["layer3.1.conv2.weight"] == 6
    assert blocks["fc.weight"] == blocks["fc.bias"] == 7
    stages = layers_of("resnet14", coarse=True)
    assert [stages[name] for name in ("conv1.weight", "layer1.0.conv1.weight")] == [0, 1]
    assert [stages[name] for name in ("layer3.1.conv1.weight", "fc.weight")] == [3, 4]


def test_what_comes_after_a_stage_is_in_its_last_layer():
    blocks = layers_of("densenet40_12", coarse=False)
    assert blocks["transition1.conv.weight"] == blocks["layer1.5.conv1.weight"] == 6
    assert blocks["layer2.0.conv1.weight"] == 7
    assert blocks["bn1.weight"] == blocks["layer3.5.conv2.weight"] == 18
    assert blocks["fc.weight"] == 19


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
@pytest.mark.parametrize("name", ["resnet8", "wrn16_2", "vgg16", "densenet40_12", "shufflenetv2"])
def test_a_network_can_be_traced_and_scripted(name):
    network = create(name)
    expected = network(X)
    assert torch.equal(torch.fx.symbolic_trace(network)(X), expected)
    torch.testing.assert_close(torch.jit.script(network)(X), expected)


SCRIPT = """
import sys
import timm
from words import SAID
network = timm.create_model(sys.argv[1], num_classes=int(sys.argv[2]))
print(__name__, SAID, sum(p.numel() for p in network.parameters()))
"""


def test_a_script_that_is_built_on_timm_runs_on_our_networks(tmp_path, monkeypatch, capsys):
    script = tmp_path / "validate.py"
    script.write_text(SCRIPT)
    (tmp_path / "words.py").write_text("SAID = 'beside the script'")
    monkeypatch.setattr(sys, "argv", ["kdzoo.timm", str(script), "kdzoo_resnet8", "10"])
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    main()
    assert capsys.readouterr().out == "__main__ beside the script 78042\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: script"),
        (["nothing.py"], "there is no file nothing.py"),
        (["{script}"], "no pretrained weights of kdzoo_resnet8"),
    ],
)
def test_what_cannot_be_run_is_said(arguments, message, tmp_path, monkeypatch, capsys):
    script = tmp_path / "script.py"
    script.write_text("import timm\ntimm.create_model('kdzoo_resnet8', pretrained=True)")
    given = [argument.format(script=script) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["kdzoo.timm", *given])
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_plugins_network_need_not_be_as_timms_are(monkeypatch):
    class Plain(torch.nn.Sequential):
        def __init__(self, num_classes, in_chans=3):
            super().__init__(torch.nn.Flatten(), torch.nn.Linear(in_chans * 1024, num_classes))

    monkeypatch.setattr(kdzoo.timm.backbones, "get", lambda name: Plain)
    assert create("resnet8", num_classes=4)(X).shape == (2, 4)
    with pytest.raises(UserError, match="takes no global_pool"):
        create("resnet8", num_classes=0)
