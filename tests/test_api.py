"""kdzoo from Python, with networks and data of one's own."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import kdzoo


class Net(nn.Module):
    def __init__(self, width: int = 8, num_classes: int = 3) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.late = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.late(self.early(x)).mean((2, 3)))


@pytest.fixture
def settings(tmp_path):
    """A data set of one's own, and small numbers."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60, 3, 8, 8), generator=random, dtype=torch.uint8)
    labels = torch.arange(60) % 3
    data = kdzoo.data_from(
        TensorDataset(images[:45], labels[:45]), TensorDataset(images[45:], labels[45:])
    )
    return {"dataset": data, "epochs": 1, "batch_size": 15, "out": str(tmp_path)}


def test_the_public_names_are_these():
    """Who changes them breaks other people's programs, or promises them something new."""
    assert sorted(kdzoo.__all__) == [
        "UserError",
        "create_backbone",
        "create_method",
        "data_from",
        "list_backbones",
        "list_datasets",
        "list_methods",
        "load_predictor",
        "load_student",
        "run",
    ]


def test_a_run_on_an_own_network_and_own_data(settings):
    network = Net()
    folder = kdzoo.run(method="mbde", backbone=network, **settings)
    assert folder.read_result()["test_size"] == 15
    network.load_state_dict(load_file(folder.path / "student.safetensors"), strict=True)
    with pytest.raises(kdzoo.UserError, match="handed over in Python"):
        kdzoo.load_student(folder.path)


def test_another_network_is_another_run(settings):
    paths = {
        kdzoo.run(method="independent", backbone=Net(width), **settings).path for width in (4, 8)
    }
    assert len(paths) == 2


def test_different_own_networks_for_different_peers(settings):
    folder = kdzoo.run(method="dml", backbone=[Net(4), Net(8)], **settings)
    assert len(folder.read_result()["last"]["peers"]) == 2


def test_a_function_builds_every_peer():
    method = kdzoo.create_method("mbde", backbone=Net, num_classes=5, input_size=(3, 8, 8))
    result = method(torch.randn(4, 3, 8, 8), torch.arange(4), torch.ones(()))
    assert result.predictions["peers"].shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "mdbe"}, "mbde"),
        ({"backbone": "resnt20"}, "resnet20"),
        ({"temprature": 2}, "temperature"),
        ({"num_classes": 1}, "num_classes: Nothing can be learnt from one class"),
        ({"classes": ["cat", "dog"]}, "classes: These are 2 names, and num_classes is 10"),
        ({"classes": ["cat", "cat"], "num_classes": 2}, "Two classes have the name 'cat'"),
        ({"num_classes": 2.5}, "num_classes"),
        ({"input_size": (32, 32)}, "input_size"),
        ({"input_size": (3, -1, 32)}, "input_size"),
        ({"seed": 1.5}, "seed"),
        ({"seed": -1}, "seed"),
        ({"mean": (0.5,), "std": (0.2,)}, "mean: These are 1 numbers, and images have 3 channels"),
        ({"mean": (0.5,) * 3}, "std: There is a mean and no std"),
        ({"mean": (124,) * 3, "std": (60,) * 3}, "mean: 124 is no mean of pixels in"),
        ({"mean": (0.5,) * 3, "std": (0.0,) * 3}, "std: 0 is no std"),
        ({"backbone": None}, "backbone: None is no backbone"),
        ({"backbone": [3]}, "backbone: 3 is no backbone"),
        ({"method": None}, "A method is called by a name, not by None"),
    ],
)
def test_mistakes_in_create_method(arguments, named):
    given = {"method": "mbde", "backbone": "resnet8", "num_classes": 10, **arguments}
    with pytest.raises(kdzoo.UserError, match=named):
        kdzoo.create_method(**given)


def test_numbers_of_numpy_and_torch_are_numbers():
    sizes = {"num_classes": np.int64(5), "input_size": np.array([3, 8, 8]), "seed": np.int32(3)}
    mean, std = torch.full((3,), 0.5), np.full(3, 0.25)
    method = kdzoo.create_method("independent", "resnet8", **sizes, mean=mean, std=std)
    assert method.peers.backbones[0].task.std == (0.25,) * 3
    assert method.peers.backbones[0].num_classes == 5


def test_mistakes_in_create_backbone():
    with pytest.raises(kdzoo.UserError, match="name"):
        kdzoo.create_backbone(None, 10)
    for num_classes in (0, -1, 2.5, None):
        with pytest.raises(kdzoo.UserError, match="is no number of classes"):
            kdzoo.create_backbone("resnet8", num_classes)


def test_torch_data_go_in_by_data_from(tmp_path):
    mine = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))
    with pytest.raises(kdzoo.UserError, match=r"dataset: A TensorDataset .*kdzoo\.data_from"):
        kdzoo.run(dataset=mine, out=str(tmp_path))


def test_lists():
    assert {"independent", "mbde"} <= set(kdzoo.list_methods())
    assert "resnet110" in kdzoo.list_backbones()
    assert "digits" in kdzoo.list_datasets()


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="nothing"):
        _ = kdzoo.nothing
