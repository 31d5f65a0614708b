"""Values and texts that configs are not meant to have, and some that they are."""

import datetime
import json
import random
from typing import Any

NAMES = ["mbde", "one", "kd", "resnet8", "timm/resnet18", "digits", "cd", "ffm", "sgd", "cosine"]
NUMBERS = ["0", "1", "3", "-1", "0.5", "1e-3", "1e3", "1e400", "-.inf", ".nan", "2.0", "7" * 30]
ODD_NUMBERS = [
    "010",
    "+1",
    "0x10",
    "0b1",
    "1_000",
    "12:00",
    "1e",
    "9" * 5000,
    "\uff11",
    "2024-01-01",
]
WORDS = ["null", "~", "None", "true", "no", "NULL", "yes", "off", "", " ", "''", '""']
YAML = [
    *("[", "]", "{", "}", "[=1", "[1, 2", "{a: 1", "a: b", ": ", "- x", "? x", "|", ">", "# x"),
    *(
        "a #b",
        "&a [*a]",
        "&a {b: *a}",
        "*a",
        "<<: {}",
        "<<",
        "'",
        '"',
        "%YAML 3",
        "---",
        "...",
        "@",
    ),
    *(
        "`x`",
        "!!int x",
        "!!float x",
        "!!binary x",
        "!!timestamp x",
        "!!set {a}",
        "!!null x",
        "!x y",
    ),
    *("!!python/object/apply:os.getcwd []", "!!python/name:os.system", '"\\ud800"', '"\\x07"'),
    *("[" * 400, "[" * 40 + "]" * 40, "{a: " * 300, "{a: {b: [1, {c: null}]}}", "[[], {}, null]"),
    *("[a, b]", "[1, 1]", "{name: mbde}", "{name: sgd, momentum: 0}", "[mbde, one]", "{1: 2}"),
    *("{? [a]: b}", "{null: 1}", "{true: 1}", "{name: null}", "{name: [mbde]}", "{a.b: 1}"),
]
INTERPOLATIONS = [
    *("${oc.env:HOME}", "${oc.env:KDZOO_NOWHERE}", "${epochs}", "${nowhere}", "${", "$", "${}"),
    *(
        "${a.b}",
        "${.epochs}",
        "${oc.decode:x}",
        "${oc.create:[}",
        "a${epochs}b",
        r"\${epochs}",
        "???",
    ),
]
TEXTS = [
    *("é", "e\u0301", "日本", "😀", "\u202eabc", "\u200b", "\ufeff", "\x85", "\u2028", ":smile:"),
    *(
        "[bold]",
        "[/]",
        "[link=x]",
        "$x^$",
        "%s",
        "{0}",
        "../..",
        "/dev/null",
        "a/b",
        "a\\b",
        "~root",
    ),
    *(
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\x1b[31mred",
        "\x07",
        "\x7f",
        "x" * 3000,
        "-h",
        "--help",
        "=",
        "==",
    ),
    *("os:getcwd", "os:nowhere", "nowhere:x", "a:b:c", "timm/", "timm/nowhere", "mbde\n", "\udcff"),
]
VALUES = [NAMES, NUMBERS, ODD_NUMBERS, WORDS, YAML, INTERPOLATIONS, TEXTS]
TYPED: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 10**30, 0.5, 1e-3, 1e308, float("inf"), float("nan")),
    *(
        [],
        {},
        [[]],
        [None],
        [1, "a"],
        {"a": 1},
        {"name": "mbde"},
        {"name": None},
        {1: 2},
        {None: 1},
    ),
    *(datetime.date(2024, 1, 1), b"bytes", "", " ", "1", "010", "true", {"a": {"b": {"c": []}}}),
]
FREE = {"out", "root", "cache", "title", "teacher", "label", "seed", "epochs", "device"}
"""Keys that take any text, or that people vary most."""
STRAY = [
    "\0",
    "\x01",
    "\t",
    " ",
    "  ",
    "\n",
    "\r",
    ":",
    "-",
    "#",
    "'",
    '"',
    "{",
    "[",
    ",",
    "*",
    "&",
]


