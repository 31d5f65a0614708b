"""The step is the plain loop's, and asks the device for nothing."""

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from no_waiting import no_waiting

from kdzoo import create_backbone, create_method, list_methods, registry
from kdzoo.compose import compose
from kdzoo.config import TrainingConfig
from kdzoo.optim.rates import DeviceRates, HostRates
from kdzoo.optim.schedule import Schedule
from kdzoo.testing import BACKBONE
from kdzoo.training.cuda_graph import WARM_UP, GraphedWork
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.step import TrainingStep


def accelerator() -> Accelerator:
    return build_accelerator(join_processes(compose(["device=cpu"])), "fp32")


def batches(method, count: int, size: int = 6):
    generator = torch.Generator().manual_seed(0)
    shape = (method.views, size, 3, 8, 8) if method.views > 1 else (size, 3, 8, 8)
    for _ in range(count):
        x = torch.randn(shape, generator=generator)
        y = torch.randint(0, 10, (size,), generator=generator)
        yield x, y, torch.arange(size)


def step_of(method, training: TrainingConfig, on_device: bool, steps=6, steps_per_epoch=3):
    made = sgd(method, fused=on_device)
    schedule = Schedule(compose(["schedule=cosine"]).schedule, made, steps)
    runner = accelerator()
    rates = (
        DeviceRates(schedule, made, steps_per_epoch, runner.device)
        if on_device
        else HostRates(schedule)
    )
    model, prepared = runner.prepare(method, made)
    return TrainingStep(
        training,
        method,
        model,
        prepared,
        rates,
        runner,
        num_classes=10,
        steps_per_epoch=steps_per_epoch,
        total_steps=steps,
    )


def sgd(method, **how) -> torch.optim.SGD:
    settings = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, **how}
    return torch.optim.SGD(method.parameters(), lr=0.1, **settings)


STEPS = [*list_methods(), *(f"kd {term}" for term in registry.feature_terms.names())]


def create(name: str):
    name, *terms = name.split()
    settings = {"teacher": create_backbone(BACKBONE, 10)} if name in ("kd", "shake") else {}
    if terms:
        settings["feature_terms"] = terms
    method = create_method(name, BACKBONE, 10, input_size=(3, 8, 8), **settings)
    method.begin(samples=6, epochs=2)
    return method


@pytest.mark.parametrize("name", STEPS)
def test_no_method_looks_into_a_tensor(name, monkeypatch):
    def one_hot(y, classes):  # torch's own checks the labels, but on CUDA
        return (y[:, None] == torch.arange(classes)).long()

    monkeypatch.setattr(F, "one_hot", one_hot)
    method = create(name).train()
    training = TrainingConfig(label_smoothing=0.1, clip_norm=1.0)
    step = step_of(method, training, on_device=True)
    step.begin(0)
    given = list(batches(method, 3))
    step(*given[0])
    with no_waiting():
        for samples in given[1:]:
            step(*samples)
    assert step.tally.compute()["loss"] > 0


@pytest.mark.parametrize("name", STEPS)
def test_every_method_can_be_replayed(name):
    method, said = create(name).train(), []
    step = step_of(method, TrainingConfig(), on_device=True)
    step.begin(0)
    (samples,) = batches(method, 1)
    graphed = GraphedWork(
        "step", lambda: step(*samples), method, Again(), said.append, step.optimizer
    )
    for _ in range(WARM_UP + 1):
        step.position.zero_()
        graphed()
    assert said == []


class Again:
    """A recorder whose replay does the work again."""

    def run(self, work):
        work()
        return []

    def record(self, work):
        return work


@pytest.mark.parametrize(
    "careless",
    [
        lambda x: x.item(),
        lambda x: x[x > 0],
        lambda x: bool(x > 0),
        lambda x: torch.where(x > 0, x, 1.0),
        lambda x: x + torch.tensor([2.0]),
        lambda x: x[[0]],
    ],
)
def test_the_check_notices_what_waits(careless):
    with pytest.raises(AssertionError, match=r"looks into|from the host"), no_waiting():
        careless(torch.ones(1))


def plain_loop(method, training: TrainingConfig, steps: int, steps_per_epoch: int):
    """The same training in the words of a textbook, with numbers of the host."""
    optimizer = sgd(method)
    schedule = Schedule(compose(["schedule=cosine"]).schedule, optimizer, steps)
    epochs = []
    for i, (x, y, _) in enumerate(batches(method, steps)):
        if i % steps_per_epoch == 0:
            epochs.append({"ce": 0.0, "hits": 0.0})
        smooth = F.one_hot(y, 10) * 0.9 + 0.1 / 10
        result = method(x, smooth, i / steps)
        sum(result.terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), training.clip_norm)
        for group, rate in zip(optimizer.param_groups, schedule.rates(i), strict=True):
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        epochs[-1]["ce"] += result.terms["ce"].item() / steps_per_epoch
        hits = (result.predictions["student"].argmax(dim=1) == y).double().mean().item()
        epochs[-1]["hits"] += 100 * hits / steps_per_epoch
    return epochs


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", ["one", "pcl"])
def test_it_is_the_plain_loop(name, on_device):
    training = TrainingConfig(label_smoothing=0.1, clip_norm=1.0)
    plain, method = create(name).train(), create(name).train()
    expected = plain_loop(plain, training, steps=6, steps_per_epoch=3)
    step = step_of(method, training, on_device)
    found = []
    for i, samples in enumerate(batches(method, 6)):
        if i % 3 == 0:
            step.begin(i)
        step(*samples)
        if i % 3 == 2:
            found.append(step.tally.compute())
    for means, sums in zip(found, expected, strict=True):
        assert means["ce"] == pytest.approx(sums["ce"], rel=1e-5)
        assert means["student_top1"] == pytest.approx(sums["hits"])
    for (name_, theirs), ours in zip(plain.named_parameters(), method.parameters(), strict=True):
        if on_device:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
        else:
            assert torch.equal(ours, theirs), name_


def test_the_sums_stay_where_they_are():
    method = create("one").train()
    step = step_of(method, TrainingConfig(), on_device=False)
    places = []
    for i, samples in enumerate(batches(method, 6)):
        if i % 3 == 0:
            step.begin(i)
        step(*samples)
        step.tally.compute()
        if i % 3 == 2:
            step.tally.add_up()
        places.append(
            [t.data_ptr() for t in (*vars(step.tally).values(),) if isinstance(t, torch.Tensor)]
        )
    assert places == [places[0]] * 6


def test_an_epoch_that_is_gone_on_with_has_the_rates_and_progress_of_its_steps():
    """Both kinds of rates, from the first step on and from the second step of the second epoch."""
    for on_device in (False, True):
        seen = []
        for begin in ((0, 0), (4, 1)):
            step = step_of(create("one"), TrainingConfig(), on_device)
            step.begin(*begin)
            taken = []
            for samples in batches(step.method, 2):
                step(*samples)
                taken.append(float(step.optimizer.param_groups[0]["lr"]))
            seen.append((taken, step._progress.tolist(), int(step.position)))
        schedule = Schedule(compose(["schedule=cosine"]).schedule, sgd(create("one")), 6)
        assert seen[0][0] == pytest.approx([schedule.rates(i)[0] for i in (0, 1)])
        assert seen[1][0] == pytest.approx([schedule.rates(i)[0] for i in (4, 5)])
        assert seen[1][1] == pytest.approx([3 / 6, 4 / 6, 5 / 6])
        assert seen[1][2] == 3
