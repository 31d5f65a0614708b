"""Who may teach in kd, and that a teacher sees what it was trained on and says it in our order."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import kdzoo
from kdzoo.api import create_method
from kdzoo.backbones.create import create_backbone
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.methods.teachers import teacher_content
from kdzoo.samples.batch import Batch
from kdzoo.student import StudentInfo, save_student
from kdzoo.training.run import train

SIZE = (3, 8, 8)
CLASSES = ("ant", "bee", "cow")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Net(nn.Module):
    """Small, and with something to say about places, so that sizes and shifts matter."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().amax((2, 3)))


@pytest.fixture
def images():
    return torch.rand(4, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(3)
    return create_backbone("resnet8", 3, SIZE).eval()


def normalised(images, mean, std):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def student_folder(path, network, **changes):
    described = {
        "backbone": "resnet8",
        "kwargs": {},
        "num_classes": 3,
        "input_size": SIZE,
        "mean": MEAN,
        "std": STD,
        "classes": CLASSES,
        **changes,
    }
    save_student(path, network, StudentInfo(**described))
    return str(path)


def taught_by(teacher, classes=CLASSES, mean=MEAN, std=STD, **settings):
    return create_method(
        "kd", Net, 3, SIZE, classes=classes, mean=mean, std=std, teacher=teacher, **settings
    )


def said(method, x):
    with torch.no_grad():
        return method.eval().outputs(x).teachers


def test_a_teachers_logits_are_put_in_the_order_of_our_classes(tmp_path, network, images):
    folder = student_folder(tmp_path, network, classes=("cow", "ant", "bee"))
    x = normalised(images, MEAN, STD)
    method = taught_by(folder)
    torch.testing.assert_close(said(method, x)[0], network(x)[:, [1, 2, 0]])
    assert "order of classes" in "".join(method.notes)
    assert not taught_by(student_folder(tmp_path, network)).notes


def test_a_backbone_that_a_teacher_is_not_is_refused_where_it_says_what_it_is(tmp_path, network):
    folder = student_folder(tmp_path / "run", network)
    for teacher in (folder, network, (folder, network)):
        with pytest.raises(UserError, match="resnet14 is for a teacher that is a file of weights"):
            taught_by(teacher, teacher_backbone="resnet14")
    taught_by(folder, teacher_backbone="resnet8")
    torch.save(create_backbone("resnet14", 3, SIZE).state_dict(), tmp_path / "file.pt")
    taught_by((folder, str(tmp_path / "file.pt")), teacher_backbone="resnet14")


def test_class_names_are_compared_as_people_read_them(tmp_path, network):
    folder = student_folder(tmp_path, network, classes=("cafe\u0301", "bee", "cow"))
    assert taught_by(folder, classes=("caf\u00e9", "bee", "cow")).notes == []


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("ant", "bee", "calf"), r"lacks 'calf' and it has 'cow'"),
        (("z_ant", "m_bee", "b_cow"), r"lacks 'z_ant', 'm_bee', 'b_cow'"),
    ],
)
def test_other_classes_are_refused_by_name(tmp_path, network, classes, words):
    with pytest.raises(UserError, match=words):
        taught_by(student_folder(tmp_path, network), classes=classes)


def test_another_number_of_classes_is_refused_with_both(tmp_path):
    network = create_backbone("resnet8", 4, SIZE)
    folder = student_folder(tmp_path, network, num_classes=4, classes=(*CLASSES, "dog"))
    with pytest.raises(UserError, match=r"knows 4 classes .*'dog'.* the data has 3 .*'ant'"):
        taught_by(folder)


def test_a_teacher_sees_its_own_normalisation_and_size(tmp_path, network, images):
    own_mean, own_std = (0.1, 0.2, 0.7), (0.5, 0.1, 0.2)
    folder = student_folder(tmp_path, network, mean=own_mean, std=own_std, input_size=(3, 12, 12))
    x = normalised(images, MEAN, STD)
    theirs = F.interpolate(
        normalised(images, own_mean, own_std), (12, 12), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(said(taught_by(folder), x)[0], network(theirs), rtol=1e-4, atol=1e-4)


def test_a_file_of_weights_with_its_backbone(tmp_path, network, images):
    state = network.state_dict()
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "wrapped.pt")
    torch.save({"model": state, "best": 1.0}, tmp_path / "model.pth")
    save_file(wrapped, tmp_path / "wrapped.safetensors")
    for name in ("plain.pth", "wrapped.pt", "model.pth", "wrapped.safetensors"):
        method = taught_by(str(tmp_path / name), teacher_backbone="resnet8")
        torch.testing.assert_close(said(method, images)[0], network(images))
        assert "taken for the data's classes in their order ('ant', 'bee'" in method.notes[0]
        assert "normalised" in method.notes[1]


