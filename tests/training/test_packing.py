"""A state with many tensors becomes one with few, and comes back as it was."""

import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdzoo.training.checkpoint import (
    FORMAT,
    DamagedCheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from kdzoo.training.packing import PLACE, SMALL, pack, unpack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    seed = draw(st.integers(0, 2**31))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 100
    tensor = values.to(draw(st.sampled_from(DTYPES)))
    tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
    if shape and draw(st.booleans()):
        tensor = tensor.narrow(0, 0, tensor.shape[0] // 2)
    return tensor.expand(2, *tensor.shape) if draw(st.booleans()) else tensor


plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
states = st.recursive(
    tensors() | plain,
    lambda inner: (
        st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@given(states)
def test_what_is_unpacked_is_what_was_packed(state):
    assert_same(unpack(pack(state)), state)


@given(states)
def test_so_it_is_from_a_file(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "packed.pt"
    save_checkpoint(path, {"state": state})
    assert_same(load_checkpoint(path)["state"], state)


def test_tensors_come_back_in_the_order_of_memory_that_they_had():
    maps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    depthwise = torch.randn(16, 1, 3, 3).to(memory_format=torch.channels_last)
    found = unpack(pack([maps, maps.mT, maps[:, :, ::2], depthwise]))
    assert found[0].stride() == maps.stride()
    assert found[1].stride() == maps.mT.stride()
    assert torch.equal(found[2], maps[:, :, ::2])
    assert found[3].stride() == depthwise.stride()
    found[0].zero_()  # each has memory of its own
    assert torch.equal(found[1], maps.mT)


def test_a_file_has_few_tensors_however_many_there_are(tmp_path):
    network = nn.Sequential(*(nn.Linear(3, 3) for _ in range(100)))
    large = torch.randn(SMALL // 4 + 1)
    save_checkpoint(tmp_path / "packed.pt", {"method": network.state_dict(), "large": large})
    with zipfile.ZipFile(tmp_path / "packed.pt") as archive:
        assert sum("/data/" in name for name in archive.namelist()) == 2
    found = load_checkpoint(tmp_path / "packed.pt")
    assert torch.equal(found["large"], large)
    assert_same(found["method"], network.state_dict())


def test_the_versions_of_modules_are_kept(tmp_path):
    state = nn.BatchNorm2d(3).state_dict()
    save_checkpoint(tmp_path / "packed.pt", {"method": state})
    found = load_checkpoint(tmp_path / "packed.pt")["method"]
    assert isinstance(found, OrderedDict)
    assert found._metadata == state._metadata
    assert found._metadata[""] == {"version": 2}


def a_tensor_is_missing(packed):
    packed["tree"]["b"] = 1


def an_endless_tree(packed):
    packed["tree"]["b"] = packed["tree"]


def a_part_in_two_places(packed):
    packed["tree"]["b"] = [packed["tree"]["d"]] * 1000


def values_that_take_no_room(packed):
    (name,) = packed["data"]
    packed["data"][name] = torch.zeros(1).expand(len(packed["data"][name]))


def changed(place):
    def change(packed):
        _, name, *_ = packed["tree"]["a"]
        packed["tree"]["a"] = (PLACE, name, *place)

    return change


FOREIGN = {
    "a tensor is missing": a_tensor_is_missing,
    "an endless tree": an_endless_tree,
    "a part in two places": a_part_in_two_places,
    "values that take no room": values_that_take_no_room,
    "a huge shape": changed([(2**40,), (1,)]),
    "a negative size": changed([(-1,), (1,)]),
    "a shape of texts": changed([("2", "3"), (3, 1)]),
    "a shape of True": changed([(True, 6), (6, 1)]),
    "strides that overlap": changed([(2, 3), (1, 1)]),
    "too few strides": changed([(2, 3), (1,)]),
    "too few values": changed([(2, 2), (2, 1)]),
    "no sizes": changed([]),
    **{
        f"a tree that is {type(value).__name__}": lambda packed, value=value: packed.update(
            tree=value
        )
        for value in ([], (), None, "x", 5, torch.ones(3))
    },
    **{
        f"data that are {type(value).__name__}": lambda packed, value=value: packed.update(
            data=value
        )
        for value in ([], None, torch.ones(3), {"x": 1})
    },
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_was_never_packed_so_is_damaged(tmp_path, what):
    state = {"a": torch.randn(2, 3), "b": torch.randn(4), "d": [1, [2, 3]]}
    packed = pack(state)
    FOREIGN[what](packed)
    torch.save({"format": FORMAT, **packed}, tmp_path / "foreign.pt")
    with pytest.raises(DamagedCheckpointError, match=r"foreign\.pt is damaged.*resume=never"):
        load_checkpoint(tmp_path / "foreign.pt")


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints_of_earlier_versions_are_read(tmp_path, version):
    state = {"format": f"kdzoo-checkpoint-{version}", "weight": torch.randn(3), "epoch": 4}
    torch.save(state, tmp_path / "old.pt")
    assert_same(load_checkpoint(tmp_path / "old.pt"), state)
