"""A run: what it leaves, how it goes on, and what stops it."""

import hashlib
import json
import os
import pickle

import pytest
import torch
import yaml
from filelock import FileLock
from hand_made import folder_of, read_records
from safetensors.torch import load_file

import kdzoo
from kdzoo import registry
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.testing import BACKBONE
from kdzoo.training.checkpoint import load_checkpoint, save_checkpoint
from kdzoo.training.cuda_graph import WARM_UP
from kdzoo.training.display import Silent
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.tally import DivergedError

SMALL = (
    *("method=mbde", "backbone=resnet8", "epochs=2", "lr=0.05"),
    *("dataset.train_subset=320", "batch_size=64", "training.eval_every=1"),  # 5 steps an epoch
)
WHOLE = ("dataset.train_subset=none",)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunFolder:
    return train(compose([*SMALL, f"out={tmp_path_factory.mktemp('runs')}"]))


class StopAfter(Silent):
    """A display that stops the run as Ctrl-C would."""

    def __init__(self, epoch: int) -> None:
        self.last = epoch

    def epoch(self, record, epochs):
        if record["epoch"] == self.last:
            raise KeyboardInterrupt


def stopped(tmp_path, *settings: str) -> RunFolder:
    config = compose([*SMALL, f"out={tmp_path}", *settings])
    with pytest.raises(KeyboardInterrupt):
        train(config, StopAfter(1))
    return folder_of(config)


def weights(folder: RunFolder) -> str:
    return hashlib.sha256((folder.path / "student.safetensors").read_bytes()).hexdigest()


def test_the_folder_says_what_it_is_of(finished):
    assert finished.path.parts[-4:-1] == ("digits", "resnet8", "mbde")
    assert finished.path.name.startswith("seed0-")
    names = {path.name for path in finished.path.iterdir()} - {".lock"}
    assert names == {
        "config.yaml",
        "identity.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoint.pt",
        "checkpoint-previous.pt",
        "student.safetensors",
        "student.json",
        "result.json",
    }


