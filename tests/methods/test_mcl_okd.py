"""Multi-view contrastive learning against its equations, and what it draws and remembers."""

import math

import pytest
import torch
from methods_compared import assert_equal, gradients_of
from methods_plain import ce, kl, run
from test_method_equations import batch, make

from kdzoo.errors import UserError
from kdzoo.samples.negatives import Negatives, mixed

SAMPLES, PROGRESS = 20, torch.tensor(0.5)
INDEX = torch.tensor([4, 0, 19, 7, 8, 2])


def begun(**settings):
    method = make("mcl_okd", **{"peers": 3, "width": 4, "negatives": 7, **settings})
    method.begin(samples=SAMPLES, epochs=3)
    return method.double().train()


def remembering(**settings):
    """A method that has seen all samples but 7 and 11, of five classes by turns."""
    method = begun(**settings)
    generator = torch.Generator().manual_seed(3)
    for memory in method.memories:
        rows = torch.randn(SAMPLES, 4, generator=generator, dtype=torch.float64)
        memory.rows.copy_(rows / rows.norm(dim=1, keepdim=True))
    classes = torch.arange(SAMPLES) % 5 + 1
    classes[[7, 11]] = 0
    method.classes.rows.copy_(classes)
    return method


def embedded(peers, heads):
    return [
        torch.stack([row / (row**2).sum().sqrt() for row in h @ w.T + b])
        for h, (w, b) in zip(peers.h, heads, strict=True)
    ]


def nce(scores, tau):
    """Of [B, 1 + M] cosines, the first with the own row."""
    B, M = len(scores), scores.shape[1] - 1
    total = torch.exp(scores.detach() / tau).mean() * SAMPLES
    loss = 0
    for row in torch.exp(scores / tau) / total:
        noise = M / SAMPLES
        loss = loss - torch.log(row[0] / (row[0] + noise))
        for negative in row[1:]:
            loss = loss - torch.log(noise / (negative + noise))
    return loss / B


def expected(method, x, y, one_hot, held=True):
    config, count = method.config, method.peers.num_peers
    networks = [method.peers.network(p) for p in range(count)]
    peers = run(networks, x, joint_trunk=config.layout == "branched")
    heads = [
        [p.detach().clone().requires_grad_() for p in (head.weight, head.bias)]
        for head in method.projections
    ]
    e = embedded(peers, heads)
    known = method.classes.rows.long()
    drawn, _ = method.negatives.draw(INDEX, y + 1, known)
    contrast = 0
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            rows = method.memories[j].rows.clone()
            scores = []
            for b, place in enumerate(INDEX.tolist()):
                own = rows[place] if known[place] else e[j][b].detach()
                vectors = [own, *(rows[n] for n in drawn[b])]
                scores.append(torch.stack([e[i][b] @ v for v in vectors]))
            contrast = contrast + nce(torch.stack(scores), config.tau)
    mean = sum(peers.z) / count
    mean = mean.detach() if held else mean
    terms = {
        "ce": sum(ce(z, one_hot) for z in peers.z),
        "kd": kl(mean, peers.z[-1], config.temperature),
        "contrast": config.beta * contrast,
    }
    sum(terms.values()).backward()
    gradients = gradients_of(method, networks)
    for p in range(count):
        gradients[f"projections.{p}.weight"] = heads[p][0].grad
        gradients[f"projections.{p}.bias"] = heads[p][1].grad
    return {name: term.item() for name, term in terms.items()}, gradients


def actual(method, x, y):
    terms = method(x, y, PROGRESS, INDEX).terms
    sum(terms.values()).backward()
    gradients = {name: p.grad for name, p in method.named_parameters()}
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize(
    "settings", [{}, {"layout": "independent", "beta": 0.3, "tau": 0.4, "temperature": 2.0}]
)
def test_terms_and_gradients_are_those_of_the_equations(settings):
    method = remembering(**settings)
    x, y, one_hot = batch(method)
    wanted, free = (expected(method, x, y, one_hot, held) for held in (True, False))
    found = actual(method, x, y)
    assert_equal(found, wanted)
    with pytest.raises(AssertionError):
        assert_equal(found, free)


