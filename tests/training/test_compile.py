"""torch.compile of a step: when, what it computes, and what is done where it cannot."""

import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from kdzoo import registry
from kdzoo.api import create_method
from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.files import read_json
from kdzoo.methods.base import Method
from kdzoo.training import compile as compiling
from kdzoo.training import trainer as training
from kdzoo.training.compile import CACHE, should_compile
from kdzoo.training.display import Silent
from kdzoo.training.run import train

SMALL = (
    "method=independent",
    "method.peers=1",
    "dataset.train_subset=64",
    "batch_size=16",
    "training.steps=6",
    "training.threads=1",
    "device=cpu",
)


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


class Tiny(nn.Module):
    """Batch norm's buffers, randomness, and little to compile."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(3, num_classes)

    def forward(self, x):
        # what is fused here rounds otherwise than eager operations do
        return self.head(self.drop(F.gelu(self.norm(x), approximate="tanh")).mean((2, 3)))


@pytest.fixture(autouse=True)
def clean(tmp_path_factory, monkeypatch):
    monkeypatch.setenv(CACHE, os.environ.get(CACHE, str(tmp_path_factory.getbasetemp() / "code")))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def run(out, *settings):
    said = Said()
    folder = train(compose([*SMALL, *settings, f"out={out}"]), said, networks=[Tiny])
    return folder, said.lines


class Killed(Said):
    def epoch(self, record, epochs):
        raise KeyboardInterrupt


def weights(folder):
    return (folder.path / "student.safetensors").read_bytes()


@pytest.fixture
def long(monkeypatch):
    """The rule finds every training long enough."""
    monkeypatch.setattr(training, "should_compile", lambda *_: True)


def broken(method, *inputs):
    method(*inputs)  # moves batch norm's statistics, and draws for dropout
    raise RuntimeError("the step broke.\nAnd more of it")


@pytest.fixture
def avx512(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def test_a_step_is_compiled_where_that_saves_more_than_it_takes(avx512):
    method = create_method("mbde", backbone="resnet8", num_classes=10, input_size=(3, 32, 32))
    assert not should_compile(method, (3, 32, 32), 128, 100)
    assert should_compile(method, (3, 32, 32), 128, 1_000_000)
    assert not should_compile(method, (3, 8, 8), 2, 10_000)


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT", "SVE256"])
def test_nothing_is_compiled_where_it_was_not_measured_to_pay(monkeypatch, capability):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    method = create_method("one", backbone="resnet8", num_classes=10, input_size=(3, 8, 8))
    assert not should_compile(method, (3, 8, 8), 128, 10**9)


def test_it_pays_later_on_smaller_networks_and_on_more_threads(avx512):
    small, large = (
        create_method("one", backbone=name, num_classes=10, input_size=(3, 32, 32))
        for name in ("resnet8", "resnet32")
    )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert should_compile(large, (3, 32, 32), 128, 3_000)
        assert not should_compile(small, (3, 32, 32), 128, 3_000)
        torch.set_num_threads(4)
        assert not should_compile(large, (3, 32, 32), 128, 3_000)
    finally:
        torch.set_num_threads(threads)


def test_auto_and_false_are_one_run_and_true_is_another():
    identities = [
        compose([f"training.compile={value}"]).identity()["training"]["compile"]
        for value in ("auto", "false", "true")
    ]
    assert identities == [False, False, True]
    assert compose([]).training.compile == "auto"


def test_anything_else_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match=r"training\.compile: This is neither true nor false"):
        compose(["training.compile=perhaps"])


def test_a_short_training_is_not_compiled(tmp_path):
    folder, lines = run(tmp_path)
    assert read_json(folder.environment)["compiled"] is False
    assert not [line for line in lines if "compile" in line]


@pytest.mark.parametrize("wish", ["auto", "true"])
def test_a_step_that_breaks_is_done_from_the_very_state_before_it(
    tmp_path, monkeypatch, long, wish
):
    eager, _ = run(tmp_path / "eager", "training.compile=false")
    monkeypatch.setattr(compiling, "_step", broken)
    folder, lines = run(tmp_path / "broken", f"training.compile={wish}")
    assert "RuntimeError: the step broke)" in "\n".join(lines)
    assert read_json(folder.environment)["compiled"] is False
    assert weights(folder) == weights(eager)


def test_without_a_compiler_the_run_goes_on_and_says_so(tmp_path, long):
    from torch._inductor import config

    eager, _ = run(tmp_path / "eager", "training.compile=false")
    with config.patch({"cpp.cxx": ("/no/such/compiler",)}):
        folder, lines = run(tmp_path / "without")
    assert "torch.compile cannot compile this step" in "\n".join(lines)
    assert weights(folder) == weights(eager)


def test_checkpointing_wins_over_auto(tmp_path, long):
    said = Said()
    settings = ("backbone=resnet8", "training.checkpointing=true", f"out={tmp_path}")
    train(compose([*SMALL, *settings]), said)
    lines = said.lines
    assert "because of training.checkpointing" in "\n".join(lines)


def test_compiled_and_eager_agree_and_a_compiled_run_goes_on_as_it_began(
    tmp_path, monkeypatch, long
):
    eager, _ = run(tmp_path / "eager", "training.compile=false")
    whole, lines = run(tmp_path / "whole")
    assert "training.compile=auto compiled the step" in "\n".join(lines)
    assert read_json(whole.environment)["compiled"] is True
    expected, found = (load_file(one.path / "student.safetensors") for one in (eager, whole))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert weights(whole) != weights(eager)  # else this test compares nothing

    settings = compose([*SMALL, f"out={tmp_path / 'killed'}"])
    with pytest.raises(KeyboardInterrupt):
        train(settings, Killed(), networks=[Tiny])
    torch.compiler.reset()
    monkeypatch.setattr(training, "should_compile", lambda *_: False)  # asked only at the beginning
    resumed, lines = run(tmp_path / "killed")
    assert any(line.startswith("Going on after epoch 1") for line in lines)
    assert weights(resumed) == weights(whole)


@pytest.fixture
def growing():
    """A method that changes from step to step by what is no tensor, and is compiled again."""

    @registry.methods.register("growing")
    class Growing(registry.methods.get("independent")):
        weight = 1.0

        def loss(self, outputs, batch):
            terms = super().loss(outputs, batch)
            return {"ce": self.weight * terms["ce"]}

        def after_step(self):
            self.weight = 2.0

    return ("method=growing", "training.compile=true")


def fail_after_the_first(monkeypatch):
    """Torch can compile one graph and no more."""
    from torch._inductor import compile_fx

    compiled, real = [], compile_fx.compile_fx

    def failing(*args, **kwargs):
        if compiled:
            raise OSError("No space left on device")
        compiled.append(real(*args, **kwargs))
        return compiled[0]

    monkeypatch.setattr(compile_fx, "compile_fx", failing)


def test_no_masks_of_activations_are_kept_for_the_backward_pass():
    """On CPUs, inductor's vector code reads and writes booleans one by one."""
    method = create_method(
        "cl_ilr", backbone="resnet14", num_classes=10, input_size=(3, 8, 8), peers=2
    )
    method = method.to(memory_format=torch.channels_last).train()
    x = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    batch = x, torch.arange(4), torch.tensor(0.5)
    eager = sum(method(*batch).terms.values())
    gradients = torch.autograd.grad(eager, list(method.parameters()))
    assert compiling.StepCompiler(method, print).compile(*batch) is None
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = sum(method(*batch).terms.values())
    assert kept
    assert not [one.shape for one in kept if one.dtype == torch.bool and one.dim() == 4]
    again = torch.autograd.grad(loss, list(method.parameters()))
    torch.testing.assert_close(again, gradients, rtol=1e-3, atol=1e-5)