def test_what_is_wrong_with_a_file_is_said(tmp_path, network):
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    with pytest.raises(UserError, match=r"Set method\.teacher_backbone=NAME"):
        taught_by(str(path))
    with pytest.raises(UserError, match=r"weights.pth does not hold.* missing"):
        taught_by(str(path), teacher_backbone="resnet14")
    torch.save(create_backbone("resnet8", 7, SIZE).state_dict(), path)
    with pytest.raises(UserError, match=r"fc.weight \[7, 64\] and not \[3, 64\]"):
        taught_by(str(path), teacher_backbone="resnet8")
    torch.save(network, path)
    with pytest.raises(UserError, match="runs no code that a file names"):
        taught_by(str(path), teacher_backbone="resnet8")
    torch.save({"epoch": 1}, path)
    with pytest.raises(UserError, match=r"no state dict. Its keys: epoch"):
        taught_by(str(path), teacher_backbone="resnet8")
    broken = {
        n: v * float("nan") if v.is_floating_point() else v for n, v in network.state_dict().items()
    }
    torch.save(broken, path)
    with pytest.raises(UserError, match="not finite"):
        taught_by(str(path), teacher_backbone="resnet8")
    torch.save(network.state_dict(), path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"weights\.pth"):
        taught_by(str(path), teacher_backbone="resnet8")


def test_missing_and_unfinished_are_called_so(tmp_path):
    with pytest.raises(UserError, match=r"There is no .*nowhere"):
        taught_by(str(tmp_path / "nowhere"))
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(UserError, match="is not finished"):
        taught_by(str(tmp_path))
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match="give its folder"):
            taught_by(str(tmp_path / name))


def test_a_network_teaches_and_stays_its_owners(images):
    network = Net().train()
    method = taught_by(network)
    torch.testing.assert_close(said(method, images)[0], network.eval()(images))
    assert all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(UserError, match=r"Net knows 5 classes.*the data has 3"):
        taught_by(Net(5))


def test_a_networks_run_is_another_when_its_weights_are(tmp_path):
    def folder(teacher):
        return kdzoo.run(
            method={"name": "kd", "teacher": teacher},
            backbone="resnet8",
            out=str(tmp_path),
            batch_size=20,
            **{"training": {"steps": 1}, "dataset": {"name": "digits", "train_subset": 40}},
        )

    first, same, other = Net(10), Net(10), Net(10)
    same.load_state_dict(first.state_dict())
    paths = [folder(one).path for one in (first, same, other)]
    assert paths[0] == paths[1] != paths[2]
    assert "own/Net-" in (paths[0] / "config.yaml").read_text()


def test_several_teachers_are_averaged_in_their_softened_probabilities(images):
    one, two = Net().eval(), Net().eval()
    y = torch.tensor([0, 1, 2, 0])
    for weights, shares in ((None, (0.5, 0.5)), ((3.0, 1.0), (0.75, 0.25))):
        method = taught_by([one, two], temperature=2.0, alpha=1.0, teacher_weights=weights).eval()
        outputs = method.outputs(images)
        p = sum(
            w * (z / 2).softmax(1) for w, z in zip(shares, (one(images), two(images)), strict=True)
        )
        q = (outputs.logits[0] / 2).log_softmax(1)
        expected = 4 * (p * (p.log() - q)).sum(1).mean()
        found = method.loss(outputs, Batch(images, y, torch.tensor(0.5)))["kd"]
        torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match=r"teacher_weights: .*shares of 2 teachers"):
        taught_by([one, two], teacher_weights=[1.0])
    with pytest.raises(UserError, match="not all 0"):
        taught_by([one, two], teacher_weights=[0.0, 0.0])


