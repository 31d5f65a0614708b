"""Wide residual networks (Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016).

WRN-d-k: depth d, k times the width of a CIFAR ResNet; batch norm and ReLU come before each
convolution. The WRN-20-8 of the online-distillation papers is another network: a ResNet-20 of
bottlenecks whose 3x3 convolutions are 8 times as wide.
"""

from typing import Any

from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import add_blocks, conv3x3, initialise
from kdzoo.backbones.resnet import Bottleneck, ResNet
from kdzoo.registry import backbones


class WideBlock(nn.Module):
    """[B, inputs, H, W] -> [B, planes, H/stride, W/stride]."""

    def __init__(self, inputs: int, planes: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.dropout = nn.Dropout(drop_rate)
        self.conv2 = conv3x3(planes, planes)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride != 1 or inputs != planes:
            self.shortcut = nn.Conv2d(inputs, planes, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        out = self.relu(self.bn2(self.conv1(active)))
        out = self.conv2(self.dropout(out))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(ConvNet):
    """[B, in_chans, H, W] -> logits [B, num_classes], for H and W from 4 up.

    Args:
        depth: d = 6n + 4, for n blocks a stage.
        widen: k.
        num_classes: K.
        in_chans: the channels of an image.
        drop_rate: of the dropout between the convolutions of a block.
    """

    def __init__(
        self, depth: int, widen: int, num_classes: int, in_chans: int, drop_rate: float
    ) -> None:
        super().__init__(num_classes, in_chans)
        blocks = (depth - 4) // 6
        width = 16 * widen
        self.conv1 = conv3x3(in_chans, 16)
        self.layer1 = _stage(blocks, 16, width, 1, drop_rate)
        self.layer2 = _stage(blocks, width, 2 * width, 2, drop_rate)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, 2, drop_rate)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.add_head(
            4 * width, {"layer1": (width, 1), "layer2": (2 * width, 2), "layer3": (4 * width, 4)}
        )
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.relu(self.bn1(x))

    def deepen(self, blocks: int) -> None:
        """Add blocks at the end of the last stage."""
        width = self.num_features
        last: Any = self.layer3[-1]
        more = (WideBlock(width, width, 1, last.dropout.p) for _ in range(blocks))
        add_blocks(self.layer3, more)


class WideBottleneck(Bottleneck):
    """A bottleneck whose 3x3 convolution is 8 times as wide."""

    widen = 8


def _stage(blocks: int, inputs: int, planes: int, stride: int, drop_rate: float) -> nn.Sequential:
    rest = (WideBlock(planes, planes, 1, drop_rate) for _ in range(blocks - 1))
    return nn.Sequential(WideBlock(inputs, planes, stride, drop_rate), *rest)


@backbones.register("wrn16_2")
def wrn16_2(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """WRN-16-2, 0.70M parameters."""
    return WideResNet(16, 2, num_classes, in_chans, drop_rate)


@backbones.register("wrn28_2")
def wrn28_2(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """WRN-28-2, 1.48M parameters."""
    return WideResNet(28, 2, num_classes, in_chans, drop_rate)


@backbones.register("wrn40_2")
def wrn40_2(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """WRN-40-2, 2.26M parameters."""
    return WideResNet(40, 2, num_classes, in_chans, drop_rate)


@backbones.register("wrn40_1")
def wrn40_1(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """WRN-40-1, 0.57M parameters."""
    return WideResNet(40, 1, num_classes, in_chans, drop_rate)


@backbones.register("wrn20_8")
def wrn20_8(num_classes: int, in_chans: int = 3) -> nn.Module:
    """The WRN-20-8 of OKDDip (AAAI 2020): 2 wide bottlenecks a stage, 6.87M parameters."""
    return ResNet(WideBottleneck, 2, num_classes, in_chans)


@backbones.register("wrn28_10")
def wrn28_10(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """WRN-28-10, 36.5M parameters."""
    return WideResNet(28, 10, num_classes, in_chans, drop_rate)