class Nonsense:
    """Draws nonsense, and sense enough for some of it to be taken.

    Args:
        rng: what it is drawn with.
        defaults: the keys there are, dotted, with their values.
    """

    def __init__(self, rng: random.Random, defaults: dict[str, Any]) -> None:
        self.rng = rng
        self.defaults = defaults

    def overrides(self, at_least: int = 1, at_most: int = 3) -> list[str]:
        """Arguments ``key=value``."""
        count = self.rng.randint(at_least, at_most)
        return [self._override().replace("\0", "") for _ in range(count)]

    def mapping(self) -> dict[Any, Any]:
        """A recipe's content, nested as the keys are, with values of every type."""
        values: dict[Any, Any] = {}
        for _ in range(self.rng.randint(1, 4)):
            key, value = self._setting()
            *outer, last = key.split(".")
            place = values
            for name in outer:
                inner = place.setdefault(name, {})
                place = inner if isinstance(inner, dict) else place
            place[last] = value
        return values

    def mutated(self, text: str) -> bytes:
        """A text with up to four changes."""
        for _ in range(self.rng.randint(1, 4)):
            text = self.rng.choice(_CHANGES)(self, text)
        return text.encode("utf-8", "surrogateescape")

    def _override(self) -> str:
        if self.rng.random() < 0.03:
            return self.text()  # perhaps no override at all
        key, value = self._setting()
        return f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"

    def _setting(self) -> tuple[str, Any]:
        """A key and a value, often one that the key may have."""
        key = self.rng.choice(list(self.defaults))
        chance = self.rng.random()
        if chance < 0.5:
            return key, self._like(key, self.defaults[key])
        if chance < 0.6:
            return self._wrong_key(key), self._like(key, self.defaults[key])
        return key, self.text() if chance < 0.8 else self.rng.choice(TYPED)

    def _like(self, key: str, default: Any) -> Any:
        if key.rpartition(".")[2] in FREE:
            return self.text()
        if isinstance(default, bool) or default is None:
            return self.rng.choice([True, False, default])
        if isinstance(default, int | float):
            return default * self.rng.choice([1, 2]) + self.rng.choice([0, 1])
        return default

    def _wrong_key(self, key: str) -> str:
        return self.rng.choice(
            [
                f"{key}.{key}",
                key.replace(".", ".."),
                f"{key}[0]",
                f".{key}",
                f"{key}.",
                key.upper(),
                key[:-1],
                self.text(),
            ]
        )

    def text(self) -> str:
        """Any of :data:`VALUES`."""
        return self.rng.choice(self.rng.choice(VALUES))

    def position(self, text: str) -> int:
        """Somewhere in a text."""
        return self.rng.randint(0, len(text))


def _insert_value(nonsense: Nonsense, text: str) -> str:
    position = nonsense.position(text)
    return text[:position] + nonsense.text() + text[position:]


def _insert_stray(nonsense: Nonsense, text: str) -> str:
    position = nonsense.position(text)
    return text[:position] + nonsense.rng.choice(STRAY) + text[position:]


def _replace_value(nonsense: Nonsense, text: str) -> str:
    """What stands behind one colon."""
    lines = text.split("\n")
    number = nonsense.rng.randrange(len(lines))
    key, colon, _ = lines[number].partition(":")
    lines[number] = f"{key}{colon} {nonsense.text()}"
    return "\n".join(lines)


def _cut(nonsense: Nonsense, text: str) -> str:
    start, end = sorted((nonsense.position(text), nonsense.position(text)))
    return text[:start] + text[min(end, start + 30) :]


def _repeat_line(nonsense: Nonsense, text: str) -> str:
    lines = text.split("\n")
    lines.insert(nonsense.position(text) % len(lines), nonsense.rng.choice(lines))
    return "\n".join(lines)


def _indent(nonsense: Nonsense, text: str) -> str:
    lines = text.split("\n")
    number = nonsense.rng.randrange(len(lines))
    lines[number] = nonsense.rng.choice([" ", "  ", "\t", "- "]) + lines[number]
    return "\n".join(lines)


_CHANGES = [
    _insert_value,
    _insert_stray,
    _replace_value,
    _replace_value,
    _cut,
    _repeat_line,
    _indent,
]