def test_its_versions_are_those_that_were_running(finished):
    packages = json.loads(finished.environment.read_text())["packages"]
    assert packages["kdzoo"] == kdzoo.__version__  # also where it is not installed
    assert packages["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_every_epoch_is_recorded(finished):
    records = [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    for record in records:
        train_, judged = record["train"], record["eval"]
        assert train_["loss"] == pytest.approx(
            sum(train_[term] for term in ("ce", "ensemble_ce", "kd", "cd"))
        )
        assert set(judged["student"]) == {"top1", "top5", "nll", "ece"}
        assert set(judged["ensemble"]) == {"top1", "top5", "nll", "ece"}
        assert len(judged["peers"]) == 3
        assert judged["peers"][0]["top1"] == judged["student"]["top1"]
        assert set(judged["diversity"]) == {"disagreement", "l2"}


def test_last_and_best_epoch_are_kept_apart(finished):
    result = finished.read_result()
    records = read_records(finished)
    assert result["last"] == records[-1]["eval"]
    best = max(records, key=lambda record: record["eval"]["student"]["top1"])
    assert result["best"]["epoch"] == best["epoch"]


def test_the_student_loads_strictly_into_the_plain_backbone_with_the_accuracy_of_the_result(
    finished,
):
    info = json.loads((finished.path / "student.json").read_text())
    network = kdzoo.create_backbone(
        info["backbone"], num_classes=info["num_classes"], **info["kwargs"]
    )
    network.load_state_dict(load_file(finished.path / "student.safetensors"), strict=True)
    from kdzoo.datasets.digits import Digits

    test = Digits(compose([]).dataset).load().test
    images = torch.from_numpy(test.images.array).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor(info["mean"]), torch.tensor(info["std"])
    x = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        guesses = network.eval()(x.float()).argmax(dim=1)
    top1 = 100 * (guesses == torch.from_numpy(test.labels)).float().mean().item()
    assert top1 == pytest.approx(finished.read_result()["last"]["student"]["top1"], abs=1e-4)


def test_a_finished_run_is_returned_at_once_and_untouched(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.path.iterdir()}
    again = train(compose([str(finished.config)]))
    assert again.path == finished.path
    assert {path: path.stat().st_mtime_ns for path in finished.path.iterdir()} == before


def test_its_config_repeats_the_run(finished, tmp_path):
    again = train(compose([str(finished.config), f"out={tmp_path}"]))
    assert again.path != finished.path
    assert weights(again) == weights(finished)


def test_a_resumed_run_ends_with_the_same_bytes(finished, tmp_path):
    folder = stopped(tmp_path)
    assert not folder.is_finished
    train(compose([*SMALL, f"out={tmp_path}"]))
    assert weights(folder) == weights(finished)
    ours, theirs = folder.read_result(), finished.read_result()
    assert ours["last"] == theirs["last"]
    assert ours["best"] == theirs["best"]


@pytest.mark.parametrize("term", registry.feature_terms.names())
def test_a_resumed_run_with_a_feature_term_ends_with_the_same_bytes(term, finished, tmp_path):
    how = ("method=kd", f"method.teacher={finished.path}", f"method.feature_terms=[{term}]")
    few = ("dataset.train_subset=64", "batch_size=16")
    whole = train(compose([*SMALL, *how, *few, f"out={tmp_path / 'whole'}"]))
    assert read_records(whole)[-1]["train"][term] > 0
    folder = stopped(tmp_path / "parts", *how, *few)
    train(compose([*SMALL, *how, *few, f"out={tmp_path / 'parts'}"]))
    assert weights(folder) == weights(whole)


def test_a_run_with_checkpointing_is_the_same_run_and_ends_with_the_same_bytes(finished, tmp_path):
    folder = stopped(tmp_path, "training.checkpointing=true")
    assert train(compose([*SMALL, f"out={tmp_path}", "training.checkpointing=true"])) is not None
    assert folder.path.name == finished.path.name
    assert weights(folder) == weights(finished)
    assert folder.read_result()["last"] == finished.read_result()["last"]


def test_resume_with_dropout_and_label_smoothing_and_adamw(tmp_path):
    extra = (
        f"backbone={BACKBONE}",
        "backbone.kwargs.drop_rate=0.3",
        "optimizer=adamw",
        "lr=0.001",
        "training.label_smoothing=0.1",
        "training.clip_norm=1",
        "training.steps=8",
        "schedule.warmup=0.25",
    )
    whole = train(compose([*SMALL, *extra, f"out={tmp_path / 'whole'}"]))
    folder = stopped(tmp_path / "parts", *extra)
    train(compose([*SMALL, *extra, f"out={tmp_path / 'parts'}"]))
    assert weights(folder) == weights(whole)
    assert whole.read_result()["steps"] == 8


def test_resume_never_starts_over(tmp_path):
    folder = stopped(tmp_path)
    train(compose([*SMALL, f"out={tmp_path}", "resume=never", "epochs=2"]))
    assert folder.is_finished
    assert [record["epoch"] for record in read_records(folder)] == [1, 2]


def test_a_folder_of_another_config_is_left_alone(finished, tmp_path):
    folder = stopped(tmp_path)
    theirs = yaml.safe_load(folder.config.read_text())
    theirs["lr"] = 0.7
    folder.config.write_text(yaml.safe_dump(theirs))
    before = folder.checkpoint.read_bytes()
    with pytest.raises(UserError, match=r"lr \(0\.7\) differ from identity\.json\. Remove it"):
        train(compose([*SMALL, f"out={tmp_path}"]))
    assert folder.checkpoint.read_bytes() == before


class Evil:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "pickle", "tensor"])
def test_a_damaged_checkpoint_is_named_and_kept(tmp_path, damage):
    folder = stopped(tmp_path)
    whole = folder.checkpoint.read_bytes()
    mark = tmp_path / "executed"
    content = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "foreign": b"not a checkpoint",
        "pickle": pickle.dumps(Evil(mark)),
    }
    if damage == "tensor":
        torch.save(torch.zeros(3), folder.checkpoint)
    else:
        folder.checkpoint.write_bytes(content[damage])
    before = folder.checkpoint.read_bytes()
    with pytest.raises(UserError, match=r"checkpoint\.pt.*resume=never"):
        train(compose([*SMALL, f"out={tmp_path}"]))
    assert folder.checkpoint.read_bytes() == before
    assert not mark.exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    folder = stopped(tmp_path)
    state = load_checkpoint(folder.checkpoint)
    state["method"].popitem()
    save_checkpoint(folder.checkpoint, state)
    with pytest.raises(UserError, match=r"checkpoint\.pt.*resume=never"):
        train(compose([*SMALL, f"out={tmp_path}"]))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    folder = stopped(tmp_path)
    state = load_checkpoint(folder.checkpoint)
    name = next(name for name, value in state["method"].items() if value.dim() == 4)
    state["method"][name].fill_(1e38)
    save_checkpoint(folder.checkpoint, state)
    before = folder.checkpoint.read_bytes()
    with pytest.raises(DivergedError, match=r"'\w+'.*at step \d+.*lr"):
        train(compose([*SMALL, f"out={tmp_path}"]))
    assert folder.checkpoint.read_bytes() == before
    assert not folder.is_finished


def test_two_processes_do_not_share_a_folder(tmp_path):
    config = compose([*SMALL, f"out={tmp_path}"])
    folder = folder_of(config)
    folder.path.mkdir(parents=True)
    with FileLock(folder.path / ".lock"), pytest.raises(UserError, match="Another process"):
        train(config)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="out="):
        train(compose([*SMALL, f"out={file}"]))
    assert file.read_text() == ""


