"""Methods in which one network teaches itself: what their equations do not say by themselves."""

import pytest
import torch
from methods_compared import actual, assert_equal
from methods_plain import ce, run
from methods_reference import Setting, ddgsd
from test_method_equations import batch, make

from kdzoo.errors import UserError
from kdzoo.methods.bake import ensembled
from kdzoo.methods.cs_kd import next_of_class

PROGRESS = torch.tensor(0.0)


def test_the_next_image_of_the_class_teaches():
    labels = torch.tensor([3, 1, 3, 2, 1, 3])
    assert next_of_class(labels).tolist() == [2, 4, 5, 3, 1, 0]


def test_what_neighbours_say_is_mixed_in_and_stays_a_distribution():
    generator = torch.Generator().manual_seed(0)
    said = torch.randn(6, 4, generator=generator).softmax(1)
    embeddings = torch.randn(6, 3, generator=generator)
    mixed = ensembled(said, embeddings, 0.5)
    torch.testing.assert_close(mixed.sum(1), torch.ones(6))
    assert mixed.std(0).max() < said.std(0).max()  # they have come nearer to each other
    torch.testing.assert_close(ensembled(said, embeddings, 0.0), said)
    torch.testing.assert_close(ensembled(said[:1], embeddings[:1], 0.5), said[:1])


def begun(epochs: float, **settings):
    method = make("ps_kd", **settings)
    method.begin(samples=20, epochs=epochs)
    return method.double().train()


def test_ps_kd_mixes_into_the_labels_what_was_said_an_epoch_before():
    method = begun(epochs=4, alpha=0.6)
    x, y, one_hot = batch(method)
    index = torch.tensor([4, 0, 19, 7, 8, 2])
    said = method.outputs(x).logits[0].detach().softmax(1)
    first = method(x, y, torch.tensor(0.0), index).terms["ce"]
    torch.testing.assert_close(first, ce(method.outputs(x).logits[0], one_hot))

    order = torch.tensor([5, 3, 1, 0, 2, 4])  # the samples come in another order
    x, y, one_hot, index, said = (each[order] for each in (x, y, one_hot, index, said))
    with torch.no_grad():
        method.peers.network(0).fc.weight.mul_(-0.5)
    for progress, share in ((0.25, 0.3), (0.49, 0.3)):
        again = begun(epochs=4, alpha=0.6)
        again.load_state_dict(method.state_dict())
        z = again.outputs(x).logits[0]
        found = again(x, y, torch.tensor(progress), index).terms["ce"]
        wanted = ce(z, (1 - share) * one_hot + share * said)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(again.memory.read(index), z.detach().softmax(1))


@pytest.mark.parametrize(("step", "epoch"), [(0, 1), (6, 1), (7, 2), (13, 2), (14, 3), (20, 3)])
def test_the_share_of_the_last_predictions_is_that_of_the_epoch(step, epoch):
    method = begun(epochs=3, alpha=0.9)
    x, y, one_hot = batch(method)
    index = torch.arange(len(y))
    method(x, y, PROGRESS, index)
    said = method.memory.read(index)
    z = method.outputs(x).logits[0]
    found = method(x, y, torch.tensor(step / 21), index).terms["ce"]
    share = 0.9 * epoch / 3
    torch.testing.assert_close(found, ce(z, (1 - share) * one_hot + share * said))


def test_ps_kd_says_what_it_needs_of_a_persons_own_loop():
    method = make("ps_kd")
    x, y, _ = batch(method)
    with pytest.raises(UserError, match=r"method\(x, y, progress, index\)"):
        method(x, y, PROGRESS)
    with pytest.raises(UserError, match=r"method\.begin\(samples=N"):
        method(x, y, PROGRESS, torch.arange(len(y)))


@pytest.mark.parametrize("held", [True, False])
def test_ddgsd(held):
    method = make("ddgsd", weight=0.7, feature_weight=0.3)
    x, y, one_hot = batch(method)
    network = method.peers.network(0)
    both = run([network], x.flatten(0, 1), joint_trunk=False)
    both.z, both.h = list(both.z[0].chunk(2)), list(both.h[0].chunk(2))
    terms = ddgsd(both, Setting(one_hot, [], one_hot, [], method.config, 0.5, held))
    sum(terms.values()).backward()
    wanted = (
        {name: term.item() for name, term in terms.items()},
        {n: p.grad for n, p in network.named_parameters()},
    )
    found = actual(method, x, y, 0.5)
    found = found[0], {name.split(".", 4)[-1]: gradient for name, gradient in found[1].items()}
    if held:
        assert_equal(found, wanted)
    else:
        with pytest.raises(AssertionError):
            assert_equal(found, wanted)
