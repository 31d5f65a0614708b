import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers_networks import (
    CLASSES,
    CUTTABLE,
    DataDependent,
    Modes,
    OverwritesTrunk,
    Plain,
    Repeated,
    Sizes,
    Skip,
    Tokens,
    backbone,
    batch,
    block,
)
from torch import nn

from kdzoo.errors import UserError
from kdzoo.peers.anatomy import find_anatomy
from kdzoo.peers.group import BranchedPeers
from kdzoo.peers.split import cut_stage, split_network
from kdzoo.peers.subnetwork import Subnetwork


def cut_of(network, **kwargs):
    """The pattern of a cut, and a whole network with its two parts on the same weights."""
    whole = backbone(network, **kwargs)
    pattern = whole.build(0)
    plan = split_network(whole, pattern, find_anatomy(whole, pattern))
    model = whole.build(1)
    return plan, model, Subnetwork(model, plan.trunk), Subnetwork(model, plan.branch)


def logits_in_parts(trunk, branch, x):
    return branch(*trunk(x))[0]


@pytest.mark.parametrize("network", CUTTABLE)
@pytest.mark.parametrize("training", [True, False])
def test_the_parts_compute_what_the_network_computes(network, training):
    _, model, trunk, branch = cut_of(network)
    for module in (model, trunk, branch):
        module.train(training)
    torch.manual_seed(7)
    expected = model(batch())
    torch.manual_seed(7)  # the same dropout
    assert torch.equal(logits_in_parts(trunk, branch, batch()), expected)


@pytest.mark.parametrize("network", CUTTABLE)
def test_gradients_are_those_of_the_network(network):
    _, model, trunk, branch = cut_of(network)
    torch.manual_seed(7)
    model(batch()).square().sum().backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    logits_in_parts(trunk, branch, batch()).square().sum().backward()
    for name, parameter in model.named_parameters():
        if expected[name] is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, expected[name], msg=name)


@pytest.mark.parametrize("network", CUTTABLE)
def test_each_name_of_the_state_is_in_one_part(network):
    _, model, trunk, branch = cut_of(network)
    assert not trunk.state_dict().keys() & branch.state_dict().keys()
    assert trunk.state_dict().keys() | branch.state_dict().keys() == model.state_dict().keys()


def test_batch_statistics_move_as_in_the_network():
    _, model, trunk, branch = cut_of(Plain)
    logits_in_parts(trunk, branch, batch())
    assert model.layer1[1].num_batches_tracked == 1
    assert model.layer3[1].num_batches_tracked == 1


def test_a_part_changes_mode_after_it_was_made():
    plan, model, _, _ = cut_of(Plain)
    trunk = Subnetwork(model.eval(), plan.trunk).train()
    assert trunk.layer1.training
    first, second = trunk(batch())[0], trunk(batch())[0]
    assert not torch.equal(first, second)  # dropout


def test_values_that_the_branch_overwrites_are_known():
    plan, *_ = cut_of(OverwritesTrunk, split_at="layer1")
    assert plan.crossing(training=True).overwritten[0]
    plan, *_ = cut_of(Plain)
    assert plan.crossing(training=True).overwritten == (False,)


def test_two_tensors_may_cross():
    plan, *_ = cut_of(Skip)
    assert plan.crossing(training=False).batch_axes == (0, 0)


def test_the_number_of_samples_may_cross():
    plan, model, trunk, branch = cut_of(Sizes)
    assert -1 in plan.crossing(training=False).batch_axes
    model.eval(), trunk.eval(), branch.eval()
    more = batch(samples=7)
    assert torch.equal(logits_in_parts(trunk, branch, more), model(more))


def test_constants_stay_out_of_the_state_and_move_with_the_part():
    *_, trunk, branch = cut_of(Modes)
    assert trunk.double()(batch().double())[0].dtype == torch.float64
    assert logits_in_parts(trunk, branch.double(), batch().double()).dtype == torch.float64


def test_a_network_that_cannot_be_traced_names_the_way_out():
    with pytest.raises(UserError, match="layout=independent"):
        cut_of(DataDependent)


