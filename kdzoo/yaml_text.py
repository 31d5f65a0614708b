"""YAML read without types, and written so that every reader finds the same values in it.

Old YAML takes ``010`` for 8, ``12:00`` for 720 and ``on`` for true; here a value without quotes is
a :class:`~kdzoo.scalars.Scalar`, and the field that takes it decides. Nothing is ever constructed
but mappings, lists and text.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

import yaml

from kdzoo.errors import UserError, quoted
from kdzoo.scalars import Scalar, typed

DEEPEST = 50
"""Levels of nesting."""
MOST_VALUES = 100_000
"""Of a file, counting those that aliases repeat."""
MOST_CHARACTERS = 5_000_000

_TAG = "tag:yaml.org,2002:"
_UNTYPED = "untyped"
_READ_BY_FIELDS = {_UNTYPED, *(f"{_TAG}{name}" for name in ("int", "float", "bool"))}


def load_yaml(text: str) -> Any:
    """The mapping, list or value that a text holds.

    Raises:
        UserError: it is no YAML, has a tag that stands for more than data, or is too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"It is too long: {len(text):,} characters.")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else loader.value(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UserError(f"{error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise UserError(str(error).split("\n")[0]) from None
    except RecursionError:
        raise UserError(f"It is nested deeper than {DEEPEST} levels.") from None


def dump_yaml(value: Any, unicode: bool = True) -> str:
    """A value as YAML, text in quotes wherever a reader could take it for something else.

    Args:
        value: mappings, lists, text, numbers, true, false and None.
        unicode: write printable characters beyond ASCII as themselves.
    """
    return yaml.dump(
        value,
        Dumper=_Dumper,
        allow_unicode=unicode,
        default_flow_style=False,
        sort_keys=False,
        width=sys.maxsize,
    )


class _Loader(yaml.SafeLoader):
    """Marks values without quotes, and gives anything but data back as an error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.count = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return f"{_TAG}merge" if value == "<<" else _UNTYPED
        return super().resolve(kind, value, implicit)

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        self.count += 1
        if depth > DEEPEST:
            raise UserError(f"It is nested deeper than {DEEPEST} levels.")
        if self.count > MOST_VALUES:
            raise UserError(f"It has more than {MOST_VALUES:,} values.")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(entry, depth + 1) for entry in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            _refuse_twice(node)
            self.flatten_mapping(node)
            return dict(self._entries(node, depth))
        raise _not_data(node)

    def _entries(self, node: yaml.MappingNode, depth: int) -> Iterable[tuple[str, Any]]:
        for key, entry in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be text", problem_mark=key.start_mark
                )
            yield str(self._scalar(key)), self.value(entry, depth + 1)

    def _scalar(self, node: yaml.ScalarNode) -> str | None:
        if node.tag in _READ_BY_FIELDS:
            return Scalar(node.value)
        if node.tag in (f"{_TAG}str", f"{_TAG}merge"):
            return str(node.value)
        if node.tag == f"{_TAG}null":
            return Scalar("null")
        raise _not_data(node)


def _refuse_twice(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {quoted(key.value)} is there twice",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)


def _not_data(node: yaml.Node) -> yaml.MarkedYAMLError:
    tag = node.tag.replace(_TAG, "!!")
    return yaml.MarkedYAMLError(
        problem=f"the tag {quoted(tag)} is not taken here", problem_mark=node.start_mark
    )


class _Dumper(yaml.SafeDumper):
    allow_unicode: bool

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """What needs double quotes holds something invisible, which is to be seen."""
        before, self.allow_unicode = self.allow_unicode, False
        super().write_double_quoted(text, split=False)
        self.allow_unicode = before


_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*(?::[A-Za-z0-9_./+-]+)*")
_WORDS = {"y", "n"}
"""What old YAML takes for true and false besides yes and no."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if not text.isprintable():
        style = '"'
    elif _PLAIN.fullmatch(text) and text.lower() not in _WORDS and typed(Scalar(text)) == text:
        style = None
    else:
        style = "'"
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _text)