@pytest.mark.parametrize("settings", [{"standardize": True}, {"divergence": "nkd"}])
def test_several_teachers_are_averaged_where_the_divergence_looks_at_them(images, settings):
    torch.manual_seed(0)
    one, two, T = Net().eval(), Net().eval(), 2.0
    method = taught_by([one, two], temperature=T, alpha=1.0, teacher_weights=[3, 1], **settings)
    method, y = method.eval(), torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        found = method(images, y, 0.5).terms["kd"]
        z, teachers = method.student().eval()(images), [one(images), two(images)]
    total = 0.0
    for b, label in enumerate(y.tolist()):
        rows, s = [t[b] for t in teachers], z[b]
        if "standardize" in settings:
            *rows, s = ((row - row.mean()) / (1e-7 + row.std()) for row in (*rows, s))
            p = 0.75 * (rows[0] / T).softmax(0) + 0.25 * (rows[1] / T).softmax(0)
            total += T**2 * float((p * (p.log() - (s / T).log_softmax(0))).sum())
        else:
            rest = [k for k in range(3) if k != label]
            at_one = 0.75 * rows[0].softmax(0)[label] + 0.25 * rows[1].softmax(0)[label]
            p = 0.75 * (rows[0][rest] / T).softmax(0) + 0.25 * (rows[1][rest] / T).softmax(0)
            total -= float(at_one * s.log_softmax(0)[label])
            total -= 1.5 * T**2 * float((p * (s[rest] / T).log_softmax(0)).sum())
    assert float(found) == pytest.approx(total / len(y), rel=1e-4)


def test_a_teacher_that_gives_several_tensors(images):
    class Both(Net):
        def forward(self, x):
            features = self.norm(self.conv(x)).relu().amax((2, 3))
            return features, self.head(features)

    network = Both()
    torch.testing.assert_close(said(taught_by(network), images)[0], network.eval()(images)[1])


def test_an_exported_folder_with_a_wrappers_names(tmp_path, network, images):
    folder = student_folder(tmp_path, network)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "student.safetensors")
    description = json.loads((tmp_path / "student.json").read_text())
    del description["sha256"]  # as files made by hand have none
    (tmp_path / "student.json").write_text(json.dumps(description))
    torch.testing.assert_close(said(taught_by(folder), images)[0], network(images))


def test_a_teachers_content_stands_for_it_and_not_its_place(tmp_path, network):
    one, same = student_folder(tmp_path / "a", network), student_folder(tmp_path / "b", network)
    assert teacher_content(one) == teacher_content(same)
    assert teacher_content(f"{one}/student.safetensors") == teacher_content(one)
    other = student_folder(tmp_path / "c", network, classes=("bee", "ant", "cow"))
    assert teacher_content(other) != teacher_content(one)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    file = teacher_content(str(tmp_path / "x.pth"))
    assert file == teacher_content(str(tmp_path / "x.safetensors"))
    with torch.no_grad():
        next(network.parameters()).add_(1)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    assert teacher_content(str(tmp_path / "x.pth")) != file
    student_folder(tmp_path / "a", network)
    assert teacher_content(one) != teacher_content(same)
    assert teacher_content("timm/resnet18") == "timm/resnet18"
    with pytest.raises(UserError, match="There is no"):
        teacher_content(str(tmp_path / "none"))


def test_the_same_teacher_elsewhere_is_the_same_run(tmp_path):
    torch.manual_seed(0)
    settings = ("backbone=resnet8", "training.steps=1", "dataset.train_subset=128", "device=cpu")
    first = run_of(tmp_path, "method=independent", *settings)
    moved = tmp_path / "moved"
    shutil.copytree(first, moved)
    taught = run_of(tmp_path, "method=kd", f"method.teacher={first}", *settings)
    assert run_of(tmp_path, "method=kd", f"method.teacher={moved}", *settings) == taught
    second = run_of(tmp_path, "method=independent", "lr=0.01", *settings)
    shutil.rmtree(moved)
    shutil.copytree(second, moved)
    assert run_of(tmp_path, "method=kd", f"method.teacher={moved}", *settings) != taught


def run_of(out, *settings):
    return train(compose([*settings, f"out={out}"])).path