def test_embeddings_are_taken_into_the_memories():
    method = remembering(momentum=0.3)
    x, y, _ = batch(method)
    before = [memory.rows.clone() for memory in method.memories]
    e = method.embeddings(method.outputs(x)).detach()
    method(x, y, PROGRESS, INDEX)
    for memory, old, new in zip(method.memories, before, e, strict=True):
        wanted = 0.3 * old[INDEX] + 0.7 * new
        old[INDEX] = wanted / wanted.norm(dim=1, keepdim=True)
        torch.testing.assert_close(memory.rows, old)
    assert torch.equal(method.classes.rows[INDEX].long(), y + 1)


def test_the_first_batch_has_nothing_to_be_told_apart_from():
    method = begun()
    x, y, _ = batch(method)
    e = method.embeddings(method.outputs(x)).detach()
    terms = method(x, y, PROGRESS, INDEX).terms
    wanted = 0
    for i in range(3):
        for j in range(3):
            r = torch.exp((e[i] * e[j]).sum(1) / 0.1)
            r = r / r.mean()
            wanted -= 0.025 * torch.log(r / (r + 7)).mean() if i != j else 0
    torch.testing.assert_close(terms["contrast"], wanted)
    for memory, own in zip(method.memories, e, strict=True):  # as they are, not half of them
        torch.testing.assert_close(memory.read(INDEX), own)


def test_in_evaluation_nothing_is_remembered():
    method = remembering().eval()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    x, y, _ = batch(method)
    method(x, y, PROGRESS, INDEX)
    torch.testing.assert_close(method.state_dict(), before)


def test_it_says_what_it_needs_of_a_persons_own_loop():
    method = make("mcl_okd", width=4)
    x, y, _ = batch(method)
    with pytest.raises(UserError, match=r"method\(x, y, progress, index\)"):
        method(x, y, PROGRESS)
    with pytest.raises(UserError, match=r"method\.begin\(samples=N"):
        method(x, y, PROGRESS, INDEX)


def seeded(count, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Negatives(count)


def test_negatives_are_of_other_classes_that_are_known_each_as_often():
    classes = torch.tensor([2, 0, 1, 3, 1, 2, 0, 3, 3, 1, 5])
    index, labels = torch.tensor([0, 9, 3, 1, 10]), torch.tensor([2, 1, 3, 4, 5])
    draws, found = seeded(40_000).draw(index, labels, classes)
    assert found.all()
    for label, drawn in zip(labels, draws, strict=True):
        allowed = torch.where((classes != 0) & (classes != label), 1.0, 0.0)
        share = drawn.bincount(minlength=len(classes)) / len(drawn)
        torch.testing.assert_close(share, allowed / allowed.sum(), atol=0.01, rtol=0)
        assert share[allowed == 0].sum() == 0


def test_a_sample_with_no_other_class_has_no_negatives():
    classes, index = torch.tensor([1, 1, 0]), torch.tensor([0, 2])
    draws, found = seeded(5).draw(index, torch.tensor([1, 2]), classes)
    assert found.tolist() == [False, True]
    assert set(draws[1].tolist()) <= {0, 1}
    assert not seeded(5).draw(index, torch.tensor([1, 2]), torch.zeros(3).long())[1].any()


def test_draws_follow_from_seed_step_and_sample_alone():
    classes = torch.arange(1000) % 10 + 1
    index = torch.arange(0, 64)
    one = seeded(200)
    first, _ = one.draw(index, classes[index], classes)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:17]
    part, _ = seeded(200).draw(index[order], classes[index[order]], classes)
    assert torch.equal(part, first[order])
    one.advance()
    second, _ = one.draw(index, classes[index], classes)
    resumed = seeded(200, seed=1)
    other, _ = resumed.draw(index, classes[index], classes)
    resumed.load_state_dict(one.state_dict())
    assert torch.equal(resumed.draw(index, classes[index], classes)[0], second)
    for changed in (second, other, first.roll(10, dims=0), first.roll(1, dims=1)):
        assert (changed == first).double().mean() < 0.005  # by chance, 1 of 900


def test_the_hash_spreads_neighbours_over_its_range():
    h = mixed(torch.arange(100_000))
    assert h.min() >= 0
    assert h.max() < 2**32
    assert len(h.unique()) == len(h)
    uniform = h.double() / 2**32
    assert abs(uniform.mean() - 1 / 2) < 0.005
    assert abs(uniform.std() - math.sqrt(1 / 12)) < 0.005
