"""What inductor, torch.compile's compiler, is told so that its code trains fast on CPUs."""

from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.utils.checkpoint import CheckpointPolicy

aten = torch.ops.aten

COMPARISONS = (aten.le.Scalar, aten.lt.Scalar, aten.ge.Scalar, aten.gt.Scalar)
COMBINATIONS = (aten.bitwise_or.Tensor, aten.bitwise_and.Tensor, aten.logical_and.default)


class RecomputeMasks(CustomGraphPass):
    """Where an activation was cut off is computed again in the backward pass, not kept.

    To save memory, inductor keeps the gradient's mask of an activation as booleans where nothing
    else keeps the activation, as of the last ReLU before the pooling. Its vector code reads and
    writes booleans one by one: at [128, 64, 8, 8] in bfloat16 such a kernel took 6.6 ms in
    place of 0.7 (docs/performance.md). Now the activation itself is kept, or what it comes from.
    Masks that are random are left alone: they cannot be computed again.
    """

    def __call__(self, graph: fx.Graph) -> None:
        for node in graph.nodes:
            if _is_mask(node):
                node.meta["recompute"] = CheckpointPolicy.PREFER_RECOMPUTE

    def uuid(self) -> Any:
        return get_hash_for_files((__file__,))


def _is_mask(node: fx.Node) -> bool:
    """Whether it compares what an activation was given or gave, or combines such comparisons."""
    inputs = node.all_input_nodes
    if node.target in COMPARISONS:
        return not any(map(_is_random, inputs))
    return node.target in COMBINATIONS and all(map(_is_mask, inputs))


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


CPU_OPTIONS: dict[str, Any] = {
    "joint_custom_post_pass": RecomputeMasks(),
    # A variance in two passes over the data, which vectors are faster at than at Welford's
    # algorithm in one, a chain of divisions; torch's own default is that for up to 1,024 numbers.
    "cpp.use_two_step_variance_threshold": 2**62,
}
"""For :func:`torch._inductor.compile_fx.compile_fx`, where the code is to run on a CPU."""
