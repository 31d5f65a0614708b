"""Ways in which a file can be damaged. Each takes the file, a random generator and its twin: the
file of the same name that belongs to another run.
"""

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random, Path | None], None]

CANARY = "canary"
"""A module beside the runs: whoever imports it leaves a file EXECUTED there."""


def truncated(path: Path, rng: random.Random, twin: Path | None) -> None:
    os.truncate(path, rng.randrange(max(1, path.stat().st_size)))


def bit_flipped(path: Path, rng: random.Random, twin: Path | None) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def block_of_zeros(path: Path, rng: random.Random, twin: Path | None) -> None:
    content = bytearray(path.read_bytes() or b"x")
    start = rng.randrange(len(content))
    end = min(len(content), start + 512)
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


def emptied(path: Path, rng: random.Random, twin: Path | None) -> None:
    os.truncate(path, 0)


def missing(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.unlink()


def swapped(path: Path, rng: random.Random, twin: Path | None) -> None:
    if twin is None:
        path.write_bytes(b"of something else entirely\n")
    else:
        shutil.copyfile(twin, path)


def lengthened(path: Path, rng: random.Random, twin: Path | None) -> None:
    with path.open("ab") as file:
        file.write(rng.choice([b"\n", b"}\n", b"garbage", rng.randbytes(100)]))


def noise(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.write_bytes(rng.randbytes(max(1, path.stat().st_size)))


def not_utf8(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.write_bytes("Größe: très élevée\n".encode("latin-1"))


def other_text(path: Path, rng: random.Random, twin: Path | None) -> None:
    texts = [
        "{}",
        "[]",
        "null",
        "0",
        '""',
        "[{}]",
        '{"a": {}}',
        "[" * 5000,
        "\x1b[31m{",
        "\ufeff{}",
    ]
    path.write_text(rng.choice(texts) + "\n", encoding="utf-8")


def folder(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "something").write_text("x")


def fifo(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling_link(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.unlink()
    path.symlink_to(rng.choice(["nowhere", path.name, "/proc/self/mem"]))


def unreadable(path: Path, rng: random.Random, twin: Path | None) -> None:
    path.chmod(0)


def number_changed(path: Path, rng: random.Random, twin: Path | None) -> None:
    """Another digit, or what no reader expects of a number."""
    text = path.read_text(encoding="utf-8")
    numbers = list(re.finditer(r"(?<![\w.])-?\d[\d.]*(e[+-]?\d+)?(?![\w.])", text))
    if not numbers:
        return truncated(path, rng, twin)
    found = rng.choice(numbers)
    digit = str((int(found[0][-1]) + 1) % 10) if found[0][-1].isdigit() else "5"
    odd = ["1e308", "1" + "0" * 400, "9" * 5000, "-1", "NaN", "Infinity", "null", '"7"', "[]"]
    new = found[0][:-1] + digit if rng.random() < 0.5 else rng.choice(odd)
    path.write_text(text[: found.start()] + new + text[found.end() :], encoding="utf-8")


def record_lost(path: Path, rng: random.Random, twin: Path | None) -> None:
    """One line fewer."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_text("".join(lines), encoding="utf-8")


def hostile(path: Path, rng: random.Random, twin: Path | None) -> None:
    """A text that is a name or a title becomes one that is meant to do harm."""
    text = path.read_text(encoding="utf-8")
    harm = rng.choice(
        [
            f"{CANARY}:build",
            "${oc.env:HOME}",
            "../../../etc",
            r"\u001b]0;pwned\u0007",
            "[/]",
            "$x^$",
        ]
    )
    names = list(re.finditer(r"(?<=[:\[] )\"?[A-Za-z][\w/]+\"?", text))
    found = rng.choice(names) if names else re.search("", text)
    assert found is not None
    quoted = f'"{harm}"'
    path.write_text(text[: found.start()] + quoted + text[found.end() :], encoding="utf-8")


ANY: tuple[Damage, ...] = (
    truncated,
    bit_flipped,
    block_of_zeros,
    emptied,
    missing,
    swapped,
    lengthened,
    noise,
    not_utf8,
    other_text,
    folder,
    fifo,
    dangling_link,
    *(() if os.geteuid() == 0 else (unreadable,)),  # root reads everything
)
TEXT: tuple[Damage, ...] = (number_changed, record_lost, hostile)
"""Of texts, besides."""


def damages_of(path: Path) -> tuple[Damage, ...]:
    """The ways in which such a file can be damaged."""
    if path.suffix in (".json", ".jsonl", ".yaml") and path.stat().st_size > 2:
        return ANY + TEXT
    return ANY
