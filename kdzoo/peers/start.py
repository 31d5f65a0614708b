"""What peers start from: networks of their own that differ, even where their weights are given."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.seeding import derive

SMALL = 0.01
"""The standard deviation of a classifier that is drawn anew where the old one is constant."""


def separate(networks: Iterable[nn.Module]) -> list[nn.Module]:
    """The networks; of those that share a parameter or a buffer with an earlier one, copies.

    A person's function may return the same network each time, or build several around one module.
    """
    seen: set[int] = set()
    apart = []
    for network in networks:
        if any(id(tensor) in seen for tensor in _state(network)):
            network = copy.deepcopy(network)
        seen.update(map(id, _state(network)))
        apart.append(network)
    return apart


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def set_apart(networks: Sequence[nn.Module], classifiers: Sequence[str], seed: int) -> list[int]:
    """Draw the classifiers anew of all networks that start just as the first one does.

    From the same weights, the same batches and the same loss, they would stay equal for ever.

    Args:
        networks: changed in place.
        classifiers: the path of each one's classifier.
        seed: fixes the draws, from a normal distribution with the old weights' deviation.

    Returns:
        the indices of the networks whose classifiers are new.
    """
    new = [peer for peer in range(1, len(networks)) if _are_equal(networks[0], networks[peer])]
    for peer in new:
        generator = torch.Generator().manual_seed(derive(seed, "classifier", peer))
        classifier = networks[peer].get_submodule(classifiers[peer])
        with torch.no_grad():
            for parameter in classifier.parameters():
                if parameter.ndim > 1:
                    deviation = parameter.float().std().item() or SMALL
                    drawn = torch.randn(parameter.shape, generator=generator) * deviation
                    parameter.copy_(drawn)
    return new


def notes_on_start(
    backbones: Sequence[Backbone], networks: Sequence[nn.Module], new: Sequence[int]
) -> tuple[str, ...]:
    """A sentence on each thing that a person should know about the weights training starts from.

    Args:
        backbones: of the networks.
        networks: as they start.
        new: what :func:`set_apart` returned.
    """
    found = [one.start_of(network) for one, network in zip(backbones, networks, strict=True)]
    notes = list(dict.fromkeys(note for note in found if note))
    if new:
        peers = ", ".join(str(peer + 1) for peer in new)
        notes.append(
            f"All peers start from the same weights; the classifiers of peers {peers} are drawn "
            "anew, or they would stay equal."
        )
    return tuple(notes)


def _are_equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=False)
    return type(one) is type(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in pairs
    )
