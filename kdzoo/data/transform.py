"""From bytes to what a network is given: augmentation and normalisation of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.data.augment import Augmentation, on_normalised, on_pixels
from kdzoo.data.augment_config import AugmentConfig
from kdzoo.data.batches import BatchSampler
from kdzoo.data.mixing import Mixing
from kdzoo.data.pipeline import DataInfo
from kdzoo.seeding import stream

Draws = dict[str, Tensor]
"""Random numbers [steps, V, B, R] of an epoch, or [V, B, R] of a batch, by augmentation."""

MIXING = "mixing"

LARGE = 2**20
"""Floats of an array for which numpy asks for huge pages: 4 MiB."""


class Normalise(nn.Module):
    """From bytes [B, H, W, C] to float32: pixels in [0, 1], less the mean, over the deviation.

    Args:
        size: (H, W) of the images, for which it is fast; (1, 1) for those of any size.
        mean: of each of the C channels.
        std: likewise.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        center, width = torch.tensor(mean), torch.tensor(std)
        # an image each, because broadcasting along three channels is slow
        shape = (*size, len(mean))
        self.register_buffer("scale", (1 / (255 * width)).expand(shape).contiguous())
        self.register_buffer("shift", (-center / width).expand(shape).contiguous())

    def forward(self, images: Tensor) -> Tensor:
        return self.in_place(images.to(torch.float32, copy=True))

    def in_place(self, x: Tensor) -> Tensor:
        """As called, but of float32, which is changed."""
        return x.mul_(self.scale).add_(self.shift)


def _float_copy(images: Tensor) -> Tensor:
    """As float32.

    To get small pages of new memory takes longer than to fill them. For a large array numpy asks
    for huge ones, and torch does not.
    """
    if images.device.type != "cpu" or images.numel() < LARGE:
        return images.to(torch.float32, copy=True)
    return torch.from_numpy(np.empty(images.shape, np.float32)).copy_(images)


class BatchTransform:
    """Augments and normalises batches of bytes.

    Args:
        info: gives the input size, mean, std and number of classes.
        configs: how to augment the views of a sample; with more views than these, they come round
            again. They mix samples alike.
        device: where the batches are.
        channels_last: the memory layout of the result.
    """

    def __init__(
        self,
        info: DataInfo,
        configs: Sequence[AugmentConfig],
        device: torch.device,
        channels_last: bool,
    ) -> None:
        self._chains = [(on_pixels(config), on_normalised(config)) for config in configs]
        mixes = configs[0].mixup or configs[0].cutmix
        self._mixing = Mixing(configs[0], info.num_classes, device) if mixes else None
        self._device = device
        self._channels_last = channels_last
        _, height, width = info.input_size
        self._normalise = Normalise((height, width), info.mean, info.std).to(device)

    def draws(self, sampler: BatchSampler, epoch: int, views: int) -> Draws:
        """All random numbers of an epoch for this process, moved to the device at once."""
        steps = [step for chain in self._chains for part in chain for step in part]
        numbers = {step.name: step.numbers for step in steps}
        draws = {name: sampler.uniform(name, epoch, views, n) for name, n in numbers.items()}
        if self._mixing:
            weights = self._mixing.draw(stream(sampler.seed, MIXING, epoch), sampler.used)
            draws[MIXING] = sampler.share(weights)[
                :, :, None
            ]  # one for all views, that share a label
        return {
            name: torch.from_numpy(drawn).transpose(1, 2).to(self._device)
            for name, drawn in draws.items()
        }

    def train(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """An augmented batch, x and y as :meth:`DataModule.train_batches` describes them.

        Args:
            images: uint8 [V, B, H, W, 3].
            labels: int64 [B].
            draws: of this batch.
        """
        V, several = len(images), len(self._chains)
        if several == 1:
            x = self._varied(images, draws, *self._chains[0])
        else:
            own = [{name: drawn[v : v + 1] for name, drawn in draws.items()} for v in range(V)]
            views = zip(images.split(1), own, strict=True)
            x = torch.cat(
                [self._varied(*view, *self._chains[v % several]) for v, view in enumerate(views)]
            )
        if self._mixing:
            mixed, targets = self._mixing.apply(x.unflatten(0, (V, -1)), labels, draws[MIXING][0])
            x, labels = mixed.flatten(0, 1), targets
        x = self._arrange(x)
        return (x if V == 1 else x.unflatten(0, (V, -1))), labels

    def _varied(
        self,
        images: Tensor,
        draws: Draws,
        on_pixels: Sequence[Augmentation],
        on_normalised: Sequence[Augmentation],
    ) -> Tensor:
        """Views [V, B, H, W, 3] augmented alike, normalised and one after the other."""
        x = images.flatten(0, 1)
        for step in on_pixels:
            x = step.apply(x, draws[step.name].flatten(0, 1))
        x = self._normalise.in_place(_float_copy(x))
        for step in on_normalised:
            x = step.apply(x, draws[step.name].flatten(0, 1))
        return x

    def eval(self, images: Tensor) -> Tensor:
        """Bytes [B, H, W, 3], normalised and otherwise as they are: float32 [B, 3, H, W]."""
        return self._arrange(self._normalise.in_place(_float_copy(images)))

    def _arrange(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        return x if self._channels_last else x.contiguous()
