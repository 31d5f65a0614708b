"""Importing this package puts kdzoo's backbones into timm's model registry, as ``kdzoo_NAME``.

Then any tool that is built on timm can create a network that kdzoo has trained::

    import kdzoo.timm
    network = timm.create_model("kdzoo_resnet20", num_classes=10)
    network.load_state_dict(safetensors.torch.load_file("student.safetensors"), strict=True)

The prefix keeps them apart from timm's own: timm's ``vgg16`` is the ImageNet network.
"""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import nn

from kdzoo.errors import UserError
from kdzoo.registry import backbones

PREFIX = "kdzoo_"
CIFAR10 = PretrainedCfg(
    input_size=(3, 32, 32),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    interpolation="bilinear",
    crop_pct=1.0,
    num_classes=10,
)
"""What timm's data tools take for the networks' input unless they are told otherwise."""

default_cfgs = generate_default_cfgs({f"{PREFIX}{name}": CIFAR10 for name in backbones.names()})
"""Where timm looks for what it is to know of the models that this module registers."""


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        features_only: bool = False,
        **kwargs: Any,
    ) -> nn.Module:
        cfg = resolve_pretrained_cfg(PREFIX + name, pretrained_cfg, pretrained_cfg_overlay)
        # a list where it comes out of JSON, which timm's onnx_export.py cannot add to a tuple
        channels, height, width = cfg.input_size
        cfg = replace(cfg, input_size=(channels, height, width))
        if pretrained and not (cfg.has_weights or cfg.state_dict):
            raise UserError(
                f"There are no pretrained weights of {PREFIX}{name}. Load those of a run with "
                "load_state_dict, or from the folder that kdzoo export RUN --format timm writes."
            )
        of_network = {key: kwargs.pop(key) for key in list(kwargs) if key not in OF_TIMM}
        kwargs = {"num_classes": cfg.num_classes, "in_chans": channels, **kwargs}
        network = _build(name, kwargs["num_classes"], kwargs["in_chans"], of_network)
        stages = len(getattr(network, "feature_info", ()))
        return build_model_with_cfg(
            lambda **_: network,
            PREFIX + name,
            pretrained,
            pretrained_cfg=_described(network, cfg).to_dict(),
            feature_cfg={"out_indices": tuple(range(stages))},
            cache_dir=cache_dir,
            features_only=features_only,
            **kwargs,
        )

    create.__name__ = create.__qualname__ = f"{PREFIX}{name}"
    create.__doc__ = f"The network that kdzoo calls ``{name}``."
    return create


OF_TIMM = frozenset(
    {"num_classes", "in_chans", "out_indices", "feature_cls", "pretrained_strict"}
    | {"pretrained_filter_fn", "pretrained_model_args"}
)
"""The arguments that timm carries out itself, apart from those that it always gives."""


def _build(name: str, num_classes: int, in_chans: int, kwargs: dict[str, Any]) -> nn.Module:
    function = backbones.get(name)
    drops = "drop_rate" in signature(function).parameters  # as it likes
    drop_rate = 0.0 if drops else kwargs.pop("drop_rate", 0.0)
    pool = kwargs.pop("global_pool", None)
    network = function(num_classes or 1, in_chans, **kwargs)
    resets_head = pool is not None or not num_classes
    if not hasattr(network, "reset_classifier"):  # a plugin's network need not be as timm's are
        if resets_head or drop_rate:
            raise UserError(
                f"{PREFIX}{name} takes no global_pool and no drop_rate, and has a classifier."
            )
        network.num_classes = num_classes
        return network
    if drop_rate:
        network.drop_rate = drop_rate
    if resets_head:
        network.reset_classifier(num_classes, pool)
    return network


def _described(network: nn.Module, cfg: PretrainedCfg) -> PretrainedCfg:
    """What timm wants to know of a network, added to what is known of its weights and data."""
    stages: Any = getattr(network, "feature_info", None)
    if not stages:
        return cfg
    convolutions = (name for name, m in network.named_modules() if isinstance(m, nn.Conv2d))
    _, height, width = cfg.input_size
    reduction = stages[-1]["reduction"]
    return replace(
        cfg,
        pool_size=(height // reduction, width // reduction),
        first_conv=next(convolutions),
        classifier="fc",
    )


for _name in backbones.names():
    register_model(_entrypoint(_name))
