import copy

import pytest
import torch
from peers_networks import (
    CLASSES,
    CUTTABLE,
    SIZE,
    ChannelsLast,
    ConvHead,
    DataDependent,
    OverwritesTrunk,
    Plain,
    Tokens,
    backbone,
    batch,
    block,
)
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from kdzoo.errors import UserError
from kdzoo.peers.group import BranchedPeers, IndependentPeers

LAYOUTS = {
    "branched": lambda network, peers, seed=0: BranchedPeers([backbone(network)] * peers, seed),
    "independent": lambda network, peers, seed=0: IndependentPeers(
        [backbone(network)] * peers, seed
    ),
}


@pytest.fixture(params=LAYOUTS)
def make(request):
    return LAYOUTS[request.param]


@pytest.mark.parametrize("network", CUTTABLE)
def test_shapes(make, network):
    group = make(network, 3)
    outputs = group(batch())
    assert group.num_peers == 3
    assert outputs.logits.shape == (3, 4, CLASSES)
    assert len(outputs.embeddings) == len(outputs.features) == 3
    for embedding, weight in zip(outputs.embeddings, group.classifier_weights(), strict=True):
        assert embedding.shape == (4, weight.shape[1])
        assert weight.shape[0] == CLASSES
    assert all(features.ndim == 4 for features in outputs.features)


@pytest.mark.parametrize("network", CUTTABLE)
def test_each_peer_is_a_plain_network(make, network):
    group = make(network, 2).eval()
    outputs = group(batch())
    for peer in range(2):
        plain = group.network(peer)
        assert not plain.training
        assert not any("kdzoo" in type(module).__module__ for module in plain.modules())
        assert not any(module._forward_hooks for module in plain.modules())
        assert torch.equal(plain(batch()), outputs.logits[peer])


def test_logits_follow_from_embeddings_and_classifier_weights(make):
    group = make(Plain, 2).eval()
    outputs = group(batch())
    for peer, weight in enumerate(group.classifier_weights()):
        bias = group.network(peer).head.bias
        by_hand = outputs.embeddings[peer] @ weight.T + bias
        torch.testing.assert_close(by_hand, outputs.logits[peer])


def test_features_are_the_last_stages_output(make):
    group = make(Plain, 2).eval()
    for peer, features in enumerate(group(batch()).features):
        net = group.network(peer)
        torch.testing.assert_close(features, net.layer3(net.layer2(net.layer1(batch()))))


def test_features_of_other_layouts_become_maps(make):
    assert make(Tokens, 2)(batch()).features[0].shape == (4, 8, 5, 1)
    assert make(ChannelsLast, 2)(batch()).features[0].shape == (4, 10, 2, 2)
    assert make(ConvHead, 2)(batch()).embeddings[0].shape == (4, 16)


def test_trunk_features():
    group = BranchedPeers([backbone(Plain)] * 2, seed=0).eval()
    net = group.network(1)
    torch.testing.assert_close(group(batch()).trunk, net.layer2(net.layer1(batch())))
    assert IndependentPeers([backbone(Plain)] * 2, seed=0)(batch()).trunk is None


