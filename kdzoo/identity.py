"""A run's identity: the settings that decide its result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kdzoo.component import ByName
from kdzoo.errors import UserError


class NotIdentity:
    """Marks a field that says where or how to compute, not what: ``Annotated[str, NotIdentity]``.

    Runs that differ in such fields alone are the same run.
    """


@dataclass(frozen=True)
class CountsAs:
    """Marks a field one of whose values stands for another: ``Annotated[T, CountsAs("auto", 1)]``.

    Runs that differ in these two alone are the same run.
    """

    value: Any
    other: Any


class NotAtDefault:
    """Marks a field that came later: at its default, it is not counted.

    So a run from before there was the field is the same run still.
    """


def identity_of(settings: Mapping[str, Any], config_class: type[BaseModel]) -> dict[str, Any]:
    """The settings without those that do not count, by the marks of their fields, at any depth.

    They may be of an older or a foreign run: keys that the class does not know stay, and so do
    those of a part that is not installed, but for what every part of its kind has.

    Args:
        settings: a dumped config, or one read from a file.
        config_class: whose settings they are.
    """
    fields = config_class.model_fields
    return {
        key: _identity(_counted(value, fields[key]), fields[key]) if key in fields else value
        for key, value in settings.items()
        if key not in fields or _counts(value, fields[key])
    }


def _counted(value: Any, field: FieldInfo) -> Any:
    marks = (mark for mark in field.metadata if isinstance(mark, CountsAs))
    return next((mark.other for mark in marks if mark.value == value), value)


def _counts(value: Any, field: FieldInfo) -> bool:
    if isinstance(value, list):  # what a file makes of a tuple
        value = tuple(value)
    if NotAtDefault in field.metadata and value in (field.default, {"name": field.default}):
        return False
    return NotIdentity not in field.metadata


def _identity(value: Any, field: FieldInfo) -> Any:
    if isinstance(value, list | tuple):
        return [_identity(one, field) for one in value]
    if not isinstance(value, Mapping):
        return value
    config_class = _class_of(value, field)
    return identity_of(value, config_class) if config_class else value


def _class_of(settings: Mapping[str, Any], field: FieldInfo) -> type[BaseModel] | None:
    """The class of the part that the settings name, else the one that the field declares."""
    declared = [*field.metadata, *_pieces(field.annotation)]
    for piece in declared:
        if isinstance(piece, ByName):
            try:
                return piece.config_of(str(settings.get("name", field.default)))
            except UserError:
                break  # it is not installed here
    return next(
        (piece for piece in declared if isinstance(piece, type) and issubclass(piece, BaseModel)),
        None,
    )


def _pieces(annotation: Any) -> Iterator[Any]:
    """Everything that a type is put together from, and what it is annotated with."""
    yield annotation
    for argument in get_args(annotation):
        yield from _pieces(argument)
