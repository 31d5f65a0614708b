"""Regularizers on hand-made peers."""

import pytest
import torch

from kdzoo import registry
from kdzoo.component import validate
from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.testing import make_method, train_step

B, K, D = 5, 4, 6


def outputs(peers=3, widths=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = widths or [D] * peers
    return PeerOutputs(
        logits=torch.randn(peers, B, K, generator=generator),
        embeddings=tuple(torch.randn(B, width, generator=generator) for width in widths),
        features=tuple(torch.randn(B, width, 2, 2, generator=generator) for width in widths),
    )


def classifiers(widths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(K, width, generator=generator).requires_grad_() for width in widths)


def make(name, example, **config):
    regularizer = registry.regularizers.get(name)
    return regularizer(validate(regularizer.Config, {"name": name, **config}), example)


def test_the_gram_form_of_cd_takes_the_product_of_the_weights():
    weights = classifiers([D, D, D])
    wanted = sum(
        torch.linalg.matrix_norm(weights[i].T @ weights[j]) for i, j in [(0, 1), (0, 2), (1, 2)]
    )
    torch.testing.assert_close(make("cd", outputs())(outputs(), weights), wanted)


def test_the_gram_form_takes_classifiers_of_different_widths():
    widths = [D, D + 3]
    weights = classifiers(widths)
    example = outputs(2, widths)
    wanted = torch.linalg.matrix_norm(weights[0].T @ weights[1])
    torch.testing.assert_close(make("cd", example)(example, weights), wanted)
    with pytest.raises(ConfigError, match=r"one width, not \[6, 9\]. Use form=gram"):
        make("cd", example, form="cosine")


def test_the_cosine_form_is_one_for_equal_and_zero_for_orthogonal_classifiers():
    cd = make("cd", outputs(2), form="cosine")
    weight = classifiers([D])[0]
    assert cd(outputs(2), (weight, -3 * weight)).item() == pytest.approx(1)
    left = torch.cat([weight[:, :3], torch.zeros(K, 3)], dim=1)
    right = torch.cat([torch.zeros(K, 3), weight[:, :3]], dim=1)
    assert cd(outputs(2), (left, right)).item() == pytest.approx(0)


@pytest.mark.parametrize("form", ["gram", "cosine"])
def test_cd_reaches_the_classifier_of_every_peer(form):
    """Re-implementations that detach the weights train nothing with it."""
    regularizers = [{"name": "cd", "form": form, "weight": 1.0}]
    method = make_method("mbde", regularizers=regularizers)
    train_step(method).terms["cd"].backward()
    for branch in method.peers.branches:
        gradients = {n: p.grad for n, p in branch.named_parameters() if p.grad is not None}
        assert [name.split(".")[-2:] for name in gradients] == [["fc", "weight"]] or all(
            "fc" in name or "classifier" in name for name in gradients
        )
        assert sum(gradient.abs().sum() for gradient in gradients.values()) > 0


@pytest.mark.parametrize("form", ["gram", "cosine"])
def test_cd_of_zero_weights_has_a_finite_gradient(form):
    weights = tuple(torch.zeros(K, D, requires_grad=True) for _ in range(2))
    make("cd", outputs(2), form=form)(outputs(2), weights).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in weights)


def test_descending_cd_makes_classifiers_less_alike():
    weights = classifiers([D, D, D], seed=3)
    cd = make("cd", outputs(), form="cosine")
    before = cd(outputs(), weights)
    before.backward()
    after = cd(outputs(), tuple(w - 0.1 * w.grad for w in weights))
    assert after < before


def test_negative_correlation_rewards_peers_that_differ():
    said = outputs()
    alike = PeerOutputs(said.logits[:1].expand(3, B, K), said.embeddings, said.features)
    regularizer = make("negative_correlation", said)
    assert regularizer(alike, ()).item() == pytest.approx(0, abs=1e-6)
    assert regularizer(said, ()) < 0


def test_the_gradient_of_negative_correlation_is_that_of_the_paper():
    """lambda times -(F_i - F) for each peer's output F_i, F their mean: here for probabilities."""
    said = outputs()
    p = said.logits.softmax(-1).double()
    logits = p.log().requires_grad_()  # softmax of log p is p
    make("negative_correlation", said)(
        PeerOutputs(logits, said.embeddings, said.features), ()
    ).backward()
    by_output = -(p - p.mean(0)) / B
    through_softmax = p * (by_output - (p * by_output).sum(-1, keepdim=True))
    torch.testing.assert_close(logits.grad, through_softmax)
