"""The settings of distillation from teachers that are trained before."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, field_validator, model_validator

from kdzoo.backbones.config import OptionalBackbone
from kdzoo.component import has_home
from kdzoo.errors import ConfigError
from kdzoo.feature_terms.settings import FeatureTermChoice
from kdzoo.identity import NotAtDefault, NotIdentity
from kdzoo.methods.config import SoftenedConfig
from kdzoo.registry import methods

if TYPE_CHECKING:
    from kdzoo.methods.teachers import TeacherLike


def _network(value: Any) -> Any:
    torch = sys.modules.get("torch")  # without it there are no networks
    if torch is None or not isinstance(value, torch.nn.Module):
        raise ValueError("This is no network.")
    return value


def _as_text(teacher: "TeacherLike") -> str:
    """In files, a network that was handed over is its kind and a digest of its weights."""
    if isinstance(teacher, str):
        return teacher
    from kdzoo.methods.teachers import network_text

    return network_text(teacher)


OneTeacher = Annotated[str | Annotated[Any, AfterValidator(_network)], PlainSerializer(_as_text)]


class OfflineConfig(SoftenedConfig):
    """What the methods share whose student is taught by teachers that are trained before."""

    peers: Literal[1] = 1
    """P; there is one student."""
    layout: Literal["independent"] = "independent"
    """One whole network."""
    teacher: Annotated[OneTeacher | tuple[OneTeacher, ...] | None, AfterValidator(has_home)] = None
    """The teacher: the folder of a finished run, a file of weights, ``timm/NAME`` or, in Python, a
    network; or a list of several. Left out, a teacher is trained first, on the same data with the
    same seed."""
    teacher_backbone: OptionalBackbone = None
    """The backbone of teachers that are files, or of one that is trained first; left out, that is
    the student's."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""

    @property
    def teachers(self) -> "tuple[TeacherLike, ...]":
        """The teachers, one by one; none where one is trained first."""
        if self.teacher is None:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @model_validator(mode="after")
    def _some_teacher(self) -> "OfflineConfig":
        if self.teacher == ():
            raise ConfigError("The list of teachers is empty.", ("teacher",))
        return self


@methods.register_config("kd")
class KDConfig(OfflineConfig):
    teacher_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """The share of each of several teachers in their mean; left out, they are equal."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The share of the distillation in the loss; the labels have the rest."""
    feature_terms: Annotated[tuple[FeatureTermChoice, ...], NotAtDefault] = ()
    """Losses between features of student and teacher, each times its weight."""
    cache: Annotated[Path | None, NotIdentity] = None
    """A folder in which a run keeps what the teachers say of each view of each image, for others
    that see the same views; by default they are asked in every step."""

    _home = field_validator("cache")(has_home)

    @model_validator(mode="after")
    def _a_weight_each(self) -> "KDConfig":
        weights, count = self.teacher_weights, max(len(self.teachers), 1)
        if weights is not None and (len(weights) != count or not sum(weights)):
            raise ConfigError(
                f"{list(weights)} are not the shares of {count} teachers: give a number for each, "
                "and not all 0.",
                ("teacher_weights",),
            )
        return self

    @model_validator(mode="after")
    def _terms_fit(self) -> "KDConfig":
        names = [term.name for term in self.feature_terms]
        if len(set(names)) < len(names):
            raise ConfigError("The same feature term is there twice.", ("feature_terms",))
        if names and len(self.teachers) > 1:
            raise ConfigError(
                f"Feature terms compare with one teacher, and there are {len(self.teachers)}.",
                ("feature_terms",),
            )
        if names and self.cache is not None:
            raise ConfigError(
                "Feature terms compare with features of the teacher, and logits alone are kept. "
                "Leave one of the two out.",
                ("cache",),
            )
        return self


@methods.register_config("shake")
class SHAKEConfig(OfflineConfig):
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """What the distillation from the teacher itself is multiplied by; the authors' script has 0."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda, what all terms of the shadow are multiplied by."""
    teacher_stages: Annotated[tuple[int | str, ...], Field(min_length=1)] = (-3, -2, -1)
    """The teacher's stages whose maps the shadow head fuses, in the order of the data: numbers from
    1 on, from -1 on backwards, or modules' paths."""

    @model_validator(mode="after")
    def _one_teacher(self) -> "SHAKEConfig":
        if len(self.teachers) > 1:
            raise ConfigError(
                f"shake has a shadow of one teacher, and there are {len(self.teachers)}.",
                ("teacher",),
            )
        return self
