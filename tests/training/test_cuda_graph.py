"""A step that is replayed is the step itself; what cannot be replayed is told and left alone."""

import collections
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from kdzoo.compose import compose
from kdzoo.methods.hooks import TrainingHooks
from kdzoo.optim.build import build_optimizer, on_device
from kdzoo.testing import BACKBONE
from kdzoo.training import trainer as trainer_module
from kdzoo.training.checkpoint import load_checkpoint
from kdzoo.training.cuda_graph import WAITS, WARM_UP, CudaRecorder, GraphedWork, Inputs
from kdzoo.training.display import Silent
from kdzoo.training.run import train

SMALL = (
    *("dataset=digits", "dataset.train_subset=96", f"backbone={BACKBONE}", "device=cpu"),
    *("batch_size=16", "epochs=3", "precision=fp32", "method=mbde", "training.threads=1"),
)


class Again:
    """Stands for CUDA's recorder: a replay does the work again.

    As there, the work is carried out beside the recording, not by it.
    """

    def __init__(self, waits=(), refuses=None):
        self.waits, self.refuses = list(waits), refuses
        self.done = []

    def run(self, work):
        self.done.append("run")
        work()
        return self.waits

    def record(self, work):
        self.done.append("record")
        if self.refuses:
            raise self.refuses

        def replay():
            self.done.append("replay")
            work()

        return replay


