"""The contract of a method, as checks that tests can run; for ours and for those of other packages.

In the tests of a package that adds the method ``mine``::

    import pytest

    @pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check("mine")

A check takes the method's name and settings of it, and raises AssertionError with what is wrong.
"""

import copy
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kdzoo import registry
from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.create import make_backbone
from kdzoo.backbones.layers import add_blocks, conv_bn, initialise
from kdzoo.component import validate
from kdzoo.methods.base import Batch, Method, StepResult
from kdzoo.student import StudentInfo, save_student

BACKBONE, CLASSES, SIZE, BATCH = "kdzoo.testing:SmallNet", 5, (3, 16, 16), 8
PROGRESS = torch.tensor(0.5)
INDEX = torch.arange(BATCH)


class SmallNet(ConvNet):
    """x [B, in_chans, H, W] -> logits [B, num_classes]: three stages of one convolution each.

    It has the stages' names and widths of ``resnet8``, and is built and compiled in half the time.

    Args:
        num_classes: K.
        in_chans: the channels of an image.
        drop_rate: of the dropout before the classifier.
    """

    def __init__(self, num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__(num_classes, in_chans)
        self.drop_rate = drop_rate
        self.layer1 = nn.Sequential(conv_bn(in_chans, 16, 3))
        self.layer2 = nn.Sequential(conv_bn(16, 32, 3, stride=2))
        self.layer3 = nn.Sequential(conv_bn(32, 64, 3, stride=2))
        self.add_head(64, {"layer1": (16, 1), "layer2": (32, 2), "layer3": (64, 4)})
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(x)))

    def deepen(self, blocks: int) -> None:
        """Add convolutions at the end of the last stage."""
        add_blocks(self.layer3, (conv_bn(64, 64, 3) for _ in range(blocks)))


def same_seed_same_weights(name: str, **settings: Any) -> None:
    """Initial weights follow from the seed alone, and from nothing else."""
    torch.manual_seed(1)
    one = make_method(name, seed=3, **settings)
    torch.manual_seed(2)
    _assert_same_state(one, make_method(name, seed=3, **settings), "built twice with one seed")
    other = make_method(name, seed=4, **settings)
    weights = zip(one.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in weights), "another seed gives the same weights"


def shapes(name: str, **settings: Any) -> None:
    """Terms are scalars, predictions are logits [B, K] and [P, B, K], in training and after it."""
    method = make_method(name, **settings)
    peers = method.peers.num_peers
    result = train_step(method)
    assert result.terms, "the loss has no terms"
    for term, value in result.terms.items():
        assert value.shape == (), f"the term '{term}' has shape {tuple(value.shape)}, not ()"
    with torch.no_grad():
        evaluated = method.eval().predict(method.outputs(batch(method)[0]))
    expected = {"student": (BATCH, CLASSES), "peers": (peers, BATCH, CLASSES)}
    if peers > 1:
        expected["ensemble"] = (BATCH, CLASSES)
    for when, predictions in (("training", result.predictions), ("evaluation", evaluated)):
        found = {key: tuple(logits.shape) for key, logits in predictions.items()}
        assert found == expected, f"predictions in {when}: {found}, not {expected}"
    attached = [key for key, logits in result.predictions.items() if logits.requires_grad]
    assert not attached, f"predictions {attached} of a step are not detached"


def labels_as_probabilities(name: str, **settings: Any) -> None:
    """Labels may be class probabilities [B, K]; one-hot ones are the same as class indices."""
    x, y = batch(make_method(name, **settings))
    one_hot = torch.nn.functional.one_hot(y, CLASSES).float()
    plain = make_method(name, **settings)(x, y, PROGRESS, INDEX).terms
    soft = make_method(name, **settings)(x, one_hot, PROGRESS, INDEX).terms
    assert_close(soft, plain, msg=_about("one-hot labels change the loss"))


