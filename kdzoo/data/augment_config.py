"""The settings of augmentation, apart from what carries them out: a config needs no torch."""

from typing import Annotated

from pydantic import Field

from kdzoo.component import Config

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Padding = Annotated[int, Field(ge=0)]


class ColorJitterConfig(Config):
    """Each factor is drawn from [1 - s, 1 + s] for a strength s, but not below 0."""

    brightness: Strength = 0.0
    """Strength of the change in brightness."""
    contrast: Strength = 0.0
    """Strength of the change in contrast."""
    saturation: Strength = 0.0
    """Strength of the change in saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The farthest shift of the hue, as a part of the colour circle."""

    @property
    def changes(self) -> bool:
        """Whether anything is to be changed."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


class AugmentConfig(Config):
    """How training images are varied. Each data set has defaults of its own."""

    resized_crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Crop a random box of at least this part of the area and resize it, as for ImageNet (0.08)."""
    crop_padding: Padding = 4
    """Pad with so many black pixels on each side and crop back at random; 0 for none."""
    flip: Probability = 0.5
    """Probability of a horizontal flip."""
    color_jitter: ColorJitterConfig = ColorJitterConfig()
    """How far brightness, contrast, saturation and hue are changed."""
    cutout: Annotated[int, Field(ge=0)] = 0
    """Side, in pixels, of a square that is set to the mean colour; 0 for none."""
    random_erasing: Probability = 0.0
    """Probability of setting a random box of 2 to 33 % of the area to the mean colour."""
    mixup: Strength = 0.0
    """Alpha of the Beta distribution of mixup's weights; 0 for none."""
    cutmix: Strength = 0.0
    """Alpha of the Beta distribution of cutmix's areas; 0 for none. With mixup, one of both."""

    def changed(self, changes: "AugmentConfig") -> "AugmentConfig":
        """This one with what was set in ``changes``, be it to a default."""
        given = changes.model_dump(exclude_unset=True)
        jitter = {**self.color_jitter.model_dump(), **given.get("color_jitter", {})}
        return AugmentConfig.model_validate({**self.model_dump(), **given, "color_jitter": jitter})
