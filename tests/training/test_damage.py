"""What is damaged, or of another run, is not believed; what can be made again is."""

import json
import os
import random
import shutil
import zipfile

import pytest
import torch
from full_disk import full_disk
from safetensors.torch import load_file
from torch import nn

import kdzoo
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.student import DESCRIPTION, WEIGHTS, load_student
from kdzoo.training.checkpoint import load_checkpoint, save_checkpoint
from kdzoo.training.display import Silent
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

SMALL = ("method=independent", "backbone=resnet8", "training.steps=2", "batch_size=64")
HEALED = ("result.json", "metrics.jsonl", WEIGHTS, DESCRIPTION)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Two finished runs that differ in their seed."""
    out = tmp_path_factory.mktemp("runs")
    return out, *(train(compose([*SMALL, f"out={out}", f"seed={seed}"])) for seed in (0, 1))


@pytest.fixture
def runs(originals, tmp_path):
    """Copies of them: the folder, and where the two are in it."""
    out, *folders = originals
    shutil.copytree(out, tmp_path / "runs")
    return tmp_path / "runs", *(
        RunFolder(tmp_path / "runs" / folder.path.relative_to(out)) for folder in folders
    )


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


def contents(folder):
    files = {name: (folder.path / name).read_bytes() for name in (*HEALED[1:], "checkpoint.pt")}
    return files | {"last": folder.read_result()["last"], "best": folder.read_result()["best"]}


def flip(path, seed=0):
    content = bytearray(path.read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", HEALED)
@pytest.mark.parametrize("damage", ["emptied", "missing", "another run's", "flipped"])
def test_a_finished_run_that_was_damaged_is_finished_again(runs, name, damage):
    out, folder, other = runs
    before = contents(folder)
    path = folder.path / name
    match damage:
        case "emptied":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "another run's":
            path.write_bytes((other.path / name).read_bytes())
        case "flipped":
            flip(path)
    assert not folder.is_finished
    heard = Heard()
    train(compose([*SMALL, f"out={out}"]), heard)
    assert folder.is_finished
    assert contents(folder) == before
    assert damage == "missing" or any("finished again" in line for line in heard.said)


@pytest.mark.parametrize("names", [(WEIGHTS, DESCRIPTION), ("result.json", "metrics.jsonl")])
def test_files_of_another_run_that_agree_are_noticed(runs, names):
    _, folder, other = runs
    for name in names:
        (folder.path / name).write_bytes((other.path / name).read_bytes())
    assert not folder.is_finished


def test_every_flipped_bit_of_a_checkpoint_that_matters_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"weights": torch.randn(100), "epoch": 3}
    save_checkpoint(path, state)
    whole = path.read_bytes()
    messages = []
    for seed in range(300):
        path.write_bytes(whole)
        flip(path, seed)
        try:
            found = load_checkpoint(path)
        except UserError as error:
            messages.append(str(error))
        else:
            assert found["epoch"] == 3
            assert torch.equal(found["weights"], state["weights"])
    assert len(messages) > 50
    assert all(str(path) in message and "resume=never" in message for message in messages)


def test_a_flipped_weight_in_a_checkpoint_stops_the_run_that_would_go_on(runs):
    out, folder, _ = runs
    folder.result.unlink()
    with zipfile.ZipFile(folder.checkpoint) as archive:
        largest = max(archive.infolist(), key=lambda one: one.file_size)
        middle = largest.header_offset + 200 + largest.file_size // 2
    content = bytearray(folder.checkpoint.read_bytes())
    content[middle] ^= 64
    folder.checkpoint.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged.*checksum"):
        train(compose([*SMALL, f"out={out}"]))
    assert folder.checkpoint.read_bytes() == content


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
@pytest.mark.parametrize("use", ["eval", "export", "teacher"])
def test_a_student_of_another_run_is_refused_by_name_wherever_it_is_used(runs, kdzoo, name, use):
    out, folder, other = runs
    shutil.copy(other.path / name, folder.path / name)
    commands = {
        "eval": ("eval", str(folder.path)),
        "export": ("export", str(folder.path)),
        "teacher": ("run", *SMALL, f"out={out}", "method=kd", f"method.teacher={folder.path}"),
    }
    done = kdzoo(*commands[use])
    assert done.code == 2
    assert WEIGHTS in done.err
    assert "checksum" in done.err


def test_a_changed_mean_in_the_description_is_refused(runs):
    _, folder, _ = runs
    path = folder.path / DESCRIPTION
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "mean": [0.1] * 3}))
    with pytest.raises(UserError, match="edited"):
        load_student(folder.path)


def test_a_student_made_by_hand_needs_no_checksum(runs):
    _, folder, _ = runs
    path = folder.path / DESCRIPTION
    description = json.loads(path.read_text())
    expected = load_student(folder.path).state_dict()
    del description["sha256"]
    path.write_text(json.dumps(description))
    found = load_student(folder.path).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.jsonl", "config.yaml", "result.json"])
@pytest.mark.parametrize("instead", ["folder", "pipe"])
def test_what_is_no_file_is_refused_before_anything_is_trained(runs, name, instead):
    out, folder, _ = runs
    folder.result.unlink()
    (folder.path / name).unlink(missing_ok=True)
    (os.mkdir if instead == "folder" else os.mkfifo)(folder.path / name)
    with pytest.raises(UserError, match=name):
        train(compose([*SMALL, f"out={out}"]))


def test_files_have_the_mode_that_the_umask_leaves_and_none_is_temporary(originals):
    _, folder, _ = originals
    mask = os.umask(0)
    os.umask(mask)
    found = [path for path in folder.path.iterdir() if path.name != ".lock"]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o666 & ~mask}
    assert not list(folder.path.glob("*.tmp")) + list(folder.path.glob(".*.tmp"))


def test_a_disk_too_full_for_the_student_is_one_message_and_keeps_the_checkpoint(runs, kdzoo):
    out, folder, _ = runs
    folder.result.unlink()
    before = folder.checkpoint.read_bytes()
    with full_disk((folder.path / WEIGHTS).stat().st_size - 1):
        done = kdzoo("run", *SMALL, f"out={out}")
    assert done.code == 2
    assert done.err.count("Cannot write to") == 1
    assert WEIGHTS in done.err
    assert folder.checkpoint.read_bytes() == before
    assert not folder.is_finished
    assert not list(folder.path.glob(".*.tmp"))


def test_a_disk_too_full_for_the_checkpoint_is_one_message_and_leaves_none(kdzoo, tmp_path):
    with full_disk(100_000):
        done = kdzoo("run", *SMALL, f"out={tmp_path}")
    assert done.code == 2
    assert done.err.count("Cannot write to") == 1
    assert not [path for path in tmp_path.rglob("*") if "checkpoint" in path.name]


@pytest.mark.parametrize("form", ["safetensors", "pt2"])
def test_an_export_to_a_full_disk_is_one_message_and_leaves_nothing(runs, kdzoo, tmp_path, form):
    _, folder, _ = runs
    to = tmp_path / "exported"
    with full_disk(30_000):
        done = kdzoo("export", str(folder.path), "--format", form, "--to", str(to))
    assert done.code == 2
    assert "Cannot write to" in done.err
    assert not [path for path in tmp_path.rglob("*") if "exported" in path.name and path.is_file()]


class Shared(nn.Module):
    """Uses one block under two names, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = self.first
        self.tied = nn.Conv2d(8, 8, 3, padding=1)
        self.tied.weight = self.first.weight
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.tied(self.second(self.first(self.stem(x)).relu()).relu()).relu()
        return self.head(x.mean((2, 3)))


