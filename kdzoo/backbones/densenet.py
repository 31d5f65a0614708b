"""DenseNets for 32x32 images (Huang et al., "Densely Connected Convolutional Networks", CVPR 2017).

The variant with bottlenecks and compression (DenseNet-BC), which is what the online-distillation
papers mean by DenseNet-40-12: depth 40, growth rate 12. Initialised and cut as in their code: He et
al.'s normal distribution by fan-in, and a trunk that ends with the second transition.
"""

import torch
from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import conv3x3, initialise
from kdzoo.registry import backbones


class DenseLayer(nn.Module):
    """[B, inputs, H, W] -> [B, inputs + growth, H, W]: the input, and new features beside it."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv3x3(4 * growth, growth)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.bn1(x)))
        out = self.conv2(self.relu(self.bn2(out)))
        return torch.cat([x, out], dim=1)


class Transition(nn.Module):
    """[B, inputs, H, W] -> [B, inputs/2, H/2, W/2]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.relu(self.bn(x))))


class DenseNet(ConvNet):
    """[B, in_chans, H, W] -> logits [B, num_classes], for H and W from 4 up.

    Args:
        depth: 6n + 4, for n layers in each of the three blocks.
        growth: the channels that a layer adds.
        num_classes: K.
        in_chans: the channels of an image.
    """

    def __init__(self, depth: int, growth: int, num_classes: int, in_chans: int) -> None:
        super().__init__(num_classes, in_chans)
        layers = (depth - 4) // 6
        width = 2 * growth
        self.conv1 = conv3x3(in_chans, width)
        self.layer1 = _block(layers, width, growth)
        width += layers * growth
        self.transition1 = Transition(width)
        width //= 2
        stages = {"transition1": (width, 2)}
        self.layer2 = _block(layers, width, growth)
        width += layers * growth
        self.transition2 = Transition(width)
        width //= 2
        stages["transition2"] = (width, 4)
        self.layer3 = _block(layers, width, growth)
        width += layers * growth
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        # the transitions belong to the stages they end, so a cut comes after one, as published
        classifier = self.add_head(width, stages | {"layer3": (width, 4)})
        initialise(self, fan="fan_in")
        self.initialise_classifier(classifier)

    def initialise_classifier(self, classifier: nn.Linear) -> None:
        nn.init.zeros_(classifier.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.transition1(self.layer1(self.conv1(x)))
        x = self.transition2(self.layer2(x))
        return self.relu(self.bn1(self.layer3(x)))


def _block(layers: int, inputs: int, growth: int) -> nn.Sequential:
    return nn.Sequential(*(DenseLayer(inputs + i * growth, growth) for i in range(layers)))


@backbones.register("densenet40_12")
def densenet40_12(num_classes: int, in_chans: int = 3) -> nn.Module:
    """DenseNet-BC-40-12, 0.19M parameters."""
    return DenseNet(40, 12, num_classes, in_chans)


@backbones.register("densenet100_12")
def densenet100_12(num_classes: int, in_chans: int = 3) -> nn.Module:
    """DenseNet-BC-100-12, 0.80M parameters."""
    return DenseNet(100, 12, num_classes, in_chans)
