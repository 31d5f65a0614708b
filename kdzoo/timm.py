"""Importing this module puts kdzoo's backbones into timm's model registry, as ``kdzoo_NAME``.

Then any tool that is built on timm can create a network that kdzoo has trained::

    import kdzoo.timm
    network = timm.create_model("kdzoo_resnet20", num_classes=10)
    network.load_state_dict(safetensors.torch.load_file("student.safetensors"), strict=True)

The prefix keeps them apart from timm's own: timm's ``vgg16`` is the ImageNet network.
"""

from collections.abc import Callable
from typing import Any

from timm.models import register_model
from torch import nn

from kdzoo.errors import UserError
from kdzoo.registry import backbones

PREFIX = "kdzoo_"
CIFAR10 = {
    "input_size": (3, 32, 32),
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}
"""What timm's data tools take for the networks' input unless they are told otherwise."""


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        num_classes: int = 10,
        in_chans: int = 3,
        **kwargs: Any,
    ) -> nn.Module:
        if pretrained:
            raise UserError(
                f"There are no pretrained weights of {PREFIX}{name}. Load those of a run with "
                "load_state_dict."
            )
        network = backbones.get(name)(num_classes, in_chans, **kwargs)
        network.num_classes = num_classes
        network.default_cfg = network.pretrained_cfg = {**CIFAR10, "num_classes": num_classes}
        return network

    create.__name__ = create.__qualname__ = f"{PREFIX}{name}"
    create.__doc__ = f"The network that kdzoo calls ``{name}``."
    return create


for _name in backbones.names():
    register_model(_entrypoint(_name))
