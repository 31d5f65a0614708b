"""What of a run's folder must be the same whenever the run is the same."""

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

UNSTEADY = {"seconds", "seconds_per_epoch", "peak_memory", "sha256"}
"""Figures that are measured with a clock, and the checksum over them."""


def figures(run: Path) -> dict[str, Any]:
    """The student's bytes and every figure but seconds; what cannot be read stands for itself."""
    return {
        "student": digest(run / "student.safetensors"),
        "description": _json(run / "student.json"),
        "result": _json(run / "result.json"),
        "metrics": metrics(run),
    }


def metrics(run: Path) -> Any:
    """The records of ``metrics.jsonl`` without seconds, or why there are none."""
    try:
        lines = _bytes(run / "metrics.jsonl").decode().splitlines()
        return [_steady(json.loads(line)) for line in lines]
    except (OSError, ValueError) as error:
        return type(error).__name__


def digest(path: Path) -> str:
    """Of a file's bytes, or why there are none."""
    try:
        return hashlib.sha256(_bytes(path)).hexdigest()
    except OSError as error:
        return type(error).__name__


def names(folder: Path) -> set[str]:
    """The files below a folder by their paths in it; a cache key depends on where that is."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    return {re.sub(r"[0-9a-f]{32}", "KEY", path) for path in paths}


def halves(folder: Path) -> list[str]:
    """The files below a folder that are there under their own name, but not whole."""
    readers = {
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
        ".pt": lambda path: zipfile.ZipFile(path).testzip(),
        ".safetensors": lambda path: safe_open(path, "pt").keys(),
    }
    found = []
    for path in folder.rglob("[!.]*"):
        if path.is_file() and path.suffix in readers and not _is_temporary(path.parent):
            try:
                damaged = readers[path.suffix](path) if path.suffix == ".pt" else None
                readers[path.suffix](path)
            except (OSError, ValueError, zipfile.BadZipFile, SafetensorError):
                damaged = path
            if damaged:
                found.append(path.name)
    return found


def _is_temporary(folder: Path) -> bool:
    """A cache entry that is being built has its process' number in its name."""
    return bool(re.search(r"\.\d+$", folder.name))


def _bytes(path: Path) -> bytes:
    """Of a file, and not of a pipe, which would be waited for."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def _json(path: Path) -> Any:
    try:
        return _steady(json.loads(_bytes(path)))
    except (OSError, ValueError) as error:
        return type(error).__name__


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key not in UNSTEADY}
    return value
