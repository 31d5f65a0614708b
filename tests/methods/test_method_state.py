"""What methods keep between steps, and the parts of them that solve something."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from kdzoo import create_method
from kdzoo.methods.convex_combination import best_combination
from kdzoo.methods.losses import ramp_up
from kdzoo.samples.batch import Batch
from kdzoo.testing import batch, make_method


def test_pcl_averages_the_weights_of_all_steps_and_then_exponentially():
    method = make_method("pcl", decay=0.75)
    generator = torch.Generator().manual_seed(0)
    steps = []
    for _ in range(7):
        with torch.no_grad():
            for parameter in method.peers.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        method.after_step()
        steps.append([p.clone() for p in method.peers.parameters()])
    for which, mean in enumerate(method.mean_peers.parameters()):
        wanted = steps[0][which]
        for number, step in enumerate(steps[1:], start=2):
            keep = min(1 - 1 / number, 0.75)
            wanted = keep * wanted + (1 - keep) * step[which]
        torch.testing.assert_close(mean, wanted)


def test_pcl_deploys_the_mean_model_and_never_trains_it():
    method = make_method("pcl")
    assert not any(p.requires_grad for p in method.mean_peers.parameters())
    with torch.no_grad():
        for parameter in method.mean_peers.parameters():
            parameter.mul_(0.5)
    deployed = dict(method.student().named_parameters())
    mean = dict(method.mean_peers.module.network(0).named_parameters())
    live = dict(method.peers.network(0).named_parameters())
    assert all(torch.equal(deployed[name], mean[name]) for name in mean)
    assert not all(torch.equal(deployed[name], live[name]) for name in mean)


def test_pcl_and_kdcl_ask_for_a_view_a_peer():
    assert make_method("pcl", peers=4).views == 4
    assert make_method("kdcl", peers=2).views == 2
    assert make_method("mbde").views == 1


def test_each_peer_of_kdcl_sees_its_own_view():
    method = make_method("kdcl").eval()
    x = batch(method.train())[0]
    method.eval()
    with torch.no_grad():
        logits = method.outputs(x).logits
        for peer in range(2):
            alone = method.peers.network(peer).eval()(x[peer])
            torch.testing.assert_close(logits[peer], alone)


def test_kdcl_general_minimises_the_error_of_the_combination():
    """After many equal steps the weights are those that a solver finds for sum w = 1."""
    method = make_method("kdcl", variant="general", peers=3).double()
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(3, 400, 5, generator=generator, dtype=torch.float64)
    y = torch.nn.functional.one_hot(torch.arange(400) % 5, 5).double()
    z[0] += 2 * y  # the first peer knows something
    for _ in range(3000):
        target = method.target(z, y)
    errors = (z.softmax(-1) - y).numpy()
    correlation = np.einsum("ibk,jbk->ij", errors, errors) / 400
    correlation += 1e-3 * np.eye(3) * correlation.diagonal().mean()
    solved = minimize(
        lambda w: w @ correlation @ w,
        np.ones(3) / 3,
        jac=lambda w: 2 * correlation @ w,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-15},
    )
    assert solved.x[0] > solved.x[1:].max()
    wanted = torch.einsum("p,pbk->bk", torch.from_numpy(solved.x), z)
    torch.testing.assert_close(target, wanted, rtol=1e-5, atol=1e-5)


def test_kdcl_general_does_not_learn_from_what_it_is_tested_on():
    method = make_method("kdcl", variant="general").eval()
    x, y = batch(method)
    method.loss(method.outputs(x), Batch(x, y, torch.tensor(0.5)))
    assert torch.equal(method.correlation, torch.eye(2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("peers", [2, 3, 5])
def test_no_convex_combination_is_better_than_the_best(peers, scale, dtype):
    """At the optimum of a convex function no vertex lies downhill (the Frank-Wolfe gap is 0)."""
    generator = torch.Generator().manual_seed(0)
    z = scale * torch.randn(peers, 200, 10, generator=generator, dtype=dtype)
    y = torch.nn.functional.one_hot(torch.arange(200) % 10, 10).to(dtype)
    weights = best_combination(z, y)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(200, dtype=dtype))
    z, y, weights = z.double(), y.double(), weights.double()
    p = torch.einsum("bp,pbk->bk", weights, z).softmax(-1)
    slope = torch.einsum("pbk,bk->bp", z, p - y)
    gap = (weights * slope).sum(1) - slope.amin(1)
    assert gap.max() < (1e-9 if dtype == torch.float64 else 1e-4) * scale


@pytest.mark.parametrize("scale", [0.0, 1e-6, 300.0, 1e5])
def test_logits_of_any_size_have_a_combination(scale):
    generator = torch.Generator().manual_seed(0)
    z = scale * torch.randn(3, 500, 10, generator=generator)
    z[2] = z[1]
    y = torch.nn.functional.one_hot(torch.arange(500) % 10, 10).float()
    weights = best_combination(z, y)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()


def test_the_ramp_up_is_that_of_the_papers():
    """exp(-5 (1 - epoch/80)^2) for 80 of 300 epochs, then 1."""
    for epoch in (0, 1, 40, 79, 80, 200):
        weight = ramp_up(torch.tensor(epoch / 300, dtype=torch.float64), 80 / 300).item()
        assert weight == pytest.approx(np.exp(-5 * (1 - min(epoch / 80, 1)) ** 2), rel=1e-12)
    assert ramp_up(torch.tensor(0.0), 0.0) == 1


def test_the_teacher_of_kd_stays_in_evaluation_mode_and_untrained():
    method = make_method("kd").train()
    assert not any(m.training for teacher in method.teachers for m in teacher.modules())
    before = {name: tensor.clone() for name, tensor in method.teachers.state_dict().items()}
    result = method(*batch(method), torch.tensor(0.5))
    sum(result.terms.values()).backward()
    assert all(p.grad is None for p in method.teachers.parameters())
    after = method.teachers.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_student_of_kd_does_not_start_where_its_teacher_started():
    student, teacher = make_method("kd").student(), make_method("independent").student()
    pairs = zip(student.parameters(), teacher.parameters(), strict=True)
    assert not all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_okddip_deploys_the_leader():
    method = make_method("okddip")
    deployed = method.student().state_dict()
    leader = method.peers.network(3).state_dict()
    assert all(torch.equal(deployed[name], leader[name]) for name in leader)


def test_the_ensemble_of_okddip_leaves_the_leader_out():
    method = make_method("okddip").eval()
    with torch.no_grad():
        predictions = method.predict(method.outputs(batch(method)[0]))
    torch.testing.assert_close(predictions["ensemble"], predictions["peers"][:3].mean(0))
    torch.testing.assert_close(predictions["student"], predictions["peers"][3])


def test_a_single_peer_is_no_ensemble():
    method = create_method("independent", "resnet8", num_classes=4)
    result = method(torch.randn(3, 3, 32, 32), torch.arange(3), torch.tensor(0.0))
    assert "ensemble" not in result.predictions


def test_byot_deploys_the_whole_network():
    method = make_method("byot")
    assert method.student_peer == 2
    with pytest.raises(ValueError, match="last peer is the whole one"):
        method.peers.network(0)


def test_the_exits_of_byot_start_like_the_network():
    """He et al.'s normal distribution by fan-out, as in the published exits."""
    exits = create_method("byot", "resnet56", num_classes=4).peers.exits
    convolutions = [layer for layer in exits.modules() if isinstance(layer, nn.Conv2d)]
    scaled = [c.weight * (c.weight[:, 0].numel() / 2) ** 0.5 for c in convolutions]
    entries = torch.cat([weight.flatten() for weight in scaled])
    assert len(convolutions) == 6
    assert entries.std().item() == pytest.approx(1, abs=0.03)
    assert entries.abs().max() > 3  # a uniform distribution would end at 1.7
