"""VGG with batch norm for 32x32 images (Simonyan & Zisserman, ICLR 2015).

As in the online-distillation papers: one linear classifier on the 512 pooled features in place of
the three layers of the ImageNet network.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kdzoo.backbones.layers import initialise
from kdzoo.registry import backbones

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """[B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        convolutions: how many each of the five stages has; from the second on, a stage starts with
            a 2x2 max pooling, which is left out where the map has come down to one pixel.
        num_classes: K.
        in_chans: the channels of an image.
    """

    def __init__(self, convolutions: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__()
        inputs = (in_chans, *WIDTHS[:-1])
        stages = [_stage(*sizes) for sizes in zip(inputs, WIDTHS, convolutions, strict=True)]
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages
        # ceil_mode keeps a 1x1 map as it is, so that images of 8x8 pass as well
        self.maxpool = nn.MaxPool2d(2, ceil_mode=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        x = self.layer2(self.maxpool(x))
        x = self.layer3(self.maxpool(x))
        x = self.layer4(self.maxpool(x))
        x = self.layer5(self.maxpool(x))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(inputs: int, width: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        # the bias does nothing before batch norm, but it is part of VGG's published size
        layers += [
            nn.Conv2d(width if i else inputs, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


@backbones.register("vgg16")
def vgg16(num_classes: int, in_chans: int = 3) -> nn.Module:
    """VGG-16 with batch norm, 14.77M parameters at 100 classes."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_chans)


@backbones.register("vgg19")
def vgg19(num_classes: int, in_chans: int = 3) -> nn.Module:
    """VGG-19 with batch norm, 20.09M parameters at 100 classes."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_chans)
