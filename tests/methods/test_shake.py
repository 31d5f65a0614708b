"""shake: values and gradients against plain loops, and the shadow on teachers of many shapes."""

import pytest
import torch
import torch.nn.functional as F
from methods_compared import actual, assert_equal, gradients_of
from methods_plain import SIZE, K, Tiny, batch_norm, ce, kl, run
from torch import nn

from kdzoo.api import create_method
from kdzoo.errors import UserError
from kdzoo.methods.shake import ShadowHead
from kdzoo.testing import make_method

ORDER = [2, 0, 4, 1, 3]


def made(**settings):
    torch.manual_seed(0)
    teacher, student = Tiny(5), Tiny(6)
    method = create_method("shake", student, K, input_size=SIZE, teacher=teacher, **settings)
    method.double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # away from the zeros and ones of fresh weights
        for parameter in method.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.2 * noise)
    return method, teacher.double().eval()


def unit(x, head, name, stride=1):
    kernel = head[f"{name}.0.weight"]
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    return batch_norm(x, head[f"{name}.1.weight"], head[f"{name}.1.bias"]).clamp(min=0)


def shadow_of(teacher, x, head):
    """The shadow's logits and the teacher's, from the teacher's three stages."""
    with torch.no_grad():
        f1 = teacher.stage0(x)
        f2 = teacher.stage1(f1)
        f3 = teacher.stage2(f2)
        said = teacher.fc(f3.mean((2, 3)))
    fused = unit(f1, head, "down.0", 2) + unit(f2, head, "beside.0")
    fused = unit(fused, head, "down.1", 2) + unit(f3, head, "beside.1")
    embedding = unit(fused, head, "last").mean((2, 3))
    return embedding @ teacher.fc.weight.detach().T + teacher.fc.bias.detach(), said


def normal(z):
    rows = [(row - row.mean()) / (1e-7 + row.std()) for row in z]
    return torch.stack(rows)


def wanted(method, teacher, x, y, held=True):
    config, hold = method.config, torch.detach if held else (lambda tensor: tensor)
    head = {n: v.detach().clone().requires_grad_() for n, v in method.shadow.named_parameters()}
    network = method.peers.network(0)
    z = run([network], x, joint_trunk=False).z[0]
    shadow, said = shadow_of(teacher, x, head)
    change = normal if config.standardize else (lambda logits: logits)

    def compare(first, second):
        return kl(change(first), change(second), config.temperature)

    terms = {
        "ce": ce(z, y),
        "kd": config.alpha * compare(said, z),
        "shadow_kd": config.weight * compare(hold(shadow), z),
        "reverse_kd": config.weight * compare(hold(z), shadow),
        "shadow_ce": config.weight * ce(shadow, y),
        "shadow_mse": config.weight * ((change(shadow) - change(said)) ** 2).mean(),
    }
    sum(terms.values()).backward()
    gradients = {f"shadow.{name}": value.grad for name, value in head.items()}
    gradients |= gradients_of(method, [network])
    return {name: term.item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize("standardize", [False, True])
def test_terms_and_gradients_are_those_of_the_equations(standardize):
    method, teacher = made(standardize=standardize, alpha=0.6, weight=0.7, temperature=2.5)
    x, y = torch.randn(6, *SIZE).double(), torch.arange(6) % K
    one_hot = F.one_hot(y, K).double()
    found = actual(method, x, y, 0.5)
    assert_equal(found, wanted(method, teacher, x, one_hot))
    with pytest.raises(AssertionError):
        assert_equal(found, wanted(method, teacher, x, one_hot, held=False))


def test_the_shadow_speaks_in_the_order_of_our_classes():
    method, teacher = made()
    x = torch.randn(4, *SIZE).double()
    before = method.outputs(x)
    method.watched_teacher.order.copy_(torch.tensor(ORDER))
    after = method.outputs(x)
    torch.testing.assert_close(after.targets, before.targets[..., ORDER])
    torch.testing.assert_close(after.teachers, before.teachers[..., ORDER])
    torch.testing.assert_close(before.teachers[0], teacher(x))


@pytest.mark.parametrize(
    "shapes",
    [
        [(4, 8, 8), (6, 4, 4), (8, 2, 2)],
        [(4, 7, 5), (6, 4, 3), (8, 3, 2)],
        [(4, 8, 8), (4, 1, 1)],
        [(6, 9, 1), (6, 9, 1), (6, 9, 1)],  # tokens of a ViT
        [(5, 3, 3)],
    ],
)
def test_maps_of_any_size_are_fused(shapes):
    maps = [torch.randn(2, *shape) for shape in shapes]
    head = ShadowHead(maps, 7)
    said = head(maps)
    assert said.shape == (2, 7)
    said.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


class Convolutional(nn.Module):
    """Its classifier is a convolution without a bias."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, 2, 1)
        self.head = nn.Conv2d(6, K, 1, bias=False)

    def forward(self, x):
        return self.head(self.one(x).relu()).mean((2, 3))


def test_a_teacher_whose_classifier_is_a_convolution():
    teacher = Convolutional()
    method = create_method(
        "shake", Tiny(), K, input_size=SIZE, teacher=teacher, teacher_stages=["one"]
    )
    embeddings = torch.randn(3, 6)
    wanted_logits = embeddings @ teacher.head.weight[:, :, 0, 0].T
    torch.testing.assert_close(method.watched_teacher.classify(embeddings), wanted_logits)


def test_only_student_and_shadow_are_trained_and_only_the_student_is_deployed():
    method = make_method("shake")
    trained = {n.split(".")[0] for n, p in method.named_parameters() if p.requires_grad}
    assert trained == {"peers", "shadow"}
    calls = []
    method.teachers[0].register_forward_hook(lambda *_: calls.append("teacher"))
    method.shadow.register_forward_hook(lambda *_: calls.append("shadow"))
    method.eval().evaluate(torch.randn(2, 3, 16, 16))
    assert not calls


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"shadow of one teacher, and there are 2"):
        create_method("shake", "resnet8", K, teacher=[Tiny(), Tiny()])
    with pytest.raises(UserError, match=r"stage 9"):
        create_method("shake", "resnet8", K, teacher=Tiny(), teacher_stages=[9])
