"""Sharpness-aware minimization is the plain loop's, and keeps what the pass at the weights left."""

import copy

import pytest
import torch
import torch.nn.functional as F
from built_trainer import built_trainer, state_of, taken_up
from no_waiting import no_waiting

from kdzoo import create_method
from kdzoo.compose import compose
from kdzoo.training.sharpness import SharpnessAware

RHO = 0.05
SMALL = (
    *("backbone=resnet8", "device=cpu", "training.threads=1", "training.compile=false"),
    *("dataset.train_subset=64", "batch_size=16", "epochs=2"),
)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 10, (6,), generator=generator)


def gradients_at(method, weights, x, y) -> dict[str, torch.Tensor]:
    """Of the sum of the terms, for weights by name, as from a copy that is thrown away."""
    with torch.no_grad():
        for name, weight in method.named_parameters():
            weight.copy_(weights[name])
    total = sum(method(x, y, 0.5).terms.values())
    names, parameters = zip(*method.named_parameters(), strict=True)
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return {n: g for n, g in zip(names, found, strict=True) if g is not None}


@pytest.mark.parametrize("name", ["independent", "mbde", "dml"])
def test_the_gradient_is_that_of_the_worst_place_near_the_weights(name):
    method = create_method(name, "resnet8", 10, input_size=(3, 8, 8)).double().train()
    x, y = batch()
    weights = {n: p.detach().clone() for n, p in method.named_parameters()}
    plain = gradients_at(copy.deepcopy(method), weights, x, y)
    length = sum(float((g**2).sum()) for g in plain.values()) ** 0.5
    moved = {n: w + RHO * plain[n] / length if n in plain else w for n, w in weights.items()}
    expected = gradients_at(copy.deepcopy(method), moved, x, y)
    once = copy.deepcopy(method)
    terms = once(x, y, 0.5).terms

    def backward():
        result = method(x, y, 0.5)
        torch.stack(list(result.terms.values())).sum().backward()
        return result

    found = SharpnessAware(method, RHO)(backward)
    for n, parameter in method.named_parameters():
        assert torch.equal(parameter, weights[n])
        if n in expected:
            torch.testing.assert_close(parameter.grad, expected[n], rtol=1e-9, atol=1e-12)
    assert any(not torch.allclose(expected[n], plain[n], rtol=1e-3) for n in expected)
    for n, term in terms.items():
        assert torch.equal(found.terms[n], term)
    for ours, theirs in zip(method.buffers(), once.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_gradient_of_zero_leaves_the_weights():
    weight = torch.nn.Linear(2, 1, bias=False)
    before = weight.weight.detach().clone()
    SharpnessAware(weight, RHO)(lambda: (0 * weight.weight.sum()).backward())
    assert torch.equal(weight.weight, before)
    assert torch.equal(weight.weight.grad, torch.zeros_like(before))


def test_a_memory_is_written_as_at_the_weights():
    """After a first step from the same weights, what is remembered is the same as without it."""
    kept = []
    for more in ([], [f"training.sam_rho={RHO}"]):
        trainer = built_trainer([*SMALL, "method=ps_kd", "training.steps=1", *more])
        trainer.train_epoch(lambda _: None)
        kept.append([buffer.clone() for buffer in trainer.method.buffers()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*kept, strict=True))


@pytest.mark.parametrize("method", ["mbde", "pcl", "switokd"])
def test_a_state_that_is_taken_up_comes_to_the_same_bytes(method):
    settings = [*SMALL, f"method={method}", f"training.sam_rho={RHO}"]
    whole, second = taken_up(settings, stop_after=5)
    assert all(map(torch.equal, state_of(second), state_of(whole)))


def test_nothing_waits_for_the_device():
    trainer = built_trainer([*SMALL, "method=one", f"training.sam_rho={RHO}"])
    step, method = trainer.train_step, trainer.method.train()
    first, second = (
        (x, F.one_hot(y, 10).float(), index)  # indices are looked at, on the CPU alone
        for x, y, index in list(trainer.data.train_batches(0, method.views))[:2]
    )
    step.begin(0)
    step(*first)
    with no_waiting():
        step(*second)


def test_the_identity_is_as_before_without_it():
    plain = compose([*SMALL]).identity()
    assert "sam_rho" not in plain["training"]
    assert compose([*SMALL, f"training.sam_rho={RHO}"]).identity() != plain
