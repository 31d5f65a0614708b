"""VGG with batch norm for 32x32 images (Simonyan & Zisserman, ICLR 2015).

The variant of MCL-OKD (Yang et al., "Multi-View Contrastive Learning for Online Knowledge
Distillation", ICASSP 2021): one linear classifier on the 512 features that the last max pooling
leaves, in place of the three linear layers of the ImageNet network, which OKDDip's VGG-16 keeps.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import initialise
from kdzoo.registry import backbones

WIDTHS = (64, 128, 256, 512, 512)


class VGG(ConvNet):
    """[B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        convolutions: how many each of the five stages has; a stage ends with a 2x2 max pooling,
            which is left out where the map has come down to one pixel.
        num_classes: K.
        in_chans: the channels of an image.
    """

    def __init__(self, convolutions: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__(num_classes, in_chans)
        inputs = (in_chans, *WIDTHS[:-1])
        layers = [_stage(*sizes) for sizes in zip(inputs, WIDTHS, convolutions, strict=True)]
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = layers
        # the pooling is of a single pixel at 32x32 and below
        stages = {f"layer{i}": (width, 2**i) for i, width in enumerate(WIDTHS, 1)}
        classifier = self.add_head(WIDTHS[-1], stages)
        initialise(self)
        self.initialise_classifier(classifier)

    def initialise_classifier(self, classifier: nn.Linear) -> None:
        nn.init.normal_(classifier.weight, 0, 0.01)
        nn.init.zeros_(classifier.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.layer5(self.layer4(x))


def _stage(inputs: int, width: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        # the bias does nothing before batch norm, but it is part of VGG's published size
        layers += [
            nn.Conv2d(width if i else inputs, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    # ceil_mode keeps a 1x1 map as it is, so that images of 8x8 pass as well
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))


@backbones.register("vgg16")
def vgg16(num_classes: int, in_chans: int = 3) -> nn.Module:
    """VGG-16 with batch norm, 14.77M parameters."""
    return VGG((2, 2, 3, 3, 3), num_classes, in_chans)


@backbones.register("vgg19")
def vgg19(num_classes: int, in_chans: int = 3) -> nn.Module:
    """VGG-19 with batch norm, 20.09M parameters."""
    return VGG((2, 2, 4, 4, 4), num_classes, in_chans)
