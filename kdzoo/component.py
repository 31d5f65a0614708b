"""Parts of a run that are chosen by name: how a name and its settings become a typed config."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from kdzoo.errors import ConfigError, UserError, nearest
from kdzoo.registry import Registry


class Config(BaseModel):
    """Frozen settings without unknown keys; the docstring under a field explains it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, values: Any) -> Any:
        """Settings that have a name may be given as the name alone."""
        return (
            {"name": values} if isinstance(values, str) and "name" in cls.model_fields else values
        )


class ComponentConfig(Config):
    """The settings of one registered class, with the name it is registered under."""

    name: str


Component = SerializeAsAny[ComponentConfig]
"""The type of a field that holds a chosen part: ``Annotated[Component, by_name(...)]``."""


def named(default: Any) -> Any:
    """A default that is given as a name (or several); the field's validator looks it up."""
    return default


def validate(config_class: type[Config], values: Any) -> Any:
    """Build a config from a mapping or a bare name; what does not fit is said in one sentence.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit.
    """
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        raise _first_problem(config_class, error) from None


@dataclass(frozen=True, kw_only=True)
class ByName(BeforeValidator):
    """The validator of a field that holds a chosen part; it can tell the class of its settings."""

    config_of: Callable[[str], type[ComponentConfig]]
    default: str


def by_name(registry: Registry, default: str) -> ByName:
    """Lets a field be given as the name of one of a registry's classes.

    The class that is registered must have a nested ``Config``.
    """
    return choice(lambda name: registry.get(name).Config, default)


def choice(config_of: Callable[[str], type[ComponentConfig]], default: str) -> ByName:
    """Lets a field be given as a name.

    A mapping with ``name`` (``default`` where it is left out) and settings will do as well, and so
    will the finished config.

    Args:
        config_of: the class of a name's settings; raises UserError where there is no such name.
        default: the name that settings without one are of.
    """

    def resolve(value: Any, info: ValidationInfo) -> Any:
        where = info.field_name or "name"
        if isinstance(value, ComponentConfig):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            raise ConfigError(f"{value!r} is neither a name nor settings of one.", (where,))
        settings = {"name": default, **value}
        try:
            return validate(config_of(str(settings["name"])), settings)
        except ConfigError as error:
            raise error.inside(where) from None
        except UserError as error:
            raise ConfigError(str(error), (where, "name")) from None

    return ByName(resolve, config_of=config_of, default=default)


def _first_problem(config_class: type[Config], error: ValidationError) -> ConfigError:
    problem = error.errors(include_url=False)[0]
    where = tuple(str(key) for key in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(config_class, where[:-1])
        return ConfigError(f"There is no such setting. {nearest(where[-1], fields)}", where)
    if problem["type"] == "missing":
        return ConfigError("This setting is needed and has no default.", where)
    if problem["type"] == "model_type":
        return ConfigError(f"{problem['input']!r} is neither a name nor settings.", where)
    return ConfigError(f"{problem['msg']}, not {problem['input']!r}.", where)


def _fields_at(config_class: type[Config], where: tuple[str, ...]) -> list[str]:
    for key in where:
        field = config_class.model_fields[key].annotation
        if isinstance(field, type) and issubclass(field, Config):
            config_class = field
    return list(config_class.model_fields)
