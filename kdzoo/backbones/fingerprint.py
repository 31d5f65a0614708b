"""What stands for a backbone: its weights' names and shapes and, of a person's own, its code."""

from dataclasses import dataclass

import torch
from torch import nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.builders import find_builder
from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.create import BackboneLike, as_backbone
from kdzoo.fingerprint import content, digest_of, fingerprint, is_known, pattern_fingerprint


@dataclass(frozen=True)
class BackboneFingerprint:
    """What stands for a backbone.

    Attributes:
        tensors: a digest of the names, shapes and types of parameters and buffers.
        start: a digest of the parameters that are the same whatever the seed, such as those that
            are loaded from a file; None where a network's name and its seed decide all of them.
        code: a digest of the code of a network that is neither kdzoo's nor timm's.
    """

    tensors: str
    start: str | None = None
    code: str | None = None

    def difference(self, other: "BackboneFingerprint") -> str | None:
        """What is other in ``other``, in words; None where they are equal."""
        if self.code != other.code:
            return "other code"
        if self.tensors != other.tensors:
            return "weights of other names or shapes"
        return None if self.start == other.start else "other weights to start from"


def backbone_fingerprint(
    given: BackboneLike, num_classes: int, input_size: tuple[int, int, int]
) -> BackboneFingerprint:
    """The fingerprint of a backbone, which is built for it.

    Args:
        given: what stands for the backbone.
        num_classes: K.
        input_size: (C, H, W) of one image.

    Raises:
        UserError: as :func:`~kdzoo.backbones.create.as_backbone`.
    """
    if isinstance(given, str):
        given = BackboneConfig(name=given)
    backbone = as_backbone(given, num_classes, input_size)
    network = backbone.build(seed=0)
    code = _code(given, network)
    configured = isinstance(given, BackboneConfig) and not (given.kwargs or given.weights or code)
    start = None if configured else _same_for_every_seed(backbone, network)
    return BackboneFingerprint(_tensors(network), start, code)


def _code(given: BackboneLike, network: nn.Module) -> str | None:
    if isinstance(given, BackboneConfig):
        named = find_builder(given.name)
        return None if is_known(named) else fingerprint(named, pattern_fingerprint(network))
    if isinstance(given, nn.Module):
        return pattern_fingerprint(given)
    builder = given.network if isinstance(given, Backbone) else given
    return fingerprint(builder, pattern_fingerprint(network))


def _tensors(network: nn.Module) -> str:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return digest_of({name: [list(one.shape), str(one.dtype)] for name, one in tensors})


def _same_for_every_seed(backbone: Backbone, network: nn.Module) -> str:
    other = dict(backbone.build(seed=1).named_parameters())
    return digest_of(
        {
            name: content(tensor)
            for name, tensor in network.named_parameters()
            if name in other and torch.equal(tensor, other[name])
        }
    )
