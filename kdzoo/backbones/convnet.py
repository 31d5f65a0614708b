"""What kdzoo's networks have in common, under the names that timm's models have it by.

So whatever is written for timm's models, such as its scripts, takes ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdzoo.backbones.layers import GlobalAvgPool
from kdzoo.errors import UserError

PREVIOUS = 99999
"""What timm takes for "in the same layer as what comes before"."""


class ConvNet(nn.Module, ABC):
    """[B, in_chans, H, W] -> logits [B, num_classes]: features, a pooling, a classifier.

    A network defines its layers in the order in which they run, those of a stage in a sequence
    whose name begins with ``layer``, then calls :meth:`add_head`.

    Attributes:
        num_classes: K; 0 where the classifier was taken off.
        in_chans: the channels of an image.
        num_features: the channels of what :meth:`forward_features` returns.
        head_hidden_size: D, the width of what the classifier is given.
        global_pool: the kind of the pooling.
        drop_rate: of the dropout before the classifier.
        feature_info: where each stage ends, its channels, and how many times smaller its maps are
            than the image.

    Args:
        num_classes: K.
        in_chans: the channels of an image.
    """

    num_features: int
    head_hidden_size: int
    global_pool: str

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = 0.0
        self.feature_info: list[dict[str, Any]] = []

    def add_head(self, num_features: int, stages: Mapping[str, tuple[int, int]]) -> nn.Linear:
        """Add the pooling and the classifier, which come last.

        Args:
            num_features: the channels of the last map.
            stages: for the module that ends each stage, its channels and its reduction.

        Returns:
            the classifier, with weights as PyTorch draws them.
        """
        self.feature_info = [
            {"module": module, "num_chs": channels, "reduction": reduction}
            for module, (channels, reduction) in stages.items()
        ]
        self.num_features = self.head_hidden_size = num_features
        self.global_pool = "avg"
        self.avgpool: nn.Module = GlobalAvgPool()
        classifier = nn.Linear(num_features, self.num_classes)
        self.fc: nn.Module = classifier
        return classifier

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Images [B, in_chans, H, W] -> the last map [B, num_features, h, w]."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map -> logits [B, K] or, with ``pre_logits``, what the classifier is given."""
        x = self.avgpool(x)
        if self.drop_rate:
            x = functional.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The classifier; ``nn.Identity`` where it was taken off."""
        return self.fc

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a new classifier, drawn as its first one was.

        Args:
            num_classes: K; 0 for none, so that the network returns what a classifier is given.
            global_pool: another pooling, by timm's name; "" for none, which goes without a
                classifier only.

        Raises:
            UserError: there is no such pooling, or a classifier is to be given maps.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if num_classes and not pool:
            raise UserError("A classifier needs a pooling: global_pool='' goes with num_classes=0.")
        if pool != self.global_pool:
            self.avgpool, widening = _pooling(pool)
            self.head_hidden_size = self.num_features * widening
        like = next(self.parameters())
        self.fc = nn.Identity()
        if num_classes:
            classifier = nn.Linear(self.head_hidden_size, num_classes).to(like.device, like.dtype)
            self.initialise_classifier(classifier)
            self.fc = classifier
        self.num_classes, self.global_pool = num_classes, pool

    def initialise_classifier(self, classifier: nn.Linear) -> None:
        """Draw a classifier's weights, where the network's do not start as PyTorch's do."""

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse what timm's models offer by this name: batch norm would count batches twice.

        Raises:
            UserError: it is to be switched on.
        """
        if enable:
            raise UserError(
                "kdzoo's networks have no gradient checkpointing of their own. In a run, "
                "training.checkpointing=true does it, without counting a batch twice."
            )

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[int, ...]]:
        """Tells the layer of a parameter, or of a module, by its name, in the order of the data.

        Args:
            coarse: a stage is one layer, and not each of its blocks.
        """
        depth: dict[str, int] = {}
        stages = 0
        for name, _ in self.named_children():
            stages += name.startswith("layer") or name == "fc"
            depth[name] = stages

        def layer(name: str) -> tuple[int, ...]:
            child, _, inside = name.partition(".")
            if coarse or not depth[child] or child == "fc":
                return (depth[child],)
            block = inside.partition(".")[0] if child.startswith("layer") else PREVIOUS
            return depth[child], int(block)

        return layer


def _pooling(kind: str) -> tuple[nn.Module, int]:
    """A pooling by timm's name, and how many times more features it gives than there are maps."""
    if kind in ("", "avg"):
        return (GlobalAvgPool() if kind else nn.Identity()), 1
    from timm.layers import SelectAdaptivePool2d  # slow to import, and seldom wanted

    try:
        pool = SelectAdaptivePool2d(pool_type=kind, flatten=True)
    except AssertionError as error:
        raise UserError(f"global_pool: {error}. Try avg, max, avgmax or catavgmax.") from None
    return pool, pool.feat_mult()
