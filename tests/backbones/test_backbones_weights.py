"""Peers that start from weights: a file's or a module's, for every network, and never all equal."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdzoo import create_backbone, create_method
from kdzoo.backbones.create import BackboneConfig
from kdzoo.errors import UserError

SIZE = (3, 32, 32)
VIT = {"name": "timm/test_vit", "kwargs": {"img_size": 32}}


@pytest.fixture
def vit():
    torch.manual_seed(7)
    return create_backbone("timm/test_vit", 5, SIZE, img_size=32)


def differing(network, peer):
    """The names of the tensors in which a peer differs from a network."""
    state = network.state_dict()
    return {
        name for name, value in peer.state_dict().items() if not torch.equal(value, state[name])
    }


@pytest.mark.parametrize("layout", ["branched", "independent"])
def test_a_modules_weights_are_kept_and_heads_differ(vit, layout):
    """It has no batch norm, so nothing but its values tells that it was trained."""
    method = create_method("dml", vit, 5, SIZE, layout=layout, peers=3)
    peers = [method.peers.network(peer) for peer in range(3)]
    assert [differing(vit, peer) for peer in peers] == [set(), {"head.weight"}, {"head.weight"}]
    assert differing(peers[1], peers[2]) == {"head.weight"}
    assert "tensors" in method.notes[0]
    assert "peers 2, 3" in method.notes[1]


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_of_weights_starts_every_peer(vit, tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    state = {f"module.{name}": value for name, value in vit.state_dict().items()}
    save_file(state, path) if ending == "safetensors" else torch.save({"model": state}, path)
    config = BackboneConfig(**VIT, weights=str(path))
    method = create_method("mbde", config, 5, SIZE)
    assert not differing(vit, method.peers.network(0))
    assert differing(vit, method.peers.network(1)) == {"head.weight"}


def test_a_classifier_of_other_classes_is_drawn_anew(vit, tmp_path):
    torch.save(vit.state_dict(), tmp_path / "weights.pth")
    config = BackboneConfig(**VIT, weights=str(tmp_path / "weights.pth"))
    method = create_method("dml", config, 8, SIZE, peers=2)
    state = vit.state_dict()
    for peer in (0, 1):
        own = method.peers.network(peer).state_dict()
        same = {name for name in own if name in state and own[name].shape == state[name].shape}
        assert own.keys() - same == {"head.weight", "head.bias"}
        assert all(torch.equal(own[name], state[name]) for name in same)
    assert (
        f"{len(state) - 2} tensors loaded, 2 drawn anew (head.weight, head.bias)" in method.notes[0]
    )


def test_weights_of_another_network_are_refused(vit, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(vit.state_dict(), path)
    with pytest.raises(UserError, match="does not hold the weights of this network"):
        create_method("dml", BackboneConfig(name="resnet8", weights=str(path)), 5, SIZE)
    with pytest.raises(UserError, match=r"backbone\.weights: .*does not exist"):
        create_method("dml", BackboneConfig(**VIT, weights="nowhere.pth"), 5, SIZE)


def test_a_file_that_timm_would_read_is_given_as_weights(vit, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(vit.state_dict(), path)
    in_cfg = {"file": str(path)}
    for kwargs in (
        {"checkpoint_path": str(path)},
        {"pretrained": True, "pretrained_cfg_overlay": in_cfg},
        {"pretrained_cfg_overlay": in_cfg},  # which timm leaves unread, and starts anew
        {"pretrained": True, "pretrained_cfg": in_cfg},
    ):
        with pytest.raises(UserError, match=r"backbone\.weights=FILE"):
            create_method("dml", BackboneConfig(name="timm/test_vit", kwargs=kwargs), 5, SIZE)


def test_arguments_of_timm_that_make_no_classifier_are_refused():
    for kwargs, words in (
        ({"features_only": True}, "logits"),
        ({"pretrained_cfg_overlay": "weights.pth"}, "takes a mapping"),
    ):
        with pytest.raises(UserError, match=words):
            create_method("dml", BackboneConfig(name="timm/test_vit", kwargs=kwargs), 5, SIZE)


def test_a_function_that_returns_the_same_network_each_time(vit):
    method = create_method("mbde", lambda: vit, 5, SIZE)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    heads = [method.peers.network(peer).head.weight for peer in range(3)]
    assert not torch.equal(heads[1], heads[2])
    assert all(torch.equal(before[name], value) for name, value in vit.state_dict().items())


class Net(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()
        )
        self.fc = nn.Linear(6, num_classes)

    def both(self, x):
        features = self.body(x).mean((2, 3))
        return features, self.fc(features)

    def forward(self, x):
        return self.both(x)


class Named(Net):
    def forward(self, x):
        features, logits = self.both(x)
        return {"features": features, "aux": logits * 2, "logits": logits}


class Unclear(Net):
    def forward(self, x):
        _, logits = self.both(x)
        return (logits, logits * 2) if self.training else logits


class Probabilities(Net):
    def forward(self, x):
        return self.both(x)[1].softmax(1)


class LogProbabilities(Net):
    def forward(self, x):
        return self.both(x)[1].log_softmax(1)


def lazy(num_classes):
    return nn.Sequential(
        nn.LazyConv2d(8, 3),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LazyLinear(num_classes),
    )


@pytest.mark.parametrize("method", ["mbde", "independent"])
@pytest.mark.parametrize("network", [Net, Named, LogProbabilities, lazy])
def test_what_networks_return_and_how_they_are_made(network, method):
    trained = create_method(method, network, 5, SIZE)
    x, y = torch.randn(4, *SIZE), torch.tensor([0, 1, 2, 3])
    sum(trained(x, y, torch.ones(())).terms.values()).backward()
    assert all(p.grad is not None for p in trained.peers.parameters())
    with torch.no_grad():
        student = trained.student().eval()(x)
        student = student["logits"] if isinstance(student, dict) else student
        student = student[1] if isinstance(student, tuple) else student
        torch.testing.assert_close(trained.eval().predict(trained.outputs(x))["student"], student)


@pytest.mark.parametrize(
    ("network", "words"),
    [(Unclear, "in training: .*2 of them have"), (Probabilities, "returns probabilities")],
)
def test_what_cannot_be_told_is_refused_before_training(network, words):
    with pytest.raises(UserError, match=words):
        create_method("independent", network, 5, SIZE)
