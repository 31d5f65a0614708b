"""Networks that compute with the fused kernels; without a GPU, in Triton's interpreter."""

import copy
import pickle

import pytest
import torch
from torch import nn

pytest.importorskip("triton")

from kdzoo.backbones.create import as_backbone
from kdzoo.backbones.resnet import BasicBlock, Bottleneck
from kdzoo.compose import compose
from kdzoo.kernels.fuse import can_be_fused, fuse
from kdzoo.peers.subnetwork import Subnetwork
from kdzoo.registry import methods

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="float32 is exact in the interpreter, and TF32 on a GPU"
)


def batch(*shape):
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def method(name, backbone="resnet8", peers=2):
    config = compose([f"method={name}", f"method.peers={peers}"])
    backbones = [as_backbone(backbone, 5, (3, 8, 8))]
    made = methods.get(name)(config.method, backbones, 0)
    made.begin(100, 10)
    return made.to(memory_format=torch.channels_last).train()


def steps(*modules):
    """For each, its loss, gradients and buffers after a step on the same batch."""
    torch.manual_seed(1)
    x, y, index = batch(4, 3, 8, 8), torch.randint(5, (4,)), torch.arange(4)
    found = []
    for module in modules:
        loss = sum(module(x, y, torch.tensor(0.5), index).terms.values())
        loss.backward()
        gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        found.append((loss.detach(), gradients, dict(module.named_buffers())))
    return found


@pytest.mark.parametrize(("name", "peers"), [("mbde", 2), ("independent", 1)])
def test_a_fused_method_takes_the_same_steps(name, peers):
    torch.manual_seed(0)
    plain = method(name, peers=peers)
    fused = copy.deepcopy(plain)
    fuse(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    (loss, gradients, buffers), (other_loss, others, other_buffers) = steps(plain, fused)
    assert torch.allclose(loss, other_loss, rtol=1e-5)
    assert gradients.keys() == others.keys()
    for key, gradient in gradients.items():
        assert (others[key] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-6, key
    for key, buffer in buffers.items():
        assert torch.allclose(other_buffers[key], buffer, rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize(
    "block", [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), Bottleneck(16, 16, 2)]
)
def test_a_fused_block_adds_up_the_gradients_of_its_input(block):
    torch.manual_seed(0)
    block = block.to(memory_format=torch.channels_last)
    fused = copy.deepcopy(block)
    fuse(fused)
    found = []
    x, weights = batch(4, 16, 6, 6), None
    for one in (block, fused):
        given = x.clone().requires_grad_()
        out = one(given)
        weights = torch.randn_like(out) if weights is None else weights
        found.append(torch.autograd.grad((out * weights).sum(), [given, *one.parameters()]))
    assert type(out.grad_fn).__name__ == "_ConvNormActBackward"
    for expected, gradient in zip(*found, strict=True):
        assert (gradient - expected).norm() <= 1e-4 * expected.norm()


def test_evaluation_is_what_it_was_to_the_last_bit():
    torch.manual_seed(0)
    plain = method("mbde").eval()
    fused = copy.deepcopy(plain)
    fuse(fused)
    x = batch(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(fused.peers(x).logits, plain.peers(x).logits)


def test_a_copy_computes_with_its_own_weights():
    torch.manual_seed(0)
    made = method("mbde")
    fuse(made)
    other = copy.deepcopy(made)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    x = batch(4, 3, 8, 8)
    assert made.peers(x).logits.abs().sum() > 0
    assert other.peers(x).logits.abs().sum() == 0


def test_the_stem_of_a_cut_network_is_fused_and_the_plan_of_others_is_not_changed():
    made, other = method("mbde"), method("mbde")
    flow = other.peers.trunk.train_flow
    fuse(made)
    called = {node.op for node in made.peers.trunk.train_flow.graph.nodes}
    assert "call_function" in called
    assert not any(
        node.op == "call_module" and node.target in ("conv1", "bn1", "relu")
        for node in made.peers.trunk.train_flow.graph.nodes
    )
    assert other.peers.trunk.train_flow is flow
    assert any(node.target == "conv1" for node in flow.graph.nodes)


def test_networks_without_such_blocks_stay_as_they_are():
    made = method("mbde", "vgg16")
    assert not can_be_fused(made)
    flows = [m.train_flow.graph for m in made.modules() if isinstance(m, Subnetwork)]
    assert flows
    plain = copy.deepcopy(made)
    fuse(made)
    (loss, gradients, _), (other, others, _) = steps(plain, made)
    assert torch.equal(loss, other)
    assert all(torch.equal(others[key], gradient) for key, gradient in gradients.items())


def test_a_block_of_another_kind_is_left_alone():
    class Other(BasicBlock):
        def forward(self, x):
            return 2 * super().forward(x)

    network = nn.Sequential(Other(16, 16, 1))
    assert not can_be_fused(network)
    fuse(network)
    assert "forward" not in vars(network[0])


def both(block, x):
    """What a block gives before and after it is fused."""
    fused = copy.deepcopy(block)
    fuse(fused)
    return block(x), fused(x)


def test_a_hook_on_the_shortcut_is_heeded():
    block = BasicBlock(16, 32, 2).to(memory_format=torch.channels_last)
    block.downsample.register_forward_hook(lambda module, x, y: y * 3)
    plain, fused = both(block, batch(4, 16, 6, 6))
    assert torch.allclose(plain, fused, atol=1e-5)


class Halved(nn.Identity):
    def forward(self, x):
        return x / 2


@pytest.mark.parametrize(
    "shortcut", [Halved(), nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(16, 16, 1, bias=False))]
)
def test_a_shortcut_of_another_kind_is_called(shortcut):
    block = BasicBlock(16, 16, 1).to(memory_format=torch.channels_last)
    block.downsample = shortcut
    plain, fused = both(block, batch(4, 16, 6, 6))
    assert torch.allclose(plain, fused, atol=1e-5)


def test_a_block_whose_forward_somebody_has_replaced_keeps_it():
    block = BasicBlock(16, 16, 1)
    block.forward = torch.neg
    assert torch.equal(*both(block, batch(1, 16, 2, 2)))


def test_a_fused_block_can_be_pickled():
    block = BasicBlock(16, 16, 1).to(memory_format=torch.channels_last)
    fuse(block)
    other = pickle.loads(pickle.dumps(block))
    x = batch(2, 16, 4, 4)
    assert torch.equal(other(x), block(x))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other(x).abs().sum() == x.relu().sum()


def test_frozen_convolutions_cost_no_gradient_of_theirs(monkeypatch):
    block = BasicBlock(16, 16, 1).to(memory_format=torch.channels_last).requires_grad_(False)
    fuse(block)
    monkeypatch.setattr("kdzoo.kernels.conv_norm_act.gradient_of_weight", None)  # a call would fail
    x = batch(2, 16, 4, 4).requires_grad_()
    block(x).sum().backward()
    assert x.grad.abs().sum() > 0
