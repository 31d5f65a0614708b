"""What cannot go on ends with one message that says what to do."""

import pytest
import torch

import kdzoo
from kdzoo.compose import compose
from kdzoo.errors import ConfigError, UserError
from kdzoo.training.failures import OutOfMemoryError, explained
from kdzoo.training.run import train
from kdzoo.training.tally import DivergedError
from kdzoo.training.trainer import Trainer

SMALL = ("backbone=resnet8", "device=cpu", "training.steps=2", "dataset.train_subset=64")


def test_nesterov_without_momentum_is_refused_with_what_to_set(tmp_path):
    settings = (*SMALL, "method=independent", f"out={tmp_path}", "optimizer.momentum=0")
    with pytest.raises(ConfigError, match=r"optimizer\.momentum: .*optimizer\.nesterov=false"):
        train(compose(settings))
    assert train(compose([*settings, "optimizer.nesterov=false"])).is_finished


@pytest.mark.parametrize(
    ("settings", "layer"),
    [
        (("method=independent", "backbone=vgg16"), r"'peers\..*' .* its 1x1 map.*image_size"),
        (("method=pcl", "backbone=mobilenetv2"), r"'.*peers\..*' .* its 1x1 map"),
        (("method=one",), r"'aggregator\.score\.1' cannot be trained on one sample: "),
        (("method=kd", "method.teacher_backbone=resnet8", "backbone=vgg16"), "its 1x1 map"),
    ],
)
def test_a_batch_of_one_is_refused_before_any_work_with_the_layer(settings, layer, tmp_path):
    with pytest.raises(ConfigError, match=layer) as raised:
        train(compose([*SMALL, "batch_size=1", *settings, f"out={tmp_path}"]))
    assert raised.value.where == ("batch_size",)
    assert not list(tmp_path.iterdir())  # no folder, and no teacher in another one


@pytest.mark.parametrize("method", ["mbde", "ffl", "pcl", "independent"])
def test_a_batch_of_one_is_trained_where_maps_are_larger(method, tmp_path):
    run = train(compose([*SMALL, "batch_size=1", f"method={method}", f"out={tmp_path}"]))
    assert run.read_result()["steps"] == 2


def test_a_batch_of_one_in_a_loop_of_ones_own_says_which_layer():
    x, y = torch.randn(1, 3, 8, 8), torch.tensor([1])
    one = kdzoo.create_method("one", backbone="resnet8", num_classes=10, input_size=(3, 8, 8))
    one.train()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    with pytest.raises(ConfigError, match=r"'aggregator\.score\.1'.*two samples or more"):
        one(x, y, 0.0)
    after = one.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert one.training
    one.eval()(x, y, 0.0)
    mbde = kdzoo.create_method("mbde", backbone="resnet8", num_classes=10, input_size=(3, 8, 8))
    terms = mbde.train()(x, y, 0.0).terms
    assert all(term.isfinite() for term in terms.values())
    batches = [v for name, v in mbde.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in batches} == {1}  # trying it out has left no trace


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(error):
    with pytest.raises(OutOfMemoryError, match="batch_size") as raised, explained():
        raise error
    assert raised.value.exit_code == 1


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="something else"), explained():
        raise ValueError("something else")


def test_a_weight_that_is_no_number_at_the_start_is_named(tmp_path, monkeypatch):
    start = Trainer.__init__

    def damaged(self, *arguments):
        start(self, *arguments)
        next(self.method.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Trainer, "__init__", damaged)
    with pytest.raises(DivergedError, match=r"'peers\..*' is no finite number before the first"):
        train(compose([*SMALL, f"out={tmp_path}"]))


@pytest.mark.parametrize("lr", ["1e10", "1e4"])
def test_outputs_that_go_to_infinity_at_the_last_step_end_the_run(tmp_path, lr):
    """The loss is finite at every step, and no later one tells of it."""
    settings = [*SMALL, "method=independent", "training.steps=1", "epochs=1", f"lr={lr}"]
    with pytest.raises(DivergedError, match=r"^student\.nll .* after epoch 1.*Lower lr"):
        train(compose([*settings, "schedule.warmup=0", f"out={tmp_path}"]))
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("progress", [0.5, torch.tensor(0.5).numpy()])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_a_plain_number_and_small_labels_do_in_a_loop_of_ones_own(progress, dtype):
    torch.manual_seed(0)
    method = kdzoo.create_method("mbde", backbone="resnet8", num_classes=10, input_size=(3, 8, 8))
    x, y = torch.randn(4, 3, 8, 8), torch.tensor([1, 2, 3, 4])
    method.train()
    given = method(x, y.to(dtype), progress).terms
    wanted = method(x, y, torch.tensor(0.5)).terms
    assert {name: term.item() for name, term in given.items()} == pytest.approx(
        {name: term.item() for name, term in wanted.items()}
    )
    with pytest.raises(UserError, match=r"y\.to\(x\.device\)"):
        method(x, y.to("meta"), 0.5)
