"""ResNets for 32x32 images (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016).

A 3x3 stem and three stages of 16, 32 and 64 planes, or four times as many; ResNet-18 has the four
stages of ImageNet's behind such a stem. Where a block changes the shape, its shortcut is a 1x1
convolution with batch norm (their option B), as in the code of the online-distillation papers; He
et al.'s own CIFAR networks pad with zeros instead (option A, 0.6% fewer parameters).
"""

from typing import Any

from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import add_blocks, conv3x3, initialise, projection
from kdzoo.registry import backbones


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, inputs, H, W] -> [B, planes, H/stride, W/stride]."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the output is four times as wide as ``planes``."""

    expansion = 4
    widen = 1
    """How many times ``planes`` the 3x3 convolution is wide."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        inner = planes * self.widen
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))


class ResNet(ConvNet):
    """x [B, in_chans, H, W] -> logits [B, num_classes], for H and W from 4 up.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        blocks: how many of them make a stage.
        num_classes: K.
        in_chans: the channels of an image.
        stem: the channels of the first convolution.
        planes: of the first stage; of the second and the third they are twice and four times that.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: int,
        num_classes: int,
        in_chans: int,
        stem: int = 16,
        planes: int = 16,
    ) -> None:
        super().__init__(num_classes, in_chans)
        width = planes * block.expansion
        self.conv1 = conv3x3(in_chans, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(block, blocks, stem, planes, stride=1)
        self.layer2 = _stage(block, blocks, width, 2 * planes, stride=2)
        self.layer3 = _stage(block, blocks, 2 * width, 4 * planes, stride=2)
        self.add_head(
            4 * width, {"layer1": (width, 1), "layer2": (2 * width, 2), "layer3": (4 * width, 4)}
        )
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def deepen(self, blocks: int) -> None:
        """Add blocks at the end of the last stage."""
        width = self.num_features
        block: Any = type(self.layer3[-1])
        planes = width // block.expansion
        add_blocks(self.layer3, (block(width, planes, 1) for _ in range(blocks)))


class FourStageResNet(ConvNet):
    """ImageNet's stages of 64, 128, 256 and 512 planes behind a 3x3 stem, without a pooling.

    Args:
        blocks: how many basic blocks make a stage.
        num_classes: K.
        in_chans: the channels of an image.
    """

    def __init__(self, blocks: int, num_classes: int, in_chans: int) -> None:
        super().__init__(num_classes, in_chans)
        self.conv1 = conv3x3(in_chans, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(BasicBlock, blocks, 64, 64, stride=1)
        self.layer2 = _stage(BasicBlock, blocks, 64, 128, stride=2)
        self.layer3 = _stage(BasicBlock, blocks, 128, 256, stride=2)
        self.layer4 = _stage(BasicBlock, blocks, 256, 512, stride=2)
        self.add_head(
            512, {"layer1": (64, 1), "layer2": (128, 2), "layer3": (256, 4), "layer4": (512, 8)}
        )
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def deepen(self, blocks: int) -> None:
        """Add blocks at the end of the last stage."""
        add_blocks(self.layer4, (BasicBlock(512, 512, 1) for _ in range(blocks)))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], blocks: int, inputs: int, planes: int, stride: int
) -> nn.Sequential:
    rest = (block(planes * block.expansion, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(inputs, planes, stride), *rest)


@backbones.register("resnet8")
def resnet8(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-8: 1 basic block a stage, 0.08M parameters."""
    return ResNet(BasicBlock, 1, num_classes, in_chans)


@backbones.register("resnet14")
def resnet14(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-14: 2 basic blocks a stage, 0.18M parameters."""
    return ResNet(BasicBlock, 2, num_classes, in_chans)


@backbones.register("resnet20")
def resnet20(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-20: 3 basic blocks a stage, 0.28M parameters."""
    return ResNet(BasicBlock, 3, num_classes, in_chans)


@backbones.register("resnet32")
def resnet32(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-32: 5 basic blocks a stage, 0.47M parameters."""
    return ResNet(BasicBlock, 5, num_classes, in_chans)


@backbones.register("resnet44")
def resnet44(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-44: 7 basic blocks a stage, 0.67M parameters."""
    return ResNet(BasicBlock, 7, num_classes, in_chans)


@backbones.register("resnet56")
def resnet56(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-56: 9 basic blocks a stage, 0.86M parameters."""
    return ResNet(BasicBlock, 9, num_classes, in_chans)


@backbones.register("resnet110")
def resnet110(num_classes: int, in_chans: int = 3) -> nn.Module:
    """The ResNet-110 of OKDDip, MCL-OKD and PCL: 12 bottlenecks a stage, 1.17M parameters.

    ONE's is ``resnet164``, FFL's ``resnet110_basic``.
    """
    return ResNet(Bottleneck, 12, num_classes, in_chans)


@backbones.register("resnet110_basic")
def resnet110_basic(num_classes: int, in_chans: int = 3) -> nn.Module:
    """He et al.'s ResNet-110, and FFL's: 18 basic blocks a stage, 1.74M parameters."""
    return ResNet(BasicBlock, 18, num_classes, in_chans)


@backbones.register("resnet164")
def resnet164(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-164, which ONE calls ResNet-110: 18 bottlenecks a stage, 1.73M parameters."""
    return ResNet(Bottleneck, 18, num_classes, in_chans)


@backbones.register("resnet18")
def resnet18(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ImageNet's ResNet-18 for 32x32: 2 basic blocks in each of 4 stages, 11.2M parameters."""
    return FourStageResNet(2, num_classes, in_chans)


@backbones.register("resnet8x4")
def resnet8x4(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-8 with stages four times as wide (stem 32), as in CRD's table: 1.23M parameters."""
    return ResNet(BasicBlock, 1, num_classes, in_chans, stem=32, planes=64)


@backbones.register("resnet32x4")
def resnet32x4(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ResNet-32 with stages four times as wide (stem 32), as in CRD's table: 7.43M parameters."""
    return ResNet(BasicBlock, 5, num_classes, in_chans, stem=32, planes=64)