def finite_loss_and_gradients(name: str, **settings: Any) -> None:
    """The loss and every gradient is a finite number, at the start, half-way and at the end."""
    for progress in (0.0, 0.5, 1.0):
        method = make_method(name, **settings)
        x, y = batch(method)
        terms = method(x, y, torch.tensor(progress), INDEX).terms
        for term, value in terms.items():
            assert torch.isfinite(value), f"the term '{term}' is {value} at progress {progress}"
        _total(terms).backward()
        wrong = [n for n, p in method.named_parameters() if p.grad is not None and _odd(p.grad)]
        assert not wrong, f"gradients of {wrong} are not finite at progress {progress}"


def every_parameter_gets_a_gradient(name: str, **settings: Any) -> None:
    """No parameter that the optimiser is given is left out of the loss."""
    method = make_method(name, **settings)
    _total(train_step(method).terms).backward()
    missed = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not missed, f"no gradient reaches {missed}"


def relabelling_permutes(name: str, **settings: Any) -> None:
    """Peers in another order give the same loss and the same predictions in that order.

    The aggregator is ``mean`` here, since trained ones tell the peers apart by their order. A peer
    that is deployed for a part of its own, as a leader, keeps its place. Heads of the peers move
    with them. Nothing is asked of a method that says that it tells its peers apart.
    """
    if registry.methods.get(name).tells_peers_apart:
        return
    method = make_method(name, **{**settings, "aggregator": "mean"})
    if method.peers.num_peers == 1:
        return
    x, y = batch(method)
    outputs = method.outputs(x)
    movable = method.student_peer or len(outputs.logits)
    order = [*range(1, movable), 0, *range(movable, len(outputs.logits))]
    moved = replace(
        outputs,
        logits=outputs.logits[order],
        embeddings=tuple(outputs.embeddings[peer] for peer in order),
        features=tuple(outputs.features[peer] for peer in order),
        stages={key: tuple(maps[peer] for peer in order) for key, maps in outputs.stages.items()},
    )
    teachers = outputs.teachers
    one_a_peer = len(teachers) == len(order)
    other = copy.deepcopy(method)
    for heads in method.heads_of_peers:
        setattr(other, heads, nn.ModuleList(getattr(other, heads)[peer] for peer in order))
    moved = replace(other.aggregate(moved), teachers=teachers[order] if one_a_peer else teachers)
    with torch.no_grad():
        said = Batch(x, y, PROGRESS, INDEX)
        moved_terms = other.loss(moved, said)
        terms = copy.deepcopy(method).loss(outputs, said)  # a loss may remember what it has seen
        plain, moved_plain = method.predict(outputs), method.predict(moved)
    assert_close(moved_terms, terms, msg=_about("the order of the peers changes the loss"))
    assert_close(moved_plain["peers"], plain["peers"][order])
    if "ensemble" in plain:
        assert_close(moved_plain["ensemble"], plain["ensemble"])


def student_stands_alone(name: str, **settings: Any) -> None:
    """``student()`` is a plain backbone that says what ``predict()["student"]`` says."""
    method = make_method(name, **settings)
    _descend(method)
    method.eval()
    x = batch(method)[0]
    student = method.student().eval()
    with torch.no_grad():
        predicted = method.predict(method.outputs(x))["student"]
        alone = student(x)
    assert_close(alone, predicted, msg=_about("the student alone says something else"))
    make_test_backbone().network().load_state_dict(student.state_dict(), strict=True)


def bfloat16(name: str, **settings: Any) -> None:
    """Under bfloat16 autocast the terms stay in float32, and all gradients are finite."""
    method = make_method(name, **settings)
    x, y = batch(method)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(x, y, PROGRESS, INDEX).terms
    low = [term for term, value in terms.items() if value.dtype != torch.float32]
    assert not low, f"the terms {low} are not in float32"
    _total(terms).backward()
    wrong = [n for n, p in method.named_parameters() if p.grad is not None and _odd(p.grad)]
    assert not wrong, f"gradients of {wrong} are not finite"


