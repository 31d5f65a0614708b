"""The settings of a backbone, apart from what builds it: a config needs no torch."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator

from kdzoo.backbones.names import check_name
from kdzoo.component import Config, errors_at, has_home, validate
from kdzoo.identity import NotIdentity


class BackboneConfig(Config):
    """The network to train and deploy. A name alone is short for a config with that name."""

    name: str
    """A name of kdzoo's (`kdzoo list backbones`), `timm/NAME`, or `package.module:callable`."""

    kwargs: dict[str, Any] = {}
    """Keyword arguments passed through to the network, such as `drop_path_rate` or `img_size`."""

    split_at: str | int | float | None = None
    """The last stage that branched peers share: its name, its number (1 is the first), or a
    fraction of the stages; left out, it is the stage before the last."""

    classifier: str | None = None
    """The name of the classifier module; found by itself where left out."""

    # what is in it is the network's fingerprint
    weights: Annotated[str | None, AfterValidator(has_home), NotIdentity] = None
    """A file to start from, `.safetensors` or what `torch.save` wrote of a state dict: it must fit
    by names and shapes, but for a classifier of other classes, which is drawn anew."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_name(name)
        return name


def backbone_at(where: str, value: Any) -> BackboneConfig:
    """The backbone that a setting names.

    Args:
        where: the setting's name.
        value: a name, or settings.

    Raises:
        ConfigError: it is none, or a setting of it does not fit.
    """
    with errors_at(where):
        return validate(BackboneConfig, value)


def _optional(value: Any, info: ValidationInfo) -> BackboneConfig | None:
    return None if value is None else backbone_at(info.field_name or "backbone", value)


OptionalBackbone = Annotated[BackboneConfig | None, BeforeValidator(_optional)]
"""The field of a setting that names a backbone, or none."""
