"""ShuffleNetV2 at CIFAR stride (Ma et al., ECCV 2018).

The ImageNet network with a stride-1 stem and without its max pooling, so that 32x32 images come
down to 4x4.
"""

import torch
from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import conv_bn, initialise
from kdzoo.registry import backbones

STEM = 24
BLOCKS = (4, 8, 4)


class ShuffleBlock(nn.Module):
    """Half of the channels pass, half are filtered, and both are shuffled together.

    [B, inputs, H, W] -> [B, outputs, H/stride, W/stride]; at stride 2 both halves see all channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.split = stride == 1
        self.branch1 = nn.Sequential()
        if not self.split:
            self.branch1 = nn.Sequential(
                conv_bn(inputs, inputs, 3, stride=stride, groups=inputs, activation=None),
                conv_bn(inputs, half, 1),
            )
        self.branch2 = nn.Sequential(
            conv_bn(half if self.split else inputs, half, 1),
            conv_bn(half, half, 3, stride=stride, groups=half, activation=None),
            conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        halves = x.chunk(2, dim=1) if self.split else [x, x]
        pair = torch.stack([self.branch1(halves[0]), self.branch2(halves[1])], dim=2)
        return pair.flatten(1, 2)  # channels of the two alternate: the shuffle


class ShuffleNetV2(ConvNet):
    """[B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        widths: of the three stages.
        head: of the convolution after them.
        num_classes: K.
        in_chans: the channels of an image.
    """

    def __init__(
        self, widths: tuple[int, int, int], head: int, num_classes: int, in_chans: int
    ) -> None:
        super().__init__(num_classes, in_chans)
        self.conv1 = conv_bn(in_chans, STEM, 3)
        inputs = (STEM, *widths[:-1])
        stages = [_stage(*sizes) for sizes in zip(BLOCKS, inputs, widths, strict=True)]
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2 = conv_bn(widths[-1], head, 1)
        ends = ("conv1", "layer1", "layer2", "layer3")
        channels = zip(ends, (STEM, *widths), strict=True)
        self.add_head(head, {end: (width, 2**i) for i, (end, width) in enumerate(channels)})
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.conv2(x)


def _stage(blocks: int, inputs: int, outputs: int) -> nn.Sequential:
    rest = (ShuffleBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(ShuffleBlock(inputs, outputs, 2), *rest)


@backbones.register("shufflenetv2")
def shufflenetv2(num_classes: int, in_chans: int = 3) -> nn.Module:
    """ShuffleNetV2 of width 1, 1.36M parameters."""
    return ShuffleNetV2((116, 232, 464), 1024, num_classes, in_chans)
