"""The fused kernels against the equations in float64; without a GPU, in Triton's interpreter."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.weak import TensorWeakRef

pytest.importorskip("triton")

import kdzoo.kernels.conv_norm_act as steps
from kdzoo.kernels import tuned
from kdzoo.kernels.conv_norm_act import conv_norm_act
from kdzoo.kernels.device import batch_norm, convolution_by_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# the interpreter has no bfloat16 products
FORMATS = [torch.bfloat16 if DEVICE == "cuda" else torch.float32, torch.float16]
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


def layers(inputs, outputs, kernel=3, stride=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    norm = nn.BatchNorm2d(outputs)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
    conv, norm = conv.to(DEVICE), norm.to(DEVICE)
    return conv.to(memory_format=torch.channels_last), norm


def noise(*shape, dtype):
    x = torch.randn(shape, device=DEVICE).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def in_format():
    return torch.autocast(DEVICE, dtype=FORMATS[0], enabled=DEVICE == "cuda")


def rounded(x, dtype):
    """Rounded on the way, which gradients do not see."""
    return x + (x.to(dtype).to(x.dtype) - x).detach()


def equations(x, weight, scale, bias, shortcut, *, conv, norm, relu, dtype):
    """relu(batch_norm(x * weight) + shortcut), mean and variance, from the definitions."""
    y = F.conv2d(x, rounded(weight, dtype), stride=conv.stride, padding=conv.padding)
    y = rounded(y, dtype)
    mean = y.mean(dim=(0, 2, 3), keepdim=True)
    variance = ((y - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    normal = (y - mean) / (variance + norm.eps).sqrt()
    out = normal * scale[:, None, None] + bias[:, None, None]
    if shortcut is not None:
        out = out + shortcut
    return (out.relu() if relu else out), mean.flatten(), variance.flatten()


def assert_near(found, expected, dtype):
    scale = expected.norm() + 1e-3 * expected.numel() ** 0.5
    assert (found.double() - expected).norm() <= ROUNDING[dtype] * scale


def check(inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed=0):
    torch.manual_seed(seed)
    conv, norm = layers(inputs, outputs, kernel, stride)
    x = noise(batch, inputs, *size, dtype=dtype).requires_grad_(inputs >= 16)
    out_size = [-(-side // stride) for side in size]
    added = noise(batch, outputs, *out_size, dtype=dtype).requires_grad_() if shortcut else None
    gradient = noise(batch, outputs, *out_size, dtype=dtype)
    with torch.autocast(DEVICE, dtype=dtype, enabled=dtype != torch.float32):
        out, again = conv_norm_act(x, conv, norm, nn.ReLU() if relu else None, added)
    assert type(out.grad_fn).__name__ == "_ConvNormActBackward"
    elsewhere = noise(batch, inputs, *size, dtype=dtype)
    loss = (out * gradient).double().sum()
    if x.requires_grad:
        loss = loss + (again * elsewhere).double().sum()
    loss.backward()

    given_values = [x, conv.weight, norm.weight, norm.bias, added]
    exact = [None if v is None else v.detach().double().requires_grad_() for v in given_values]
    expected, mean, variance = equations(*exact, conv=conv, norm=norm, relu=relu, dtype=dtype)
    ((expected * gradient.double()).sum() + (exact[0] * elsewhere.double()).sum()).backward()
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert_near(out.detach(), expected.detach(), dtype)
    for value, reference in zip(given_values, exact, strict=True):
        if value is not None and value.requires_grad:
            assert_near(value.grad, reference.grad, dtype)
    assert conv.weight.grad.stride() == conv.weight.stride()
    count = out.numel() / outputs
    assert_near(norm.running_mean, 0.1 * mean.detach(), dtype)
    assert_near(norm.running_var, 0.9 + 0.1 * variance.detach() * count / (count - 1), dtype)
    assert norm.num_batches_tracked == 1


@settings(max_examples=20)
@given(
    inputs=st.sampled_from([1, 3, 16, 32]),
    outputs=st.sampled_from([16, 32]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 5),
    shortcut=st.booleans(),
    relu=st.booleans(),
    dtype=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
def test_it_computes_the_equations_and_their_gradients(
    inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed
):
    # where a ReLU is at 0 but for rounding, a gradient jumps; so few pixels have few such
    assume(batch * -(-size[0] // stride) * -(-size[1] // stride) >= 8)
    relu = relu and dtype == FORMATS[0]
    check(inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(64, 64, 1), (32, 64, 2), (64, 16, 1)])
def test_it_does_so_with_64_channels(inputs, outputs, stride):
    check(inputs, outputs, 3, stride, (8, 8), 4, stride == 1, True, FORMATS[0])


def test_sums_over_many_blocks_are_added_up(monkeypatch):
    monkeypatch.setattr(tuned, "MOST", 8)
    monkeypatch.setattr(tuned, "CONVOLVE", {16: tuned.Blocks(16, 4)})
    monkeypatch.setattr(tuned, "SHARES", {16: tuned.Shares(16, 1, 7)})
    monkeypatch.setattr(tuned, "ADDED", 2)
    monkeypatch.setattr(tuned, "VALUES_OF_MAPS", 16 * 16)
    monkeypatch.setattr(tuned, "PARTS", 4 * 16)
    check(16, 16, 3, 1, (9, 8), 15, True, True, FORMATS[0])


@pytest.fixture
def by_rows(monkeypatch):
    """Small maps go that way too; gives what was computed so, [rows, columns] of a program each."""
    launched = []
    real = convolution_by_rows.convolve_by_rows

    class Kernel:
        def __getitem__(self, grid):
            def launch(*args, **kwargs):
                launched.append((kwargs["rows"], kwargs["COLUMNS"]))
                real[grid](*args, **kwargs)

            return launch

    monkeypatch.setattr(convolution_by_rows, "convolve_by_rows", Kernel())
    return launched


@pytest.fixture
def summed(monkeypatch):
    """Gives one entry for each batch norm whose sums had a kernel of their own."""
    launched = []
    real = batch_norm.gradient_sums

    class Kernel:
        def __getitem__(self, grid):
            launched.append(grid)
            return real[grid]

    monkeypatch.setattr(batch_norm, "gradient_sums", Kernel())
    return launched


def two_steps(between, inputs=16, hidden=16, kernel=3, stride=1, size=(5, 7), batch=3):
    """The gradients of all there is in two steps, with something between them."""
    torch.manual_seed(0)
    steps = [layers(inputs, hidden, kernel), layers(hidden, 16, kernel, stride)]
    x = noise(batch, inputs, *size, dtype=FORMATS[0]).requires_grad_()
    shortcut = noise(batch, hidden, *size, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        hidden_map, _ = conv_norm_act(x, *steps[0], nn.ReLU(), shortcut)
        out, again = conv_norm_act(between(hidden_map), *steps[1])
    loss = (out * noise(*out.shape, dtype=FORMATS[0])).double().sum()
    loss = loss + (again * noise(*again.shape, dtype=FORMATS[0])).double().sum()
    parameters = [value for step in steps for layer in step for value in layer.parameters()]
    return loss, [x, shortcut, *parameters], hidden_map


def assert_all_near(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other.double(), FORMATS[0])


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(
    "sizes", [{}, {"hidden": 32, "stride": 2}, {"kernel": 1}, {"size": (1, 1), "batch": 9}]
)
def test_a_step_adds_up_the_sums_of_the_one_before(rows, sizes, summed, monkeypatch):
    if rows:
        divide(monkeypatch, 16, 16, 1)
    loss, values, _ = two_steps(torch.clone, **sizes)
    expected = torch.autograd.grad(loss, values)
    assert len(summed) == 2
    summed.clear()
    loss, values, _ = two_steps(lambda out: out, **sizes)
    assert_all_near(torch.autograd.grad(loss, values), expected)
    assert len(summed) == 1


def test_sums_are_added_up_anew_where_the_gradient_is_another(summed):
    def doubled(out):
        out.register_hook(lambda gradient: gradient.mul_(2))
        return out

    def doubled_unseen(out):
        out.register_hook(lambda gradient: (gradient.data.mul_(2), None)[1])
        return out

    def used_elsewhere(out):
        used_elsewhere.loss = out.double().square().sum()
        return out

    def used_twice(out):
        with in_format():
            used_twice.loss = conv_norm_act(out, *layers(16, 16))[0].double().square().sum()
        return out

    for between, launches in (
        (doubled, 2),
        (doubled_unseen, 2),
        (used_elsewhere, 2),
        (used_twice, 3),
    ):
        found = []
        for copy_it in (False, True):
            summed.clear()
            loss, values, _ = two_steps(
                lambda out: between(out.clone() if copy_it else out)  # noqa: B023
            )
            loss = loss + getattr(between, "loss", 0)
            found.append(torch.autograd.grad(loss, values))
            assert len(summed) == launches
        assert_all_near(*found)


def test_a_graph_that_is_kept_gives_the_same_gradients_again(summed):
    loss, values, hidden = two_steps(lambda out: out)
    first = torch.autograd.grad(loss, values, retain_graph=True)
    middle = torch.autograd.grad(loss, [hidden], retain_graph=True)
    again = torch.autograd.grad(loss, values)
    assert_all_near(again, first)
    assert middle[0].shape == hidden.shape
    assert len(summed) == 3


def test_nothing_is_kept_for_the_step_after_it(monkeypatch):
    made = []

    def convolve(*args):
        y, parts = real(*args)
        made.append(TensorWeakRef(y))
        return y, parts

    real = steps.convolve
    monkeypatch.setattr(steps, "convolve", convolve)
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0])

    def step(x):
        with in_format():
            return conv_norm_act(x, conv, norm, nn.ReLU())[0]

    with torch.no_grad():
        kept = step(x)
    assert [y() for y in made] == [None]
    made.clear()
    out = checkpoint(lambda x: step(step(x)), x.requires_grad_(), use_reentrant=False)
    assert [y() for y in made] == [None, None]
    out.sum().backward()
    assert kept.shape == x.grad.shape


def divide(monkeypatch, columns, channels, enough):
    rows = tuned.Rows(columns, channels, 4, 2, enough)
    monkeypatch.setattr(tuned, "FEWEST_ROWS", 1)
    monkeypatch.setattr(tuned, "BY_ROWS", {16: rows, 32: rows})
    monkeypatch.setattr(tuned, "BY_ROWS_BACK", {16: rows, 32: rows})


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    channels=st.sampled_from([16, 32]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 7),
    enough=st.integers(1, 12),
    relu=st.booleans(),
    dtype=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
def test_by_rows_it_computes_the_same(by_rows, channels, size, batch, enough, relu, dtype, seed):
    assume(batch * size[0] * size[1] >= 8)
    programs = -(-batch * size[1] // 16) * size[0]
    assume(programs * channels // 16 >= enough)  # otherwise others do it
    by_rows.clear()
    with pytest.MonkeyPatch.context() as patch:
        divide(patch, 16, 16, enough)
        relu = relu and dtype == FORMATS[0]
        check(channels, channels, 3, 1, size, batch, True, relu, dtype, seed)
    assert len(by_rows) == 2
    assert all(1 <= rows <= size[0] for rows, _ in by_rows)


@pytest.mark.parametrize("channels", [5, 15, 16, 32])
def test_maps_in_another_format_are_left_to_pytorch(channels):
    conv, norm = layers(channels, 16)
    x = noise(3, channels, 4, 4, dtype=torch.float32)
    with torch.autocast(DEVICE, dtype=torch.float16):
        out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        assert type(out.grad_fn).__name__ == "ReluBackward0"
        norm.reset_running_stats()
        assert torch.equal(out, norm(conv(x)).relu())


@pytest.mark.skipif(DEVICE == "cuda", reason="bfloat16 has no digits for it")
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_large_mean_costs_no_digits_of_the_variance(kernel, by_rows, monkeypatch):
    divide(monkeypatch, 16, 16, 2)
    torch.manual_seed(0)
    conv, norm = layers(16, 16, kernel)
    with torch.no_grad():
        conv.weight.zero_()[:, :, kernel // 2, kernel // 2] = torch.eye(16)
    x = 300 + noise(8, 16, 8, 8, dtype=torch.float32)
    conv_norm_act(x, conv, norm)
    variance = x.double().var(dim=(0, 2, 3))
    found = (norm.running_var.double() - 0.9) / 0.1
    assert torch.allclose(found, variance, rtol=1e-4, atol=0)  # from plain squares it is 3 % off


def test_what_is_no_number_is_not_hidden_by_the_relu():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0])
    x[0, 3, 1, 1] = float("nan")
    with in_format():
        out, _ = conv_norm_act(x.requires_grad_(), conv, norm, nn.ReLU())
    assert out.isnan().any()
    out.sum().backward()
    assert conv.weight.grad.isnan().any()


def test_a_layout_in_memory_changes_no_value():
    found = []
    for layout in (torch.channels_last, torch.contiguous_format):
        torch.manual_seed(0)
        conv, norm = layers(16, 32)
        conv = conv.to(memory_format=layout)
        x = noise(3, 16, 5, 6, dtype=FORMATS[0]).contiguous(memory_format=layout).requires_grad_()
        with in_format():
            out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        gradient = noise(*out.shape, dtype=FORMATS[0]).contiguous(memory_format=layout)
        out.backward(gradient)
        found.append([out, x.grad, conv.weight.grad, norm.weight.grad, norm.bias.grad])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_what_is_frozen_gets_no_gradient_and_passes_it_on():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = noise(2, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    gradients = []
    for frozen in (False, True):
        conv.requires_grad_(not frozen)
        norm.requires_grad_(not frozen)
        with in_format():
            out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        gradients += torch.autograd.grad(out.double().square().sum(), [x])
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


def test_there_is_no_second_derivative_and_that_is_said():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        out, _ = conv_norm_act(x, conv, norm)
    (first,) = torch.autograd.grad(out.double().square().sum(), [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def _with(change):
    """A convolution and a batch norm, changed."""
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    return change(conv, norm) or (conv, norm)


def _hooked(conv, norm):
    norm.register_forward_hook(lambda module, x, y: y * 2)


def _changed(**attributes):
    def change(conv, norm):
        for name, value in attributes.items():
            setattr(norm, name, value)

    return change


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


OTHERS = {
    "a bias": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=1), norm),
    "groups": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=1, groups=2, bias=False), norm),
    "dilation": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=2, dilation=2, bias=False), norm),
    "5x5": lambda conv, norm: (nn.Conv2d(16, 16, 5, padding=2, bias=False), norm),
    "no padding": lambda conv, norm: (nn.Conv2d(16, 16, 3, bias=False), norm),
    "padding in words": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding="same", bias=False), norm),
    "another padding": lambda conv, norm: (
        nn.Conv2d(16, 16, 3, padding=1, bias=False, padding_mode="circular"),
        norm,
    ),
    "stride 3": lambda conv, norm: (nn.Conv2d(16, 16, 3, 3, padding=1, bias=False), norm),
    "two strides": lambda conv, norm: (nn.Conv2d(16, 16, 3, (1, 2), padding=1, bias=False), norm),
    "channels": lambda conv, norm: (
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
    ),
    "many channels": lambda conv, norm: (
        nn.Conv2d(16, 128, 3, padding=1, bias=False),
        nn.BatchNorm2d(128),
    ),
    "a kind of convolution": lambda conv, norm: (Doubled(16, 16, 3, padding=1, bias=False), norm),
    "a kind of norm": lambda conv, norm: (conv, nn.SyncBatchNorm(16).eval()),
    "a hook": _hooked,
    "evaluation": _changed(training=False),
    "no momentum": _changed(momentum=None),
    "statistics left alone": _changed(track_running_stats=False),
    "statistics not counted": _changed(num_batches_tracked=None),
    "weights of a norm apart in memory": _changed(weight=nn.Parameter(torch.ones(16, 2)[:, 0])),
    "statistics apart in memory": _changed(running_mean=torch.zeros(16, 2)[:, 0]),
    "no statistics": lambda conv, norm: (conv, nn.BatchNorm2d(16, track_running_stats=False)),
    "no weights": lambda conv, norm: (conv, nn.BatchNorm2d(16, affine=False)),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_what_the_kernels_are_not_made_for_is_computed_as_usual(change):
    torch.manual_seed(0)
    conv, norm = _with(change)
    other_conv, other_norm = copy.deepcopy((conv, norm))
    x = torch.randn(3, 16, 7, 7).requires_grad_()
    out, again = conv_norm_act(x, conv, norm, nn.ReLU())
    assert again is x
    assert type(out.grad_fn).__name__ == "ReluBackward0"
    assert torch.allclose(out, F.relu(other_norm(other_conv(x))), atol=1e-6)
    for one, other in zip(norm.buffers(), other_norm.buffers(), strict=True):
        assert torch.allclose(one, other)


def gradients(way, wanted, out):
    """Those of a sum over what ``way`` makes of an output, weighed the same way each time."""
    values = way(out)
    torch.manual_seed(5)
    weights = torch.randn(values.shape, device=DEVICE)
    return torch.autograd.grad((values.float() * weights).sum(), wanted)


@pytest.mark.parametrize("where", ["gradient", "shortcut", "other"])
def test_maps_with_gaps_between_their_pixels_are_read_right(where):
    """Part of the channels of a map is laid out like a channels-last map, but for the gaps."""
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = noise(3, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    wide = noise(3, 32, 5, 5, dtype=FORMATS[0])
    wanted = [x, conv.weight, norm.weight]

    def beside(out):
        return torch.cat([wide[:, 16:], out, wide[:, 16:]], dim=1)

    def computed(shortcut):
        with in_format():
            out, again = conv_norm_act(x, conv, norm, nn.ReLU(), shortcut)
        if where == "gradient":
            return gradients(beside, wanted, out)
        if where == "other":
            return gradients(lambda out: beside(again) * beside(out), wanted, out)
        return [out, *gradients(lambda out: out, wanted, out)]

    def expected(shortcut):
        with in_format():
            out = norm(conv(x))
        out = F.relu(out if shortcut is None else out + shortcut)
        if where == "gradient":
            return gradients(beside, wanted, out)
        if where == "other":
            return gradients(lambda out: beside(x) * beside(out), wanted, out)
        return [out, *gradients(lambda out: out, wanted, out)]

    shortcut = wide[:, :16] if where == "shortcut" else None
    for found, reference in zip(computed(shortcut), expected(shortcut), strict=True):
        assert_near(found.detach(), reference.detach().double(), FORMATS[0])


def test_a_weight_that_is_part_of_a_larger_one_gets_its_own_gradient():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    whole = torch.randn(16, 32, 3, 3, device=DEVICE)
    conv.weight = nn.Parameter(whole[:, :16])
    x = noise(2, 16, 5, 5, dtype=FORMATS[0])
    with in_format():
        out, _ = conv_norm_act(x, conv, norm)
        expected = norm(conv(x))
    (found,) = gradients(lambda out: out, [conv.weight], out)
    (reference,) = gradients(lambda out: out, [conv.weight], expected)
    assert_near(found, reference.double(), FORMATS[0])


def test_where_y_is_not_used_its_weights_get_no_gradient():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        _, again = conv_norm_act(x, conv, norm)
    again.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert conv.weight.grad is None
    assert norm.weight.grad is None


@pytest.mark.skipif(DEVICE == "cuda", reason="of the CPU's formats")
def test_a_shortcut_of_another_format_is_added_as_usual():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = torch.randn(2, 16, 5, 5)
    with torch.autocast("cpu", dtype=torch.float16):
        out, _ = conv_norm_act(x, conv, norm, None, x)
        expected = copy.deepcopy(norm)(conv(x)) + x
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        (nn.Conv2d(32, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)),
        (nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(32)),
        (nn.Conv2d(16, 16, 3, padding=1, bias=False).double(), nn.BatchNorm2d(16)),
    ],
)
def test_what_does_not_go_together_is_refused_as_usual(conv, norm):
    with pytest.raises(RuntimeError):
        conv_norm_act(torch.randn(3, 16, 5, 5), conv, norm)


@pytest.mark.parametrize("act", [nn.ReLU6(), nn.LeakyReLU()])
def test_another_activation_is_computed_as_usual(act):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x = 10 * torch.randn(3, 16, 7, 7)
    expected = act(copy.deepcopy(norm)(conv(x)))
    assert torch.equal(conv_norm_act(x, conv, norm, act)[0], expected)


def test_a_shortcut_of_another_shape_is_added_as_usual():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x, shortcut = torch.randn(3, 16, 7, 7), torch.randn(16, 1, 1)
    expected = copy.deepcopy(norm)(conv(x)) + shortcut
    assert torch.equal(conv_norm_act(x, conv, norm, None, shortcut)[0], expected)


def test_one_pixel_is_refused_as_usual():
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        conv_norm_act(torch.randn(1, 16, 1, 1), conv, norm)