def test_where_a_later_step_cannot_be_compiled_the_run_goes_on_without(
    tmp_path, monkeypatch, growing
):
    eager, _ = run(tmp_path / "eager", growing[0], "training.compile=false")
    with monkeypatch.context() as patch:
        fail_after_the_first(patch)
        whole, lines = run(tmp_path / "whole", *growing)
    assert (
        "torch.compile cannot compile step 2 (OSError: No space left on device): from there on the "
        "training is not compiled." in lines
    )
    assert read_json(whole.environment)["compiled"] == "until step 1"
    expected, found = (load_file(one.path / "student.safetensors") for one in (eager, whole))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    settings = compose([*SMALL, *growing, f"out={tmp_path / 'killed'}"])
    torch.compiler.reset()
    with monkeypatch.context() as patch:
        fail_after_the_first(patch)
        with pytest.raises(KeyboardInterrupt):
            train(settings, Killed(), networks=[Tiny])
    resumed, lines = run(tmp_path / "killed", *growing)  # where it could be compiled
    assert read_json(resumed.environment)["compiled"] == "until step 1"
    assert not [line for line in lines if "compile" in line]


def test_a_compiled_run_that_cannot_be_compiled_any_more_says_until_where_it_was(
    tmp_path, monkeypatch, long, without_code
):
    settings = compose([*SMALL, f"out={tmp_path}"])
    with pytest.raises(KeyboardInterrupt):
        train(settings, Killed(), networks=[Tiny])
    monkeypatch.setattr(compiling, "_step", broken)
    folder, lines = run(tmp_path)
    assert any(line.endswith("it is not compiled. Up to step 4 it was.") for line in lines)
    assert read_json(folder.environment)["compiled"] == "until step 4"


def test_batches_that_do_not_divide_the_data_are_compiled_too(tmp_path, without_code):
    settings = ("batch_size=30",)
    eager, _ = run(tmp_path / "eager", *settings, "training.compile=false")
    folder, _ = run(tmp_path / "compiled", *settings, "training.compile=true")
    assert read_json(folder.environment)["compiled"] is True
    expected, found = (load_file(one.path / "student.safetensors") for one in (eager, folder))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_method_with_python_in_it_works_and_what_it_costs_is_said(tmp_path, without_code):
    @registry.methods.register("branching")
    class Branching(registry.methods.get("independent")):
        def loss(self, outputs, batch):
            terms = super().loss(outputs, batch)
            return terms if terms["ce"].item() > 0 else {"ce": 2 * terms["ce"]}

    folder, lines = run(tmp_path, "method=branching", "training.compile=true")
    assert issubclass(Branching, Method)
    assert "torch.compile leaves its graph for Python" in "\n".join(lines)
    assert read_json(folder.environment)["compiled"] is True