class Stale(Plain):
    """Keeps something that it computed from its weights when it was built."""

    def __init__(self):
        super().__init__()
        self.twice = self.head.weight * 2

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.head(x.mean((2, 3))) + x.mean((2, 3)) @ self.twice.T


def test_weights_that_would_be_frozen_are_noticed():
    with pytest.raises(UserError, match="computed from weights"):
        cut_of(Stale)


def test_state_on_both_sides_of_a_cut_is_refused_by_name():
    with pytest.raises(UserError, match=r"scale.*both parts.*layout=independent"):
        cut_of(Repeated, split_at="layer2")


def test_by_default_a_cut_that_fails_gives_way_to_an_earlier_one():
    plan, *_ = cut_of(Repeated)
    assert plan.stage.name == "layer1"


@pytest.mark.parametrize(
    ("split_at", "stage"),
    [
        (None, "layer2"), (1, "layer1"), (3, "layer3"), (0.5, "layer2"), (0.34, "layer1"),
        ("layer1", "layer1"), ("layer2.0", "layer2.0"),
    ],
)  # fmt: skip
def test_where_to_cut(split_at, stage):
    plan, model, trunk, branch = cut_of(Plain, split_at=split_at)
    assert plan.stage.name == stage
    model.eval(), trunk.eval(), branch.eval()
    assert torch.equal(logits_in_parts(trunk, branch, batch()), model(batch()))


def test_an_isotropic_network_is_cut_at_two_thirds():
    plan, *_ = cut_of(Tokens)
    assert plan.stage.name == "blocks.3"


def test_a_cut_that_leaves_no_classifier_is_refused():
    with pytest.raises(UserError, match="no classifier of their own"):
        cut_of(Plain, split_at="head")


def test_heads_alone_may_branch():
    *_, branch = cut_of(Plain, split_at="layer3")
    assert branch.state_dict().keys() == {"head.weight", "head.bias"}
    group = BranchedPeers([backbone(Plain, split_at=1.0)] * 2, seed=0)
    assert group(batch()).features[1].shape[1] == 16


def test_a_wrong_stage_is_told_the_right_ones():
    with pytest.raises(UserError, match="layer2"):
        cut_of(Plain, split_at="layr2")


anything = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=8))


@given(anything)
def test_any_split_at_gives_a_stage_or_a_clear_error(split_at):
    whole = backbone(Plain)
    anatomy = ANATOMY.setdefault(0, find_anatomy(whole, whole.build(0)))
    try:
        stage = cut_stage(split_at, anatomy).name
    except UserError as error:
        message = str(error)
        stage = "layer1"
    else:
        message = "split_at"
    assert "split_at" in message
    assert stage in anatomy.called


ANATOMY = {}


class Stack(nn.Module):
    """Blocks one after the other, some with a shortcut around them."""

    def __init__(self, widths, shortcuts):
        super().__init__()
        inputs = [3, *widths[:-1]]
        self.blocks = nn.ModuleList(block(i, o, 1) for i, o in zip(inputs, widths, strict=True))
        self.shortcuts = shortcuts
        self.head = nn.Linear(widths[-1], CLASSES)

    def forward(self, x):
        for module, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            out = module(x)
            x = out + x.mean(1, keepdim=True) if shortcut else out
        return self.head(x.mean((2, 3)))


@st.composite
def stacks(draw):
    widths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    shortcuts = draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
    return widths, shortcuts, draw(st.integers(0, len(widths) - 1))


@settings(max_examples=25)
@given(stacks())
def test_any_stack_can_be_cut_after_any_block(stack):
    widths, shortcuts, where = stack
    _, model, trunk, branch = cut_of(lambda: Stack(widths, shortcuts), split_at=f"blocks.{where}")
    model.eval(), trunk.eval(), branch.eval()
    assert torch.equal(logits_in_parts(trunk, branch, batch()), model(batch()))
    assert {n for n, _ in trunk.named_parameters()} == {
        n for n, _ in model.named_parameters() if n.startswith("blocks.") and int(n[7]) <= where
    }