def compiles(name: str, backend: str = "eager", **settings: Any) -> None:
    """torch.compile takes the whole step as one graph, and the graph computes the same.

    ``backend="eager"`` runs the captured graph as it is, which is quick; ``"inductor"`` generates
    code.
    """
    method = make_method(name, **settings)
    x, y = batch(method)
    torch.compiler.reset()
    twin = make_method(name, **settings)
    compiled = torch.compile(twin, backend=backend, fullgraph=True)
    terms = compiled(x, y, PROGRESS, INDEX).terms
    expected = method(x, y, PROGRESS, INDEX).terms
    assert_close(terms, expected, msg=_about("compiled, the loss differs"))
    _total(terms).backward()
    _total(expected).backward()
    gradients, expected_gradients = ([p.grad for p in m.parameters()] for m in (twin, method))
    assert_close(gradients, expected_gradients, msg=_about("compiled, the gradients differ"))
    torch.compiler.reset()


def survives_a_checkpoint(name: str, **settings: Any) -> None:
    """Training goes on from a saved state dict as if nothing had happened."""
    method = make_method(name, **settings)
    _descend(method)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    resumed = make_method(name, seed=99, **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True), strict=True)
    for each in (method, resumed):
        _descend(each)
    _assert_same_state(method, resumed, "one step after a checkpoint")


METHOD_CHECKS: tuple[Callable[..., None], ...] = (
    same_seed_same_weights,
    shapes,
    labels_as_probabilities,
    finite_loss_and_gradients,
    every_parameter_gets_a_gradient,
    relabelling_permutes,
    student_stands_alone,
    bfloat16,
    compiles,
    survives_a_checkpoint,
)
"""Every check of a method's contract."""


def make_test_backbone() -> Backbone:
    """The small backbone that methods are checked with."""
    return make_backbone(BackboneConfig(name=BACKBONE), CLASSES, SIZE)


def make_method(name: str, seed: int = 0, **settings: Any) -> Method:
    """A method on the small backbone; runs it needs first are stood in for by untrained networks.

    Args:
        name: of a registered method.
        seed: of its weights.
        settings: the method's own.
    """
    method_class = registry.methods.get(name)
    config = validate(method_class.Config, {"name": name, **settings})
    with _stand_ins(method_class.prerequisites(config)) as folders:
        method = method_class(config.model_copy(update=folders), [make_test_backbone()], seed)
    method.begin(samples=BATCH, epochs=4)
    return method


def batch(method: Method) -> tuple[Tensor, Tensor]:
    """Samples [B, C, H, W], in training as many views as the method asks for, and labels [B]."""
    generator = torch.Generator().manual_seed(0)
    views = method.views if method.training else 1
    x = torch.randn(views, BATCH, *SIZE, generator=generator)
    y = torch.arange(BATCH) % CLASSES
    return (x if views > 1 else x[0]), y


def train_step(method: Method) -> StepResult:
    """One forward pass in training mode, half-way through the training."""
    return method(*batch(method), PROGRESS, INDEX)


@contextmanager
def _stand_ins(needed: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A folder with an untrained student for each field of the config that names a run."""
    with tempfile.TemporaryDirectory() as root:
        folders = {field: str(Path(root, field)) for field in needed}
        info = StudentInfo(
            backbone=BACKBONE,
            kwargs={},
            num_classes=CLASSES,
            input_size=SIZE,
            mean=(0.0,) * SIZE[0],
            std=(1.0,) * SIZE[0],
            classes=tuple(map(str, range(CLASSES))),
        )
        for folder in folders.values():
            save_student(Path(folder), make_test_backbone().build(seed=7), info)
        yield folders


def _descend(method: Method) -> None:
    """One step of plain gradient descent."""
    method.train()
    method.zero_grad()
    method.before_step()
    _total(train_step(method).terms).backward()
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad)
    method.after_step()


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([*terms.values()]).sum()


def _odd(tensor: Tensor) -> bool:
    return not bool(torch.isfinite(tensor).all())


def _assert_same_state(one: Method, other: Method, when: str) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys(), f"{when}, the state dicts have different keys"
    unlike = [key for key in mine if not torch.equal(mine[key], theirs[key])]
    assert not unlike, f"{when}, these differ: {unlike}"


def _about(what: str) -> Callable[[str], str]:
    return lambda details: f"{what}: {details}"