class Counter(nn.Module):
    """A method of which a test decides what its step does."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("steps", torch.zeros(()))
        self.seen = 0
        self.queue = collections.deque(maxlen=2)


def graphed(work, recorder, method=None):
    said = []
    method = method or Counter()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    return GraphedWork("step", work, method, recorder, said.append, optimizer), said


def test_every_call_is_one_step_and_the_first_ones_are_run():
    method, recorder = Counter(), Again()

    def work():
        method.steps.add_(1)

    step, said = graphed(work, recorder, method)
    for count in range(1, 8):
        step()
        assert method.steps == count
    assert recorder.done == ["run"] * WARM_UP + ["record"] + ["replay"] * (7 - WARM_UP)
    assert said == []
    step.forget()
    step()
    assert recorder.done[-1] == "run"


def test_what_the_host_changes_between_two_epochs_is_recorded_again():
    method, recorder = Counter(), Again()
    added = []
    step, said = graphed(lambda: added.append(method.seen), recorder, method)
    for epoch in range(3):
        method.seen = max(epoch, 1)  # the first change comes before anything is recorded
        step.look()
        for _ in range(WARM_UP + 1):
            step()
    assert added == [1] * 2 * (WARM_UP + 1) + [2] * (WARM_UP + 1)
    once = ["run"] * WARM_UP + ["record", "replay"]
    assert recorder.done == [*once, *["replay"] * (WARM_UP + 1), *once]
    assert said == []


def python_counter(method):
    method.seen += 1


def new_buffer(method):
    method.steps = method.steps + 1


def growing_list(method):
    method.queue.append(method.weight.detach() + 1)


HOSTS = {
    "the method.seen": python_counter,
    "the method._buffers.steps": new_buffer,
    "the method.queue.0": growing_list,
    "draws random numbers": lambda method: random.random(),
    "random numbers on the host": lambda method: np.random.rand(),
    "random numbers": lambda method: torch.rand(1),
}


@pytest.mark.parametrize("reason", list(HOSTS))
def test_what_changes_on_the_host_is_not_replayed(reason):
    method, recorder = Counter(), Again()
    calls = []

    def work():
        calls.append(1)
        HOSTS[reason](method)

    step, said = graphed(work, recorder, method)
    for _ in range(6):
        step()
    assert len(calls) == 6
    assert recorder.done == ["run"] * WARM_UP
    (line,) = said
    assert reason in line


def test_what_waits_for_the_device_is_not_recorded():
    recorder = Again(waits=["plugin.py:7"])
    step, said = graphed(lambda: None, recorder)
    for _ in range(6):
        step()
    assert recorder.done == ["run"] * WARM_UP
    assert said == [
        "The step is not captured as a CUDA graph: it waits for the device at plugin.py:7."
    ]


def test_a_recording_that_fails_costs_no_step():
    method = Counter()

    def work():
        method.steps.add_(1)
        method.weight.grad = torch.ones(2)

    error = RuntimeError("operation not permitted when stream is capturing\nmore")
    step, said = graphed(work, Again(refuses=error), method)
    for count in range(1, 7):
        step()
        assert method.steps == count
    assert said == [
        "The step is not captured as a CUDA graph: RuntimeError: operation not permitted when "
        "stream is capturing."
    ]


def test_a_signal_while_it_records_is_no_reason_to_go_on():
    error = RuntimeError("capture was invalidated")  # of the recording that is ended by it
    error.__context__ = KeyboardInterrupt()
    step, said = graphed(lambda: None, Again(refuses=error))
    for _ in range(WARM_UP):
        step()
    with pytest.raises(KeyboardInterrupt):
        step()
    assert said == []


def test_batches_of_one_shape_have_one_place():
    inputs = Inputs()
    assert inputs.take(torch.ones(4, 3), torch.zeros(4))
    places = [tensor.data_ptr() for tensor in inputs.batch]
    assert inputs.take(torch.full((4, 3), 2.0), torch.ones(4))
    assert [tensor.data_ptr() for tensor in inputs.batch] == places
    assert inputs.batch[0].eq(2).all()
    assert not inputs.take(torch.ones(3, 3), torch.zeros(3))
    assert inputs.batch[0].eq(2).all()


class Said(Silent):
    def __init__(self):
        self.lines, self.steps = [], 0

    def say(self, line):
        self.lines.append(line)

    def step(self, tally):
        self.steps += 1


def student(folder):
    from safetensors.torch import load_file

    return load_file(folder.path / "student.safetensors")


def trained(tmp_path, name, *settings, display=None):
    return train(compose([*SMALL, *settings, f"out={tmp_path / name}"]), display or Said())


def assert_alike(folder, other):
    for name, weight in student(folder).items():
        torch.testing.assert_close(weight, student(other)[name], rtol=1e-3, atol=1e-4)
    losses = [
        [record["train"]["loss"] for record in load_checkpoint(one.checkpoint)["records"]]
        for one in (folder, other)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("schedule=cosine", "schedule.warmup=0.3", "training.clip_norm=0.5"),
        ("dataset.pipeline=loader", "training.label_smoothing=0.1"),
        ("method=pcl", "training.steps=14"),
        ("optimizer.momentum=0", "optimizer.nesterov=false", "dataset.augment.mixup=0.5"),
    ],
)
def test_a_replayed_training_is_the_plain_one(settings, tmp_path, monkeypatch):
    plain = trained(tmp_path, "plain", *settings)
    recorder, said = Again(), Said()
    monkeypatch.setattr(trainer_module, "recorder_for", lambda device: recorder)
    found = trained(tmp_path, "replayed", *settings, display=said)
    assert_alike(found, plain)
    steps = found.read_result()["steps"]
    assert said.steps == steps
    assert recorder.done == ["run"] * WARM_UP + ["record"] + ["replay"] * (steps - WARM_UP)
    assert not any("captured" in line for line in said.lines)


class Stop(Said):
    def epoch(self, record, epochs):
        if record["epoch"] == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("first_replayed", [False, True])
def test_a_run_goes_on_whether_or_not_its_steps_were_replayed(
    first_replayed, tmp_path, monkeypatch
):
    plain = trained(tmp_path, "plain")
    own = trainer_module.recorder_for
    for replayed, display in ((first_replayed, Stop()), (not first_replayed, Said())):
        monkeypatch.setattr(
            trainer_module, "recorder_for", (lambda device: Again()) if replayed else own
        )
        try:
            found = trained(tmp_path, "parts", display=display)
        except KeyboardInterrupt:
            continue
    assert_alike(found, plain)


def test_it_can_be_turned_off(tmp_path, monkeypatch):
    recorder = Again()
    monkeypatch.setattr(trainer_module, "recorder_for", lambda device: recorder)
    trained(tmp_path, "off", "training.cuda_graph=false", "epochs=1")
    assert recorder.done == []


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("optimizer=lamb", "lamb takes its rate"), ("training.checkpointing=true", "checkpointing")],
)
def test_what_cannot_be_captured_is_said_and_trained(setting, reason, tmp_path, monkeypatch):
    recorder, said = Again(), Said()
    monkeypatch.setattr(trainer_module, "recorder_for", lambda device: recorder)
    trained(tmp_path, "eager", setting, "epochs=1", "lr=0.01", display=said)
    assert recorder.done == []
    (line,) = [line for line in said.lines if "captured" in line]
    assert reason in line


class Trained(nn.Linear, TrainingHooks):
    """A layer that is trained like a method."""


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("sgd", {"fused"}),
        ("adamw", {"fused", "capturable"}),
        ("nadamw", {"capturable"}),
        ("lamb", set()),
        ("adafactor", set()),
    ],
)
def test_optimisers_say_whether_they_take_rates_on_the_device(name, how):
    settings = on_device(name)
    assert set(settings) == how
    config = compose([f"optimizer={name}"]).optimizer
    method = Trained(3, 2)
    optimizer = build_optimizer(config, method, 0.1, **settings)
    assert all(optimizer.param_groups[0][key] for key in how)


def fake_cuda(monkeypatch, log):
    class Stream:
        def __init__(self, device=None, priority=0):
            pass

        def wait_stream(self, other):
            log.append("wait")

    class Entered:
        def __init__(self, *given, **options):
            self.options = options

        def __enter__(self):
            log.append("enter")

        def __exit__(self, *error):
            log.append("leave")

    class Graph:
        def replay(self):
            log.append("replay")

    mode = ["default"]
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", Entered)
    monkeypatch.setattr(torch.cuda, "graph", Entered)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode[0])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda to: mode.__setitem__(0, to))
    return mode


def test_cudas_recorder_waits_on_both_sides_and_tells_who_waits(monkeypatch):
    log = []
    mode = fake_cuda(monkeypatch, log)
    recorder = CudaRecorder(torch.device("cuda"))

    def work():
        assert mode == ["warn"]
        warnings.warn(WAITS, stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    with pytest.warns(UserWarning, match="something else") as others:
        (place,) = recorder.run(work)
    assert len(others) == 1
    assert place.startswith(__file__)
    assert mode == ["default"]
    assert log == ["wait", "enter", "leave", "wait"]
    log.clear()
    replay = recorder.record(lambda: log.append("work"))
    replay()
    assert log == ["enter", "work", "leave", "replay"]