def test_peers_start_from_different_weights(make):
    group = make(Plain, 3)
    weights = [group.network(peer).layer3[0].weight for peer in range(3)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_first_peer_is_what_the_backbone_builds_under_the_seed(make):
    expected = backbone(Plain).build(11).state_dict()
    got = make(Plain, 2, seed=11).network(0).state_dict()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_the_seed_decides_everything(make):
    first, again, other = make(Plain, 2, seed=3), make(Plain, 2, seed=3), make(Plain, 2, seed=4)
    assert torch.equal(first.eval()(batch()).logits, again.eval()(batch()).logits)
    assert not torch.equal(first(batch()).logits, other.eval()(batch()).logits)


def test_building_leaves_the_random_state_alone(make):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make(Plain, 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_copy_is_independent_of_the_original(make):
    group = make(Plain, 2).eval()
    before = group(batch()).logits.detach()
    copied = copy.deepcopy(group)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    assert torch.equal(group(batch()).logits, before)
    assert not torch.equal(copied(batch()).logits, before)
    assert torch.isfinite(copied(batch()).features[0]).all()


def test_state_is_saved_and_loaded(make):
    group, other = make(Plain, 2, seed=1), make(Plain, 2, seed=2)
    other.load_state_dict(group.state_dict(), strict=True)
    assert torch.equal(group.eval()(batch()).logits, other.eval()(batch()).logits)


@pytest.mark.parametrize("network", CUTTABLE)
def test_samples_of_ones_own_give_the_same_as_alone(make, network):
    group = make(network, 2).eval()
    x = torch.stack([batch(seed=1), batch(seed=2)])
    outputs = group(x)
    for peer in range(2):
        alone = group(x[peer])
        torch.testing.assert_close(outputs.logits[peer], alone.logits[peer])
        torch.testing.assert_close(outputs.features[peer], alone.features[peer])


def test_the_trunk_normalises_all_samples_together():
    group = BranchedPeers([backbone(Plain)] * 2, seed=0)
    x = torch.stack([batch(seed=1), batch(seed=2)])
    group(x)
    reference = nn.BatchNorm2d(4)
    reference(group.trunk.layer1[0](x.flatten(0, 1)))
    torch.testing.assert_close(group.trunk.layer1[1].running_mean, reference.running_mean)


def test_branches_do_not_disturb_each_other():
    group = BranchedPeers([backbone(OverwritesTrunk, split_at="layer1")] * 3, seed=0)
    group(batch()).logits.square().mean().backward()
    for parameter in group.parameters():
        assert torch.isfinite(parameter.grad).all()
    outputs = group(batch())
    for peer in range(3):
        torch.testing.assert_close(outputs.logits[peer], group.network(peer)(batch()))


def test_the_gradient_into_the_trunk_is_scaled():
    def gradients(scale):
        group = BranchedPeers([backbone(Plain)] * 2, seed=0, trunk_gradient=scale).eval()
        group(batch()).logits.square().mean().backward()
        return group.trunk.layer1[0].weight.grad, group.branches[0].layer3[0].weight.grad

    (trunk, branch), (scaled_trunk, scaled_branch) = gradients(1.0), gradients(0.25)
    torch.testing.assert_close(scaled_trunk, trunk / 4)
    assert torch.equal(scaled_branch, branch)


def test_trunk_features_have_the_whole_gradient():
    group = BranchedPeers([backbone(Plain)] * 2, seed=0, trunk_gradient=0.25).eval()
    reference = BranchedPeers([backbone(Plain)] * 2, seed=0).eval()
    for one in (group, reference):
        one(batch()).trunk.sum().backward()
    torch.testing.assert_close(
        group.trunk.layer1[0].weight.grad, reference.trunk.layer1[0].weight.grad
    )


def test_classifier_weights_have_gradients(make):
    group = make(Plain, 2)
    sum(weight.square().sum() for weight in group.classifier_weights()).backward()
    grads = [p.grad for name, p in group.named_parameters() if name.endswith("head.weight")]
    assert len(grads) == 2
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_double_precision(make):
    group = make(Plain, 2).double()
    outputs = group(batch().double())
    assert outputs.logits.dtype == outputs.features[0].dtype == torch.float64
    assert group.network(1)(batch().double()).dtype == torch.float64


def test_logits_are_full_precision_under_autocast(make):
    group = make(Plain, 2)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = group(batch())
    assert outputs.logits.dtype == torch.float32
    assert outputs.embeddings[0].dtype in (torch.bfloat16, torch.float32)
    outputs.logits.sum().backward()


def test_an_example_changes_nothing(make):
    group = make(Plain, 2)
    before = {name: value.clone() for name, value in group.state_dict().items()}
    example = group.example()
    assert example.logits.shape == (2, 2, CLASSES)
    assert group.training
    assert all(torch.equal(before[name], value) for name, value in group.state_dict().items())


def test_independent_peers_may_differ():
    wide = backbone(lambda: Plain(width=6))
    group = IndependentPeers([backbone(Plain), wide, backbone(Tokens)], seed=0)
    outputs = group(batch())
    assert outputs.logits.shape == (3, 4, CLASSES)
    assert [e.shape[1] for e in outputs.embeddings] == [16, 24, 8]
    assert [f.shape[1] for f in outputs.features] == [16, 24, 8]
    assert [w.shape for w in group.classifier_weights()] == [(CLASSES, d) for d in (16, 24, 8)]


def test_independent_peers_need_no_tracing():
    group = IndependentPeers([backbone(DataDependent)] * 2, seed=0)
    assert group(batch()).logits.shape == (2, 4, CLASSES)


def test_independent_peers_keep_nothing_of_a_batch():
    group = IndependentPeers([backbone(Plain)] * 2, seed=0)
    group(batch())
    held = [v for m in group.modules() for v in vars(m).values() if isinstance(v, torch.Tensor)]
    assert not held


class Checkpointed(Plain):
    """Computes a stage again in the backward pass, to save memory."""

    def __init__(self):
        super().__init__()
        self.layer3 = CheckpointedStage()


class CheckpointedStage(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = block(8, 16)

    def forward(self, x):
        return checkpoint(self.body, x, use_reentrant=False)


def test_stages_may_checkpoint_their_activations(make):
    group = make(Checkpointed, 2)
    group(batch()).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in group.parameters())


def test_groups_train_under_distributed_data_parallel(make, tmp_path):
    def gradients(group):
        module = DistributedDataParallel(group) if distributed.is_initialized() else group
        module(batch()).logits.square().mean().backward()
        return [parameter.grad for parameter in group.parameters()]

    expected = gradients(make(Plain, 2).eval())
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        got = gradients(make(Plain, 2).eval())
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(got, expected)


@pytest.mark.slow
def test_groups_compile_whole(make):
    group = make(Plain, 2).eval()
    compiled = torch.compile(group, fullgraph=True, backend="aot_eager")
    expected, got = group(batch()), compiled(batch())
    torch.testing.assert_close(got.logits, expected.logits)
    torch.testing.assert_close(got.features, expected.features)
    got.logits.sum().backward()


@pytest.mark.cuda
def test_the_student_is_built_on_the_peers_device(make):
    group = make(Plain, 2).cuda()
    x = torch.randn(4, *SIZE, device="cuda")
    assert group(x).logits.is_cuda
    assert next(group.network(0).parameters()).is_cuda


class Deepens(Plain):
    """Each block more costs 16 * 16 * 9 + 16 weights."""

    def deepen(self, blocks):
        for _ in range(blocks):
            self.layer3.append(nn.Conv2d(16, 16, 3, padding=1))


def ever_deeper(network=Deepens, **settings):
    given = backbone(network, **settings)
    return BranchedPeers([given, given.deeper(1), given.deeper(3)], seed=0, stages=(1, 3))


def test_branches_of_different_depth_are_the_whole_networks():
    group = ever_deeper().eval()
    for x in (batch(), torch.stack([batch(), 2 * batch(), 3 * batch()])):
        said = group(x)
        for peer, blocks in enumerate((0, 1, 3)):
            own = x[peer] if x.ndim == 5 else x
            network = group.network(peer)
            assert len(network.layer3) == 3 + blocks
            torch.testing.assert_close(network(own), said.logits[peer])
            if x.ndim == 4:
                first = network.layer1(own)
                torch.testing.assert_close(said.stages[1][peer], first)
                last = network.layer3(network.layer2(first))
                torch.testing.assert_close(said.stages[3][peer], last)
                torch.testing.assert_close(said.features[peer], last)


def test_branches_of_different_depth_share_one_trunk():
    group = ever_deeper()
    plain = sum(p.numel() for p in Plain().parameters())
    trunk = sum(p.numel() for p in group.trunk.parameters())
    extra = 4 * (16 * 16 * 9 + 16)
    assert sum(p.numel() for p in group.parameters()) == plain + 2 * (plain - trunk) + extra
    first, second = group.network(0).state_dict(), group.network(1).state_dict()
    built = backbone(Deepens).build(0).state_dict()
    assert all(torch.equal(first[name], value) for name, value in built.items())
    assert not torch.equal(first["layer3.0.weight"], second["layer3.0.weight"])


def test_deeper_branches_start_from_the_weights_that_are_given():
    given = Deepens()
    network = backbone(given)
    deeper = BranchedPeers([network, network.deeper(2)], seed=0).network(1).state_dict()
    assert all(torch.equal(deeper[name], value) for name, value in given.state_dict().items())
    assert not torch.equal(deeper["layer3.3.weight"], deeper["layer3.4.weight"])


def test_a_network_that_cannot_be_deeper_is_refused():
    with pytest.raises(UserError, match=r"with 1 more blocks.*cannot be made deeper.*deepen"):
        ever_deeper(Plain)


def test_what_differs_before_the_cut_has_no_trunk_in_common():
    with pytest.raises(UserError, match="no trunk in common"):
        ever_deeper(split_at=3)
