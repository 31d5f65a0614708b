"""What a method is told of a batch, by kdzoo's training and by a person's own loop."""

import pytest
import torch
from built_trainer import built_trainer

import kdzoo
from kdzoo.errors import UserError
from kdzoo.methods.independent import Independent
from kdzoo.methods.losses import cross_entropy
from kdzoo.samples.batch import Batch, as_labels

X, Y = torch.randn(4, 3, 8, 8), torch.arange(4)


class Told(Independent):
    """Keeps what it is told."""

    def loss(self, outputs, batch):
        self.told = batch
        return super().loss(outputs, batch)


@pytest.fixture
def method() -> Told:
    built = kdzoo.create_method("independent", "resnet8", num_classes=4, input_size=(3, 8, 8))
    built.__class__ = Told
    return built


def test_a_loss_is_told_the_samples_and_how_far_the_training_is(method):
    method(X, Y, 0.25, torch.tensor([7, 5, 0, 2]))
    assert method.told.x is X
    assert method.told.y.tolist() == [0, 1, 2, 3]
    assert method.told.progress == 0.25
    assert method.told.need_index().tolist() == [7, 5, 0, 2]


def test_a_loop_that_does_not_say_the_samples_is_enough_for_most_methods(method):
    assert method(X, Y, 0.25).terms.keys() == {"ce"}
    assert method.told.index is None


def test_a_method_that_needs_the_samples_refuses_a_loop_that_does_not_say_them():
    with pytest.raises(UserError, match=r"method\(x, y, progress, index\)"):
        Batch(X, Y, torch.zeros(())).need_index()


@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("one label too few", Y[:3]),
        ("a column", Y[:, None]),
        ("as many numbers as classes there are not", torch.rand(4, 5)),
        ("fractions", Y / 4),
        ("no class", torch.tensor([0, 1, 2, 4])),
        ("a negative one", torch.tensor([0, 1, 2, -1])),
        ("what torch leaves out of a cross-entropy", torch.tensor([0, 1, 2, -100])),
    ],
)
def test_labels_that_are_none_are_refused(method, name, y):
    with pytest.raises(UserError, match=r"^(y has|x holds 4 samples, and y)"):
        method(X, y, 0.25)


