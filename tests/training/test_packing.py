"""A state with many tensors becomes one with few, and comes back as it was."""

import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdzoo.training.checkpoint import load_checkpoint, save_checkpoint
from kdzoo.training.packing import SMALL, pack, unpack

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
    found = unpack(pack([maps, maps.mT, maps[:, :, ::2]]))
    assert found[0].stride() == maps.stride()
    assert found[1].stride() == maps.mT.stride()
    assert torch.equal(found[2], maps[:, :, ::2])
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


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints_of_earlier_versions_are_read(tmp_path, version):
    state = {"format": f"kdzoo-checkpoint-{version}", "weight": torch.randn(3), "epoch": 4}
    torch.save(state, tmp_path / "old.pt")
    assert_same(load_checkpoint(tmp_path / "old.pt"), state)
