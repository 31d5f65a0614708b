"""The metrics against plain loops."""

import itertools
import math

import pytest
import torch

from kdzoo.testing import batch, make_method
from kdzoo.training.evaluation import Evaluator
from kdzoo.training.metrics import Accuracy, Diversity


def test_accuracy_and_nll_of_several_networks_over_batches():
    torch.manual_seed(0)
    logits, y = torch.randn(3, 50, 8), torch.randint(8, (50,))
    accuracy = Accuracy(3, torch.device("cpu"))
    for part in (slice(0, 20), slice(20, 50)):
        accuracy.update(logits[:, part], y[part])
    for m, row in enumerate(accuracy.compute()):
        top1 = top5 = nll = 0.0
        for z, label in zip(logits[m].tolist(), y.tolist(), strict=True):
            rank = sum(other > z[label] for other in z)
            top1 += rank == 0
            top5 += rank < 5
            nll += math.log(sum(math.exp(v) for v in z)) - z[label]
        expected = {"top1": 100 * top1 / 50, "top5": 100 * top5 / 50, "nll": nll / 50}
        assert row == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [3, 5, 6])
def test_top5_is_left_out_where_it_is_certain(classes):
    accuracy = Accuracy(1, torch.device("cpu"))
    last = torch.arange(float(classes), 0, -1).expand(1, 4, classes)  # class 5 is the sixth
    accuracy.update(last, torch.tensor([0, 0, 0, classes - 1]))
    (row,) = accuracy.compute()
    assert row["top1"] == 75
    assert row.get("top5") == (75 if classes == 6 else None)


def test_diversity_is_the_mean_over_pairs_and_samples():
    torch.manual_seed(0)
    logits = torch.randn(4, 30, 5)
    diversity = Diversity(4, torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 30)):
        diversity.update(logits[:, part])
    differ, distance = [], []
    for a, b in itertools.combinations(range(4), 2):
        for n in range(30):
            p, q = logits[a, n].softmax(0), logits[b, n].softmax(0)
            differ.append(int(p.argmax() != q.argmax()))
            distance.append(math.sqrt(((p - q) ** 2).sum()))
    assert diversity.compute() == pytest.approx(
        {"disagreement": 100 * sum(differ) / len(differ), "l2": sum(distance) / len(distance)},
        rel=1e-5,
    )


def test_equal_peers_have_no_diversity():
    logits = torch.randn(1, 9, 4).expand(3, -1, -1)
    diversity = Diversity(3, torch.device("cpu"))
    diversity.update(logits)
    assert diversity.compute() == {"disagreement": 0, "l2": 0}


def test_a_leader_is_judged_as_the_student_and_not_among_the_peers():
    method = make_method("okddip")
    x, y = batch(method)
    judged = Evaluator(method)([(x, y)])
    z = method.eval().outputs(x).logits
    assert len(judged["peers"]) == len(z) - 1 == 3
    diversity = Diversity(3, torch.device("cpu"))
    diversity.update(z[:3])
    assert judged["diversity"] == pytest.approx(diversity.compute())
    leader = Accuracy(1, torch.device("cpu"))
    leader.update(z[3:], y)
    wanted = leader.compute()[0]
    assert {name: judged["student"][name] for name in wanted} == pytest.approx(wanted)
