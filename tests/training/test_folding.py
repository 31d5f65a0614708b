"""Batch norm folded into convolutions: what is folded, what it computes, and what it leaves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdzoo.backbones.create import BackboneConfig, make_backbone
from kdzoo.registry import backbones, methods
from kdzoo.testing import SIZE, make_method
from kdzoo.training.evaluation import Evaluator
from kdzoo.training.folding import find_foldable, folded

TIMM = ("mobilenetv3_small_050", "tf_efficientnet_b0", "resnet10t", "convnext_atto")


def trained(network, seed=0):
    """The network with statistics and scales such as training leaves, in training mode."""
    random = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.normal_(generator=random)
            layer.running_var.uniform_(0.5, 2, generator=random)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5, generator=random)
                nn.init.normal_(layer.bias, 0, 0.2, generator=random)
    return network.train()


def pairs_of(network, size=SIZE):
    random = torch.Generator().manual_seed(0)
    return find_foldable(network, lambda: network(torch.randn(2, *size, generator=random)))


def norms(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@torch.no_grad()
def assert_same_logits(network, pairs, size=SIZE):
    x = torch.randn(5, *size, generator=torch.Generator().manual_seed(1))
    network.eval()
    plain = network(x)
    with folded(pairs):
        assert not [True for pair in pairs if pair.norm.training]
        torch.testing.assert_close(network(x), plain, rtol=0, atol=1e-5 * plain.abs().max().item())
    assert torch.equal(network(x), plain)


@pytest.mark.parametrize("name", sorted(set(backbones.names()) - {"resnet110", "densenet100_12"}))
def test_folded_networks_of_the_zoo_say_the_same(name):
    size = (3, 32, 32)
    network = trained(make_backbone(BackboneConfig(name=name), 5, size).build(0))
    pairs = pairs_of(network, size)
    assert pairs
    if not name.startswith(("wrn", "densenet")):  # there, batch norm comes before convolutions
        assert len(pairs) == len(norms(network))
    assert_same_logits(network, pairs, size)


@pytest.mark.parametrize("name", TIMM)
def test_folded_timm_networks_say_the_same(name):
    size = (3, 64, 64)
    network = trained(make_backbone(BackboneConfig(name=f"timm/{name}"), 5, size).build(0))
    pairs = pairs_of(network, size)
    assert len(pairs) == len(norms(network))  # of ConvNeXt, none
    assert_same_logits(network, pairs, size)


def test_a_vision_transformer_has_nothing_to_fold():
    kwargs = {"img_size": 32, "patch_size": 8}
    config = BackboneConfig(name="timm/vit_tiny_patch16_224", kwargs=kwargs)
    network = make_backbone(config, 5, (3, 32, 32)).build(0)
    assert pairs_of(network, (3, 32, 32)) == []
    assert_same_logits(network, [], (3, 32, 32))


class Block(nn.Module):
    """A convolution and a batch norm, and how a ``forward`` uses them."""

    def __init__(self, forward, **norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3, **norm)
        self.uses = forward

    def forward(self, x):
        return self.uses(self, x).mean(dim=(-2, -1))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.bn(net.conv(x)),
        lambda net, x: F.relu(net.bn(net.conv(x)), inplace=True),
        lambda net, x: x + net.bn(net.conv(x)).relu_(),
    ],
)
def test_a_pair_is_folded(forward):
    network = trained(Block(forward))
    pairs = pairs_of(network)
    assert [(pair.conv, pair.norm) for pair in pairs] == [(network.conv, network.bn)]
    assert_same_logits(network, pairs)


def both(net, x):
    out = net.conv(x)
    return net.bn(out) + out


def through_a_view(net, x):
    out = net.conv(x)
    return net.bn(out) + out.detach().flatten(1).view_as(out)


def behind_its_back(net, x):
    out = net.conv(x)
    return net.bn(out) + out.data.mul(2)


@pytest.mark.parametrize(
    "forward",
    [
        both,
        through_a_view,
        behind_its_back,
        lambda net, x: net.bn(net.conv(x).relu()),
        lambda net, x: net.bn(net.conv(x)) + net.conv(x),
        lambda net, x: net.bn(net.conv(net.bn(x))),
        lambda net, x: net.bn(net.conv(x)) * net.conv.weight.sum(),
        lambda net, x: net.conv(net.bn(x)),
        lambda net, x: net.bn(F.conv2d(x, net.conv.weight, padding=1)),
        lambda net, x: F.batch_norm(net.conv(x), net.bn.running_mean, net.bn.running_var),
        lambda net, x: net.bn(input=net.conv(x)),
    ],
)
def test_what_is_no_sure_pair_stays_as_it_is(forward):
    network = trained(Block(forward))
    assert pairs_of(network) == []


def test_a_batch_norm_of_the_batch_stays_as_it_is():
    network = Block(lambda net, x: net.bn(net.conv(x)), track_running_stats=False)
    assert pairs_of(network) == []


def test_one_that_is_always_in_training_mode_stays_as_it_is():
    class Always(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(True)

    network = Block(lambda net, x: net.bn(net.conv(x)))
    network.bn = Always(3)
    assert pairs_of(network) == []


def test_weights_that_are_computed_from_others_stay_as_they_are():
    network = trained(Block(lambda net, x: net.bn(net.conv(x))))
    nn.utils.parametrizations.weight_norm(network.conv)
    assert pairs_of(network) == []


def test_a_layer_with_a_forward_of_its_own_stays_as_it_is():
    class Twice(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    network = Block(lambda net, x: net.bn(net.conv(x)))
    network.bn = Twice(3)
    assert pairs_of(network) == []


def test_a_network_that_cannot_be_watched_stays_as_it_is():
    def fails(net, x):
        raise RuntimeError

    assert pairs_of(Block(fails)) == []


UNFOLDABLE = {"okdph"}
"""Whose deployed network is none of its modules: its weights are a mean, made anew each time."""


@pytest.mark.parametrize("name", sorted(methods.names()))
def test_figures_are_the_same_and_nothing_of_the_training_changes(name):
    method = trained(make_method(name))
    method.zero_grad(set_to_none=True)
    frozen = next(method.parameters()).requires_grad_(False)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    parameters = [(key, id(p), p.requires_grad) for key, p in method.named_parameters()]
    modes = [module.training for module in method.modules()]
    attributes = [sorted(vars(module)) for module in method.modules()]
    hooks = hooks_of(method)

    random = torch.Generator().manual_seed(2)
    x, y = torch.randn(19, *SIZE, generator=random), torch.arange(19) % 5
    batches = list(zip(x.split(8), y.split(8), strict=True))  # the last one is short
    probe = torch.randn(3, *SIZE, generator=random)
    pairs = find_foldable(method, lambda: method.evaluate(probe))
    assert bool(pairs) is (name not in UNFOLDABLE)
    plain, quick = Evaluator(method)(batches), Evaluator(method, pairs)(batches)

    assert_close_figures(plain, quick)
    assert not frozen.requires_grad
    assert [(key, id(p), p.requires_grad) for key, p in method.named_parameters()] == parameters
    after = method.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert [module.training for module in method.modules()] == modes
    assert [sorted(vars(module)) for module in method.modules()] == attributes
    assert hooks_of(method) == hooks


def hooks_of(network):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks)) for module in network.modules()
    ]


def assert_close_figures(plain, quick):
    if isinstance(plain, dict):
        assert plain.keys() == quick.keys()
        for key, value in plain.items():
            assert_close_figures(value, quick[key])
    elif isinstance(plain, list):
        for one, other in zip(plain, quick, strict=True):
            assert_close_figures(one, other)
    else:
        assert quick == pytest.approx(plain, abs=1e-4)


def test_pairs_are_found_in_inference_mode_too():
    with torch.inference_mode():
        network = trained(make_backbone(BackboneConfig(name="resnet8"), 5, SIZE).build(0))
        assert len(pairs_of(network)) == len(norms(network))


def test_what_fails_on_the_way_leaves_the_network_whole():
    network = trained(Block(lambda net, x: net.bn(net.conv(x)))).eval()
    pairs = pairs_of(network)
    weight, bias = network.conv.weight, network.conv.bias
    with pytest.raises(KeyboardInterrupt), folded(pairs):
        raise KeyboardInterrupt
    assert network.conv.weight is weight
    assert network.conv.bias is bias
    assert "forward" not in vars(network.bn)


def test_teachers_of_kd_are_not_run_to_evaluate():
    method = make_method("kd")
    calls = []
    method.teachers[0].register_forward_hook(lambda *_: calls.append(1))
    Evaluator(method)([(torch.randn(4, *SIZE), torch.arange(4))])
    assert calls == []
