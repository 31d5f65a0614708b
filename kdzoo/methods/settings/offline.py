"""The settings of distillation from teachers that are trained before."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from kdzoo.backbones.config import BackboneConfig
from kdzoo.component import has_home
from kdzoo.errors import ConfigError
from kdzoo.feature_terms.settings import FeatureTermChoice
from kdzoo.identity import NotAtDefault
from kdzoo.methods.config import (
    SoftenedConfig,
)
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


@methods.register_config("kd")
class KDConfig(SoftenedConfig):
    peers: Literal[1] = 1
    """P; there is one student."""
    layout: Literal["independent"] = "independent"
    """One whole network."""
    teacher: Annotated[OneTeacher | tuple[OneTeacher, ...] | None, AfterValidator(has_home)] = None
    """The teacher: the folder of a finished run, a file of weights, ``timm/NAME`` or, in Python, a
    network; or a list of several. Left out, a teacher is trained first, on the same data with the
    same seed."""
    teacher_backbone: BackboneConfig | None = None
    """The backbone of teachers that are files, or of one that is trained first; left out, that is
    the student's."""
    teacher_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """The share of each of several teachers in their mean; left out, they are equal."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The share of the distillation in the loss; the labels have the rest."""
    feature_terms: Annotated[tuple[FeatureTermChoice, ...], NotAtDefault] = ()
    """Losses between features of student and teacher, each times its weight."""

    @property
    def teachers(self) -> "tuple[TeacherLike, ...]":
        """The teachers, one by one; none where one is trained first."""
        if self.teacher is None:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @model_validator(mode="after")
    def _a_weight_each(self) -> "KDConfig":
        if self.teacher == ():
            raise ConfigError("The list of teachers is empty.", ("teacher",))
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
        return self
