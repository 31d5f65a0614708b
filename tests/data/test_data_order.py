"""What an epoch consists of, on one process or several, now or after a resume."""

import numpy as np
import pytest
import torch
from data_helpers import epoch_of, labels, open_named, pixels
from no_waiting import no_waiting

from kdzoo.errors import UserError

EVERYTHING = {
    "resized_crop": 0.5,
    "flip": 0.5,
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "cutout": 3,
    "random_erasing": 0.5,
    "mixup": 0.5,
    "cutmix": 1.0,
}
SOME = {"train_subset": 96, "batch_size": 16}


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_an_epoch_depends_on_nothing_that_was_drawn_before(pipeline):
    settings = {**SOME, "augment": EVERYTHING, "pipeline": pipeline, "workers": 0}
    run_through = open_named("digits", **settings)
    for epoch in range(2):
        epoch_of(run_through, epoch)
    torch.manual_seed(1)
    np.random.seed(1)
    resumed = open_named("digits", **settings)
    for one, other in zip(epoch_of(run_through, 2, 2), epoch_of(resumed, 2, 2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_the_global_random_state_is_left_alone(pipeline):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    data = open_named("digits", **SOME, augment=EVERYTHING, pipeline=pipeline, workers=0)
    epoch_of(data)
    list(data.eval_batches("test"))
    assert torch.equal(torch.rand(1), expected)


def test_epochs_and_seeds_differ():
    data = open_named("digits", **SOME)
    other_seed = open_named("digits", batch_size=16, seed=1)
    x = epoch_of(data, 0)[0]
    assert not torch.equal(x, epoch_of(data, 1)[0])
    assert not torch.equal(x, epoch_of(other_seed, 0)[0][:6])


def test_every_sample_is_seen_once_an_epoch():
    still = {"crop_padding": 0}
    data = open_named("digits", augment=still, train_subset=96, batch_size=16)
    seen = epoch_of(data)[0].flatten(0, 1)
    stored = torch.cat([x for x, _ in data.eval_batches("train")])
    assert sorted(x.numpy().tobytes() for x in seen) == sorted(x.numpy().tobytes() for x in stored)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_processes_share_the_batches_of_one(pipeline, world_size):
    settings = {**SOME, "augment": EVERYTHING, "pipeline": pipeline, "workers": 0}
    alone_x, alone_y = epoch_of(open_named("digits", **settings), 3, 2)
    shares = [
        epoch_of(open_named("digits", **settings, rank=rank, world_size=world_size), 3, 2)
        for rank in range(world_size)
    ]
    sizes = [x.shape[2] for x, _ in shares]
    assert max(sizes) - min(sizes) <= 2  # neighbours, which are mixed, stay together
    together = torch.cat([x for x, _ in shares], 2)
    torch.testing.assert_close(together, alone_x, rtol=0, atol=1e-5)  # sums of other batch sizes
    torch.testing.assert_close(torch.cat([y for _, y in shares], 1), alone_y)


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_covers_a_split_in_order(world_size):
    whole = labels(open_named("digits"), "test")
    parts = [
        labels(open_named("digits", batch_size=30, rank=rank, world_size=world_size), "test")
        for rank in range(world_size)
    ]
    assert len(whole) == 359
    assert (np.concatenate(parts) == whole).all()


def test_evaluation_is_without_augmentation():
    data = open_named("digits", augment=EVERYTHING)
    assert (pixels(data, "test") == pixels(open_named("digits"), "test")).all()
    assert labels(data, "test").ndim == 1


def test_the_last_smaller_batch_is_dropped():
    data = open_named("digits", train_subset=100, batch_size=32)
    assert data.steps_per_epoch == 3
    assert epoch_of(data)[0].shape[:2] == (3, 32)


def test_a_set_smaller_than_a_batch_is_one_batch():
    data = open_named("digits", train_subset=20, batch_size=32)
    assert data.steps_per_epoch == 1
    assert epoch_of(data)[0].shape[:2] == (1, 20)


@pytest.mark.parametrize(("world_size", "samples"), [(33, 100), (32, 20)])
def test_a_batch_that_cannot_be_shared_is_refused(world_size, samples):
    with pytest.raises(UserError, match=str(world_size)):
        open_named("digits", train_subset=samples, batch_size=32, world_size=world_size)


def test_mixing_needs_neighbours_on_every_process():
    shared = {"batch_size": 16, "world_size": 9}
    open_named("digits", **shared)
    with pytest.raises(UserError, match="batch_size=18"):
        open_named("digits", augment={"mixup": 0.5}, **shared)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("views", [1, 3])
def test_strides_are_channels_last_where_asked(pipeline, views):
    settings = {**SOME, "pipeline": pipeline, "workers": 0}
    for asked in (True, False):
        x, *_ = next(open_named("digits", **settings, channels_last=asked).train_batches(0, views))
        assert x.shape == ((16, 3, 8, 8) if views == 1 else (3, 16, 3, 8, 8))
        view = x if views == 1 else x[0]
        assert view.is_contiguous(memory_format=torch.channels_last) is asked
        assert view.is_contiguous() is not asked


def test_a_split_that_is_not_there_says_how_to_get_it():
    with pytest.raises(UserError, match=r"dataset\.val_fraction"):
        next(open_named("digits").eval_batches("val"))


@pytest.mark.parametrize("views", [1, 2])
def test_resident_batches_are_the_epochs_and_wait_for_nothing(views):
    data = open_named("digits", augment=EVERYTHING)
    resident = data.resident_batches(views)
    for epoch in (0, 3):
        resident.begin(epoch)
        expected = list(data.train_batches(epoch, views))
        for step in (0, len(expected) - 1):
            position = torch.tensor([step])
            with no_waiting():
                found = resident.batch(position)
            for one, other in zip(found, expected[step], strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("pipeline", ["device", "loader"])
@pytest.mark.parametrize("augment", [{"crop_padding": 0}, {"crop_padding": 0, "mixup": 0.5}])
def test_a_batch_says_which_samples_it_is_made_of(pipeline, augment):
    settings = {**SOME, "augment": augment, "pipeline": pipeline, "workers": 0}
    data = open_named("digits", **settings)
    stored = torch.cat([x for x, _ in data.eval_batches("train")])
    classes = torch.from_numpy(labels(data, "train"))
    seen = []
    for rank in range(2):
        share = open_named("digits", **settings, rank=rank, world_size=2)
        for x, y, index in share.train_batches(1):
            if "mixup" in augment:
                assert (y.gather(1, classes[index, None]) > 0).all()
            else:
                assert torch.equal(x, stored[index])
                assert torch.equal(y, classes[index])
            seen += index.tolist()
    assert sorted(seen) == list(range(96))


def test_batches_that_workers_read_are_not_resident():
    assert open_named("digits", pipeline="loader", workers=0).resident_batches() is None


@pytest.mark.cuda
@pytest.mark.parametrize("pipeline", ["device", "loader"])
def test_no_step_waits_for_the_device(pipeline):
    cuda = torch.device("cuda")
    data = open_named("digits", augment=EVERYTHING, device=cuda, pipeline=pipeline, workers=1)
    batches = data.train_batches(0, 2)
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        last = list(batches)[-1]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    plain = open_named("digits", augment=EVERYTHING, pipeline=pipeline, workers=0)
    on_cpu = list(plain.train_batches(0, 2))[-1]
    torch.testing.assert_close(last[0].cpu(), on_cpu[0], rtol=1e-3, atol=1e-3)
