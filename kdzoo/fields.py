"""Settings as they were typed become values: the type of the field decides how its text is read.

A field of text or a path keeps the text as it is; one of numbers takes decimal numbers and refuses
the rest. Where no type says anything, as in ``backbone.kwargs``, numbers, ``true`` and so on are
read as YAML reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

from kdzoo.errors import ConfigError, UserError, quoted
from kdzoo.scalars import NOTHING, YES_OR_NO, Scalar, decimal, typed, whole
from kdzoo.yaml_text import load_yaml

WANTED = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
SEQUENCES = (tuple, list, set, frozenset, Sequence)
MAPPINGS = (dict, Mapping)


def read_as(value: Any, kind: Any, where: tuple[str, ...], metadata: Sequence[Any] = ()) -> Any:
    """A value, and all that was typed within it, as a field takes it.

    Args:
        value: what was typed (:class:`Scalar`), also within mappings and lists; others stay.
        kind: the field's type.
        where: the keys that lead to the value.
        metadata: what the type is annotated with. What has a validator of its own that comes
            before, such as a choice by name, reads by itself what is inside.

    Raises:
        ConfigError: a text cannot be of that type.
    """
    kinds = list(_alternatives(kind))
    reads_itself = any(isinstance(v, BeforeValidator) for v in (*metadata, *_annotations(kind)))
    if isinstance(value, str):
        _check_text(value, where)
        value = _read_text(value, kinds, where, reads_itself)
    elif isinstance(value, PurePath):
        _check_text(str(value), where)
    elif isinstance(value, bool) and bool not in kinds and {int, float}.intersection(kinds):
        raise _of_another_type(value, kinds, where)  # Python counts True as 1
    if reads_itself or not isinstance(value, Mapping | list | tuple):
        return value
    if isinstance(value, Mapping):
        return _read_mapping(value, kinds, where)
    for one in kinds:
        if _container(one) in SEQUENCES:
            of = get_args(one)
            each = of[:1] * len(value) if len(of) < 2 or of[1] is Ellipsis else of
            each = (*each, *(Any,) * (len(value) - len(each)))
            return [
                read_as(entry, inner, (*where, str(index)))
                for index, (entry, inner) in enumerate(zip(value, each, strict=False))
            ]
    return _typed(value)


def _read_mapping(
    value: Mapping[Any, Any], kinds: Sequence[Any], where: tuple[str, ...]
) -> Mapping[Any, Any]:
    for one in kinds:
        if _is_model(one):
            fields = one.model_fields
            return {
                key: read_as(entry, fields[key].annotation, (*where, key), fields[key].metadata)
                if key in fields
                else entry
                for key, entry in value.items()
            }
        if _container(one) in MAPPINGS and len(get_args(one)) == 2:
            inner = get_args(one)[1]
            return {key: read_as(entry, inner, (*where, str(key))) for key, entry in value.items()}
    return typed(dict(value))


def _read_text(text: str, kinds: Sequence[Any], where: tuple[str, ...], reads_itself: bool) -> Any:
    """A number in quotes is read as well; everything else in quotes is text."""
    word = text.strip()
    is_text = any(one is str or _is_path(one) for one in kinds)
    if isinstance(text, Scalar) and NoneType in kinds and word in NOTHING:
        return None
    for literal in (one for one in kinds if get_origin(one) is Literal):
        for choice in get_args(literal):
            if choice == (word if isinstance(choice, str) else typed(Scalar(word))):
                return choice
    if not is_text or isinstance(text, Scalar):
        number = _read_number(word, kinds)
        if number is not None:
            return number
    if not isinstance(text, Scalar):
        return text
    # a text or several of them, such as teachers
    in_brackets = word[:1] == "[" and word[-1:] == "]"
    if is_text and not (in_brackets and any(_container(one) in SEQUENCES for one in kinds)):
        if not text and not any(one is str for one in kinds):
            raise ConfigError("This is empty; give a folder or a file.", where)
        return str(text)
    if kinds and all(one in WANTED for one in kinds):
        if int in kinds and (decimal(word) or 0.5).is_integer():
            raise ConfigError(
                f"Write a whole number beyond 2**53 in digits alone, not {quoted(word)}.", where
            )
        raise _of_another_type(str(text), kinds, where)
    source = _flow(text.strip(), kinds, of_one=not reads_itself)
    if source is None:
        return typed(text) if Any in kinds else str(text)
    try:
        return load_yaml(source)
    except UserError as error:
        raise ConfigError(f"{quoted(str(text))} cannot be read: {error}.", where) from None


def _of_another_type(value: Any, kinds: Sequence[Any], where: tuple[str, ...]) -> ConfigError:
    wanted = " or ".join(words for one, words in WANTED.items() if one in kinds)
    return ConfigError(f"This should be {wanted}, not {quoted(value)}.", where)


def _read_number(word: str, kinds: Sequence[Any]) -> bool | int | float | None:
    if bool in kinds:
        if word.lower() in YES_OR_NO:
            return YES_OR_NO[word.lower()]
        if int not in kinds and word in ("0", "1"):
            return word == "1"
    if int in kinds and (float not in kinds or word.lstrip("+-").isdecimal()):
        number = whole(word)
        if number is not None:
            return number
    return decimal(word) if float in kinds else None


def _flow(word: str, kinds: Sequence[Any], of_one: bool) -> str | None:
    """The YAML of a mapping or a list in one line; None if the text is neither.

    Args:
        word: the text.
        kinds: what it may be.
        of_one: read a list without brackets.
    """
    is_list = any(_container(one) in SEQUENCES for one in kinds)
    is_mapping = any(_is_model(one) or _container(one) in MAPPINGS for one in kinds)
    if word[:1] == "[" or (word[:1] == "{" and (is_mapping or not is_list)):
        return word
    if is_list and word[:1] == "(" and word[-1:] == ")":
        return f"[{word[1:-1]}]"
    return f"[{word}]" if is_list and of_one and not is_mapping else None


def _typed(value: Any) -> Any:
    return typed(list(value) if isinstance(value, tuple) else value)


def _check_text(text: str, where: tuple[str, ...]) -> None:
    if "\0" in text:
        raise ConfigError("There is a NUL character in it.", where)
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ConfigError(
            f"{quoted(text)} is no UTF-8, which the files of a run are in. Rename it, or make a "
            "link to it under another name.",
            where,
        )


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types of a union, or the one, without what they are annotated with."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    elif hasattr(kind, "__value__"):  # an alias made with ``type``
        yield from _alternatives(kind.__value__)
    else:
        yield NoneType if kind is None else kind


def _annotations(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from kind.__metadata__
        yield from _annotations(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for one in get_args(kind):
            yield from _annotations(one)


def _container(kind: Any) -> Any:
    return get_origin(kind) or kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)
