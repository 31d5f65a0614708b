import sys

import pytest
import torch
from torch import nn

from kdzoo import create_backbone
from kdzoo.errors import UserError
from kdzoo.export import export_onnx, export_program
from kdzoo.student import StudentInfo, save_student

SIZE = (3, 16, 16)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_backbone("resnet8", 5, SIZE)


class Undecided(nn.Module):
    """Does what cannot be written down: its flow depends on the values in the images."""

    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Forgetful(nn.Module):
    """Gives other outputs each time."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (torch.rand_like(x) * self.scale).mean((2, 3))


@pytest.mark.slow
def test_onnx_gives_the_networks_logits_for_any_batch(network, tmp_path):
    import onnxruntime

    path = tmp_path / "student.onnx"
    export_onnx(network, SIZE, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for samples in (1, 5):
        x = torch.randn(samples, *SIZE)
        (got,) = session.run(["logits"], {"images": x.numpy()})
        expected = network.eval()(x).detach()
        assert (torch.from_numpy(got) - expected).abs().max() < 1e-4
    assert [entry.name for entry in tmp_path.iterdir()] == ["student.onnx"]


def test_a_program_runs_without_the_networks_source(network, tmp_path):
    path = tmp_path / "student.pt2"
    export_program(network, SIZE, path)
    module = torch.export.load(path).module()
    for samples in (1, 5):
        x = torch.randn(samples, *SIZE)
        torch.testing.assert_close(module(x), network.eval()(x))


def test_the_network_is_left_as_it_is(network, tmp_path):
    training = network.train().double()
    before = {name: value.clone() for name, value in training.state_dict().items()}
    export_program(training, SIZE, tmp_path / "student.pt2")
    assert training.training
    assert all(torch.equal(before[name], value) for name, value in training.state_dict().items())
    network.float()


@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_what_cannot_be_exported_harms_no_file(export, tmp_path):
    path = tmp_path / "student.pt2"
    path.write_text("kept")
    with pytest.raises(UserError, match="cannot be written as"):
        export(Undecided(), SIZE, path)
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]


def test_other_outputs_are_noticed(tmp_path):
    with pytest.raises(UserError, match="nothing was written"):
        export_program(Forgetful(), SIZE, tmp_path / "student.pt2")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime.*kdzoo\[export\]"):
        export_onnx(network, SIZE, tmp_path / "student.onnx")


def test_a_folder_that_cannot_be_made_is_named(network, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        export_program(network, SIZE, tmp_path / "file" / "student.pt2")


@pytest.fixture
def run(tmp_path):
    """The folder of a run, with its student and other files."""
    folder = tmp_path / "run"
    info = StudentInfo(
        backbone="resnet8",
        kwargs={},
        num_classes=3,
        input_size=(3, 8, 8),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        classes=("a", "b", "c"),
    )
    save_student(folder, create_backbone("resnet8", 3, (3, 8, 8)), info)
    for name in ("config.yaml", "checkpoint.pt", "result.json"):
        (folder / name).write_text("of the run")
    return folder


@pytest.mark.parametrize("form", ["safetensors", "onnx", "pt2", "timm"])
@pytest.mark.parametrize("name", ["", "student.safetensors", "checkpoint.pt", "result.json"])
def test_no_file_of_a_run_is_written_over(form, name, run, kdzoo):
    before = {path: path.read_bytes() for path in run.iterdir()}
    done = kdzoo("export", str(run), "--format", form, "--to", str(run / name))
    assert done.code == 2
    assert str(run) in done.err.replace("\n", "")
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_an_earlier_export_is(form, run, kdzoo, tmp_path):
    path = tmp_path / f"student.{form}"
    path.write_bytes(b"old")
    assert kdzoo("export", str(run), "--format", form, "--to", str(path)).code == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["student.json", "student.safetensors"])
def test_files_of_something_else_are_not_written_over(name, run, kdzoo, tmp_path):
    there = tmp_path / "project"
    there.mkdir()
    (there / name).write_text('{"mine": 1}')
    done = kdzoo("export", str(run), "--to", str(there))
    assert done.code == 2
    assert f"{there} has {name} of something else" in done.err.replace("\n", "")
    assert {one.name: one.read_text() for one in there.iterdir()} == {name: '{"mine": 1}'}


def test_an_earlier_export_of_weights_is(run, kdzoo, tmp_path):
    for _ in range(2):
        assert kdzoo("export", str(run), "--to", str(tmp_path / "there")).code == 0
