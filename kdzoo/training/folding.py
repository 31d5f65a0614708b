"""Batch norm folded into convolutions: in evaluation it is one more scale and shift of theirs.

A batch norm in evaluation mode that alone sees the output of a convolution computes what the
convolution could have computed with other weights. Which pairs are so is found out by watching all
operations of a forward pass. So it holds for any network, and what cannot be seen through stays as
it is.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

from kdzoo.backbones.logits import tensors
from kdzoo.peers.calls import mode

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ConvBatchNorm:
    """A convolution and the batch norm that alone sees its output.

    Attributes:
        conv: the convolution.
        norm: the batch norm.
        rest: what ``norm`` does after normalising, such as an activation.
        stand_ins: the convolution's weight and bias while it does the batch norm's part, in the
            same memory every time, as a captured evaluation needs them.
    """

    conv: nn.Conv2d
    norm: _BatchNorm
    rest: Forward
    stand_ins: dict[str, nn.Parameter] = field(default_factory=dict, compare=False, repr=False)


def find_foldable(network: nn.Module, run: Callable[[], Any]) -> list[ConvBatchNorm]:
    """The pairs in a network whose batch norm can be folded into the convolution.

    Args:
        network: it is left as it was.
        run: a forward pass of it on a few samples; that it returns a value is no use of it.
    """
    convs: list[Any] = [module for module in network.modules() if _is_plain(module)]
    norms: dict[Any, Forward] = {
        module: rest for module in network.modules() if (rest := _rest(module)) is not None
    }
    given: dict[Any, list[Tensor]] = defaultdict(list)
    made: dict[Any, list[Tensor]] = defaultdict(list)
    hooks = [norm.register_forward_pre_hook(partial(_keep_input, given)) for norm in norms]
    hooks += [conv.register_forward_hook(partial(_keep_output, made)) for conv in convs]
    watch = _Watch()
    try:
        with (
            mode(network, training=False),
            torch.inference_mode(False),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            watch,
        ):
            run()
    except Exception:  # whatever a foreign network cannot do while it is watched
        return []
    finally:
        for hook in hooks:
            hook.remove()
    seen_by = {_place(x[0]): norm for norm, x in given.items() if len(x) == 1}
    pairs = []
    for conv, y in made.items():
        norm = seen_by.get(_place(y[0]))
        if norm is None or len(y) > 1 or len(watch.uses(conv.weight)) > 1:
            continue
        if len(watch.uses(y[0])) == 1 and watch.uses(y[0]) == watch.uses(norm.running_mean):
            pairs.append(ConvBatchNorm(conv, norm, norms[norm]))
    return pairs


@contextmanager
def folded(pairs: Sequence[ConvBatchNorm]) -> Iterator[None]:
    """Compute without the batch norms of some pairs for a while, the same but for rounding.

    The parameters themselves do not change; others stand in for them until the end.
    """
    own = [dict(pair.conv._parameters) for pair in pairs]
    try:
        for pair in pairs:
            _fold(pair)
            pair.conv._parameters.update(pair.stand_ins)
            vars(pair.norm)["forward"] = pair.rest
        yield
    finally:
        for pair, parameters in zip(pairs, own, strict=True):
            pair.conv._parameters.update(parameters)
            vars(pair.norm).pop("forward", None)


@torch.inference_mode(False)  # what is made in it cannot be changed outside of it
@torch.no_grad()
def _fold(pair: ConvBatchNorm) -> None:
    """Weight and bias, rounded once: computed with a precision that the weights do not have."""
    conv, norm = pair.conv, pair.norm
    weight, bias = conv.weight, conv.bias
    precise = torch.float32 if weight.device.type == "mps" else torch.float64
    assert norm.running_mean is not None
    assert norm.running_var is not None
    folded_weight, folded_bias = fuse_conv_bn_weights(
        weight.to(precise),
        None if bias is None else bias.to(precise),
        norm.running_mean.to(precise),
        norm.running_var.to(precise),
        norm.eps,
        norm.weight,
        norm.bias,
    )
    for name, value in (("weight", folded_weight), ("bias", folded_bias)):
        kept = pair.stand_ins.get(name)
        if kept is not None and (kept.device, kept.dtype) == (weight.device, weight.dtype):
            kept.copy_(value)
        else:
            pair.stand_ins[name] = nn.Parameter(value.to(weight.dtype), requires_grad=False)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module convolves with its own weight, adds its bias and does nothing else."""
    kind: Any = type(module)
    if not isinstance(module, nn.Conv2d) or "forward" in vars(module):
        return False
    if not isinstance(module._parameters.get("weight"), Tensor):  # computed from others
        return False
    if module.weight.dtype not in (torch.float32, torch.float64):
        return False
    same = _timm_layer("Conv2dSame")
    if same is not None and kind.forward is same.forward:
        return True
    own = nn.Conv2d
    return kind.forward is own.forward and kind._conv_forward is own._conv_forward


def _rest(module: nn.Module) -> Forward | None:
    """What a batch norm does after normalising; None for what is no batch norm, or is unknown."""
    if not isinstance(module, _BatchNorm) or "forward" in vars(module):
        return None
    if module.running_mean is None or module.running_var is None:
        return None
    forward: Any = type(module).forward
    if forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
        return _nothing
    with_activation = _timm_layer("BatchNormAct2d")
    if with_activation is not None and forward is with_activation.forward:
        norm: Any = module
        return lambda x: norm.act(norm.drop(x))
    return None


def _nothing(x: Tensor) -> Tensor:
    return x


def _timm_layer(name: str) -> Any:
    """A class of timm's, which a network made of it implies to be loaded."""
    return getattr(sys.modules.get("timm.layers"), name, None)


def _keep_input(kept: dict[Any, list[Tensor]], norm: nn.Module, x: tuple[Any, ...]) -> None:
    if not norm.training:  # as some are always
        kept[norm].append(x[0])


def _keep_output(kept: dict[Any, list[Tensor]], conv: nn.Module, x: Any, y: Tensor) -> None:
    kept[conv].append(y)


class _Watch(TorchDispatchMode):
    """Notes which operations are given which memory, whatever views or names of it there are."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []  # or the place of one tensor would become that of another
        self._uses: dict[int, list[int]] = defaultdict(list)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported for that, which takes seconds

    def uses(self, tensor: Tensor | None) -> list[int]:
        """The numbers of the operations that were given any of the tensor's memory."""
        return [] if tensor is None else self._uses.get(_place(tensor), [])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = len(self._kept)
        for place in {_place(tensor) for tensor in tensors((args, kwargs))}:
            self._uses[place].append(operation)
        self._kept.append((args, kwargs, result))
        return result


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