class Unsavable(Shared):
    """Its state holds something besides tensors."""

    def get_extra_state(self):
        return {"notes": object()}

    def set_extra_state(self, state):
        pass


def test_shared_and_tied_weights_are_saved_and_load_strictly(tmp_path):
    folder = kdzoo.run(*SMALL, backbone=Shared, out=str(tmp_path))
    tensors = load_file(folder.path / WEIGHTS)
    assert set(tensors) == set(Shared().state_dict())
    Shared().load_state_dict(tensors, strict=True)
    assert torch.equal(tensors["first.weight"], tensors["tied.weight"])


def test_what_cannot_be_saved_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(UserError, match="cannot be saved"):
        kdzoo.run(*SMALL, backbone=Unsavable, out=str(tmp_path))
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_an_identity_that_has_changed_since_is_named_in_a_report(runs, kdzoo):
    out, folder, _ = runs
    text = folder.identity.read_text()
    folder.identity.write_text(text.replace('"digits"', '"other"'))
    assert folder.identity.read_text() != text
    done = kdzoo("report", str(out))
    assert "identity.json is not as it was when the run ended" in " ".join(done.out.split())


def test_an_identity_that_is_written_otherwise_is_made_as_it_was(runs, kdzoo):
    out, folder, _ = runs
    before = contents(folder), folder.identity.read_bytes()
    folder.identity.write_text(folder.identity.read_text().replace("\n", "\r\n"))
    assert not folder.is_finished
    heard = Heard()
    train(compose([*SMALL, f"out={out}"]), heard)
    assert any("identity.json is not as it was" in line for line in heard.said)
    assert (contents(folder), folder.identity.read_bytes()) == before
    assert folder.is_finished
    folder.identity.unlink()
    folder.identity.mkdir()
    assert not folder.is_finished
    with pytest.raises(UserError, match=r"identity\.json is in the way: it is no file"):
        train(compose([*SMALL, f"out={out}"]))


@pytest.mark.parametrize("name", ["config.yaml", "identity.json"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "edited"])
def test_what_can_be_written_again_is_not_a_reason_to_start_over(runs, name, damage):
    out, folder, _ = runs
    path = folder.path / name
    text = path.read_text()
    edited = text.replace("batch_size: 64", "batch_size: 65")
    path.write_text({"emptied": "", "cut": text[: len(text) // 2], "edited": edited}[damage])
    if text == path.read_text():
        pytest.skip("the identity is edited in a test of its own")
    with pytest.raises(UserError, match=f"{name}.* Remove it; the command .* writes it again"):
        train(compose([*SMALL, f"out={out}"]))
    path.unlink()
    train(compose([*SMALL, f"out={out}"]))
    assert folder.is_finished
    assert path.exists()


def test_curves_of_another_run_are_not_shown_as_those_of_this_one(runs, kdzoo):
    _, folder, other = runs
    assert kdzoo("curves", str(folder.path), "--json").code == 0
    folder.metrics.write_bytes(other.metrics.read_bytes())
    done = kdzoo("curves", str(folder.path), "--json")
    assert done.code == 2
    assert "do not belong together" in done.err
    folder.metrics.unlink()
    done = kdzoo("curves", str(folder.path))
    assert done.code == 2
    assert f"{folder.metrics} cannot be read" in " ".join(done.err.split())
