"""A network tried out before it is trained: it must give logits, in training and in evaluation."""

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import logits_of
from kdzoo.errors import UserError
from kdzoo.peers.calls import mode, probe_batch

ROUNDING = 1e-3
"""How far the probabilities of one sample may be from a sum of 1, in any precision."""


@torch.no_grad()
def check_outputs(backbone: Backbone, network: nn.Module) -> None:
    """Make sure that a network gives logits [B, K] in both modes.

    Log-probabilities will do: they are logits whose softmax are the probabilities.

    Args:
        backbone: what built the network.
        network: it is run in both modes and left as it was.

    Raises:
        UserError: it does not run, its logits cannot be told, or they are probabilities.
    """
    x = probe_batch(network, backbone.input_size)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        for training in (False, True):
            try:
                with mode(network, training):
                    logits = logits_of(network(x), backbone.num_classes)
            except UserError as error:
                when = "training" if training else "evaluation"
                raise UserError(f"The backbone {backbone.name}, in {when}: {error}") from None
            except Exception as error:  # whatever a foreign network raises
                raise _does_not_run(backbone, error) from error
            finally:
                for name, value in network.named_buffers():
                    if name in buffers:  # training mode counts batches and moves averages
                        value.copy_(buffers[name])
            if not training and _are_probabilities(logits):
                raise UserError(
                    f"The backbone {backbone.name} returns probabilities, and every loss here "
                    "takes logits: a softmax of them would be taken again. Return what is given "
                    "to the softmax."
                )


def _are_probabilities(logits: Tensor) -> bool:
    sums = logits.sum(dim=1)
    return bool((logits >= 0).all() and ((sums - 1).abs() < ROUNDING).all())


def _does_not_run(backbone: Backbone, error: Exception) -> UserError:
    size = "x".join(map(str, backbone.input_size))
    reason = (str(error).rstrip(".") or type(error).__name__).splitlines()[0]
    return UserError(
        f"The backbone {backbone.name} does not run on inputs of {size} in training "
        f"({type(error).__name__}: {reason}). dataset.image_size=N gives it larger ones."
    )
