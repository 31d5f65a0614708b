"""An evaluation that is replayed finds what the plain one finds, however the method has changed."""

import pytest
import torch
from hand_made import read_records
from no_waiting import no_waiting
from test_cuda_graph import SMALL, Again, Said

import kdzoo
from kdzoo.compose import compose
from kdzoo.testing import CLASSES, SIZE, make_method
from kdzoo.training import run as run_module
from kdzoo.training.cuda_graph import WARM_UP, recorder_for
from kdzoo.training.evaluation import Evaluator
from kdzoo.training.folding import find_foldable
from kdzoo.training.run import train

FULL = 4
"""Batches of an evaluation that are of one shape; another one is shorter."""


def batches(seed=0, samples=4):
    random = torch.Generator().manual_seed(seed)
    count = FULL * samples + 1
    x = torch.randn(count, *SIZE, generator=random)
    y = torch.randint(CLASSES, (count,), generator=random)
    return list(zip(x.split(samples), y.split(samples), strict=True))


def pairs_of(method):
    return find_foldable(method, lambda: method.evaluate(torch.randn(3, *SIZE)))


@torch.no_grad()
def change(method):
    """As training does: every weight and every running statistic, in place."""
    for value in (*method.parameters(), *method.buffers()):
        if value.is_floating_point():
            value.mul_(1.1)


class Strict(Again):
    """A recorder that holds a replay to waiting for nothing."""

    def record(self, work):
        replay = super().record(work)

        def strictly():
            with no_waiting():
                replay()

        return strictly


@pytest.mark.parametrize("name", kdzoo.list_methods())
def test_a_replayed_evaluation_is_the_plain_one(name):
    method, recorder, said = make_method(name), Strict(), []
    pairs = pairs_of(method)
    replayed = Evaluator(method, pairs, recorder, said.append)
    for seed in range(2):
        given = batches(seed)
        assert replayed(given) == Evaluator(method, pairs)(given)
        change(method)
    recorded = ["run"] * WARM_UP + ["record", "replay"] + ["replay"] * FULL
    assert (recorder.done, said) == (recorded, [])


class Frozen(Again):
    """A recorder whose replay reads the memory that was there when it recorded, and no other."""

    def record(self, work):
        self.done.append("record")
        method = self.method
        held = {
            (module, kind): dict(vars(module)[kind])
            for module in method.modules()
            for kind in ("_parameters", "_buffers")
        }
        scale = method.scale

        def replay():
            self.done.append("replay")
            for (module, kind), values in held.items():
                vars(module)[kind].update(values)
            now, method.scale = method.scale, scale
            work()
            method.scale = now

        return replay


class Scaled:
    """A method that looks at a number of its own, which is on the host."""

    def __init__(self, method):
        self.method, self.evaluated = method, method.evaluate
        method.scale = 1.0
        method.evaluate = self.evaluate

    def evaluate(self, x):
        return {name: z * self.method.scale for name, z in self.evaluated(x).items()}


def new_number(method):
    method.scale = 0.25


def new_weight(method):
    weight = method.peers.branches[0].fc.weight
    method.peers.branches[0].fc.weight = torch.nn.Parameter(-weight.detach())


def new_buffer(method):
    norm = next(one for one in method.modules() if isinstance(one, torch.nn.BatchNorm2d))
    norm.running_mean = norm.running_mean + 1


@pytest.mark.parametrize("changed", [change, new_number, new_weight, new_buffer])
def test_what_is_put_in_the_place_of_another_is_seen(changed):
    method, recorder = make_method("one"), Frozen()
    Scaled(method)
    recorder.method = method
    pairs, given = pairs_of(method), batches()
    replayed = Evaluator(method, pairs, recorder)
    first = replayed(given)
    changed(method)
    second = replayed(given)
    assert second != first
    assert second == Evaluator(method, pairs)(given)
    assert recorder.done.count("record") == (1 if changed is change else 2)


def test_what_waits_for_the_host_is_evaluated_as_it_is():
    method, said = make_method("mbde"), []
    recorder = Again(waits=["plugin.py:7"])
    found = Evaluator(method, (), recorder, said.append)(batches())
    assert found == Evaluator(method)(batches())
    assert said == [
        "The evaluation is not captured as a CUDA graph: it waits for the device at plugin.py:7."
    ]


def test_nothing_to_evaluate_is_an_error_every_time():
    evaluate = Evaluator(make_method("one"))
    for given in ([], batches(), []):
        if given:
            evaluate(given)
            continue
        with pytest.raises(ValueError, match="no samples"):
            evaluate([])


def test_a_run_with_replayed_evaluations_has_the_same_figures(tmp_path, monkeypatch):
    whole = [*SMALL, "training.eval_every=1"]  # 360 test images: two full batches and a short one
    plain = train(compose([*whole, f"out={tmp_path / 'plain'}"]), Said())
    recorder, said = Again(), Said()
    monkeypatch.setattr(run_module, "recorder_for", lambda device: recorder)
    found = train(compose([*whole, f"out={tmp_path / 'replayed'}"]), said)
    for one, other in zip(read_records(found), read_records(plain), strict=True):
        assert one["eval"] == other["eval"]
    assert recorder.done == ["run"] * WARM_UP + ["record"] + ["replay"] * 3
    assert not any("captured" in line for line in said.lines)


def test_it_can_be_turned_off(tmp_path, monkeypatch):
    recorder = Again()
    monkeypatch.setattr(run_module, "recorder_for", lambda device: recorder)
    train(compose([*SMALL, "training.cuda_graph=false", "epochs=1", f"out={tmp_path}"]), Said())
    assert recorder.done == []


@pytest.fixture
def sync_debug_mode():
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.parametrize("name", kdzoo.list_methods())
@pytest.mark.usefixtures("sync_debug_mode")
def test_on_cuda_an_evaluation_is_captured_and_finds_the_same(name):
    device = torch.device("cuda")
    method, said = make_method(name).to(device), []
    pairs = find_foldable(method, lambda: method.evaluate(torch.randn(3, *SIZE, device=device)))
    captured = Evaluator(method, pairs, recorder_for(device), said.append)
    for seed in range(3):
        given = [(x.to(device), y.to(device)) for x, y in batches(seed)]
        found, plain = captured(given), Evaluator(method, pairs)(given)
        assert found["student"] == pytest.approx(plain["student"], rel=1e-4)
        for one, other in zip(found["peers"], plain["peers"], strict=True):
            assert one == pytest.approx(other, rel=1e-4)
        change(method)

    def strictly():
        torch.cuda.set_sync_debug_mode("error")
        yield from given
        torch.cuda.set_sync_debug_mode("default")

    assert captured(strictly())["student"]["nll"] > 0
    assert said == []
