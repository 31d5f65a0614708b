"""Activation checkpointing: blocks keep their input, and are computed again in the backward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, with torch.utils.checkpoint. The
gradients and the running statistics are, bit by bit, those of a training without it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from kdzoo.errors import ConfigError
from kdzoo.peers.calls import mode, probe_batch
from kdzoo.peers.group import PeerGroup

WHERE = ("training", "checkpointing")


def checkpoint_blocks(peers: PeerGroup) -> list[str]:
    """Let the blocks of the peers' networks be computed again in the backward pass.

    A block is a module that is made of layers, such as a residual block, and not of further blocks.
    What lies outside of blocks, such as the stem, keeps its activations.

    Args:
        peers: on the CPU. Afterwards its blocks have a ``forward`` of their own; the names of its
            parameters stay. A training step is tried out before and after.

    Returns:
        the paths of the blocks.

    Raises:
        ConfigError: there are no blocks, or they cannot be computed again.
    """
    name = peers.backbones[0].name
    without = _step(peers)
    blocks = _find_blocks(peers)
    if not blocks:
        raise ConfigError(
            f"{name} has no blocks, modules made of several layers, that could be computed again. "
            "Put its layers into modules, nn.Sequential for one, or leave it out.",
            WHERE,
        )
    for path in blocks:
        block = peers.get_submodule(path)
        object.__setattr__(block, "forward", partial(_forward, block, block.forward))
    try:
        with_it = _step(peers)
    except Exception as error:  # whatever a foreign network raises when it is run twice
        raise _cannot(name, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    if not all(map(torch.equal, without, with_it)):
        raise _cannot(name, "its gradients or its buffers are other ones")
    return blocks


def _cannot(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"The blocks of {name} cannot be computed a second time ({reason}). Leave it out.", WHERE
    )


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    buffers = [
        (owner, name, buffer.clone())
        for owner in block.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    # a list that a block is given may be a longer one later
    leaves, spec = pytree.tree_flatten((args, kwargs))

    def run(*leaves: Any) -> Any:
        args, kwargs = pytree.tree_unflatten(list(leaves), spec)
        return forward(*args, **kwargs)

    return checkpoint(
        run,
        *leaves,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _as_they_were(buffers)),
    )


@contextmanager
def _as_they_were(buffers: list[tuple[nn.Module, str, Tensor]]) -> Iterator[None]:
    """Compute with the buffers of the first time; what that makes of them is forgotten.

    Batch norm would move its running averages twice a step; spectral norm would divide by another
    norm than the first time.
    """
    present = [owner._buffers[name] for owner, name, _ in buffers]
    for owner, name, before in buffers:
        owner._buffers[name] = before.clone()
    try:
        yield
    finally:
        for (owner, name, _), buffer in zip(buffers, present, strict=True):
            owner._buffers[name] = buffer


def _find_blocks(peers: PeerGroup) -> list[str]:
    """The paths of the outermost blocks that a forward pass calls, in its order."""
    inside, overwriting = _calls_inside(peers)
    modules = dict(peers.named_modules())

    def holds_blocks(path: str) -> bool:
        """Whether there is a list of modules below that are more than layers in a row."""
        lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        below = (other for other in inside if other.startswith(f"{path}."))
        return any(
            isinstance(modules[other.rpartition(".")[0]], lists)
            and not isinstance(modules[other], nn.Sequential)
            for other in below
        )

    def is_watched(path: str) -> bool:
        """Whether a module below has hooks, which would be called twice."""
        return any(
            module._forward_hooks or module._forward_pre_hooks
            for name, module in modules[path].named_modules()
            if name
        )

    def blocks(caller: str) -> Iterator[str]:
        for path in inside[caller]:
            if path not in inside:
                continue  # a layer
            can = not (
                path in overwriting
                or is_watched(path)
                or isinstance(modules[path], torch.jit.ScriptModule)
            )
            is_part = caller == ""  # a trunk, a branch or a peer
            if can and not is_part and not holds_blocks(path):
                yield path
            else:
                yield from blocks(path)

    return list(dict.fromkeys(blocks("")))


def _calls_inside(peers: PeerGroup) -> tuple[dict[str, list[str]], set[str]]:
    """What a forward pass of the peers calls.

    Returns:
        the modules that each module calls, by path, in order; "" is the group itself. And the
        modules that change their input in place, which is then not there for a second time.
    """
    inside: dict[str, list[str]] = {}
    overwriting: set[str] = set()
    calls: list[tuple[str, list[tuple[Tensor, int]]]] = []

    def enter(path: str, module: nn.Module, args: Any) -> None:
        if calls:
            inside.setdefault(calls[-1][0], []).append(path)
        tensors = [one for one in pytree.tree_leaves(args) if isinstance(one, Tensor)]
        calls.append((path, [(tensor, tensor._version) for tensor in tensors]))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        path, given = calls.pop()
        if any(tensor._version != version for tensor, version in given):
            overwriting.add(path)

    hooks = []
    for path, module in peers.named_modules():
        hooks.append(module.register_forward_pre_hook(partial(enter, path)))
        hooks.append(module.register_forward_hook(leave))
    try:
        peers.example()
    finally:
        for hook in hooks:
            hook.remove()
    return inside, overwriting


def _step(peers: PeerGroup) -> list[Tensor]:
    """The outputs, the buffers and the gradients of a training step, which leaves no trace."""
    x = probe_batch(peers, peers.backbones[0].input_size)
    before = [(buffer, buffer.clone()) for buffer in peers.buffers()]
    trained = [parameter for parameter in peers.parameters() if parameter.requires_grad]
    with mode(peers, training=True), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        said = [one for one in pytree.tree_leaves(vars(peers(x))) if isinstance(one, Tensor)]
        buffers = [buffer.clone() for buffer in peers.buffers()]
        loss = torch.stack([one.float().square().mean() for one in said]).sum()
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    for buffer, was in before:
        buffer.copy_(was)
    found = [one.detach() for one in said]
    return [*found, *buffers, *(one for one in gradients if one is not None)]
