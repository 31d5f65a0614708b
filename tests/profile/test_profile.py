"""kdzoo profile: the parts of a step, what they add up to, and what is left behind."""

import gzip
import json

import pytest
import torch
import torch.nn.functional as F
from full_disk import full_disk

from kdzoo import registry
from kdzoo.compose import compose
from kdzoo.errors import ConfigError, UserError
from kdzoo.profile.config import ProfileConfig
from kdzoo.profile.place import new_place
from kdzoo.profile.profile import profile
from kdzoo.profile.terms import SHARED, Terms
from kdzoo.profile.watch import Part, Stopwatch, Watch
from kdzoo.testing import BACKBONE

CPU = torch.device("cpu")
BRIEF = ("backbone=resnet8", "batch_size=16", "steps=2", "warmup=1")
SMALLEST = f"backbone={BACKBONE}"


def profiled(folder, *settings):
    config = compose([*BRIEF, f"out={folder}", *settings], config_class=ProfileConfig)
    return profile(config, folder / "trace.json.gz")


@pytest.fixture(scope="module")
def mbde(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mbde")
    return profiled(folder, "method=mbde"), folder


def test_every_part_of_a_step_is_there_and_they_add_up(mbde):
    found, _ = mbde
    names = [part.name for part in found.parts]
    terms = ["loss: ce", "loss: ensemble_ce", "loss: kd", "loss: cd"]
    modules = ["data", "trunk", "branch 1", "branch 2", "branch 3", "aggregator"]
    assert {*modules, *terms, "optimizer", "other"} <= set(names)
    assert names[:6] == modules
    assert names[-1] == "other"
    assert sum(part.share for part in found.parts) == pytest.approx(100)
    total = sum(part.forward_ms + part.backward_ms for part in found.parts)
    assert total == pytest.approx(found.in_parts_ms)
    assert found.images_per_second == pytest.approx(16_000 / found.step_ms)
    costs = {part.name: part for part in found.parts}
    for name in (*modules[1:], *terms):
        assert costs[name].forward_ms > 0
        assert costs[name].backward_ms > 0
    assert costs["data"].backward_ms == costs["optimizer"].backward_ms == 0


def test_memory_is_that_of_the_parameters_and_of_what_is_saved(mbde):
    found, _ = mbde
    costs = {part.name: part for part in found.parts}
    parts = sum(part.parameters for part in found.parts)
    assert parts == found.memory.parameters == found.memory.gradients == found.memory.optimizer
    assert costs["branch 1"].parameters == costs["branch 2"].parameters > 0
    assert costs["branch 1"].saved == costs["branch 2"].saved > 0
    assert sum(part.saved for part in found.parts) == found.memory.saved
    # the input of the trunk's first convolution is the smallest part of it
    assert costs["trunk"].saved > 16 * 3 * 8 * 8 * 4
    assert found.memory.peak > found.memory.saved


def test_the_trace_is_one_that_perfetto_opens_with_the_parts_in_it(mbde):
    _, folder = mbde
    with gzip.open(folder / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    names = [event.get("name") for event in events if event.get("ph") == "X"]
    for part in ("step", "data", "trunk", "branch 3", "aggregator", "backward", "optimizer"):
        assert names.count(part) >= 2
    assert sorted(path.name for path in folder.iterdir()) == ["trace.json.gz"]


@pytest.mark.parametrize("method", [name for name in registry.methods.names() if name != "mbde"])
def test_every_method_can_be_profiled(method, tmp_path):
    extra = ("method.peers=2",) if method in ("dml", "kdcl", "ffl") else ()
    found = profiled(tmp_path, f"method={method}", SMALLEST, "steps=1", *extra)
    costs = {part.name: part for part in found.parts}
    assert any(name.startswith("loss: ") and costs[name].backward_ms > 0 for name in costs)
    assert sum(part.share for part in found.parts) == pytest.approx(100)
    if method == "kd":  # a teacher learns nothing
        assert costs["teacher 1"].forward_ms > 0
        assert costs["teacher 1"].backward_ms == 0
    if method == "pcl":
        assert costs["mean_peers"].forward_ms > 0
        assert costs["after_step"].forward_ms > 0
    assert not list(tmp_path.rglob("result.json"))


def test_less_is_saved_with_checkpointing(mbde, tmp_path):
    found = profiled(tmp_path, "method=mbde", "training.checkpointing=true", "steps=1")
    before = {part.name: part.saved for part in mbde[0].parts}
    after = {part.name: part.saved for part in found.parts}
    assert after["trunk"] < 0.5 * before["trunk"]
    assert after["aggregator"] == before["aggregator"]


@pytest.mark.usefixtures("without_code")
def test_a_compiled_method_is_one_part(tmp_path):
    found = profiled(tmp_path, "method=mbde", SMALLEST, "training.compile=true", "steps=1")
    names = [part.name for part in found.parts]
    assert names == ["data", "method, compiled as one", "optimizer", "after_step", "other"]
    assert found.parts[1].backward_ms > 0


@pytest.mark.cuda
def test_on_cuda_the_parts_add_up_to_the_device_time(tmp_path):
    found = profiled(tmp_path, "method=mbde", "device=cuda", "steps=10")
    assert sum(part.share for part in found.parts) == pytest.approx(100)
    assert found.in_parts_ms == pytest.approx(found.step_ms, rel=0.5)
    assert found.memory.peak < 2**30  # of tensors, not of the process


def test_the_command_prints_the_table_and_where_it_is(kdzoo, tmp_path):
    done = kdzoo("profile", *BRIEF, f"out={tmp_path}")
    assert done.code == 0, done.err
    assert "branch 3" in done.out
    assert "images/s" in done.out
    place = tmp_path / "profile" / "digits" / "resnet8" / "mbde" / "1"
    assert str(place / "trace.json.gz") in done.out
    table = json.loads((place / "profile.json").read_text())
    assert table["steps"] == 2
    assert table["config"]["method"]["name"] == "mbde"
    assert {part["name"] for part in table["parts"]} >= {"trunk", "other"}
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_wrong_key_is_refused_before_any_work(kdzoo, tmp_path):
    done = kdzoo("profile", "warmpu=3", f"out={tmp_path}")
    assert done.code == 2
    assert "warmup" in done.err
    assert not list(tmp_path.iterdir())


def test_a_profile_that_cannot_be_made_leaves_no_folder_of_its_own(kdzoo, tmp_path):
    done = kdzoo("profile", "dataset=imagefolder", f"dataset.root={tmp_path}/no", f"out={tmp_path}")
    assert done.code == 2
    assert not list(tmp_path.rglob("1"))


def test_on_a_full_disk_a_profile_is_one_message(kdzoo, tmp_path):
    with full_disk():
        done = kdzoo("profile", *BRIEF, f"out={tmp_path}")
    assert done.code == 2
    assert "The trace could not be written whole" in done.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_profile_does_not_go_into_the_folder_of_a_run(finished, tmp_path):
    run = finished(97.0)
    config = compose([f"out={run.path}"], config_class=ProfileConfig)
    with pytest.raises(UserError, match="is the folder of a run"):
        new_place(config)


def test_checkpointing_and_compile_exclude_each_other():
    with pytest.raises(ConfigError, match=r"training\.checkpointing: torch.compile decides"):
        compose(["training.checkpointing=true", "training.compile=true"])


def test_time_goes_to_the_innermost_part_in_both_passes(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(Stopwatch, "_now", lambda self: next(clock))
    watch, outer, inner = Stopwatch(CPU), Part("outer"), Part("inner")
    x = torch.ones(2, requires_grad=True)
    watch.begin()  # other from 0
    watch.enter(outer)  # from 1
    y = x * 2
    watch.enter(inner)  # from 2
    z = y.exp()
    watch.leave()  # outer from 3
    loss = z.sum()
    watch.leave()  # other from 4
    with watch.backward(loss):  # nothing from 5, other from 6, outer 7, inner 8, outer 9
        loss.backward()
    watch.end()  # other from 10, to 11
    (times,) = watch.times()
    assert times == {
        ("other", "forward"): 1 + 1 + 1,
        ("outer", "forward"): 1 + 1,
        ("inner", "forward"): 1,
        ("other", "backward"): 1,
        ("outer", "backward"): 1 + 1,
        ("inner", "backward"): 1,
    }


def test_operations_of_a_loss_belong_to_the_term_they_are_for():
    entered = []

    class Notes(Watch):
        def enter(self, part):
            if part is not None:
                entered.append(part)

    z, y = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
    with Terms(Notes()) as operations:
        halved = z / 2  # for both
        soft = halved.detach().softmax(dim=-1)  # for one, without a gradient
        terms = {"kd": (soft * halved).sum(), "ce": F.cross_entropy(halved, y)}
    operations.resolve(terms)
    names = [part.name for part in entered]
    assert names == [SHARED, "loss: kd", "loss: kd", "loss: kd", "loss: kd", "loss: ce"]


def test_a_network_of_ones_own_is_profiled(tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    found = profiled(tmp_path, "backbone=mynet:net", "method=dml", "precision=fp32", "steps=1")
    costs = {part.name: part for part in found.parts}
    assert costs["peer 1"].backward_ms > 0
    images = 16 * 3 * 8 * 8 * 4  # which both save, and the first one is counted for
    assert costs["peer 2"].saved == costs["peer 1"].saved - images > 0
