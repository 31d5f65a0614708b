"""Teachers' logits on disk: the same training, and never another view's logits."""

import json

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.agreement import on_processes
from kdzoo import registry
from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.create import make_backbone
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.methods.kd import KD
from kdzoo.student import StudentInfo, save_student
from kdzoo.testing import BACKBONE, batch, make_method
from kdzoo.training.build import build_trainer
from kdzoo.training.checkpoint import load_checkpoint
from kdzoo.training.run import train

K, N, EPOCHS = 10, 48, 2
SMALL = (
    *("method=kd", f"backbone={BACKBONE}", "device=cpu", "precision=fp32", "training.threads=1"),
    *(f"epochs={EPOCHS}", "batch_size=16", f"dataset.train_subset={N}"),
)


class Listener:
    """A silent display that remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)

    def heard(self, words):
        return [line for line in self.said if words in line]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, *_):
        pass

    step = epoch = start


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return teacher_in(tmp_path_factory.mktemp("teacher"), seed=7)


def teacher_in(folder, seed):
    info = StudentInfo(
        backbone="resnet8",
        kwargs={},
        num_classes=K,
        input_size=(3, 8, 8),
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        classes=tuple(map(str, range(K))),
    )
    network = make_backbone(BackboneConfig(name="resnet8"), K, (3, 8, 8)).build(seed)
    save_student(folder, network, info)
    return folder


@pytest.fixture
def run(teacher, tmp_path):
    """Runs kd to its end, by default with a cache; gives the run's folder and what was said."""

    def start(out, *settings, cached=True):
        cache = [f"method.cache={tmp_path / 'cache'}"] if cached else []
        config = compose(
            [*SMALL, f"method.teacher={teacher}", f"out={tmp_path / out}", *cache, *settings]
        )
        listener = Listener()
        return train(config, listener), listener

    return start


@pytest.fixture
def asked(monkeypatch):
    """The sizes of the batches that teachers are asked about in a training, in order."""
    sizes, teach = [], KD.teach

    def counted(self, x):
        if len(x) > 1:  # one is a trial of the network
            sizes.append(len(x))
        return teach(self, x)

    monkeypatch.setattr(KD, "teach", counted)
    return sizes


def files(tmp_path):
    return sorted((tmp_path / "cache").glob("*/epoch-*.safetensors"))


def weights(folder):
    return (folder.path / "student.safetensors").read_bytes()


def test_a_training_is_the_same_with_and_without(run, asked, tmp_path):
    plain, _ = run("plain", cached=False)
    steps = EPOCHS * N // 16
    assert len(asked) == steps
    first, said = run("first")
    assert len(asked) == 2 * steps
    assert len(files(tmp_path)) == EPOCHS
    assert said.heard(f"0 of {EPOCHS} epochs are in")
    second, said = run("second")
    assert len(asked) == 2 * steps + 1  # one batch, to see that the files are sound
    assert said.heard(f"{EPOCHS} of {EPOCHS} epochs are in")
    assert weights(plain) == weights(first) == weights(second)
    assert plain.path.name == first.path.name  # the same run


def test_other_students_and_settings_read_what_is_there(run, asked, tmp_path):
    run("first")
    before, written = len(asked), files(tmp_path)
    plain, _ = run("plain", "backbone=resnet14", "method.temperature=2", cached=False)
    del asked[before:]
    other, _ = run("other", "backbone=resnet14", "method.temperature=2")
    assert len(asked) == before + 1
    assert files(tmp_path) == written
    assert weights(plain) == weights(other)
    run("longer", "epochs=3")
    assert len(asked) == before + 2 + N // 16  # one epoch is new
    assert len(files(tmp_path)) == 3


CHECKED = ("dataset.augment.mixup=0.3", "dataset.augment.flip=0.25")
"""Changes of which the training is compared, too; in bf16 a CPU does not repeat itself here."""


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "dataset.augment.flip=0.25",
        "dataset.augment.mixup=0.3",
        "dataset.image_size=12",
        "batch_size=12",
        "precision=bf16",
        "dataset.train_subset=32",
    ],
)
def test_other_views_are_not_mixed_up(change, run, asked, tmp_path):
    run("first", "epochs=1")
    before, written = len(asked), files(tmp_path)
    other, _ = run("other", "epochs=1", change)
    assert len(asked) == before + other.read_result()["steps"]
    assert len(files(tmp_path)) == 2
    assert set(written) < set(files(tmp_path))
    if change in CHECKED:
        plain, _ = run("plain", "epochs=1", change, cached=False)
        assert weights(plain) == weights(other)


def test_another_teacher_in_the_same_place_is_another(run, teacher, asked, tmp_path):
    run("first", "epochs=1")
    before = len(asked)
    changed = teacher_in(tmp_path / "teacher", seed=8)
    run("other", "epochs=1", f"method.teacher={changed}")
    assert len(asked) == before + N // 16
    assert len(files(tmp_path)) == 2


def test_several_teachers(run, teacher, asked, tmp_path):
    second = teacher_in(tmp_path / "teacher", seed=8)
    both = (f"method.teacher=[{teacher},{second}]", "method.teacher_weights=[2,1]", "epochs=1")
    plain, _ = run("plain", *both, cached=False)
    first, _ = run("first", *both)
    again, _ = run("again", *both)
    assert weights(plain) == weights(first) == weights(again)