def test_different_seeds_train_different_students(finished, tmp_path):
    other = train(compose([*SMALL, "seed=1", f"out={tmp_path}"]))
    assert weights(other) != weights(finished)


def test_evaluation_may_be_rarer_than_epochs_and_always_ends_the_run(tmp_path):
    folder = train(compose([*SMALL, "epochs=3", "training.eval_every=2", f"out={tmp_path}"]))
    assert ["eval" in record for record in read_records(folder)] == [False, True, True]
    assert folder.read_result()["best"]["epoch"] in (2, 3)


def test_plain_training_has_no_ensemble(tmp_path):
    folder = train(compose([*SMALL, "method=independent", "epochs=1", f"out={tmp_path}"]))
    assert "ensemble" not in folder.read_result()["last"]


@pytest.mark.slow
def test_the_step_compiles(tmp_path):
    settings = (f"backbone={BACKBONE}", "training.compile=true", "training.steps=2", "epochs=1")
    folder = train(compose([*SMALL, *settings, f"out={tmp_path}"]))
    assert folder.is_finished


@pytest.mark.cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_on_cuda(tmp_path, compiled):
    settings = ("device=cuda", f"training.compile={compiled}", f"out={tmp_path}")
    result = train(compose([*SMALL, *WHOLE, "batch_size=256", *settings])).read_result()
    assert result["last"]["student"]["top1"] > 20


class Strict(Silent):
    """Lets nothing wait for the device, from the first replay to the last step of an epoch."""

    def __init__(self):
        self.steps, self.strict = 0, 0

    def start(self, total_steps, done):
        self.total_steps = total_steps

    def step(self, tally):
        self.steps += 1
        strict = WARM_UP < self.steps < self.total_steps
        self.strict += strict
        torch.cuda.set_sync_debug_mode("error" if strict else "default")


@pytest.fixture
def sync_debug_mode():
    yield
    torch.cuda.set_sync_debug_mode("default")


BRIEF = (*SMALL, *WHOLE, "epochs=1")


@pytest.mark.cuda
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.usefixtures("sync_debug_mode")
def test_a_step_on_cuda_does_not_wait_for_the_host(pipeline, captured, tmp_path):
    how = (f"dataset.pipeline={pipeline}", f"training.cuda_graph={captured}")
    display = Strict()
    train(compose([*BRIEF, *how, "device=cuda", f"out={tmp_path}"]), display)
    assert display.strict > 10


def test_the_test_above_is_strict_in_all_but_the_first_steps(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    display = Strict()
    train(compose([*BRIEF, "device=cpu", f"out={tmp_path}"]), display)
    assert modes == ["default"] * WARM_UP + ["error"] * display.strict + ["default"]
    assert display.strict > 10


class Remarks(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", kdzoo.list_methods())
def test_on_cuda_the_step_is_captured_and_trains_as_the_eager_one(method, optimizer, tmp_path):
    how = (f"method={method}", f"optimizer={optimizer}", "lr=0.01", "training.steps=8")
    first = {}
    for captured in (False, True):
        display = Remarks()
        own = (
            f"training.cuda_graph={captured}",
            "training.steps=8",
            f"out={tmp_path / str(captured)}",
        )
        folder = train(compose([*BRIEF, *how, *own]), display)
        assert not any("captured" in line for line in display.lines)
        first[captured] = read_records(folder)[0]["train"]["loss"]
    assert first[True] == pytest.approx(first[False], rel=0.02)


@pytest.mark.parametrize(
    ("settings", "steps", "evaluated"),
    [
        (("epochs=3", "training.eval_every=10"), 12, [3]),
        (("epochs=3", "training.eval_every=2"), 12, [2, 3]),
        (("training.steps=3",), 3, [1]),
        (("training.steps=5", "training.eval_every=2"), 5, [2]),
    ],
)
def test_the_last_epoch_is_evaluated_however_short_the_run(settings, steps, evaluated, tmp_path):
    small = ("backbone=resnet8", "method=independent", "device=cpu", "precision=fp32")
    data = ("dataset.train_subset=64", "batch_size=16")
    folder = train(compose([*small, *data, *settings, f"out={tmp_path}"]))
    result, records = folder.read_result(), read_records(folder)
    by_epoch = {record["epoch"]: record["eval"] for record in records if "eval" in record}
    assert list(by_epoch) == evaluated
    assert (result["epochs"], result["steps"]) == (evaluated[-1], steps)
    assert records[-1]["step"] == steps
    assert result["last"] == by_epoch[evaluated[-1]]
    best = max(by_epoch, key=lambda epoch: by_epoch[epoch]["student"]["top1"])
    assert result["best"] == {"epoch": best, **by_epoch[best]}
