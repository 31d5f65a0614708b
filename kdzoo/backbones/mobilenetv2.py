"""MobileNetV2 at CIFAR stride (Sandler et al., CVPR 2018).

The ImageNet network with stride 1 in the stem and in the second stage, so that 32x32 images come
down to 4x4.
"""

from torch import Tensor, nn

from kdzoo.backbones.convnet import ConvNet
from kdzoo.backbones.layers import conv_bn, initialise
from kdzoo.registry import backbones

STEM = 32
HEAD = 1280
# of each stretch: expansion, output width, blocks, stride of the first
STRETCHES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow: [B, inputs, H, W] -> [B, outputs, H/s, W/s]."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [conv_bn(inputs, hidden, 1, activation=nn.ReLU6)] if expansion != 1 else []
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *widen,
            conv_bn(hidden, hidden, 3, stride=stride, groups=hidden, activation=nn.ReLU6),
            conv_bn(hidden, outputs, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(ConvNet):
    """[B, in_chans, H, W] -> logits [B, num_classes].

    Args:
        num_classes: K.
        in_chans: the channels of an image.
        drop_rate: of the dropout before the classifier.
    """

    def __init__(self, num_classes: int, in_chans: int, drop_rate: float) -> None:
        super().__init__(num_classes, in_chans)
        self.drop_rate = drop_rate
        self.conv1 = conv_bn(in_chans, STEM, 3, activation=nn.ReLU6)
        width = STEM
        stages = []
        for stretches in STRETCHES:
            blocks = []
            for expansion, outputs, count, first_stride in stretches:
                for i in range(count):
                    stride = 1 if i else first_stride
                    blocks.append(InvertedResidual(width, outputs, stride, expansion))
                    width = outputs
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.conv2 = conv_bn(width, HEAD, 1, activation=nn.ReLU6)
        widths = (stretches[-1][1] for stretches in STRETCHES)
        self.add_head(HEAD, {f"layer{i + 1}": (w, 2**i) for i, w in enumerate(widths)})
        initialise(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.conv2(x)


@backbones.register("mobilenetv2")
def mobilenetv2(num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> nn.Module:
    """MobileNetV2 of width 1, 2.35M parameters."""
    return MobileNetV2(num_classes, in_chans, drop_rate)