def spoilt(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [spoilt, lambda content: content[:99], lambda content: b""])
def test_a_damaged_file_is_made_anew(damage, run, asked, tmp_path):
    first, _ = run("first")
    path = files(tmp_path)[1]
    whole = load_file(path)["logits"].clone()  # of the file as it is now
    path.write_bytes(damage(path.read_bytes()))
    before = len(asked)
    again, said = run("again")
    assert said.heard("is damaged")
    assert len(asked) == before + 1 + N // 16
    assert torch.equal(load_file(path)["logits"].nan_to_num(), whole.nan_to_num())
    assert weights(first) == weights(again)


@pytest.mark.parametrize("epoch", ["0000", "0001"])
def test_what_another_version_has_written_is_found_out(epoch, run, tmp_path):
    """Whole files in the right place, of other views."""
    first, _ = run("first")
    run("other", "seed=1")
    ours, theirs = (
        next(p for p in files(tmp_path) if about(p)["seed"] == seed and epoch in p.name)
        for seed in (0, 1)
    )
    ours.write_bytes(theirs.read_bytes())
    if epoch == "0001":
        ours.with_name("epoch-0000.safetensors").unlink()  # of which the run makes its own
    again, said = run("again")
    assert said.heard("It is removed and made anew")
    assert weights(first) == weights(again)
    assert ours.read_bytes() != theirs.read_bytes()


def about(path):
    return json.loads((path.parent / "about.json").read_text())


class InterruptedHereError(Exception):
    pass


def test_a_run_goes_on_within_an_epoch(run, teacher, tmp_path):
    whole, _ = run("whole")
    settings = [f"method.teacher={teacher}", f"method.cache={tmp_path / 'cache'}"]
    config = compose([*SMALL, *settings])
    source = registry.datasets.get(config.dataset.name)(config.dataset)
    first, second = (
        build_trainer(config, source, source.load(), (), {}, Listener()) for _ in range(2)
    )

    def stop(tally):
        if first.step == 4:
            second.load_state_dict(first.state_dict())
            raise InterruptedHereError

    first.train_epoch(lambda tally: None)
    with pytest.raises(InterruptedHereError):
        first.train_epoch(stop)
    second.train_epoch(lambda tally: None)
    wanted = load_checkpoint(whole.checkpoint)["method"]
    found = second.method.state_dict()
    assert wanted.keys() == found.keys()  # and the logits are in no checkpoint
    unlike = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    assert not unlike


def test_logits_are_looked_up_by_index_and_the_step_compiles():
    method = make_method("kd").train()
    x, y = batch(method)
    plain = method(x, y, torch.tensor(0.5)).terms
    index = torch.tensor([7, 2, 0, 9, 4, 1, 5, 3])
    known = method.recall(10, torch.device("cpu"))
    known[:, index] = method.teach(x)
    method.teachers[0].register_forward_pre_hook(lambda *_: pytest.fail("the teacher is run"))
    compiled = torch.compile(method, backend="eager", fullgraph=True)
    for model in (method, compiled):
        torch.testing.assert_close(model(x, y, torch.tensor(0.5), index).terms, plain)
    known[:, index[0]] = torch.nan  # not known
    assert method(x, y, torch.tensor(0.5), index).terms["kd"].isnan()
    with pytest.raises(UserError, match=r"method\(x, y, progress, index\)"):
        method(x, y, torch.tensor(0.5))


def test_two_views_of_a_sample_and_images_drawn_at_random_are_refused(
    teacher, tmp_path, monkeypatch
):
    config = compose([*SMALL, f"method.teacher={teacher}", f"method.cache={tmp_path / 'cache'}"])
    source = registry.datasets.get(config.dataset.name)(config.dataset)
    trainer = build_trainer(config, source, source.load(), (), {}, Listener())
    x, y, index = next(trainer.data.train_batches(0))
    monkeypatch.setattr(trainer.data, "train_batches", lambda *_: iter([(x, y, index)] * 2))
    with pytest.raises(UserError, match=r"comes twice in an epoch"):
        trainer.train_epoch(lambda tally: None)
    monkeypatch.setattr("kdzoo.data.fingerprint._images", lambda images: None)
    with pytest.raises(UserError, match=r"method\.cache: .* other ones each time"):
        build_trainer(config, source, source.load(), (), {}, Listener())
    assert not files(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_and_the_run_goes_on(run, tmp_path):
    plain, _ = run("plain", cached=False)
    (tmp_path / "cache").write_text("a file")
    other, said = run("other")
    assert len(said.heard("are not kept")) == 1
    assert weights(plain) == weights(other)


def test_what_does_not_fit_is_refused(run, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"method\.cache: .*logits alone are kept"):
        run("terms", "method.feature_terms=[at]")
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("U", (), {"free": 1000})())
    with pytest.raises(
        UserError, match=r"method\.cache: 0.0038 MB are needed, and 0.001 MB are free"
    ):
        run("full")
    assert not (tmp_path / "full").exists()


def test_two_processes_write_and_read_what_one_does(run, teacher, tmp_path):
    run("one")
    alone = {p.name: p for p in files(tmp_path)}

    def work(rank):
        for cache in ("cache", "shared", "shared"):
            settings = (
                f"method.teacher={teacher}",
                f"method.cache={tmp_path / cache}",
                f"out={tmp_path / 'several'}",
                "resume=never",
            )
            train(compose([*SMALL, *settings]), Listener())

    on_processes(2, work, tmp_path)
    shared = list((tmp_path / "shared").glob("*/epoch-*.safetensors"))
    assert len(shared) == EPOCHS
    for path in shared:
        found, wanted = load_file(path)["logits"], load_file(alone[path.name])["logits"]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert not found.isnan().any()