@pytest.mark.parametrize(
    "row",
    [[1.0, 1.0, 0.0, 0.0], [3.0, -1.2, 0.4, -0.9], [0.2] * 4, [float("nan"), 1, 0, 0], [0.0] * 4],
)
def test_rows_that_are_no_probabilities_are_refused(method, row):
    y = torch.eye(4)
    y[2] = torch.tensor(row)
    with pytest.raises(kdzoo.UserError, match=r"Row 2 of y holds no probabilities of the 4"):
        method(X, y, 0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_rounded_probabilities_are_labels(method, dtype):
    torch.manual_seed(0)
    y = torch.eye(4) if dtype is torch.int64 else torch.randn(4, 4).softmax(dim=1)
    assert method(X, y.to(dtype), 0.5).terms["ce"].isfinite()


def test_rows_are_labels_where_nobody_can_look_at_them():
    y, logits = torch.randn(4, 5).softmax(dim=1), torch.randn(4, 5)
    each = torch.func.vmap(lambda logits, y: as_labels(y[None], logits[None])[0])
    assert torch.equal(each(logits, y), y)


def test_whole_numbers_of_any_type_are_labels(method):
    expected = method(X, Y, 0.25).terms["ce"]
    for kind in (torch.int32, torch.uint8, torch.int16):
        assert torch.equal(method(X, Y.to(kind), 0.25).terms["ce"], expected)
    one_hot = torch.nn.functional.one_hot(Y, 4)
    assert method(X, one_hot, 0.25).terms["ce"].isclose(expected)
    assert method(X, one_hot.double(), 0.25).terms["ce"].isclose(expected)


def test_a_label_that_torch_would_leave_out_is_not_left_out():
    with pytest.raises(IndexError):
        cross_entropy(torch.randn(2, 4, 5), torch.tensor([0, 1, -100, 2]))


@pytest.mark.parametrize("progress", [3, -0.1, float("nan")])
def test_a_progress_that_is_no_fraction_is_refused(method, progress):
    with pytest.raises(UserError, match="step / total_steps"):
        method(X, Y, progress)


@pytest.mark.parametrize("index", [torch.arange(3), torch.rand(4), torch.zeros(4, 1).long()])
def test_places_that_are_none_are_refused(method, index):
    with pytest.raises(UserError, match="index has the shape"):
        method(X, Y, 0.25, index)


def test_an_empty_batch_is_refused(method):
    with pytest.raises(UserError, match="empty"):
        method(X[:0], Y[:0], 0.25)


@pytest.mark.parametrize(("name", "views"), [("dml", 1), ("pcl", 3), ("ddgsd", 2), ("okdph", 3)])
def test_a_training_gives_as_many_views_as_the_method_asks_for(name, views):
    method = kdzoo.create_method(name, "resnet8", num_classes=4, input_size=(3, 8, 8))
    for given in {1, 2, 3, 4} - {views}:
        x = X.expand(given, *X.shape) if given > 1 else X
        with pytest.raises(UserError, match=r"\[B, C, H, W\]|views of each sample"):
            method(x, Y, 0.25)
    x = X.expand(views, *X.shape) if views > 1 else X
    assert method(x, Y, 0.25).terms["ce"].isfinite()


def test_kdzoos_training_says_the_samples():
    trainer = built_trainer(
        ["backbone=resnet8", "dataset.train_subset=64", "batch_size=16", "method=independent"]
    )
    seen: list[int] = []

    def keep(module, arguments):
        seen.extend(arguments[3].tolist())

    trainer.method.register_forward_pre_hook(keep)
    trainer.train_epoch(lambda tally: None)
    assert sorted(seen) == list(range(64))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X[:, :1], r"shape \[4, 1, 8, 8\]; give samples of 3 channels"),
        (X[0], r"shape \[3, 8, 8\]; give samples of 3 channels"),
        (X.flatten(1), r"shape \[4, 192\]; give samples of 3 channels"),
        (X.byte(), r"x is of torch.uint8, .* give x.to\(torch.float32\)"),
        (X.double(), r"x is of torch.float64, .* give x.to\(torch.float32\)"),
        (X.half(), r"x is of torch.float16, .* give x.to\(torch.float32\)"),
    ],
)
def test_samples_that_the_networks_cannot_take_are_refused(method, x, words):
    with pytest.raises(UserError, match=words):
        method(x, Y, 0.25)


def test_places_on_another_device_are_refused(method):
    with pytest.raises(UserError, match="index is on meta and x on cpu"):
        method(X, Y, 0.25, torch.arange(4, device="meta"))


def test_samples_are_of_the_type_of_the_networks_or_are_cast(method):
    with torch.autocast("cpu", torch.bfloat16):
        assert method(X.bfloat16(), Y, 0.25).terms["ce"].isfinite()
        with pytest.raises(UserError, match="float64"):
            method(X.double(), Y, 0.25)
    assert method.double()(X.double(), Y, 0.25).terms["ce"].dtype == torch.float64


@pytest.mark.parametrize("name", ["dlb", "mcl_okd", "ps_kd"])
@pytest.mark.parametrize("place", [-1, 9])
def test_a_place_beyond_the_training_set_is_refused_before_anything_is_remembered(name, place):
    method = kdzoo.create_method(name, "resnet8", num_classes=4, input_size=(3, 8, 8))
    method.begin(samples=9, epochs=2)
    before = {name: value.clone() for name, value in method.named_buffers() if "rows" in name}
    with pytest.raises(UserError, match=r"index has places from .* the training set has 0 to 8,"):
        method(X, Y, 0.25, torch.tensor([0, place, 1, 2]))
    assert before
    assert all(torch.equal(method.get_buffer(name), rows) for name, rows in before.items())
    assert sum(method(X, Y, 0.25, torch.tensor([0, 8, 1, 2])).terms.values()).isfinite()


@pytest.mark.parametrize("name", ["ddgsd", "kdcl", "okdph", "pcl"])
def test_one_view_in_evaluation_stands_for_all(name):
    method = kdzoo.create_method(name, "resnet8", num_classes=4, input_size=(3, 8, 8)).eval()
    assert method.views > 1
    with torch.no_grad():
        found = method(X, Y, 0.25).terms
        wanted = method(X.expand(method.views, *X.shape), Y, 0.25).terms
    for term in wanted:
        torch.testing.assert_close(found[term], wanted[term], msg=term)
