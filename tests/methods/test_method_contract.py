"""Every registered method keeps the contract, and the contract notices methods that do not."""

import copy

import pytest
import torch
from torch import nn

from kdzoo import registry, testing
from kdzoo.methods.independent import Independent
from kdzoo.methods.losses import cross_entropy
from kdzoo.testing import METHOD_CHECKS

OURS = [name for name in registry.methods.names() if registry.methods.origin(name) == "kdzoo"]
VARIANTS = [
    ("dml", {"peers": 3, "layout": "branched"}),
    ("okddip", {"layout": "independent"}),
    ("one", {"aggregator": "fusion", "regularizers": ["cd", "negative_correlation"]}),
    ("mbde", {"layout": "independent"}),
    ("kdcl", {"variant": "linear"}),
    ("kdcl", {"variant": "general", "peers": 3}),
    ("pcl", {"aggregator": "gate"}),
    ("lmcl", {"meta_every": 50}),
    ("byot", {"peers": 2, "regularizers": ["cd"]}),
    *(("kd", {"feature_terms": [term]}) for term in registry.feature_terms.names()),
]


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", OURS)
def test_contract(name, check):
    check(name)


EAGER_CHECKS = [check for check in METHOD_CHECKS if check is not testing.compiles]


@pytest.mark.parametrize("check", EAGER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda value: str(value))
def test_contract_of_variants(name, settings, check):
    check(name, **settings)


@pytest.mark.parametrize("term", registry.feature_terms.names())
def test_a_step_with_a_feature_term_compiles(term):
    testing.compiles("kd", feature_terms=[term])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbde", "cl_ilr", "pcl", "kdcl linear", "kdcl general"])
def test_the_step_compiles_with_its_backward_pass(name):
    method, *variant = name.split()
    settings = {"variant": variant[0]} if variant else {}
    testing.compiles(method, backend="aot_eager", **settings)


# Methods that break the contract, each in one way.


class Broken(Independent):
    """The baseline with two peers, to be spoilt."""

    def __init__(self, config, backbones, seed=0):
        super().__init__(config.model_copy(update={"peers": 2}), backbones, seed)


class UnseededHead(Broken):
    def build_heads(self, example):
        super().build_heads(example)
        generator = torch.Generator()
        generator.seed()
        self.head = nn.Parameter(torch.rand((), generator=generator))

    def loss(self, outputs, batch):
        return {"ce": self.head * cross_entropy(outputs.logits, batch.y)}


class DeafToSeeds(Broken):
    def __init__(self, config, backbones, seed=0):
        super().__init__(config, backbones, seed=0)


class VectorTerm(Broken):
    def loss(self, outputs, batch):
        return {"ce": cross_entropy(outputs.logits, batch.y).expand(2)}


class NoEnsemble(Broken):
    def predict(self, outputs):
        return {"student": outputs.logits[0], "peers": outputs.logits}


class IndexLabelsOnly(Broken):
    def loss(self, outputs, batch):
        labels = batch.y if batch.y.dim() == 1 else batch.y.argmin(dim=1)
        return {"ce": cross_entropy(outputs.logits, labels)}


class BlowsUp(Broken):
    def loss(self, outputs, batch):
        return {"ce": cross_entropy(outputs.logits, batch.y) / (1 - batch.progress)}


class UnusedHead(Broken):
    def build_heads(self, example):
        super().build_heads(example)
        self.unused = nn.Linear(2, 2)


class FavoursTheFirst(Broken):
    def loss(self, outputs, batch):
        return {"ce": cross_entropy(outputs.logits[0], batch.y)}


class DeploysAnother(Broken):
    def student(self):
        return self.peers.network(1)


class WrappedStudent(Broken):
    def student(self):
        return nn.Sequential(super().student())


class LowPrecision(Broken):
    def loss(self, outputs, batch):
        return {"ce": cross_entropy(outputs.logits.bfloat16(), batch.y)}


class LooksAtTheLoss(Broken):
    def loss(self, outputs, batch):
        ce = cross_entropy(outputs.logits, batch.y)
        return {"ce": ce if ce.item() > 1 else 2 * ce}


class HiddenState(Broken):
    """An average that is no buffer, so that no checkpoint has it."""

    def build_heads(self, example):
        super().build_heads(example)
        self.hidden = [copy.deepcopy(self.peers.network(0).fc.weight.detach())]

    def loss(self, outputs, batch):
        weight = self.peers.classifier_weights()[0]
        return {
            "ce": cross_entropy(outputs.logits, batch.y),
            "pull": (weight - self.hidden[0]).sum() * weight.sum(),
        }

    def after_step(self):
        self.hidden[0] = self.hidden[0] + 1


BROKEN = [
    (UnseededHead, "same_seed_same_weights", "built twice"),
    (DeafToSeeds, "same_seed_same_weights", "another seed"),
    (VectorTerm, "shapes", "has shape"),
    (NoEnsemble, "shapes", "predictions in"),
    (IndexLabelsOnly, "labels_as_probabilities", "one-hot"),
    (BlowsUp, "finite_loss_and_gradients", "at progress 1.0"),
    (UnusedHead, "every_parameter_gets_a_gradient", "unused.weight"),
    (FavoursTheFirst, "relabelling_permutes", "order of the peers"),
    (DeploysAnother, "student_stands_alone", "says something else"),
    (LowPrecision, "bfloat16", "not in float32"),
    (HiddenState, "survives_a_checkpoint", "after a checkpoint"),
]


@pytest.fixture
def registered(monkeypatch):
    """Puts a class under the name ``broken`` for the length of a test."""

    def register(broken):
        get = registry.methods.get
        monkeypatch.setattr(
            registry.methods, "get", lambda name: broken if name == "broken" else get(name)
        )

    return register


@pytest.mark.parametrize(("broken", "check", "message"), BROKEN)
def test_the_contract_notices(broken, check, message, registered):
    registered(broken)
    with pytest.raises(AssertionError, match=message):
        getattr(testing, check)("broken")


def test_the_contract_notices_a_student_with_names_of_its_own(registered):
    registered(WrappedStudent)
    with pytest.raises(RuntimeError, match="Missing key"):
        testing.student_stands_alone("broken")


def test_the_contract_notices_a_break_in_the_graph(registered):
    registered(LooksAtTheLoss)
    with pytest.raises(Exception, match=r"item\(\)|graph break|data-dependent"):
        testing.compiles("broken")


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_the_unspoilt_method_passes(check, registered):
    registered(Broken)
    check("broken")
