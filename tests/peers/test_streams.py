"""Side by side, networks compute what they compute in turn, and no memory is used too early."""

import copy

import pytest
import torch
from peers_networks import Plain, backbone, batch

from kdzoo.peers import streams
from kdzoo.peers.group import BranchedPeers, IndependentPeers
from kdzoo.peers.streams import SideBySide, for_captured_work, in_turn


class FakeStreams:
    """Streams where there is no GPU: ``log`` says what waits and whose memory is kept for whom."""

    def __init__(self):
        self.log, self.current = [], [FakeStream("main", self)]

    def new(self, device):
        self.made = getattr(self, "made", 0) + 1
        return FakeStream(f"side {self.made}", self)


class FakeStream:
    def __init__(self, name, streams):
        self.name, self.streams = name, streams

    def wait_stream(self, other):
        self.streams.log.append(f"{self.name} waits for {other.name}")

    def __enter__(self):
        self.streams.current.append(self)

    def __exit__(self, *error):
        self.streams.current.pop()


@pytest.fixture
def fake(monkeypatch):
    fake = FakeStreams()
    streams._stream.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", fake.new)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: fake.current[-1])

    def record(tensor, stream):
        fake.log.append(f"{tensor.item():g} is used on {stream.name}")

    monkeypatch.setattr(torch.Tensor, "record_stream", record)
    yield fake
    streams._stream.cache_clear()


def test_each_stream_waits_for_the_inputs_and_the_first_one_for_all(fake):
    def triple(x, more):
        fake.log.append(f"{x.item():g} is tripled on {fake.current[-1].name}")
        return {"said": 3 * x, "more": more}

    inputs = [(torch.tensor(1.0), None), (torch.tensor(2.0), "text")]
    carry_out = copy.deepcopy(SideBySide(torch.device("cuda")))  # as a copy of a method has it
    expected = [
        *("side 1 waits for main", "1 is used on side 1", "1 is tripled on side 1"),
        *("side 2 waits for main", "2 is used on side 2", "2 is tripled on side 2"),
        *("main waits for side 1", "3 is used on main"),
        *("main waits for side 2", "6 is used on main"),
    ]
    for _ in range(2):  # on the same streams
        said = carry_out([triple, triple], inputs)
        assert said == [{"said": 3, "more": None}, {"said": 6, "more": "text"}]
        assert fake.log == expected
        fake.log.clear()


def test_there_are_streams_on_gpus_alone():
    assert for_captured_work(torch.device("cpu")) is in_turn
    assert isinstance(for_captured_work(torch.device("cuda", 0)), SideBySide)


@pytest.mark.parametrize("group", [BranchedPeers, IndependentPeers])
@pytest.mark.parametrize("own_samples", [False, True])
def test_all_peers_are_carried_out_together(group, own_samples):
    peers = group([backbone(Plain)] * 3, seed=0).eval()
    x = torch.stack([batch()] * 3) if own_samples else batch()
    expected = peers(x)
    calls = []

    def together(networks, inputs):
        calls.append(len(networks))
        return in_turn(networks, inputs)

    peers.carry_out = together
    torch.testing.assert_close(peers(x).logits, expected.logits)
    assert calls == [3]


@pytest.mark.cuda
@pytest.mark.parametrize("group", [BranchedPeers, IndependentPeers])
def test_on_cuda_side_by_side_is_in_turn(group):
    peers = group([backbone(Plain)] * 3, seed=0).eval().double().cuda()
    x, gradients = batch().double().cuda(), []
    for carry_out in (in_turn, SideBySide(torch.device("cuda"))):
        peers.carry_out = carry_out
        for _ in range(20):  # memory comes to be used anew
            peers.zero_grad()
            said = peers(x)
            loss = said.logits.logsumexp(-1).sum() + sum(f.square().sum() for f in said.features)
            loss.backward()
        gradients.append([parameter.grad.clone() for parameter in peers.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
