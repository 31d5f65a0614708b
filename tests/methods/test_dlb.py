"""Self-distillation from the last batch: two steps against plain loops, and how they follow."""

import io

import pytest
import torch
from built_trainer import built_trainer, state_of
from methods_compared import assert_equal
from methods_plain import ce, kl, run
from test_method_equations import batch, make

from kdzoo.errors import UserError

SAMPLES = 9
FIRST, SECOND = torch.tensor([4, 4, 0, 0, 8, 8]), torch.tensor([1, 4, 5, 0, 4, 8])


def begun(**settings):
    method = make("dlb", **settings).train()
    method.begin(samples=SAMPLES, epochs=2)
    return method


def loss_of(method, x, y, index):
    terms = method(x, y, torch.tensor(0.5), index).terms
    method.zero_grad()
    sum(terms.values()).backward()
    gradients = {name: p.grad for name, p in method.named_parameters()}
    return {name: term.item() for name, term in terms.items()}, gradients


def batches(method):
    """Two batches, of which the second holds the new samples of the first at its odd places."""
    x, y, one_hot = batch(method)
    other = torch.tensor([5, 0, 3, 2, 1, 4])
    return (x, y, one_hot), (x.flip(3), y[other], one_hot[other])


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.4, "temperature": 1.7}])
def test_terms_and_gradients_of_two_steps_are_those_of_the_equations(settings):
    method = begun(**settings)
    config = method.config
    (x, y, one_hot), (x_2, y_2, one_hot_2) = batches(method)
    network = method.peers.network(0)
    said = run([network], x, joint_trunk=False).z[0]
    z = run([network], x_2, joint_trunk=False).z[0]
    found = loss_of(method, x, y, FIRST)
    assert found[0] == {"ce": pytest.approx(ce(said, one_hot).item(), rel=1e-6), "kd": 0}

    found = loss_of(method, x_2, y_2, SECOND)
    memory = said[0::2].detach().float().double()  # it is kept in single precision
    terms = {"ce": ce(z, one_hot_2), "kd": config.alpha * kl(memory, z[1::2], config.temperature)}
    sum(terms.values()).backward()
    gradients = {
        f"peers.peers.0.network.{name}": parameter.grad
        for name, parameter in network.named_parameters()
    }
    assert_equal(found, ({name: term.item() for name, term in terms.items()}, gradients))
    # the fourth sample is new and old in one batch: what it was taught by is what was said before
    torch.testing.assert_close(method.memory.read(SECOND[0::2]), z[0::2].detach())


@pytest.mark.parametrize("divergence", ["kl", "nkd", "dkd"])
def test_nothing_teaches_in_the_first_step(divergence):
    method = begun(divergence=divergence)
    x, y, one_hot = batch(method)
    terms, gradients = loss_of(method, x, y, FIRST)
    assert terms["kd"] == 0
    network = method.peers.network(0)
    ce(run([network], x, joint_trunk=False).z[0], one_hot).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            gradients[f"peers.peers.0.network.{name}"], parameter.grad, rtol=1e-6, atol=1e-12
        )


def test_what_was_never_said_does_not_teach():
    method = begun()
    (x, y, _), (x_2, y_2, _) = batches(method)
    loss_of(method, x, y, FIRST)
    said = method.memory.read(torch.tensor([4, 0])).clone()
    network = method.peers.network(0)
    z = run([network], x_2, joint_trunk=False).z[0][1::2]
    index = SECOND.clone()
    index[5] = 7  # the last of the old ones was in no batch yet
    terms, _ = loss_of(method, x_2, y_2, index)
    assert terms["kd"] == pytest.approx(kl(said, z[:2], 3.0).item() * 2 / 3, rel=1e-6)


def test_a_batch_that_cannot_be_halved_is_refused():
    method = begun()
    x, y, _ = batch(method)
    with pytest.raises(UserError, match="A batch of 5 samples"):
        method(x[:5], y[:5], torch.tensor(0.5), FIRST[:5])


def test_evaluation_remembers_nothing():
    method = begun().eval()
    x, y, _ = batch(method)
    loss_of(method, x, y, FIRST)
    assert not method.memory.rows.any()


def test_a_training_that_is_taken_up_in_mid_epoch_ends_in_the_same_state():
    settings = (
        *("method=dlb", "backbone=resnet8", "device=cpu", "precision=fp32", "training.threads=1"),
        *("dataset.train_subset=32", "batch_size=8", "epochs=3"),
    )
    whole, saved = built_trainer(settings), []

    def save(_):
        if whole.step == 6:
            file = io.BytesIO()
            torch.save(whole.state_dict(), file)
            saved.append(io.BytesIO(file.getvalue()))

    told = [whole.train_epoch(save) for _ in range(3)]
    assert min(means["kd"] for means in told) > 0
    resumed = built_trainer(settings)
    resumed.load_state_dict(torch.load(saved[0], weights_only=True))
    for means in told[1:]:
        assert resumed.train_epoch(lambda _: None) == means
    assert all(map(torch.equal, state_of(whole), state_of(resumed)))
