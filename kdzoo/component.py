"""Parts of a run that are chosen by name: how a name and its settings become a typed config.

The base class of every config (pydantic), the validator that looks a name up in a registry, and the
messages for what does not fit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from kdzoo.errors import ConfigError, UserError, nearest, quoted
from kdzoo.fields import read_as
from kdzoo.home import expand_user
from kdzoo.registry import Registry

SMALLEST, LARGEST = 1.2e-38, 3.4e38
"""What a number of 32 bits, which networks compute with, can hold besides 0."""
NO_DEFAULT = "This setting is needed and has no default."
SHOULD_BE = "Input should be "


class Config(BaseModel):
    """Frozen settings without unknown keys; the docstring under a field explains it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_names(cls, values: Any) -> Any:
        """A name stands for its settings, and settings without a name are those of the default.

        Text that was typed is read as the field's type asks for.
        """
        if isinstance(values, str) and "name" in cls.model_fields:
            values = {"name": str(values)}
        if not isinstance(values, Mapping):
            return values
        return {
            key: _complete(value, key, cls.model_fields[key]) if key in cls.model_fields else value
            for key, value in values.items()
        }

    @field_validator("*")
    @classmethod
    def _within_32_bits(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and number and not SMALLEST <= abs(number) <= LARGEST:
                raise ValueError(
                    f"A number of 32 bits holds {SMALLEST:g} to {LARGEST:g}, not {number:g}."
                )
        return value


class ComponentConfig(Config):
    """The settings of one registered class, with the name it is registered under."""

    name: str


Component = SerializeAsAny[ComponentConfig]
"""The type of a field that holds a chosen part: ``Annotated[Component, by_name(REGISTRY)]``."""


class DefaultName(str):
    """A default that is the name of something with settings; the field's validator looks it up."""


def named(default: str | tuple[str, ...]) -> Any:
    """A default that is given as a name (or several); the field's validator looks it up."""
    return DefaultName(default) if isinstance(default, str) else tuple(map(DefaultName, default))


def has_home(value: Any) -> Any:
    """A validator of paths, which stay as they were typed: a ``~`` in front stands for a folder.

    Raises:
        ValueError: there is no such home folder.
    """
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, str | PurePath):
            try:
                expand_user(str(one))
            except UserError as error:
                raise ValueError(str(error)) from None
    return value


def validate(config_class: type[Config], values: Any) -> Any:
    """Build a config from a mapping or a bare name; what does not fit is said in one sentence.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit.
    """
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        raise _first_problem(config_class, error) from None


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Say of the setting ``where`` what is wrong with it: of a key in it, or else of its name."""
    try:
        yield
    except ConfigError as error:
        raise error.inside(where) from None
    except UserError as error:
        raise ConfigError(str(error), (where, "name")) from None


@dataclass(frozen=True, kw_only=True)
class ByName(BeforeValidator):
    """The validator of a field that holds a chosen part; it can tell the class of its settings."""

    config_of: Callable[[str], type[ComponentConfig]]


def by_name(registry: Registry) -> ByName:
    """Lets a field be given as the name of one of a registry's classes.

    The class that is registered must have a nested ``Config``.
    """
    return choice(registry.get_config)


def choice(config_of: Callable[[str], type[ComponentConfig]]) -> ByName:
    """Lets a field be given as a name.

    A mapping with ``name`` (where it is left out, that of the field's default) and settings will do
    as well, and so will the finished config.

    Args:
        config_of: the class of a name's settings; raises UserError where there is no such name.
    """

    def resolve(value: Any, info: ValidationInfo) -> Any:
        where = info.field_name or "name"
        if isinstance(value, ComponentConfig):
            return value
        settings = {"name": str(value)} if isinstance(value, str) else value
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{quoted(value)} is neither a name nor settings of one.", (where,))
        if "name" not in settings:
            raise ConfigError(NO_DEFAULT, (where, "name"))
        with errors_at(where):
            return validate(config_of(str(settings["name"])), settings)

    return ByName(resolve, config_of=config_of)


def _complete(value: Any, key: str, field: FieldInfo) -> Any:
    return _with_name(read_as(value, field.annotation, (key,), field.metadata), field.default)


def _with_name(value: Any, default: Any) -> Any:
    """Settings, or each of a list of settings, with the name of a field's one default."""
    match default, value:
        case DefaultName(), Mapping():
            return {"name": str(default), **value}
        case (DefaultName() as only,), [*several]:
            return [_with_name(one, only) for one in several]
    return value


def _first_problem(config_class: type[Config], error: ValidationError) -> ConfigError:
    # A misspelt key first: what it was meant to be may be what is missing.
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    where = _place(config_class, problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(config_class, where[:-1])
        key, _, rest = where[-1].partition(":")
        if key in fields and rest:
            return ConfigError(f"Write '{key}: {rest}', with a space after the colon.", where)
        if where[-1] == "name" and isinstance(problem["input"], str):  # a text for a mapping
            example = f"{where[-2] if where[1:] else ''}.{fields[0]}=VALUE".lstrip(".")
            return ConfigError(
                f"This is a group of settings, such as {example}, not {quoted(problem['input'])}.",
                where[:-1],
            )
        if where[:-1] and where[-1] in config_class.model_fields:
            hint = f"{where[-1]} stands by itself: write {where[-1]}=VALUE."
        else:
            hint = nearest(where[-1], fields)
        return ConfigError(f"There is no such setting. {hint}", where)
    if problem["type"] == "missing":
        return ConfigError(NO_DEFAULT, where)
    if problem["type"] in ("model_type", "model_attributes_type"):
        return ConfigError(f"{quoted(problem['input'])} is neither a name nor settings.", where)
    if problem["type"] in ("value_error", "assertion_error"):  # of a plugin's own validator
        return ConfigError(f"{problem['ctx']['error']}".strip() or "This does not fit.", where)
    said = [one["msg"] for one in problems if _place(config_class, one["loc"]) == where]
    alternatives = " or ".join((said[0], *(one.removeprefix(SHOULD_BE) for one in said[1:])))
    return ConfigError(f"{alternatives}, not {quoted(problem['input'])}.", where)


def _place(config_class: type[Config], loc: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that lead to a problem: pydantic also names the alternative of a type it tried."""
    place: list[str] = []
    kind: Any = config_class
    for key in loc:
        kind = _only(kind)
        if get_origin(kind) in (Union, UnionType):  # of texts, numbers and lists of those
            if isinstance(key, int):
                place.append(str(key))
            continue
        place.append(str(key))
        if isinstance(kind, type) and issubclass(kind, Config):
            field = kind.model_fields.get(str(key))
            kind = field and field.annotation
        elif get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        else:
            kind = None
    return tuple(place)


def _only(kind: Any) -> Any:
    """A type without what it is annotated with, and without None beside a single other one."""
    while True:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            kind = arguments[0]
        elif origin in (Union, UnionType) and len(others := [*{*arguments} - {NoneType}]) == 1:
            (kind,) = others
        else:
            return kind


def _fields_at(config_class: type[Config], where: tuple[str, ...]) -> list[str]:
    for key in where:
        field = config_class.model_fields.get(key)
        annotation = field and field.annotation
        for inner in (annotation, *get_args(annotation)):  # itself, or what a list is of
            if isinstance(inner, type) and issubclass(inner, Config):
                config_class = inner
    return list(config_class.model_fields)
