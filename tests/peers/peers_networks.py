"""Small networks, each with something that makes it hard to cut or to look into."""

import torch
from torch import nn
from torch.nn import functional as F

from kdzoo.backbones.create import backbone_from_module

CLASSES = 5
SIZE = (3, 8, 8)


def block(inputs, outputs, stride=2):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Plain(nn.Module):
    """Three stages and a head, with dropout before and after the cut."""

    def __init__(self, num_classes=CLASSES, width=4):
        super().__init__()
        self.layer1 = block(3, width, 1)
        self.layer2 = block(width, 2 * width)
        self.layer3 = block(2 * width, 4 * width)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x):
        x = self.layer2(F.dropout(self.layer1(x), 0.2, self.training))
        x = self.layer3(x)
        return self.head(self.drop(x.mean((2, 3))))


class Skip(Plain):
    """Two tensors cross the cut."""

    def __init__(self):
        super().__init__()
        self.across = nn.Conv2d(4, 16, 1, 4)

    def forward(self, x):
        first = self.layer1(x)
        x = self.layer3(self.layer2(first)) + self.across(first)
        return self.head(x.mean((2, 3)))


class OverwritesTrunk(nn.Module):
    """The branch starts with an in-place activation of the trunk's output."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Conv2d(3, 4, 3, 2, 1)
        self.layer2 = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 2, 1))
        self.shortcut = nn.Conv2d(4, 4, 1, 2)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.layer1(x)
        x = self.layer2(x) + self.shortcut(x)
        return self.head(x.mean((2, 3)))


class Sizes(Plain):
    """Branches on the map's size, unpacks it and carries the number of samples across the cut."""

    def forward(self, x):
        samples = x.shape[0]
        x = self.layer2(self.layer1(x))
        size = x.shape[2:]
        if size[0] % 2 == 0:
            x = x * 2
        for axis in range(len(size)):
            x = x.roll(1, axis + 2)
        x = x.reshape(samples, -1, *size)
        return self.head(self.layer3(x).reshape(samples, 16, -1).mean(2))


class Modes(Plain):
    """Computes something else in training than in evaluation."""

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        if self.training:
            x = x + torch.tensor([0.25])
        return self.head(self.layer3(x).mean((2, 3)))


class Unused(Plain):
    """Has weights that no input ever meets, and one name more for some that are met."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)
        self.alias = self.layer1


class Tokens(nn.Module):
    """A small transformer [B, N, C] with a class token and a position embedding that it cuts."""

    def __init__(self, width=8, depth=6):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 20, width) * 0.02)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, 2, 16, 0.1, batch_first=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.blocks(x + self.position[:, : x.shape[1]])
        return self.head(self.norm(x)[:, 0])


class ChannelsLast(nn.Module):
    """Maps as [B, h, w, C]."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 2, 2)
        self.layer1 = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))
        self.reduce = nn.Linear(24, 10)
        self.layer2 = nn.Sequential(nn.Linear(10, 10), nn.GELU(), nn.Linear(10, 10))
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x):
        x = self.layer1(self.embed(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        return self.head(self.layer2(self.reduce(x)).mean((1, 2)))


class ConvHead(Plain):
    """Classifies by a 1x1 convolution on the whole map, before pooling."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, x):
        return self.head(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Repeated(Plain):
    """Uses a layer with weights before and after its second stage."""

    def __init__(self):
        super().__init__()
        self.scale = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.layer2(self.scale(self.layer1(x)))
        x = torch.cat([self.scale(x[:, :4]), x[:, 4:]], dim=1)
        return self.head(self.layer3(x).mean((2, 3)))


class DataDependent(Plain):
    """Cannot be traced: what it does depends on what it sees."""

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        if x.mean() > 0:
            x = x + 1
        return self.head(self.layer3(x).mean((2, 3)))


CUTTABLE = [
    Plain, Skip, OverwritesTrunk, Sizes, Modes, Unused, Tokens, ChannelsLast, ConvHead
]  # fmt: skip


def backbone(network, **kwargs):
    return backbone_from_module(network, CLASSES, SIZE, **kwargs)


def batch(samples=4, seed=0):
    return torch.randn(samples, *SIZE, generator=torch.Generator().manual_seed(seed))
