"""Side by side, networks compute what they compute in turn, and no memory is used too early."""

import pytest
import torch
from peers_networks import Plain, backbone, batch

from kdzoo.peers import streams
from kdzoo.peers.group import BranchedPeers, IndependentPeers
from kdzoo.peers.streams import in_turn, side_by_side

GROUPS = [BranchedPeers, IndependentPeers]


class FakeStreams:
    """Streams where there is no GPU: ``log`` says what waits and whose memory is kept for whom."""

    def __init__(self):
        self.log, self.made = [], 0
        self.default = FakeStream("default", self)
        self.current = [FakeStream("main", self)]

    def new(self, device, priority):
        self.made += 1
        return FakeStream(f"side {self.made}", self)


class FakeStream:
    device = torch.device("cuda", 0)

    def __init__(self, name, streams):
        self.name, self.streams = name, streams

    def record_event(self):
        return f"the inputs on {self.name}"

    def wait_event(self, event):
        self.streams.log.append(f"{self.name} waits for {event}")

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
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: fake.current[-1])
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: fake.default)
    monkeypatch.setattr(
        streams, "_used_on", lambda stream, values: fake.log.append(f"{values} for {stream.name}")
    )
    yield fake
    streams._stream.cache_clear()


def test_each_stream_waits_for_the_inputs_and_the_first_one_for_all(fake):
    def triple(x):
        fake.log.append(f"{x} is tripled on {fake.current[-1].name}")
        assert not torch.is_autocast_cache_enabled()
        return 3 * x

    forked = [f"side {i} waits for the inputs on main" for i in (1, 2)]
    called = (
        [f"({i},) for side {i}" for i in (1, 2)],
        [f"{i} is tripled on side {i}" for i in (1, 2)],
    )
    joined = [f"main waits for side {i}" for i in (1, 2)]
    kept = ["3 for main", "6 for main"]
    for _ in range(2):  # on the same streams
        assert side_by_side([triple, triple], [(1,), (2,)]) == [3, 6]
        assert fake.log == [
            *forked,
            *(line for pair in zip(*called, strict=True) for line in pair),
            *joined,
            *kept,
        ]
        assert torch.is_autocast_cache_enabled()
        fake.log.clear()
    assert fake.made == 2


def test_what_fails_leaves_no_stream_apart(fake):
    def fail(x):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        side_by_side([fail, fail], [(1,), (2,)])
    assert fake.log[-2:] == ["main waits for side 1", "main waits for side 2"]
    assert torch.is_autocast_cache_enabled()


def test_on_the_default_stream_it_is_in_turn(fake):
    fake.current = [fake.default]
    assert side_by_side([abs, abs], [(-1,), (-2,)]) == [1, 2]
    assert fake.log == []


def test_numbers_that_stay_on_the_cpu_may_cross():
    stream = FakeStream("side", FakeStreams())
    streams._used_on(stream, {"said": torch.zeros(2), "more": [1, None, "text"]})


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("own_samples", [False, True])
def test_all_peers_are_called_together(group, own_samples):
    peers = group([backbone(Plain)] * 3, seed=0).eval()
    x = torch.stack([batch()] * 3) if own_samples else batch()
    expected = peers(x)
    calls = []

    def together(networks, inputs):
        calls.append(len(networks))
        return in_turn(networks, inputs)

    peers.call_each = together
    torch.testing.assert_close(peers(x).logits, expected.logits)
    assert calls == [3]


@pytest.mark.parametrize("group", GROUPS)
def test_compiled_it_is_in_turn_and_one_graph(group):
    peers = group([backbone(Plain)] * 3, seed=0).eval()
    x = batch()
    expected = peers(x)
    peers.call_each = side_by_side
    compiled = torch.compile(peers, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x).logits, expected.logits)


def _late(network, given):
    """The network's inputs are long in coming: what does not wait for its outputs shows."""
    torch.cuda._sleep(10_000_000)


@pytest.mark.cuda
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("late", [0, 2])
def test_on_cuda_side_by_side_is_in_turn(group, late):
    gradients = []
    for call_each in (in_turn, side_by_side):
        peers = group([backbone(Plain)] * 3, seed=0).eval().double().cuda()
        peers.call_each = call_each
        networks = peers.branches if group is BranchedPeers else peers.peers
        networks[late].register_forward_pre_hook(_late)
        torch.manual_seed(0)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(20):  # memory comes to be used anew
                peers.zero_grad()
                said = peers(batch().double().cuda())
                features = sum(map.square().sum() for map in said.features)
                (said.logits.logsumexp(-1).sum() + features).backward()
            stream.synchronize()
        gradients.append([parameter.grad for parameter in peers.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
